"""The example of a service and its container: asked in-process, and built and run step by step without an engine."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from copied import copied_project
from dockerfile import Image, build, can_be, health_check, shell, steps_of
from documented import blocks_of
from examples import EXAMPLES, example
from fastapi.testclient import TestClient
from reader import Reader
from without_torch import ROOT, clean_variables, environment_without_torch, wheel_of_checkout

SERVICE = EXAMPLES / "service"
PAGE = ROOT / "docs" / "how-to" / "deploy.md"
DOCKERFILE = (SERVICE / "Dockerfile").read_text(encoding="utf-8")
WAIT = 120.0  # seconds for a start on a machine that is busy


@pytest.fixture(scope="module")
def client(deployed: Path) -> Iterator[TestClient]:
    """The service in this process, with a limit of 100,000 bytes per image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTOR", str(deployed / "detector"))
        patch.setenv("LARGEST_UPLOAD", "100000")
        with TestClient(example("service/app.py").app) as client:
            yield client


def test_an_image_is_answered_as_score_answers_it(client, deployed, run, capsys):
    assert client.get("/health").json() == {"status": "ok"}
    for name in ("unknown/noise/0.png", "unknown/red_stripes/00.png"):
        answer = client.post("/score", content=(deployed / name).read_bytes())
        (wanted,) = run("score", name, "--json", cwd=deployed).json["images"]
        assert answer.status_code == 200
        assert answer.json()["path"] is None
        for field in (
            "verdict",
            "class",
            "p_value",
            "p_text",
            "p_images",
            "p_joint",
            "unknown_by",
            "looks_like",
        ):
            assert answer.json()[field] == wanted[field]
        assert json.loads(capsys.readouterr().out) == answer.json()  # the line that drift.py reads


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"no picture", 422, "not an image"),
        (b"", 422, "empty"),
        (b"\0" * 100_001, 413, "more than 100000 bytes"),
    ],
    ids=["broken", "empty", "large"],
)
def test_what_is_no_usable_image_is_refused_with_one_message(client, content, status, says, capsys):
    def parts():  # with no Content-Length that could give the size away
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    for sent in (content, parts()):
        answer = client.post("/score", content=sent)
        assert answer.status_code == status
        assert list(answer.json()) == ["detail"] and says in answer.json()["detail"]
    assert capsys.readouterr().out == ""


def test_other_requests_are_refused(client):
    assert client.get("/score").status_code == 405
    assert client.post("/").status_code == 404
    sent = client.get("/openapi.json").json()["paths"]["/score"]["post"]["requestBody"]["content"]
    assert sent["image/*"]["schema"]["format"] == "binary"


def test_the_commands_of_the_page(deployed, run, tiny_model, tmp_path, monkeypatch, capsys):
    """Those that need neither a network nor a container engine; the page says of the others where they are run."""
    folder = copied_project(deployed, tmp_path / "project")
    shutil.copytree(folder / "unknown" / "noise", folder / "inbox")
    shutil.copy(folder / "unknown" / "noise" / "0.png", folder / "photo.jpg")
    reader, session = Reader(folder, run, tiny_model), {"__name__": "__main__"}
    monkeypatch.chdir(folder)
    for block in blocks_of(PAGE):
        if block.language == "console" and not block.not_run:
            for command in block.commands():
                reader.type(block, command)
        elif block.language == "python":
            exec(block.text, session)  # noqa: S102
    assert len((folder / "answers.jsonl").read_text().splitlines()) == len(list((folder / "inbox").iterdir()))
    assert capsys.readouterr().out.split()[0] in ("known", "unknown")


def test_the_dockerfile_keeps_to_good_practice():
    steps = steps_of(DOCKERFILE)
    names = [step.name for step in steps]
    (base,) = (step.arguments for step in steps if step.name == "FROM")
    assert re.fullmatch(r"python:3\.\d+-slim", base)
    users = [step.arguments for step in steps if step.name == "USER"]
    assert len(users) == 1 and re.fullmatch(r"[1-9]\d+:[1-9]\d+", users[0])
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    assert all("--no-cache-dir" in step.arguments for step in steps if step.name == "RUN")
    assert "torch" not in "".join(step.arguments for step in steps)
    (check,) = (step for step in steps if step.name == "HEALTHCHECK")
    assert set(health_check(check)[0]) == {"interval", "timeout", "start-period", "retries"}


def test_the_parser_refuses_what_it_does_not_know():
    for text in (
        "RUN true",
        "FROM a\nADD x /",
        "FROM a\nrun true",
        "FROM a\nFROM b",
        'FROM a\nCMD ["a"]\nCMD ["b"]',
    ):
        with pytest.raises(ValueError, match=r"known here|begins with FROM|more than one"):
            steps_of(text)
    with pytest.raises(ValueError, match=r"not a JSON list"):
        _ = steps_of('FROM a\nCMD ["a", 1]')[1].argv


@pytest.fixture(scope="module")
def image(deployed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The container's files, made by the Dockerfile's own steps; pip installs into an environment without PyTorch."""
    context = tmp_path_factory.mktemp("context")
    shutil.copytree(SERVICE, context, dirs_exist_ok=True)
    shutil.copytree(deployed / "detector", context / "detector")
    wheel_of_checkout(context / "wheels", tmp_path_factory.mktemp("checkout"))
    (context / ".env").write_text("PASSWORD=1")
    (context / "photo.jpg").write_bytes(b"private")
    # Outside of pytest's own folder, which only this user may enter.
    top = Path(tempfile.mkdtemp(prefix="deltaoe-image-"))
    top.chmod(0o755)
    programs = environment_without_torch(
        top / "venv", ["numpy", "onnxruntime", "pillow", "fastapi", "uvicorn"]
    )
    home = top / "home"
    for folder in (home, top / "root"):
        folder.mkdir()
    home.chmod(0o777)
    yield build(
        DOCKERFILE,
        context,
        top / "root",
        lambda command, cwd, env: shell(command, cwd, {**clean_variables(programs, home), **env}),
    )
    shutil.rmtree(top)


def test_only_what_the_service_needs_is_in_the_image(image, deployed):
    found = {path.relative_to(image.here()).as_posix() for path in image.root.rglob("*") if path.is_file()}
    wheels = {name for name in found if name.startswith("wheels/")}
    wanted = {
        "app.py",
        "requirements.txt",
        *(f"detector/{path.name}" for path in (deployed / "detector").iterdir()),
    }
    assert len(wheels) == 1 and found - wheels == wanted


def test_the_container_answers_as_score_does(image, deployed, run):
    programs = image.root.parent / "venv" / "bin"
    home = image.root.parent / "home"
    env = {**clean_variables(programs, home), **image.env}
    user, _, group = image.user.partition(":")
    rights = {}
    if can_be(int(user), programs / "python", image.here("app.py")):
        rights = {"user": int(user), "group": int(group), "extra_groups": []}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # Ports and addresses are those of a container: another one here, and of this machine alone.
    argv = [{"8000": port, "0.0.0.0": "127.0.0.1"}.get(one, one) for one in image.argv]  # noqa: S104
    health = [one.replace(":8000/", f":{port}/") for one in image.health]
    with subprocess.Popen(
        argv, cwd=image.here(), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **rights
    ) as process:
        try:
            until = time.monotonic() + WAIT
            while subprocess.run(health, env=env, capture_output=True, check=False, **rights).returncode:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < until
                time.sleep(0.2)
            name = "unknown/noise/1.png"
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/score", data=(deployed / name).read_bytes(), method="POST"
            )
            with urllib.request.urlopen(asked, timeout=WAIT) as answer:  # noqa: S310
                said = json.load(answer)
            with pytest.raises(urllib.error.HTTPError, match="422"):
                urllib.request.urlopen(
                    urllib.request.Request(f"http://127.0.0.1:{port}/score", data=b"x"), timeout=WAIT
                )
            # A client that goes away in the middle is no error of the service.
            with socket.create_connection(("127.0.0.1", int(port))) as gone:
                gone.sendall(b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart")
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=WAIT)
        finally:
            process.terminate()
            out, err = process.communicate(timeout=WAIT)
    (wanted,) = run("score", name, "--json", cwd=deployed).json["images"]
    for field in ("verdict", "class", "p_value", "p_text", "p_images", "unknown_by", "looks_like"):
        assert said[field] == wanted[field]
    assert [json.loads(line) for line in out.splitlines()] == [said]
    assert "Traceback" not in err
    assert not list(home.iterdir())  # such as the identity by which ONNX Runtime would send usage data
    # As another user than root, it has written nothing.
    assert not (rights and list(image.root.rglob("__pycache__")))
