"""Pictures ahead of the model: each file once and in its place, whatever happens to the processes that decode."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import decoders
import numpy as np
import pytest
from decoders import value_of

from deltaoe.extraction import decoder_pool, decoder_processes, decoding, decoding_window
from deltaoe.extraction.decoding import pictures
from deltaoe.extraction.decoding_window import Picture

PATIENCE = 120  # seconds, on a busy machine; a test that reaches it has found a hang

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to look")
either = pytest.mark.parametrize("workers", [0, 1], ids=["threads", "processes"])


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(decoding, "_FEW_FILES", 1)


class Files:
    """Files of given words, and what a run asked for and said."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.paths = [folder / f"{i:04d}.jpg" for i in range(len(words))]
        for i, (path, word) in enumerate(zip(self.paths, words, strict=True)):
            path.write_text(word if " " in word else f"{word} {i}", encoding="utf-8")
        self.asked: list[int] = []
        self.said: list[str] = []
        self.known: set[bytes] = set()

    def path(self, i: int) -> str:
        self.asked.append(i)
        return str(self.paths[i])

    def digest(self, i: int) -> bytes:
        return hashlib.sha256(self.paths[i].read_bytes()).digest()

    def wanted(self, digest: bytes) -> tuple[int, ...]:
        return () if digest in self.known else (0,)

    def stream(self, *, workers: int, ahead: int = 16, decode=decoders.decode, wanted=None):
        return pictures(
            range(len(self.paths)),
            self.path,
            wanted or self.wanted,
            decode,
            workers=workers,
            ahead=ahead,
            notify=self.said.append,
        )

    def run(self, **options) -> list[Picture]:
        """All pictures; a hang is a failure."""
        result = in_time(lambda: list(self.stream(**options)))
        assert [picture.item for picture in result] == list(range(len(self.paths)))
        assert not [t.name for t in threading.enumerate() if t.name.startswith("deltaoe-")]
        return result


@pytest.fixture
def files(tmp_path) -> Callable[..., Files]:
    return lambda *words: Files(tmp_path, words)


def in_time(work):
    done: Future = Future()

    def run():
        try:
            done.set_result(work())
        except Exception as cause:
            done.set_exception(cause)

    threading.Thread(target=run, daemon=True).start()  # pytest could not end beside another that hangs
    return done.result(PATIENCE)


def children(parent: int | None = None) -> list[int]:
    """Processes that decode, as the system lists them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if (
            int(ppid) == (parent or os.getpid())
            and state != "Z"
            and b"deltaoe.extraction.decoder_processes" in command
        ):
            found.append(int(folder.name))
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_good(result: Sequence[Picture], numbers: Sequence[int]) -> None:
    for i in numbers:
        picture = result[i]
        assert (picture.problem, picture.lasting, picture.views) == ("", False, (0,))
        assert value_of(picture.pixels) == i


# Each once, in order


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_each_file_gets_its_own_pixels_in_order(files, workers):
    given = files(*["slow" if i % 7 == 0 else "good" for i in range(60)])
    result = given.run(workers=workers)
    assert_good(result, range(60))
    assert [picture.digest for picture in result] == [given.digest(i) for i in range(60)]
    assert given.asked == list(range(60)) and given.said == []


@either
@pytest.mark.parametrize("ahead", [0, 1, 2, 1000])
def test_any_look_ahead(files, workers, ahead):
    assert_good(files(*["good"] * 20).run(workers=workers, ahead=ahead), range(20))


@either
def test_views_that_were_asked_for(files, workers):
    views = {0: (0,), 1: (0, 1, 2), 2: (3,), 3: (2, 1)}
    given = files(*["good"] * 4)
    by_digest = {given.digest(i): views[i] for i in views}
    for i, picture in enumerate(given.run(workers=workers, wanted=by_digest.__getitem__)):
        wanted = decoders.decode(given.paths[i].read_bytes(), b"", views[i])
        assert picture.views == views[i]
        assert picture.pixels.dtype == np.uint8 and np.array_equal(picture.pixels, wanted)


@either
def test_nothing_to_do(files, workers):
    assert files().run(workers=workers) == []


@either
def test_known_contents_are_not_decoded(files, workers):
    given = files("good", "broken", "exit", "good")  # of which two must not reach a decoder
    given.known = {given.digest(1), given.digest(2)}
    result = given.run(workers=workers)
    assert_good(result, [0, 3])
    for i in (1, 2):
        assert result[i] == Picture(i, given.digest(i), None, (), "", False)


@needs_proc
def test_without_anything_new_no_process_is_started(files, monkeypatch):
    monkeypatch.setattr(
        decoder_processes.subprocess, "Popen", lambda *a, **k: pytest.fail("a process was started")
    )
    given = files(*["good"] * 70)
    given.known = {given.digest(i) for i in range(70)}
    assert {picture.problem for picture in given.run(workers=2)} == {""}


def test_few_files_are_decoded_here_and_many_elsewhere(files, monkeypatch):
    monkeypatch.setattr(decoding, "_FEW_FILES", 64)
    for count, here in ((63, True), (64, False)):
        given = files(*[f"here {i}" for i in range(count)])
        pids = {value_of(picture.pixels) for picture in given.run(workers=1)}
        assert (pids == {os.getpid()}) == here and len(pids) == 1


def test_workers_are_as_many_as_asked_for(files):
    given = files(*["slow"] * 30, *[f"here {i}" for i in range(60)])
    result = given.run(workers=2, ahead=90)
    assert 1 <= len({value_of(picture.pixels) for picture in result[30:]} - {os.getpid()}) <= 2


# Copies


@either
def test_a_copy_waits_for_its_twin(files, workers):
    given = files("slow 0", "slow 0", "good", "slow 0", "good")
    result = given.run(workers=workers)
    assert_good(result, [0, 2, 4])
    for i in (1, 3):
        assert result[i] == Picture(i, given.digest(0), None, (), "", False)


@either
@pytest.mark.parametrize("word", ["broken", "bug", "missing"])
def test_a_copy_has_its_twins_problem(files, workers, word):
    given = files(*[f"{word} 0", "good"] * 6)
    if word == "missing":
        for path in given.paths[::2]:
            path.unlink()
    result = given.run(workers=workers, ahead=4)  # some twins are in flight, some have passed
    assert_good([*result[:2], *result[2:]], [1])
    assert result[0].problem and len({picture[1:] for picture in result[::2]}) == 1


def test_a_copy_of_what_crashed_costs_no_further_process(files, monkeypatch):
    started, popen = [], decoder_processes.subprocess.Popen
    monkeypatch.setattr(
        decoder_processes.subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k)
    )
    result = files(*["exit 0"] * 5).run(workers=1)
    assert {picture.problem for picture in result} == {"the decoder crashed on this file (exit code 3)"}
    assert len(started) == 2


def test_a_copy_far_behind_is_decoded_once_as_the_caller_may_still_hold_the_first(files):
    given = files("good 0", *["good"] * 30, "good 0")
    assert given.run(workers=0, ahead=2)[-1].pixels is None


def test_of_very_many_contents_some_are_forgotten(files, monkeypatch):
    monkeypatch.setattr(decoding_window, "_MAX_CONTENTS", 3)
    given = files("good 0", *["good"] * 10, "good 0")
    result = given.run(workers=0, ahead=2)
    assert value_of(result[11].pixels) == 0


# Bounds


def test_no_more_than_so_many_files_ahead(files):
    given = files(*["good"] * 50)
    for number, _ in enumerate(given.stream(workers=0, ahead=7)):
        time.sleep(0.001)
        assert len(given.asked) <= number + 7


def test_no_more_bytes_of_files_than_so_many(files, monkeypatch):
    monkeypatch.setattr(decoding_window, "_MAX_FILE_BYTES", 1000)
    given = files(*[f"good {i:02d} {'x' * 240}" for i in range(30)])
    assert given.paths[0].stat().st_size == 248
    go = threading.Event()

    def waiting(data, digest, views):
        go.wait(PATIENCE)
        return decoders.decode(data, digest, views)

    pool = ThreadPoolExecutor(1)
    done = pool.submit(lambda: list(given.stream(workers=0, ahead=1000, decode=waiting)))
    until(lambda: len(given.asked) == 5)  # the fifth for its size only
    time.sleep(0.1)
    assert len(given.asked) == 5
    go.set()
    assert_good(done.result(PATIENCE), range(30))
    pool.shutdown()


def test_a_file_beyond_all_bounds_passes(files, monkeypatch):
    monkeypatch.setattr(decoding_window, "_MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(decoding_window, "_MAX_PIXEL_BYTES", 100)
    given = files("good", f"good 1 {'x' * 5000}", "good", f"wide 3 {'x' * 9000}", "good")
    for workers in (0, 1):
        result = given.run(workers=workers)
        assert_good(result, [0, 1, 2, 4])
        assert result[3].pixels.shape == (1, 512, 512, 3)


def test_no_more_pixels_than_so_many(files, monkeypatch):
    monkeypatch.setattr(decoding_window, "_EXPECTED_VIEW_BYTES", 12)
    monkeypatch.setattr(decoding_window, "_MAX_PIXEL_BYTES", 5 * 12)
    decoded = itertools.count()
    latest = [0]

    def counting(data, digest, views):
        latest[0] = next(decoded) + 1
        return decoders.decode(data, digest, views)

    given = files(*["good"] * 40)
    for number, _ in enumerate(given.stream(workers=0, ahead=1000, decode=counting)):
        time.sleep(0.002)
        assert latest[0] - number <= 5


# Files that are no pictures


@either
def test_files_that_cannot_be_read(files, workers, tmp_path):
    given = files(*["good"] * 6)
    given.paths[1].unlink()
    given.paths[2].unlink()
    given.paths[2].mkdir()
    given.paths[4] = tmp_path / "zero\0byte"
    result = given.run(workers=workers)
    assert_good(result, [0, 3, 5])
    assert result[1] == Picture(1, b"", None, (), "no such file or folder", False)
    assert result[2].problem == "is a directory"
    assert result[4].problem.startswith("cannot be read: ")
    assert not any(picture.lasting or picture.digest for picture in (result[2], result[4]))


@either
def test_what_a_decoder_raises_is_a_problem_of_its_file(files, workers):
    given = files("good", "broken", "bug", "large", "wordless", "good")
    result = given.run(workers=workers)
    assert_good(result, [0, 5])
    assert [(p.problem, p.lasting) for p in result[1:5]] == [
        ("broken image: on purpose", True),
        ("cannot be decoded: ZeroDivisionError: a bug", False),
        ("too large for this machine's memory", False),
        ("not a usable picture", True),
    ]
    assert [p.digest for p in result] == [given.digest(i) for i in range(6)]
    assert {p.pixels is None and p.views == () for p in result[1:5]} == {True}


def test_file_names_that_are_no_text(tmp_path):
    names = [b"caf\xe9.jpg", b"new\nline.jpg", b"<script>'.jpg", b"x" * 255]
    for i, name in enumerate(names):
        try:
            (tmp_path / os.fsdecode(name)).write_text(f"good {i}")
        except OSError:
            pytest.skip("this file system takes no such names")
    paths = [os.path.join(tmp_path, os.fsdecode(name)) for name in names]
    for workers in (0, 1):
        result = list(
            pictures(range(4), paths.__getitem__, lambda _: (0,), decoders.decode, workers=workers, ahead=4)
        )
        assert_good(result, range(4))


# Processes that end

crashes = pytest.mark.parametrize(
    ("word", "how"),
    [
        ("segv", "signal SIGSEGV"),
        ("abrt", "signal SIGABRT"),
        ("kill", "signal SIGKILL"),
        ("exit", "exit code 3"),
    ],
)


def crashed(how: str) -> tuple[str, bool]:
    return f"the decoder crashed on this file ({how})", True


@crashes
def test_a_poison_file_costs_itself_alone(files, word, how):
    words = ["good"] * 30
    words[11] = word
    given = files(*words)
    result = given.run(workers=2)
    assert_good(result, [i for i in range(30) if i != 11])
    assert (result[11].problem, result[11].lasting) == crashed(how)
    assert result[11].digest == given.digest(11) and result[11].pixels is None and result[11].views == ()
    assert given.said == []


@pytest.mark.parametrize("places", [(0, 1), (3, 19), (8, 9, 10)], ids=str)
def test_several_poison_files(files, places):
    words = [("segv", "exit")[i % 2] if i in places else "good" for i in range(20)]
    result = files(*words).run(workers=2, ahead=20)
    assert_good(result, [i for i in range(20) if i not in places])
    for i in places:
        assert (result[i].problem, result[i].lasting) == crashed(("signal SIGSEGV", "exit code 3")[i % 2])


def test_nothing_but_poison(files):
    result = files(*["exit"] * 2).run(workers=2)
    assert {(picture.problem, picture.lasting) for picture in result} == {crashed("exit code 3")}


def test_a_file_is_not_blamed_for_one_crash(files, tmp_path):
    words = ["good"] * 20
    words[4], words[5] = f"once 4 {tmp_path / 'four'}", f"once 5 {tmp_path / 'five'}"
    assert_good(files(*words).run(workers=2), range(20))
    assert (tmp_path / "four").exists() and (tmp_path / "five").exists()


@needs_proc
def test_a_process_killed_from_outside_costs_nothing(files):
    given = files(*["slow"] * 40)
    result = []

    def consume():
        for picture in given.stream(workers=2):
            result.append(picture)
            if picture.item in (5, 30):
                for pid in children():
                    os.kill(pid, signal.SIGKILL)

    in_time(consume)
    assert_good(result, range(40))


@needs_proc
def test_a_process_killed_while_idle_costs_nothing(files):
    given = files(*["good"] * 40)
    stream = given.stream(workers=1, ahead=8)
    result = [next(stream)]
    time.sleep(0.05)
    for pid in children():
        os.kill(pid, signal.SIGKILL)
    result += in_time(lambda: list(stream))
    assert_good(result, range(40))


ODD_ENDS = {
    "half a header": "t.write(b'9'); t.flush(); sys.exit(7)",
    "half the pixels": "c.send(t, ([1, 2, 2, 3], '', False), b'12345'); sys.exit(7)",
    "no answer": "sys.exit(7)",
}


@pytest.mark.parametrize("end", ODD_ENDS.values(), ids=ODD_ENDS)
def test_a_process_that_dies_in_the_middle_of_a_result(files, monkeypatch, end):
    monkeypatch.setattr(decoder_processes, "_PROGRAM", WORKER + end)
    result = files(*["good"] * 2).run(workers=1)
    assert {(picture.problem, picture.lasting) for picture in result} == {crashed("exit code 7")}


def test_a_process_that_talks_nonsense_is_ended(files, monkeypatch):
    monkeypatch.setattr(
        decoder_processes, "_PROGRAM", WORKER + "t.write(b'\\1\\0\\0\\0?'); t.flush(); time.sleep(600)"
    )
    result = files("good").run(workers=1)
    assert (result[0].problem, result[0].lasting) == crashed("signal SIGKILL")


WORKER = """
import sys, os, time
sys.path[:] = {}
import deltaoe.extraction.decoding_jobs as c
s, t = os.fdopen(0, "rb"), os.fdopen(1, "wb")
c.read_exactly(s, c.receive(s)); c.send(t, ""); [c.read_exactly(s, head[2]) for head in c.receive(s)]
"""


def test_a_file_that_crashed_is_tried_again_while_no_other_is_decoded(files, tmp_path):
    gate, log = decoder_pool._Gate(), []

    def work(i):
        with gate.shared():
            log.append(+1)
            time.sleep(0.002)
            log.append(-1)

    def alone(i):
        with gate.exclusive():
            log.append(0)
            time.sleep(0.002)
            log.append(0)

    with ThreadPoolExecutor(6) as pool:
        for job in [pool.submit(alone if i % 5 == 0 else work, i) for i in range(60)]:
            job.result(PATIENCE)
    assert log.count(0) == 24
    for i, entry in enumerate(log):
        if entry == 0:
            assert sum(log[:i]) == 0
    assert max(itertools.accumulate(log)) > 1
    entries = [i for i, entry in enumerate(log) if entry == 0]
    assert all(b == a + 1 for a, b in zip(entries[::2], entries[1::2], strict=True))


# No processes to be had


def no_python(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    return decoders.decode, "no such file"


def no_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(decoder_processes, "_PROGRAM", "raise SystemExit(9)")
    return decoders.decode, "exit code 9"


def too_late(monkeypatch, tmp_path):
    monkeypatch.setattr(decoder_processes, "_PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr(decoder_processes, "_START_SECONDS", 0.2)
    return decoders.decode, "signal SIGKILL"


def no_name(monkeypatch, tmp_path):
    return lambda *given: decoders.decode(*given), "pickle"


def not_there(monkeypatch, tmp_path):
    module = types.ModuleType("only_here")
    exec("def decode(*given):\n    import decoders\n    return decoders.decode(*given)", module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, "only_here", module)
    return module.decode, "No module named 'only_here'"


@pytest.mark.parametrize("why", [no_python, no_answer, too_late, no_name, not_there])
def test_threads_take_the_place_of_processes_that_cannot_be_started(files, why, monkeypatch, tmp_path, capfd):
    decode, reason = why(monkeypatch, tmp_path)
    given = files(*["good"] * 20, "broken")
    result = given.run(workers=2, decode=decode)
    assert_good(result, range(20))
    assert result[20].problem == "broken image: on purpose"
    (said,) = given.said
    assert said.startswith("decoding in this process, others cannot be started (")
    assert reason.lower() in said.lower()
    assert capfd.readouterr() == ("", "")


def test_once_some_have_started_others_are_tried_more_often(files, monkeypatch):
    started, popen = [], decoder_processes.subprocess.Popen

    def sometimes(*arguments, **options):
        started.append(1)
        if 1 < len(started) < 6:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return popen(*arguments, **options)

    monkeypatch.setattr(decoder_processes.subprocess, "Popen", sometimes)
    monkeypatch.setattr(decoder_pool, "_PAUSE_SECONDS", 0.001)
    given = files("good", "exit", "good")
    result = given.run(workers=1)
    assert_good(result, [0, 2])
    assert (result[1].problem, result[1].lasting) == crashed("exit code 3")
    assert given.said == []


def test_a_file_that_crashed_is_not_tried_in_this_process(files, monkeypatch):
    monkeypatch.setattr(decoder_pool, "_PAUSE_SECONDS", 0.001)
    started, popen = [], decoder_processes.subprocess.Popen

    def once(*arguments, **options):
        started.append(1)
        if len(started) > 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return popen(*arguments, **options)

    monkeypatch.setattr(decoder_processes.subprocess, "Popen", once)
    given = files("good", "exit", "good", "good")
    result = given.run(workers=1)
    assert_good(result, [0, 2, 3])
    assert not result[1].lasting
    assert result[1].problem == "the decoder ended on this file, and cannot be started again"
    assert len(given.said) == 1


# Ending early


@needs_proc
def test_closing_ends_all_processes_at_once(files, tmp_path):
    given = files(
        *["good"] * 5, *[f"sleep {i} {tmp_path / f'asleep{i}'}" for i in range(5, 9)], *["good"] * 20
    )
    stream = given.stream(workers=2, ahead=40)
    assert next(stream).item == 0
    until(lambda: any(tmp_path.glob("asleep*")))
    assert children()
    in_time(stream.close)
    assert children() == []
    assert not [t.name for t in threading.enumerate() if t.name.startswith("deltaoe-")]


@either
def test_an_error_of_the_caller_ends_it(files, workers):
    given = files(*["slow"] * 60)

    def wanted(digest):
        if len(given.asked) > 25:
            raise OSError("the store is gone")
        return (0,)

    with pytest.raises(OSError, match="the store is gone"):
        in_time(lambda: list(given.stream(workers=workers, wanted=wanted)))
    assert not [t.name for t in threading.enumerate() if t.name.startswith("deltaoe-")]
    assert len(given.asked) < 60


def script(tmp_path: Path, body: str, words: Sequence[str], *, guard: bool = True) -> subprocess.Popen:
    """A user's program over files of these words, in a session of its own."""
    Files(tmp_path, words)
    lines = [
        "import os, sys, time, decoders",
        "from deltaoe.extraction.decoding import pictures",
        f"def start(): return pictures(range({len(words)}), lambda i: f'{tmp_path}/{{i:04d}}.jpg', lambda d: (0,),"
        " decoders.decode, workers=2, ahead=20, notify=print)",
        "if __name__ == '__main__':" if guard else "if True:",
        *(f"    {line}" for line in body.splitlines()),
    ]
    path = tmp_path / "program.py"
    path.write_text("\n".join(lines))
    return subprocess.Popen(
        [sys.executable, "-W", "always", path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out, err


def test_a_script_without_a_guard_and_with_torch_runs_once(tmp_path):
    (tmp_path / "torch.py").touch()  # takes less time than the real one
    body = "import torch\nprint('once')\nprint({decoders.value_of(p.pixels) for p in start()})"
    process = script(tmp_path, body, [f"torch 0 {i}" for i in range(70)], guard=False)
    assert ended(process) == (0, "once\n{0}\n", "")


@pytest.mark.parametrize(
    "last", ["stream.close()", "del stream", "kept = [stream, sys]", "sys.exit(0)", "1 / 0"]
)
def test_an_interpreter_that_ends_before_the_pictures_do(tmp_path, last):
    body = f"stream = start()\nprint(next(stream).item)\n{last}"
    code, out, err = ended(script(tmp_path, body, ["good"] * 100))
    assert out == "0\n"
    if last == "1 / 0":
        assert code == 1 and err.endswith("ZeroDivisionError: division by zero\n") and err.count("Error") == 1
    else:
        assert (code, err) == (0, "")


@needs_proc
@pytest.mark.parametrize("whole_group", [False, True], ids=["to the program", "as a terminal does"])
def test_ctrl_c_comes_through_at_once(tmp_path, whole_group):
    body = (
        # Whoever started the tests in the background has switched it off.
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    for p in start(): print(p.item, flush=True)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')"
    )
    asleep = tmp_path / "asleep"
    with script(
        tmp_path, body, [*["good"] * 66, *[f"sleep {i} {asleep}{i}" for i in range(66, 70)]]
    ) as process:
        until(lambda: any(tmp_path.glob("asleep*")))
        workers = children(process.pid)
        assert workers
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        code, out, err = ended(process)
    assert (code, out.splitlines()[-1], err) == (0, "interrupted", "")
    until(lambda: not any(map(alive, workers)))


@needs_proc
def test_processes_end_with_one_that_was_killed(tmp_path):
    body = "for p in start(): print(p.item, flush=True); time.sleep(0.5)"
    with script(tmp_path, body, ["good"] * 100) as process:
        process.stdout.readline()
        workers = children(process.pid)
        assert workers and all(map(alive, workers))
        process.kill()
        ended(process)
    until(lambda: not any(map(alive, workers)))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# What the processes are like


@either
def test_what_decoders_print_and_warn_of_is_not_heard(files, workers, capfd, monkeypatch):
    given = files("chatty", "good", "chatty")
    assert_good(given.run(workers=workers), range(3))
    if workers:
        assert capfd.readouterr() == ("", "")


def test_the_processes_load_no_torch(files):
    pytest.importorskip("torch")  # and have it loaded here
    values = [
        value_of(picture.pixels) for picture in files(*[f"torch 0 {i}" for i in range(9)]).run(workers=1)
    ]
    assert values == [0] * 9


@pytest.mark.skipif(not os.path.exists("/proc/self/oom_score_adj"), reason="a file of Linux")
def test_where_memory_runs_out_they_go_first(files):
    assert value_of(files("score").run(workers=1)[0].pixels) > int(
        Path("/proc/self/oom_score_adj").read_text()
    )


def test_a_partial_is_a_decoder_too(files):
    given = files(*["good"] * 3)
    assert_good(given.run(workers=1, decode=functools.partial(decoders.decode)), range(3))
