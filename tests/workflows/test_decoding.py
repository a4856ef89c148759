"""Files to pixels ahead of the model: in order, each content once, within bounds, and whatever dies on the way."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from decoders import Decoder, number_in

from deltaoe.data.images import ImageError, read_bytes
from deltaoe.workflows import crew, decoding
from deltaoe.workflows.decoding import Picture, pictures

PROC = Path("/proc/self")
needs_proc = pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc to find processes")
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX")
both_ways = pytest.mark.parametrize("workers", [0, 2])


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """What hangs is an error, and an interrupted generator still closes; again and again, should that hang too."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(number: int, frame: object) -> None:
        raise TimeoutError("this test hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 120, 10)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def few_files_are_enough(monkeypatch) -> None:
    """Processes from the first file on."""
    monkeypatch.setattr(decoding, "_FEW_FILES", 1)


class Files:
    """A folder of files, and what was decoded of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.decoder = folder, Decoder(folder / "log")
        self.paths: list[str] = []

    def write(self, contents: Sequence[str | bytes | None]) -> None:
        """One file each; None is a name without a file."""
        for i, content in enumerate(contents):
            path = self.folder / f"{i:04d}"
            if content is not None:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
            self.paths.append(str(path))

    def noted(self, what: str = "begin") -> list[str]:
        """Contents whose decoding began, or ended, in that order."""
        if not self.decoder.log.exists():
            return []
        lines = [line.partition(" ") for line in self.decoder.log.read_text().splitlines()]
        return [content for kind, _, content in lines if kind == what]

    def stream(self, *, wanted=lambda digest: (0,), decode=None, workers=2, ahead=32, **rest):
        return pictures(
            range(len(self.paths)),
            self.paths.__getitem__,
            wanted,
            decode or self.decoder,
            workers=workers,
            ahead=ahead,
            **rest,
        )


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


def numbers(found: Sequence[Picture]) -> list[int | str]:
    """The number in each picture, or its problem."""
    return [p.problem if p.pixels is None else number_in(p.pixels[0]) for p in found]


def children() -> set[int]:
    """This process's own children, those that ended and were not waited for included."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and parent_of(entry) == os.getpid():
                found.add(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def parent_of(entry: Path) -> int:
    return int((entry / "stat").read_text().rpartition(")")[2].split()[1])


# What comes out


@both_ways
def test_each_file_comes_out_once_and_in_order(files, workers):
    files.write([str(i) for i in range(150)])
    found = list(files.stream(workers=workers))
    assert [p.item for p in found] == list(range(150))
    assert numbers(found) == list(range(150))
    for p in found:
        assert p.digest == hashlib.sha256(str(p.item).encode()).digest()
        assert (p.pixels.shape, p.pixels.dtype) == ((1, 2, 2, 3), np.uint8)
        assert p[3:] == ((0,), "", False)
    assert sorted(files.noted()) == sorted(map(str, range(150)))


def test_no_files():
    assert list(pictures([], str, lambda digest: (0,), Decoder(Path()), workers=2, ahead=9)) == []


@both_ways
def test_items_are_any_numbers_and_each_is_asked_for_once(files, workers):
    files.write([str(i) for i in range(30)])
    items = [29, 3, 17, 0, 28]
    found = list(
        pictures(
            iter(items), files.paths.__getitem__, lambda digest: (0,), files.decoder, workers=workers, ahead=2
        )
    )
    assert [p.item for p in found] == numbers(found) == items


@both_ways
def test_the_views_asked_for_and_no_others(files, workers):
    files.write([str(i) for i in range(0, 900, 30)])
    wishes = [(), (0,), (1, 7), (0, 1, 2, 3)]
    asked: list[bytes] = []
    consumer = threading.get_ident()

    def wanted(digest: bytes) -> tuple[int, ...]:
        assert threading.get_ident() == consumer
        asked.append(digest)
        return wishes[len(asked) % 4]

    found = list(files.stream(wanted=wanted, workers=workers))
    assert asked == [hashlib.sha256(str(30 * i).encode()).digest() for i in range(30)]
    for i, picture in enumerate(found):
        views = wishes[(i + 1) % 4]
        assert picture.views == views
        if views:
            assert [number_in(p) for p in picture.pixels] == [30 * i + view for view in views]
        else:
            assert picture == (i, asked[i], None, (), "", False)
    assert len(files.noted()) == sum(1 for i in range(30) if (i + 1) % 4)


@both_ways
def test_pixels_are_the_callers_own(files, workers):
    files.write([str(i) for i in range(20)])
    for picture in files.stream(workers=workers):
        picture.pixels[:] = 0  # neither read-only nor anybody else's


# Copies


@both_ways
@pytest.mark.parametrize("ahead", [1, 4, 200])
def test_a_content_is_decoded_once(files, workers, ahead):
    """Copies side by side, some files apart, and farther apart than the window is long."""
    contents = [1, 1, 2, 1, 3, 4, 5, 2, *range(10, 60), 1, 59, 2]
    files.write([str(content) for content in contents])
    found = list(files.stream(workers=workers, ahead=ahead))
    met: set[int] = set()
    for picture, content in zip(found, contents, strict=True):
        assert picture.digest == hashlib.sha256(str(content).encode()).digest()
        if content in met:
            assert picture[2:] == (None, (), "", False)
        else:
            assert number_in(picture.pixels[0]) == content
        met.add(content)
    assert sorted(files.noted()) == sorted(map(str, met))


@both_ways
@pytest.mark.parametrize("ahead", [1, 4, 200])
def test_a_copy_of_a_broken_file_is_broken_too(files, workers, ahead):
    broken = [0, 1, 5, 39]
    files.write(["broken no picture" if i in broken else str(i) for i in range(40)])
    found = list(files.stream(workers=workers, ahead=ahead))
    assert numbers(found) == ["no picture" if i in broken else i for i in range(40)]
    assert [p.item for p in found if p.lasting] == broken
    assert files.noted().count("broken no picture") == 1


def test_contents_are_forgotten_in_time(files, monkeypatch):
    """Of a million files not every digest is kept; who has a store knows better, and says so."""
    monkeypatch.setattr(decoding, "_CONTENTS", 3)
    files.write([str(i) for i in [7, *range(20, 40), 7]])
    assert numbers(list(files.stream(workers=0, ahead=4)))[-1] == 7
    assert files.noted().count("7") == 2


# Files that are no pictures


@both_ways
def test_files_that_cannot_be_read(files, monkeypatch, workers):
    files.write(["0", None, "2", "3", "4", "5"])
    os.mkdir(files.paths[4] + "d")
    files.paths[4] += "d"
    files.paths[5] += "\0"
    real = read_bytes

    def read(path: Path) -> bytes:
        if str(path) == files.paths[3]:
            raise RuntimeError("odd disk")
        return real(path)

    monkeypatch.setattr(decoding, "read_bytes", read)
    found = list(files.stream(workers=workers))
    assert numbers(found)[:5] == [0, "no such file or folder", 2, "cannot be read: odd disk", "is a directory"]
    assert "null" in found[5].problem
    for picture in (found[1], *found[3:]):
        assert (picture.digest, picture.pixels, picture.lasting) == (b"", None, False)
    assert sorted(files.noted()) == ["0", "2"]


@both_ways
def test_what_decoding_raises_becomes_the_problem_of_its_file(files, workers):
    files.write([str(i) for i in range(30)])
    for i, content in ((3, "broken not an image"), (4, "odd"), (11, "memory")):
        Path(files.paths[i]).write_text(content)
    found = list(files.stream(workers=workers))
    assert [p.item for p in found if p.problem] == [3, 4, 11]
    assert found[3][2:] == (None, (), "not an image", True)
    # What we do not understand, or for want of memory, may go better next time.
    assert found[4][2:] == (None, (), "cannot be decoded: ZeroDivisionError: a bug of ours", False)
    assert "memory" in found[11].problem and not found[11].lasting
    assert all(p.problem or number_in(p.pixels[0]) == p.item for p in found)


def test_what_a_library_prints_does_not_come_between(files):
    files.write(["prints"] + [str(i) for i in range(20)] + ["prints too"])
    assert numbers(list(files.stream()))[1:21] == list(range(20))


# Bounds


class Reads:
    """Counts the files that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(decoding, "read_bytes", self)

    def __call__(self, path: Path) -> bytes:
        with self._lock:
            self.count += 1
        return read_bytes(path)


def settled(count: Callable[[], int]) -> int:
    """A number, when it has stopped growing."""
    last = -1
    while (now := count()) != last:
        last = now
        time.sleep(0.1)
    return last


@both_ways
@pytest.mark.parametrize("ahead", [1, 3, 20])
def test_no_more_files_are_read_ahead_than_asked_for(files, monkeypatch, workers, ahead):
    reads = Reads(monkeypatch)
    files.write([str(i) for i in range(100)])
    most = 0
    for yielded, _ in enumerate(files.stream(workers=workers, ahead=ahead)):
        most = max(most, (settled(lambda: reads.count) if yielded < 3 else reads.count) - yielded)
    assert reads.count == 100
    assert most == ahead


@both_ways
def test_no_more_bytes_of_files_are_held_than_allowed(files, monkeypatch, workers):
    reads = Reads(monkeypatch)
    monkeypatch.setattr(decoding, "_FILE_BYTES", 3500)
    files.write([f"{'slow 1' if i == 0 else i} {'x' * 990}" for i in range(40)])
    for i in range(40):
        assert 900 < os.stat(files.paths[i]).st_size < 1100
    stream, early = files.stream(workers=workers, ahead=100), []
    watcher = threading.Timer(0.6, lambda: early.append(reads.count))
    watcher.start()
    with closing(stream):
        first = next(stream)
        watcher.join()
        assert first.item == 0
        if early[0] > 3:  # those behind the slow one are decoded meanwhile, and their bytes are free again
            assert len(files.noted("end")) >= early[0] - 3
        assert numbers(list(stream)) == list(range(1, 40))


@both_ways
def test_no_more_pixels_wait_than_allowed(files, monkeypatch, workers):
    files.decoder.edge = 32
    one = 32 * 32 * 3
    monkeypatch.setattr(decoding, "_PIXEL_BYTES", 5 * one)
    monkeypatch.setattr(decoding, "_UNSEEN_VIEW", one)
    files.write([str(i) for i in range(60)])
    found, most = [], 0
    for picture in files.stream(workers=workers, ahead=100):
        found.append(picture)
        if len(found) < 5:
            most = max(most, settled(lambda: len(files.noted("end"))) - len(found) + 1)
    assert numbers(found) == list(range(60))
    assert 2 <= most <= 5


@both_ways
@pytest.mark.parametrize("bound", ["_FILE_BYTES", "_PIXEL_BYTES"])
def test_what_is_larger_than_all_bounds_goes_alone(files, monkeypatch, workers, bound):
    monkeypatch.setattr(decoding, bound, 1)
    files.write(["100", "100", "broken x", None, *map(str, range(101, 116))])
    found = list(files.stream(workers=workers, wanted=lambda digest: (0, 1, 2)))
    assert [p.item for p in found] == list(range(19))
    assert [number_in(p.pixels[2]) for p in found[4:]] == list(range(103, 118))


@both_ways
def test_a_file_that_grows_after_it_was_listed_upsets_no_account(files, monkeypatch, workers):
    monkeypatch.setattr(decoding, "_FILE_BYTES", 100)
    monkeypatch.setattr(decoding, "_size", lambda path: 1)
    files.write([f"{i} {'x' * 70}" for i in range(40)])
    assert numbers(list(files.stream(workers=workers))) == list(range(40))


# Processes


@needs_proc
def test_work_is_done_in_other_processes_that_have_not_loaded_torch(files):
    assert "torch" in sys.modules  # in this one
    loaded = "loaded torch open_clip h5py faiss sklearn deltaoe.workflows.ingest numpy"
    files.write([f"pid {i}" for i in range(60)] + [loaded, *["slow 0.01"] * 3])
    before = children()
    with closing(files.stream()) as stream:
        found = numbers([next(stream) for _ in range(61)])
        helpers = children() - before
    assert 1 <= len(helpers) <= 2
    assert set(found[:60]) <= helpers
    assert found[60] == 2**6  # NumPy alone
    assert children() == before


@needs_proc
@pytest.mark.parametrize(("workers", "few"), [(0, 1), (2, 41)])
def test_no_processes_where_none_are_asked_for_or_there_are_few_files(files, monkeypatch, workers, few):
    monkeypatch.setattr(decoding, "_FEW_FILES", few)
    files.write([f"pid {i}" for i in range(40)])
    assert set(numbers(list(files.stream(workers=workers)))) == {os.getpid()}


@needs_proc
def test_no_processes_where_nothing_is_to_be_decoded(files):
    files.write([str(i) for i in range(100)])
    before = children()
    for _ in files.stream(wanted=lambda digest: ()):
        assert children() == before


@needs_proc
@pytest.mark.parametrize("whom", ["one", "all"])
def test_killing_processes_from_outside_loses_nothing_and_blames_nobody(files, whom):
    files.write([str(i) for i in range(240)])
    before, found, killed = children(), [], 0
    for picture in files.stream(ahead=24):
        found.append(picture)
        if picture.item % 40 == 0:
            helpers = sorted(children() - before)
            for pid in helpers if whom == "all" else helpers[:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
    assert numbers(found) == list(range(240))
    assert killed >= 6
    assert children() == before


@needs_proc
def test_a_process_killed_while_the_others_have_nothing_to_do(files):
    """They are all killed, as by an administrator; those that were idle must not be taken for the file's victims."""
    files.write(["sleepy"] + [f"slow 0.0{i}" for i in range(1, 8)])
    before = children()

    def kill() -> None:
        while len(files.noted("end")) < 7:
            time.sleep(0.05)
        time.sleep(0.2)  # now only the first file is being decoded
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = list(files.stream(workers=4))
    killer.join()
    assert numbers(found) == [0] * 8
    assert files.noted().count("sleepy") == 2


HOW = {"kill": "signal SIGKILL", "exit": "exit code 3", "segv": "signal SIGSEGV"}


def crashed(picture: Picture) -> bool:
    return "the decoder crashed on this file" in picture.problem


@needs_signals
@pytest.mark.parametrize("way", HOW)
def test_a_file_that_kills_is_the_only_one_to_blame(files, way):
    files.write([f"{way} {i}" if i == 41 else str(i) for i in range(100)])
    found = list(files.stream())
    assert numbers(found) == [f"the decoder crashed on this file ({HOW[way]})" if i == 41 else i for i in range(100)]
    assert found[41].lasting
    assert found[41].digest == hashlib.sha256(f"{way} 41".encode()).digest()
    assert files.noted().count(f"{way} 41") == 2


@needs_signals
@pytest.mark.parametrize("where", [(20, 21), (3, 77), (0, 99)])
def test_two_files_that_kill(files, where):
    files.write([f"exit {i}" if i in where else str(i) for i in range(100)])
    found = list(files.stream())
    assert [p.item for p in found if crashed(p)] == list(where)
    assert [p for p in numbers(found) if isinstance(p, int)] == [i for i in range(100) if i not in where]


@needs_signals
def test_nothing_but_files_that_kill(files):
    files.write([f"exit {i}" for i in range(5)])
    found = list(files.stream())
    assert [p.item for p in found] == list(range(5))
    assert all(crashed(p) for p in found)


@needs_signals
def test_a_copy_of_a_file_that_kills_is_not_tried(files):
    files.write([str(i) for i in range(10)] + ["kill", "kill", "11"])
    found = list(files.stream())
    assert [p.item for p in found if crashed(p) and p.lasting] == [10, 11]
    assert files.noted().count("kill") == 2


# Where no process can be started


def assert_threads_do_it(files: Files, said: str) -> None:
    files.write([str(i) for i in range(40)])
    told: list[str] = []
    assert numbers(list(files.stream(notify=told.append))) == list(range(40))
    assert len(told) == 1
    assert said in told[0]


@needs_signals
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("/nowhere/python", "No such file"),
        ("false", "exit code 1"),
        ("#!/bin/sh\nkill -9 $$\n", "signal SIGKILL"),
        ("#!/bin/sh\necho Welcome to Python\nexec sleep 600\n", "prints something"),
        ('#!/bin/sh\necho Welcome to Python\nexec {python} "$@"\n', "prints something"),
    ],
    ids=["missing", "ends", "dies", "greets", "greets and goes on"],
)
def test_threads_where_processes_cannot_be_started(files, tmp_path, monkeypatch, program, said):
    if program.startswith("#!"):
        program = script(tmp_path, program.replace("{python}", sys.executable))
    monkeypatch.setattr(sys, "executable", program)
    assert_threads_do_it(files, said)


@needs_signals
def test_threads_where_a_process_never_answers(files, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "_START_SECONDS", 0.5)
    monkeypatch.setattr(sys, "executable", script(tmp_path, "#!/bin/sh\nexec sleep 600\n"))
    assert_threads_do_it(files, "signal SIGKILL")


def script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


def test_threads_where_the_function_cannot_be_sent(files):
    whole = files.decoder
    files.decoder = type("Local", (Decoder,), {})(whole.log)
    assert_threads_do_it(files, "Local")


def test_threads_where_the_function_cannot_be_imported(files, monkeypatch):
    """As one of a notebook's or an unguarded script's ``__main__``."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent])
    assert_threads_do_it(files, "decoders")


# Stopping early


@needs_proc
@both_ways
def test_closing_early_drops_what_has_not_begun(files, workers):
    files.write([str(i) for i in range(2)] + [f"slow 0.2 {i}" for i in range(100)])
    before = children()
    stream = files.stream(workers=workers, ahead=100)
    next(stream)
    stream.close()
    begun = len(files.noted())
    assert begun < 30
    assert children() == before
    assert next(stream, None) is None
    assert not [t for t in threading.enumerate() if t.name.startswith("deltaoe-")]
    time.sleep(0.5)
    assert len(files.noted()) == begun


@needs_proc
def test_ctrl_c_comes_through_while_a_file_is_being_decoded(files):
    files.write([f"slow 60 {i}" for i in range(4)])
    before = children()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while len(files.noted()) < 2:
            time.sleep(0.02)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        list(files.stream())
    assert files.noted("end") == []
    assert children() == before


SCRIPT = """
import sys
from pathlib import Path
from decoders import Decoder
from deltaoe.workflows.decoding import pictures

if __name__ != "__main__":
    sys.exit("a process must not run its parent's script")  # which has no guard
paths = sorted(map(str, Path("files").iterdir()))
stream = pictures(
    range(100), paths.__getitem__, lambda digest: (0,), Decoder(Path("log")), workers=2, ahead=50
)
try:
    for i in range(3):
        next(stream)
    print("going", flush=True)
    {ending}
except KeyboardInterrupt:
    stream.close()
"""
READ = "for picture in stream: assert not picture.problem"


@needs_proc
@pytest.mark.parametrize(
    ("way", "ending"),
    [
        ("closed", "stream.close()"),
        ("read", READ),
        ("left", "raise SystemExit(0)"),
        ("dropped", "del stream"),
        ("interrupted", READ),
        ("killed", READ),
    ],
)
def test_a_program_that_stops_leaves_no_process_and_no_noise(tmp_path, way, ending):
    (tmp_path / "files").mkdir()
    slow = "slow 0.3" if way in {"interrupted", "killed"} else ""
    for i in range(100):
        (tmp_path / "files" / f"{i:03d}").write_text(f"{slow} {i}" if i > 10 else str(i))
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", SCRIPT.format(ending=ending)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        going = process.stdout.readline()
        if way == "interrupted":
            process.send_signal(signal.SIGINT)
        if way == "killed":
            process.kill()
        # Whoever still has the standard error keeps this from coming to an end.
        noise = process.stderr.read()
    assert (going, noise) == ("going\n", "")
    assert process.returncode == (-signal.SIGKILL if way == "killed" else 0)
