"""Decoding that ends early: with its caller, with the interpreter, with Ctrl-C, with a process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from decoded import PATIENCE, Files, alive, children, either, in_time, needs_proc, until


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
