"""Files that take too long, processes that are stopped from outside, and the process that waits for the next run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from decoded import assert_good, children, crashed, in_time, needs_proc, until
from decoders import value_of

from deltaoe.extraction import decoder_processes
from deltaoe.extraction.kept_process import kept_process, start_early

LIMIT = 1.0
TOO_LONG = ("not decoded within 1 seconds", True)


@pytest.mark.parametrize("count", [1, 5, 30])
def test_a_file_that_never_ends_costs_itself(files, count):
    given = files("sleep 0", *["good"] * (count - 1))
    result = given.run(workers=2, seconds=LIMIT)
    assert (result[0].problem, result[0].lasting) == TOO_LONG
    assert result[0].digest == given.digest(0)
    assert_good(result, range(1, count))
    assert given.said == []


def test_a_file_that_crashes_is_told_from_one_that_never_ends(files):
    result = files("sleep 0", "segv", "good").run(workers=1, seconds=LIMIT)
    assert [(picture.problem, picture.lasting) for picture in result[:2]] == [
        TOO_LONG,
        crashed("signal SIGSEGV"),
    ]
    assert_good(result, [2])


def test_the_limit_is_that_of_one_file(files):
    assert_good(files(*["slow"] * 60).run(workers=1, seconds=LIMIT), range(60))


def test_many_views_may_take_longer(files):
    result = files("slow 1").run(workers=1, seconds=0.02, wanted=lambda digest: tuple(range(100)))
    assert result[0].problem == "" and result[0].views == tuple(range(100))


@needs_proc
def test_a_process_that_was_stopped_from_outside_hangs_nothing_and_blames_no_file(files, monkeypatch):
    monkeypatch.setattr(decoder_processes, "_START_SECONDS", 5.0)  # of one that is stopped while it starts
    given = files(*["slow"] * 40)

    def stop() -> None:
        until(children)
        time.sleep(0.5)
        for process in children():
            os.kill(process, signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    assert_good(given.run(workers=2, seconds=LIMIT), range(40))
    thread.join()


@needs_proc
def test_one_idle_process_is_kept_and_found_again(files):
    pids = [{value_of(picture.pixels) for picture in files("here 0").run(workers=4)} for _ in range(3)]
    assert pids[0] == pids[1] == pids[2] == {*children()}


@needs_proc
def test_a_process_that_died_while_it_was_kept_is_not_missed(files):
    files("good").run(workers=1)
    (process,) = children()
    os.kill(process, signal.SIGKILL)
    assert_good(files("good").run(workers=1), [0])


@needs_proc
def test_a_process_that_started_early_is_the_one_that_decodes(files):
    start_early()
    start_early()
    (process,) = children()
    assert value_of(files("here 0").run(workers=1)[0].pixels) == process


def test_a_kept_process_that_cannot_load_a_function_is_replaced(files, tmp_path, monkeypatch):
    files("good").run(workers=1)
    Path(tmp_path / "late_decoder.py").write_text(
        "from decoders import decode as other\n\n\ndef decode(*given):\n    return other(*given)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import late_decoder

    given = files("good")
    assert_good(given.run(workers=1, decode=late_decoder.decode), [0])
    assert given.said == []


@needs_proc
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_process_to_its_parent(files):
    """In a program of its own: pytest's threads are nothing to fork."""
    script = (
        "import os\nfrom deltaoe.extraction.kept_process import kept_process, start_early\nstart_early()\n"
        "child = os.fork()\n"
        "if not child:\n    os._exit(0 if kept_process() is None else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\nprocess = kept_process()\n"
        "assert not process.has_ended\nprocess.end()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_proc
def test_the_kept_process_ends_with_the_program():
    script = (
        "from deltaoe.extraction import kept_process as k\nk.start_early()\nprint(k._kept[0]._process.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    assert not Path("/proc", done.stdout.strip()).exists()


def test_a_process_can_be_taken_once():
    start_early()
    process = kept_process()
    assert process is not None and kept_process() is None
    in_time(process.end)
