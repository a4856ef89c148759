"""Ctrl-C, kill -9, a full disk and two runs at once: what was finished stays, and the next run goes on from there."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import pytest
from command import COMMAND, Fails, Run, contents, environment
from filelock import FileLock
from PIL import Image
from tiny import make_pictures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

COUNT = 80  # from 64 files on, processes decode

# Runs the command, which stands still (SIGSTOP) before it reads the picture of that name: a middle on any machine.
HOLDING = """
import os, runpy, signal, sys
name, *sys.argv = sys.argv[1:]
def hold(event, arguments):
    if event == "open" and str(arguments[0]).endswith(name):
        os.kill(os.getpid(), signal.SIGSTOP)
sys.addaudithook(hold)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def slow_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are small on disk and take their time to decode, so that there is a middle to stop in."""
    root = tmp_path_factory.mktemp("slow") / "images"
    drawn = io.BytesIO()
    for i in range(COUNT):
        if i % 10 == 0:  # drawing takes longer than decoding
            picture = Image.new("L", (1200, 1200), 3 * i)
            picture.paste(255 - 3 * i, (0, 0, 12 * i + 60, 600))
            drawn = io.BytesIO()
            picture.save(drawn, "PNG", compress_level=1)
        folder = root / ("even", "odd")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:02d}.png").write_bytes(
            drawn.getvalue() + bytes([i])
        )  # what follows the end is ignored
    return root


@pytest.fixture
def place(slow_pictures: Path, tmp_path: Path) -> Path:
    (tmp_path / "images").symlink_to(slow_pictures)
    return tmp_path


class Start(Protocol):
    """Starts ``deltaoe`` with the tiny model and does not wait; ``hold`` is a picture that it stands still before."""

    def __call__(self, *arguments: str, cwd: Path, hold: str = "") -> subprocess.Popen[str]: ...


@pytest.fixture
def start(tiny_model: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as ends:

        def call(*arguments: str, cwd: Path, hold: str = "") -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [*([sys.executable, "-c", HOLDING, hold] if hold else []), COMMAND, *arguments],
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
            rows = {row.tobytes(): vector for row, vector in zip(digests, vectors, strict=True)}
            assert len(rows) == len(digests) and not rows.keys() & found.keys()
            found |= rows
    return found


def decoders(process: subprocess.Popen[str]) -> list[int]:
    """Processes that decode for a running command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"extraction.decoder_processes" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def interrupt(process: subprocess.Popen[str]) -> list[int]:
    """Ctrl-C; the command stands still before, or it might be through by then. Returns its decoders."""
    process.send_signal(signal.SIGSTOP)
    found = decoders(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    return found


def wait_for(what: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Poll until it is so, for a minute, or until the process has ended."""
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        if process is not None and process.poll() is not None:
            return
        time.sleep(0.005)


def written_to(workspace: Path) -> bool:
    return any(workspace.glob("features/*/writer.json"))


def state(pid: int) -> str:
    """What a process does, in the letter of Linux: T stands still, Z has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def gone(pid: int) -> bool:
    return state(pid) == "Z"


@linux
def test_ctrl_c_then_to_the_end(place: Path, start: Start, run: Run) -> None:
    process = start("extract", "images", "--batch-size", "2", "--workers", "2", cwd=place, hold="41.png")
    wait_for(lambda: state(process.pid) == "T")
    workers = interrupt(process)
    assert workers
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    loading, *more, stopping, interrupted = err.splitlines()
    assert loading.startswith("Loading model ")
    assert all(line.startswith("Encoding images ") for line in more)  # how far it was, said once more
    told = re.fullmatch(rf"stopping: (\d+) of {COUNT} new files are done, .*being stored", stopping)
    assert told is not None
    assert interrupted == "interrupted; what was finished is kept, run the same command to go on"
    kept = stored(place / ".deltaoe")
    assert len(kept) == int(told[1]) and 2 <= len(kept) < COUNT
    assert not list(place.rglob(".deltaoe-tmp-*"))
    assert all(map(gone, workers))

    whole = run("extract", "images", "--json", cwd=place).json
    assert (whole["images"], whole["unchanged"], whole["failed"]) == (COUNT, len(kept), [])
    now = stored(place / ".deltaoe")
    assert len(now) == COUNT and all(np.array_equal(now[digest], vector) for digest, vector in kept.items())


@linux
def test_kills(place: Path, start: Start, run: Run) -> None:
    kill_and_go_on(place / ".deltaoe", start, run, seed=5, random_moments=1)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5, 12))
def test_more_kills(place: Path, start: Start, run: Run, seed: int) -> None:
    resumed = kill_and_go_on(place / ".deltaoe", start, run, seed, random_moments=3)
    run("extract", "images", "--workspace", "undisturbed", cwd=place)
    undisturbed = stored(place / "undisturbed")
    assert len(undisturbed) == COUNT and resumed.keys() == undisturbed.keys()
    for digest, vector in undisturbed.items():
        np.testing.assert_allclose(resumed[digest], vector, atol=1e-3)  # half precision, other batches


def kill_and_go_on(
    workspace: Path, start: Start, run: Run, seed: int, random_moments: int
) -> dict[bytes, np.ndarray]:
    """Half of the pictures are stored, runs for the others are killed, and the last one may end."""
    place, rng = workspace.parent, random.Random(seed)
    run("extract", "images/odd", cwd=place)
    kept, seconds = stored(workspace), 1.0
    for moment in ("writer", *["random"] * random_moments, "file"):
        process = start("extract", "images", "--batch-size", "2", cwd=place)
        wait_for(lambda: written_to(workspace), process)
        workers = decoders(process)
        if moment == "random":
            time.sleep(rng.uniform(0, seconds))
        elif moment == "file":  # of the shard, or that of the list of all images
            wait_for(lambda: any(workspace.rglob(".deltaoe-tmp-*")), process)
        process.kill()
        process.communicate(timeout=60)
        if process.returncode == 0:
            seconds /= 2
        now = stored(workspace)
        assert all(np.array_equal(now[digest], vector) for digest, vector in kept.items())
        wait_for(lambda pids=workers: all(map(gone, pids)))
        kept = now

    told = run("extract", "images", "--json", cwd=place).json
    assert told["images"] == told["encoded"] + told["unchanged"] == COUNT
    assert told["unchanged"] == len(kept) and told["failed"] == []
    assert not list(place.rglob(".deltaoe-tmp-*"))
    resumed = stored(workspace)
    assert len(resumed) == COUNT and all(np.array_equal(resumed[digest], kept[digest]) for digest in kept)
    return resumed


@linux
def test_a_decoding_process_that_somebody_kills(place: Path, start: Start) -> None:
    process = start("extract", "images", "--batch-size", "2", "--workers", "2", cwd=place)
    killed: set[int] = set()
    while process.poll() is None and len(killed) < 2:
        for pid in decoders(process)[:1]:
            if pid not in killed:
                time.sleep(0.2)  # it has got something to do by then
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and killed, err
    assert "could not be used" not in err and re.search(rf"images +{COUNT}: {COUNT} encoded", out)
    assert len(stored(place / ".deltaoe")) == COUNT


@pytest.mark.slow
def test_ctrl_c_while_tuning_and_while_scoring(project: Path, start: Start, run: Run) -> None:
    run("score", "images", "--report", "html", cwd=project)
    before = contents(project)
    for command, word in (
        (("tune", "--shots", "16", "--epochs", "100000"), "Tuning, class prompts 1/"),
        (("score", "images", "--report", "html"), ""),  # whatever it says first: it is soon done
    ):
        process = start(*command, cwd=project)
        read_until(process, word)
        interrupt(process)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (130, "")
        assert err.splitlines()[-1].startswith("interrupted; ") and "Traceback" not in err
        after = contents(project)
        # Where it had begun to learn, the best so far is kept, and where it stands.
        kept = re.compile(r".*/\.deltaoe/(detectors/interrupted-|tuning/)[0-9a-f]+\.safetensors")
        assert after.keys() >= before.keys()
        assert all(map(kept.fullmatch, after.keys() - before.keys()))
        before |= {name: after[name] for name in after.keys() - before.keys()}
        assert {name for name in before if after[name] != before[name]} <= {str(project / "scores.csv")}


@pytest.mark.slow
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("may not mount a small file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_keeps_what_it_has(fresh: Path, small_disk: Path, run: Run, fails: Fails) -> None:
    workspace = small_disk / "cache"
    run("extract", "images/blue_waves", "--workspace", workspace, cwd=fresh)
    kept = stored(workspace)
    disk = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(
        bytes(max(0, disk.f_bavail - 3) * disk.f_bsize)
    )  # room for the note, no more
    says = ("cannot write", "shard-00000002.h5", "no space left on device", "free space")
    command = ("extract", fresh / "images", "--workspace", workspace)
    fails(*command, cwd=small_disk, says=says)
    assert stored(workspace).keys() == kept.keys()
    assert not list(workspace.rglob(".deltaoe-tmp-*"))
    (small_disk / "ballast").unlink()
    told = run(*command, "--json", cwd=small_disk).json
    assert (told["encoded"], told["unchanged"]) == (96 - len(kept), len(kept))


def test_a_file_that_may_not_grow(fresh: Path, tiny_model: Path, run: Run) -> None:
    """Like a full disk, where none can be mounted: files end at 4 KiB, a shard is larger."""

    import resource  # not there on Windows

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    run("extract", "images/blue_waves", cwd=fresh)
    before = contents(fresh)
    done = subprocess.run(
        [COMMAND, "extract", "images"],
        cwd=fresh,
        env=environment(tiny_model),
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        len(re.findall("^error: cannot write .*shard-00000002.h5: file too large", done.stderr, re.MULTILINE))
        == 1
    )
    assert "Traceback" not in done.stderr
    assert contents(fresh) == before
