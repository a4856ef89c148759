"""The example gates: a workflow of GitHub Actions, whose steps run here by bash, and a hook of pre-commit."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from copied import copied_project
from documented import blocks_of
from examples import EXAMPLES
from without_torch import ROOT

from deltaoe.images.walk import SUFFIXES

WORKFLOW = EXAMPLES / "gate" / "unknown-images.yml"
HOOKS = EXAMPLES / "gate" / "pre-commit-config.yaml"
# The steps' conditions, and when each holds.
CONDITIONS: Mapping[str | None, Callable[[Mapping[str, str]], bool]] = {
    None: lambda outputs: True,
    "steps.changed.outputs.images != '0'": lambda outputs: outputs["images"] != "0",
    "steps.changed.outputs.images != '0' && steps.cached.outputs.cache-hit != 'true'": (
        lambda outputs: outputs["images"] != "0"
    ),
}

if sys.platform == "win32":
    pytest.skip("the gates are scripts for bash", allow_module_level=True)


def workflow() -> dict[Any, Any]:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


class Repository:
    """A git repository with a pull request, and a runner with stand-ins for ``gh`` and for pip's index."""

    def __init__(self, folder: Path, exported: Path) -> None:
        self.folder, self.runner = folder / "repository", folder / "runner"
        self.folder.mkdir()
        (self.runner / "bin").mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        for key, value in (("user.name", "a"), ("user.email", "a@b"), ("commit.gpgsign", "false")):
            self.git("config", key, value)
        self.git("commit", "-q", "--allow-empty", "-m", "begin")
        release = self.runner / "release.tar.gz"
        with tarfile.open(release, "w:gz") as packed:
            packed.add(exported, "detector")
        self.digest = hashlib.sha256(release.read_bytes()).hexdigest()
        self.program("gh", f'echo gh "$@" >> "$RUNNER_TEMP/calls"; cp {release} "${{!#}}/detector.tar.gz"')
        # deltaoe and its packages are here already; what pip is asked for is written down.
        self.program(
            "python",
            'if [ "$1 $2" = "-m pip" ]; then echo "$@" >> "$RUNNER_TEMP/calls"; exit; fi\n'
            f'PYTHONPATH={ROOT} exec {sys.executable} "$@"',
        )

    def program(self, name: str, script: str) -> None:
        path = self.runner / "bin" / name
        path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def git(self, *arguments: str | bytes) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def pull_request(self, *images: tuple[str | bytes, Path | None]) -> None:
        """Commit these files on a branch, None to delete one, and merge it, as GitHub does for a run."""
        self.git("checkout", "-q", "-b", "change")
        for name, content in images:
            path = os.path.join(os.fsencode(self.folder), os.fsencode(name))
            if content is None:
                os.remove(path)
            else:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                shutil.copyfile(content, path)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        self.git("checkout", "-q", "main")
        self.git("commit", "-q", "--allow-empty", "-m", "meanwhile")
        self.git("merge", "-q", "--no-ff", "--no-edit", "change")

    @property
    def env(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.runner / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
        return {
            "PATH": path,
            "HOME": str(self.runner),
            "RUNNER_TEMP": str(self.runner),
            "GITHUB_OUTPUT": str(self.runner / "output"),
            "OMP_NUM_THREADS": "1",
            "LANG": "C.UTF-8",
        }

    def checked(self, digest: str | None = None) -> tuple[int, str, list[str]]:
        """Run the workflow: the exit code of the step that ended it, what that step printed, and the steps' names."""
        outputs: dict[str, str] = {}
        ran, out, variables = [], "", {**workflow()["env"], "DETECTOR_SHA256": digest or self.digest}
        for step in workflow()["jobs"]["gate"]["steps"]:
            if "run" not in step or not CONDITIONS[step.get("if")](outputs):
                continue
            ran.append(step["name"])
            script = self.runner / "step.sh"
            script.write_text(step["run"], encoding="utf-8")
            done = subprocess.run(  # as GitHub runs `shell: bash`
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
                cwd=self.folder,
                env=self.env | variables,
                capture_output=True,
                timeout=300,
            )
            out = (done.stdout + done.stderr).decode()
            if done.returncode:
                return done.returncode, out, ran
            written = self.runner / "output"
            outputs |= dict(line.split("=", 1) for line in written.read_text().splitlines())
        return 0, out, ran


@pytest.fixture
def repository(tmp_path: Path, deployed: Path) -> Repository:
    return Repository(tmp_path, deployed / "detector")


@pytest.fixture(scope="session")
def known(deployed: Path, run) -> Path:
    """An image of the template that its detector knows, and which nothing was learned from."""
    records = run("score", "images", "--json", "--quiet", cwd=deployed).json["images"]
    return deployed / next(one["path"] for one in records if one["verdict"] == "known")


@pytest.fixture(scope="session")
def unknown(deployed: Path, run) -> Path:
    records = run("score", "unknown", "--json", "--quiet", cwd=deployed).json["images"]
    return deployed / next(one["path"] for one in records if one["verdict"] == "unknown")


def verdicts(out: str) -> dict[str, str]:
    records = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {os.path.basename(one["path"]): one["verdict"] for one in records}


def test_known_images_pass_whatever_they_are_called(repository, known, tmp_path):
    names = ["a b.png", "new\nline.PNG", "-x.png", "sub/quote'\".png", "ünï.png", b"\xff.png"]
    repository.pull_request(*[(name, known) for name in names])
    code, out, ran = repository.checked()
    assert code == 0, out
    assert len(verdicts(out)) == len(names) and set(verdicts(out).values()) == {"known"}
    assert not [line for line in out.splitlines() if line.startswith("::")]  # no command to the runner
    calls = (tmp_path / "runner" / "calls").read_text()
    assert "gh release download detector-1 --pattern detector.tar.gz" in calls
    assert "-m pip install --no-deps deltaoe\n" in calls and "detector/requirements.txt" in calls
    assert "torch" not in calls and ran[-1] == "Score the changed images"


def test_an_unknown_image_fails_with_3(repository, known, unknown):
    repository.pull_request(("good.png", known), ("bad image.png", unknown), ("notes.txt", unknown))
    code, out, _ = repository.checked()
    assert code == 3
    assert verdicts(out) == {"good.png": "known", "bad image.png": "unknown"}


def test_every_kind_of_image_that_deltaoe_reads_from_folders_is_looked_at(repository, unknown):
    """An image under an ending that the gate does not know would pass unseen."""
    names = [f"an image{suffix.upper() if i % 2 else suffix}" for i, suffix in enumerate(sorted(SUFFIXES))]
    repository.pull_request(*[(name, unknown) for name in names])
    code, out, _ = repository.checked()
    assert code == 3 and sorted(verdicts(out)) == sorted(names)


def test_a_broken_image_does_not_pass(repository, known):
    repository.pull_request(("good.png", known), ("pointer.jpg", WORKFLOW))
    code, out, _ = repository.checked()
    assert code == 1 and verdicts(out)["pointer.jpg"] == "failed"


def test_without_a_changed_image_nothing_is_downloaded(repository, unknown):
    shutil.copyfile(unknown, repository.folder / "old.png")
    repository.git("add", "-A")
    repository.git("commit", "-q", "-m", "there before")
    repository.pull_request(("notes.txt", WORKFLOW), ("old.png", None))
    code, _, ran = repository.checked()
    assert (code, ran) == (0, ["Find the changed images"])


def test_another_detector_than_that_of_the_digest_is_refused(repository, known):
    repository.pull_request(("good.png", known))
    code, out, ran = repository.checked(digest="0" * 64)
    assert code == 1 and "FAILED" in out and ran[-1] == "Check and unpack the detector"


def test_the_workflow_has_the_form_that_github_wants():
    found = workflow()
    assert found[True] == "pull_request"  # YAML 1.1 reads `on` as true
    assert found["permissions"] == {"contents": "read"}
    (job,) = found["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest" and job["defaults"]["run"]["shell"] == "bash"
    for step in job["steps"]:
        assert ("run" in step) != ("uses" in step)
        assert set(step) <= {"name", "id", "if", "uses", "with", "run", "env"}
        assert step.get("if") in CONDITIONS
        # Text of a pull request never becomes part of a script.
        assert "${{" not in step.get("run", "")
    checkout = next(step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout["with"]["fetch-depth"] == 2


def test_the_hook_refuses_what_the_workflow_refuses(tmp_path, deployed, known, unknown):
    (hook,) = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert {"id", "name", "entry", "language"} <= set(hook)
    shutil.copytree(deployed / "detector", tmp_path / "detector")
    shutil.copyfile(known, tmp_path / "-a b.png")
    shutil.copyfile(unknown, tmp_path / "bad.png")
    program, *arguments = shlex.split(hook["entry"])
    assert program == "python"
    for names, code in ((["-a b.png"], 0), (["-a b.png", "bad.png"], 3)):
        done = subprocess.run(
            [sys.executable, *arguments, *names],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        assert list(verdicts(done.stdout)) == names


def test_a_workspace_is_a_gate_as_well(deployed, known, unknown, repository, run, tiny_model):
    """The command of the page, where the whole of deltaoe is installed."""
    blocks = [one for one in blocks_of(ROOT / "docs/how-to/deploy.md") if "main...HEAD" in one.text]
    (command,) = blocks[0].commands()
    before, _, last = command.text.rpartition("| deltaoe ")
    copied_project(deployed, repository.folder / "project")
    repository.git("switch", "-q", "-c", "change")
    for name, image, code in (("a b.png", known, 0), ("-x.png", unknown, 3)):
        shutil.copyfile(image, repository.folder / name)
        repository.git("add", "--", name)
        repository.git("commit", "-q", "-m", name)
        changed = subprocess.run(
            ["bash", "-c", before], cwd=repository.folder, capture_output=True, check=True, timeout=60
        )
        workspace = repository.folder / "project" / ".deltaoe"
        arguments = [*shlex.split(last), "--workspace", workspace, "--quiet"]
        done = run(*arguments, cwd=repository.folder, stdin=changed.stdout, rc=code)
        assert verdicts(done.stdout)[name] == ("unknown" if code else "known")
