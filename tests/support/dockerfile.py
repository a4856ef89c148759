"""A Dockerfile's steps without a container engine: read strictly, then done in a folder that stands for the root.

What it cannot do it refuses, so that a new instruction in an example fails here rather than passing unseen.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

KNOWN = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}


@dataclass(frozen=True)
class Step:
    """One instruction: its name, and its arguments as text without line continuations."""

    name: str
    arguments: str

    @property
    def argv(self) -> list[str]:
        """The arguments in exec form, such as ``["python", "-c", "pass"]``. Raises ValueError for another form."""
        argv = json.loads(self.arguments)
        if not (isinstance(argv, list) and argv and all(isinstance(one, str) for one in argv)):
            raise ValueError(f"{self.name} {self.arguments}: not a JSON list of texts")
        return argv


def steps_of(text: str) -> list[Step]:
    """The steps of a Dockerfile of one stage. Raises ValueError for what is not one, or not known here."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n(?:[ \t]*\n)*", " ", "\n".join(lines))
    steps = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        found = re.fullmatch(r"([A-Z]+)[ \t]+(.+)", line)
        if not found or found[1] not in KNOWN:
            raise ValueError(f"no instruction that is known here: {line!r}")
        steps.append(Step(found[1], found[2]))
    if not steps or steps[0].name != "FROM":
        raise ValueError("a Dockerfile begins with FROM")
    for name in ("FROM", "CMD", "HEALTHCHECK"):
        if sum(step.name == name for step in steps) > 1:
            raise ValueError(f"more than one {name}")
    return steps


def health_check(step: Step) -> tuple[dict[str, str], list[str]]:
    """The options of a HEALTHCHECK and its command in exec form."""
    options, _, command = step.arguments.partition("CMD ")
    given = dict(re.findall(r"--(interval|timeout|start-period|retries)=(\S+)", options))
    if len(given) != len(options.split()):
        raise ValueError(f"unknown options: {options}")
    return given, Step("CMD", command).argv


def build_context(folder: Path) -> list[Path]:
    """The files of a build's folder, relative to it, without those that its ``.dockerignore`` leaves out.

    The last line that matches a file, or one of the folders it is in, decides.
    """
    ignore = folder / ".dockerignore"
    lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def kept(path: PurePosixPath) -> bool:
        keep = True
        for rule in rules:
            pattern = rule.removeprefix("!").strip("/")
            if "**" in pattern:
                raise ValueError(f"not known here: {rule}")
            tried = [path, *path.parents[:-1]]
            if any(
                len(one.parts) == pattern.count("/") + 1
                and all(map(fnmatch.fnmatchcase, one.parts, pattern.split("/")))
                for one in tried
            ):
                keep = rule.startswith("!")
        return keep

    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in files if kept(PurePosixPath(path.as_posix()))]


@dataclass
class Image:
    """What a build has made so far.

    Attributes:
        root: stands for ``/``.
        workdir: of the next step, inside the image.
        env: what ENV has set.
        user: of the next step; empty for root.
        argv: of CMD.
        health: command of HEALTHCHECK.
    """

    root: Path
    workdir: PurePosixPath = field(default_factory=lambda: PurePosixPath("/"))
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    argv: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def here(self, inside: str | PurePosixPath = "") -> Path:
        """Where a path of the image lies, relative ones from the working directory."""
        return self.root / (self.workdir / inside).relative_to("/")


def build(
    text: str, context: Path, root: Path, run: Callable[[str, Path, Mapping[str, str]], object]
) -> Image:
    """Do the steps of a Dockerfile.

    Args:
        text: the Dockerfile.
        context: the folder in which it is built.
        root: a new folder that stands for ``/``.
        run: runs a RUN in a folder, with these variables beside its own.

    Raises:
        ValueError: a step is wrong, or not known here; COPY finds nothing.
    """
    image, files = Image(root), build_context(context)
    for step in steps_of(text):
        if step.name == "ENV":
            image.env |= dict(one.split("=", 1) for one in shlex.split(step.arguments))
        elif step.name == "WORKDIR":
            image.workdir /= step.arguments
            image.here().mkdir(parents=True, exist_ok=True)
        elif step.name == "COPY":
            *sources, target = shlex.split(step.arguments)
            for source in sources:
                _copy(source, target, context, files, image)
        elif step.name == "RUN":
            run(step.arguments, image.here(), image.env)
        elif step.name == "USER":
            image.user = step.arguments
        elif step.name == "HEALTHCHECK":
            image.health = health_check(step)[1]
        elif step.name == "CMD":
            image.argv = step.argv
    return image


def _copy(source: str, target: str, context: Path, files: list[Path], image: Image) -> None:
    """Copy a file, the content of a folder, or the files that a pattern names."""
    pattern = source.rstrip("/")
    inside = [path for path in files if Path(pattern) in path.parents]
    named = [path for path in files if fnmatch.fnmatchcase(path.as_posix(), pattern)]
    if not inside and not named:
        raise ValueError(f"COPY {source}: not in the build's context")
    for path in inside:
        to = image.here(target) / path.relative_to(pattern)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(context / path, to)
    for path in named:
        to = image.here(target) / path.name if target.endswith("/") else image.here(target)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(context / path, to)


def shell(command: str, cwd: Path, env: Mapping[str, str]) -> None:
    """Run a command as RUN does, with these variables and no others. Raises AssertionError if it fails."""
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def can_be(user: int, program: Path, reads: Path) -> bool:
    """Whether a process may become this user, and can then start that program and read that file."""
    if os.geteuid() != 0:
        return False
    script = "import sys; open(sys.argv[1]).close()"
    rights = {"user": user, "group": user, "extra_groups": []}
    try:
        done = subprocess.run([program, "-c", script, reads], capture_output=True, check=False, **rights)
    except PermissionError:  # of a folder that the program lies in
        return False
    return done.returncode == 0
