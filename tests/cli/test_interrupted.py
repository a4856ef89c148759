"""Ctrl-C, kill -9 and two runs at once: what was finished stays, and the next run goes on from there."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import pytest
from command import COMMAND, Fails, Run, contents, environment
from filelock import FileLock
from PIL import Image
from tiny import make_pictures

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")]

COUNT = 60


@pytest.fixture(scope="module")
def slow_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are small on disk and take their time to decode, so that there is a middle to stop in."""
    root = tmp_path_factory.mktemp("slow") / "images"
    for i in range(COUNT):
        folder = root / ("even", "odd")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.new("L", (3000, 3000), 4 * i)
        picture.paste(255 - 4 * i, (0, 0, 50 * i, 1500))
        picture.save(folder / f"{i:02d}.png", compress_level=1)
    return root


@pytest.fixture
def place(slow_pictures: Path, tmp_path: Path) -> Path:
    (tmp_path / "images").symlink_to(slow_pictures)
    return tmp_path


class Start(Protocol):
    """Starts ``deltaoe`` with the tiny model and does not wait."""

    def __call__(self, *arguments: str, cwd: Path) -> subprocess.Popen[str]: ...


@pytest.fixture
def start(tiny_model: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as ends:

        def call(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [COMMAND, *arguments],
                cwd=cwd,
                env=environment(tiny_model),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
            ends.enter_context(process)
            ends.callback(process.kill)
            return process

        yield call


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if word in line:
            return
    raise AssertionError(f"ended without saying {word!r}: {lines}")


def stored(workspace: Path) -> dict[bytes, np.ndarray]:
    """Every feature of a workspace by content digest, read without any code of ours."""
    found: dict[bytes, np.ndarray] = {}
    for shard in sorted(workspace.glob("features/*/shard-*.h5")):
        with h5py.File(shard) as file:
            digests, vectors = file["features/digest"][()], file["features/vector"][()]
            assert len(digests) == len(vectors)
            found |= {row.tobytes(): vector for row, vector in zip(digests, vectors, strict=True)}
    return found


def test_ctrl_c_then_kills_then_to_the_end(place: Path, start: Start, run: Run) -> None:
    process = start("extract", "images", "--batch-size", "2", cwd=place)
    read_until(process, "Encoding images 2/60")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err == "interrupted; what was finished is kept, run the same command to go on\n"
    kept = stored(place / ".deltaoe")
    assert 2 <= len(kept) < COUNT
    assert not list(place.rglob(".deltaoe-tmp-*"))

    rng = random.Random(5)
    for delay in (rng.uniform(0, 0.3), rng.uniform(0, 0.3), None):  # None: while a shard is being written
        process = start("extract", "images", "--batch-size", "2", cwd=place)
        read_until(process, "Encoding")
        began = time.monotonic()
        while process.poll() is None:
            if delay is None and any((place / ".deltaoe").glob("features/*/.deltaoe-tmp-*")):
                break
            if delay is not None and time.monotonic() - began > delay:
                break
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        now = stored(place / ".deltaoe")
        assert all(np.array_equal(now[digest], vector) for digest, vector in kept.items())

    told = run("extract", "images", "--json", cwd=place).json
    assert told["images"] == told["encoded"] + told["unchanged"] == COUNT
    assert told["unchanged"] >= len(kept) and told["failed"] == []
    assert not list(place.rglob(".deltaoe-tmp-*"))

    run("extract", "images", "--workspace", "undisturbed", cwd=place)
    resumed, undisturbed = stored(place / ".deltaoe"), stored(place / "undisturbed")
    assert len(undisturbed) == COUNT and resumed.keys() == undisturbed.keys()
    for digest, vector in undisturbed.items():
        np.testing.assert_allclose(resumed[digest], vector, atol=1e-3)  # half precision, other batches


def test_ctrl_c_while_tuning_and_while_scoring(project: Path, start: Start, run: Run) -> None:
    run("score", "images", "--report", "html", cwd=project)
    before = contents(project)
    for command, word in (
        (("tune", "--shots", "16", "--epochs", "100000"), "Tuning 1/"),
        (("score", "images", "--report", "html"), "Scoring"),
    ):
        process = start(*command, cwd=project)
        read_until(process, word)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (130, "")
        assert err.splitlines()[-1].startswith("interrupted; ") and "Traceback" not in err
        after = contents(project)
        assert after.keys() == before.keys()
        assert {name for name in before if after[name] != before[name]} <= {str(project / "scores.csv")}


def test_two_at_once(place: Path, start: Start, fails: Fails) -> None:
    outcomes = []
    for process in [start("extract", "images/odd", cwd=place) for _ in range(2)]:
        _, err = process.communicate(timeout=300)
        outcomes.append(process.returncode)
        assert "Traceback" not in err
        assert (process.returncode == 1) == ("error: another deltaoe process is writing to" in err)
    assert sorted(outcomes) in ([0, 0], [0, 1])
    assert len(stored(place / ".deltaoe")) == COUNT // 2

    (lock,) = (place / ".deltaoe").glob("features/*/writer.lock")
    make_pictures(place / "more" / "red_stripes", 1, seed=0)
    says = ("another deltaoe process is writing to", "what it has finished is kept")
    with FileLock(lock):
        fails("extract", "more", cwd=place, says=says)
