"""The processes that decode: what it costs when they end or cannot be started, and what they are like."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import decoders
import pytest
from decoded import PATIENCE, assert_good, children, crashed, either, in_time, needs_proc
from decoders import value_of

from deltaoe.extraction import decoder_pool, decoder_processes

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
