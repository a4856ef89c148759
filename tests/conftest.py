"""What several tests share: a model and pictures small enough to make anew, and the command as a user runs it.

Fast (``nox -s tests``) is everything that shows a fault at the smallest size at which it can: a CLIP of one layer, 24
pictures per class, one seed. Slow (``nox -s slow``) is what repeats a fast test over more seeds and more moments, needs
rights that not everybody has (to mount a disk), or takes minutes.

Importing torch and open_clip takes 4 s, most commands 0.3 s. So ``run`` and ``fails`` are warm: children of a process
that has imported them (see ``warm.py``), on a terminal, too (``terminal.py``). A test takes ``run_cold`` or a process
of its own where that process is what it is about: start-up, signals, kills, the demo and the README's three commands
from the first line to the last. A package of others that commands load and that takes long belongs into
``IMPORTED_FIRST`` of ``warm.py``. What several tests of a file compute alike, they take from one fixture; of moments,
seeds and file kinds that each cost more than a second, the fast suite has one of each kind and the slow one all.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, Finished, Run, environment
from tiny import HUES, make_model, make_pictures
from warm import Warm

from deltaoe.demo.shipped import unpack_model

REPOSITORY = Path(__file__).resolve().parents[1]
# Small models gain nothing from a second thread, and on a busy machine they wait for it. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where no byte code may be kept, every process under test spends 0.4 s on compiling the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Whoever started the tests in the background has switched Ctrl-C off, for the processes under test, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
TIMEOUT = 300.0  # seconds that a command may take
# The files that take longest, from the longest on: at the end of a run no process waits for one of them.
LONGEST = (
    "cli/test_demo.py",
    "cli/test_discover.py",
    "docs/test_every_block.py",
    "cli/test_interrupted.py",
    "evaluation/test_tuned_protocols.py",
    "cli/test_stream_command.py",
    "cli/test_three_commands.py",
    "cli/test_killed.py",
    "cli/test_detector_names.py",
    "cli/test_stale.py",
    "cli/test_class_names_said.py",
    "cli/test_final_words.py",
    "tuning/test_loop_resumed.py",
    "docs/test_docs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front; where a process takes a file at a time, they are begun first."""
    place = {REPOSITORY / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photographs and models beside the repository."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "data" / "photos").is_dir():
        pytest.skip(f"needs {folder}, which is not here")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``local-dir:`` folder: a CLIP with one image layer, two text layers and random weights."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny", seed=0)


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model as a ``local-dir:`` folder: image and text towers that are truly aligned."""
    folder = tmp_path_factory.mktemp("model") / "small-clip"
    unpack_model(folder)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four class folders with 24 small pictures each: a colour and a pattern per class."""
    root = tmp_path_factory.mktemp("pictures") / "images"
    for number, name in enumerate(HUES):
        make_pictures(root / name, 24, seed=number)
    return root


# What some releases of triton, which torch imports, report of themselves when the interpreter ends.
_LEAKS_OF_OTHERS = re.compile(
    r"^(?:nanobind: (?:leaked|this is likely).*| - leaked .*| - \.\.\. skipped .*|See https://nanobind\..*)\n",
    re.MULTILINE,
)


def finished(rc: int, out: bytes, err: bytes, wanted: int | None, encoding: str = "utf-8") -> Finished:
    """A command that ended as it should."""
    said = _LEAKS_OF_OTHERS.sub("", err.decode(encoding))
    done = Finished(rc, out.decode(encoding), said)
    expected = rc in (0, 1) if wanted is None else rc == wanted
    assert expected, f"exit code {done.rc}, not {wanted}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    assert "Warning" not in done.stderr  # Python's own; ours begin with a small letter
    return done


@pytest.fixture(scope="session")
def run_cold(tiny_model: Path) -> Run:
    """The installed ``deltaoe`` as a process of its own, offline, with the tiny model unless told otherwise."""

    def call(
        *arguments: str | bytes | Path,
        cwd: Path,
        rc: int | None = 0,
        model: Path | str | None = tiny_model,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = TIMEOUT,
        terminal: str | None = None,
    ) -> Finished:
        with open(terminal, "wb") if terminal else nullcontext(subprocess.PIPE) as stdout:
            process = subprocess.run(
                [COMMAND, *arguments],
                cwd=cwd,
                env=environment(model) | dict(env or {}),
                input=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                timeout=timeout,
            )
        encoding = (env or {}).get("PYTHONIOENCODING", "utf-8")
        return finished(process.returncode, process.stdout or b"", process.stderr, rc, encoding)

    return call


@pytest.fixture(scope="session")
def run(run_cold: Run, tiny_model: Path) -> Iterator[Run]:
    """The same without waiting for torch to be imported: see ``warm.py``.

    Where a variable is read when the interpreter starts or as it imports, that is a process of its own after all.
    """
    if sys.platform != "linux":
        yield run_cold
        return
    warm = Warm(environment(None) | {"OMP_WAIT_POLICY": "PASSIVE"})

    def call(*arguments: str | bytes | Path, **more: Any) -> Finished:
        env = more.get("env") or {}
        if any(name.startswith(("PYTHON", "HF_", "LD_", "HDF5_")) for name in env):
            return run_cold(*arguments, **more)
        order = warm.run(
            [COMMAND, *arguments],
            more["cwd"],
            environment(more.get("model", tiny_model)) | env,
            more.get("stdin", b""),
            more.get("timeout", TIMEOUT),
            more.get("mortal", False),
            more.get("terminal"),
        )
        return finished(*order, more.get("rc", 0))

    yield call
    warm.close()
