"""Projects to run commands in, and the form that every refusal has."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from command import Fails, Finished, Run, contents, unwrapped
from copied import copied_project
from tiny import make_model, make_unknown


@pytest.fixture
def mortal() -> bool:
    """Whether a command must give up rights for file permissions to bind it: root may write anywhere."""
    if os.name == "nt":
        pytest.skip("file permissions of POSIX")
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("run by root, who can give up rights on Linux only")
    return os.geteuid() == 0


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's architecture with other weights."""
    return make_model(tmp_path_factory.mktemp("model") / "other", seed=1)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, pictures: Path, run: Run) -> Path:
    """A project whose ``images`` are extracted and which has a detector of 4 shots. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("template") / "project"
    shutil.copytree(pictures, folder / "images")
    make_unknown(folder / "unknown")
    run("extract", "./images", cwd=folder)
    run("tune", "--shots", "4", "--epochs", "4", cwd=folder)
    return folder


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory, pictures: Path, run: Run) -> Path:
    """A project in single precision, and its zero-shot detector exported into ``detector``. Not to be changed."""
    folder = tmp_path_factory.mktemp("deployed") / "project"
    shutil.copytree(pictures, folder / "images")
    make_unknown(folder / "unknown")
    # What ONNX Runtime computes in, whatever is fastest on this CPU.
    run("extract", "./images", "--precision", "fp32", cwd=folder)
    run("export-onnx", "detector", cwd=folder)
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A copy of the template to work on."""
    return copied_project(template, tmp_path / "project")


@pytest.fixture
def fresh(pictures: Path, tmp_path: Path) -> Path:
    """A folder with ``images`` and nothing else."""
    shutil.copytree(pictures, tmp_path / "fresh" / "images")
    return tmp_path / "fresh"


@pytest.fixture(scope="session")
def fails(run: Run) -> Fails:
    """Checks the form of a refusal: one error, one next action, nothing on stdout, no file touched.

    ``says`` are words that the message must hold. With ``writes``, new files may appear; old ones stay as they were.
    """

    def call(
        *arguments: str | bytes | Path,
        cwd: Path,
        rc: int = 1,
        says: tuple[str, ...],
        writes: bool = False,
        **more: Any,
    ) -> Finished:
        before = contents(cwd)
        done = run(*arguments, cwd=cwd, rc=rc, **more)
        after = contents(cwd)
        assert {name: after.get(name) for name in before} == before
        assert writes or after.keys() == before.keys()
        assert done.stdout == ""
        errors = re.findall(r"^error: |─ Error ─", done.stderr, re.MULTILINE)
        assert len(errors) == 1, done.stderr
        assert rc == 2 or len(re.findall("^  try: .", done.stderr, re.MULTILINE)) == 1, done.stderr
        text = unwrapped(done.stderr)
        for words in says:
            assert words in text, f"{words!r} is not in:\n{done.stderr}"
        return done

    return call
