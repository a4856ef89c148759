"""The installed command in a process that has imported torch and open_clip already, which takes longer than most tests.

One process imports them once and forks for every command: the child takes over arguments, folder, environment and
streams, and runs the installed script from its first line to its last, to what is registered for the exit and to its
threads' end. Of deltaoe itself nothing is imported before. The child leaves out what an interpreter does after that:
taking torch's modules apart takes four times as long as a short command. Tests of the whole job, of signals and of
start-up run the command as a process of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IMPORTED_FIRST = (
    *("numpy", "torch", "torchvision", "open_clip", "h5py", "typer", "rich.console", "jinja2"),
    # Only some commands need these, and those would spend 2 s of processor time on them. None starts a thread, which a
    # child would not have, but for pyarrow's allocator, which knows of forks.
    *(
        "typer._adapters",
        "rich.progress",
        "scipy.special",
        "scipy.stats",
        "scipy.optimize",
        "scipy.cluster.hierarchy",
    ),
    *("sklearn.metrics", "sklearn.neighbors", "sklearn.covariance", "pandas", "pyarrow.parquet", "faiss"),
)


class Warm:
    """Start it with the environment that imports are to see; one command at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="ascii",
            start_new_session=True,  # a group of its own, to end a command that hangs
        )
        self._folder = tempfile.TemporaryDirectory()

    def run(
        self,
        command: Sequence[str | bytes | Path],
        cwd: Path,
        environment: Mapping[str, str],
        stdin: bytes,
        timeout: float,
        mortal: bool = False,
        terminal: str | None = None,
    ) -> tuple[int, bytes, bytes]:
        """Exit code, standard output and standard error of a command that, if ``mortal``, may not do all that root may.

        With ``terminal``, the path of a pseudo-terminal, standard output is that, and none of it is returned.

        Raises:
            TimeoutExpired: after which nothing runs any more.
        """
        streams = [os.path.join(self._folder.name, name) for name in ("stdin", "stdout", "stderr")]
        Path(streams[0]).write_bytes(stdin)
        Path(streams[1]).write_bytes(b"")
        order = {
            "command": [os.fsdecode(word) for word in command],
            "cwd": os.fsdecode(cwd),
            "environment": dict(environment),
            "streams": [streams[0], terminal or streams[1], streams[2]],
            "mortal": mortal,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(order["command"], timeout)
        code = int(self._process.stdout.readline())
        return code, Path(streams[1]).read_bytes(), Path(streams[2]).read_bytes()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._folder.cleanup()


def serve() -> dict[str, Any] | None:
    """Fork for every order; returns the order in the child, and None in the parent once there are no more."""
    # Whoever prints shall not end up among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            answers.close()
            return order
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()
    return None


def give_up_rights() -> None:
    """Let file permissions bind this process and those it starts, though root runs them; of Linux."""
    override = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    system = ctypes.CDLL(None, use_errno=True)
    for capability in override:
        if system.prctl(
            24, capability, 0, 0, 0
        ):  # PR_CAPBSET_DROP: of what a program started later could get
            raise OSError(ctypes.get_errno(), "prctl")
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, and the same for numbers over 31
    if system.capget(header, rights):
        raise OSError(ctypes.get_errno(), "capget")
    for i in range(3):
        rights[i] &= ~sum(1 << capability for capability in override)
    if system.capset(header, rights):
        raise OSError(ctypes.get_errno(), "capset")


def become(order: Mapping[str, Any]) -> None:
    """Take over what a process is started with."""
    for number, (path, flags) in enumerate(
        zip(
            order["streams"],
            (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY] * 2),
            strict=True,
        )
    ):
        found = os.open(path, flags, 0o600)
        os.dup2(found, number)
        os.close(found)
    # What the parent has read ahead of its orders is not for the child.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the process ends
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    if order["mortal"]:
        give_up_rights()
    sys.argv = list(order["command"])


def run_to_the_end(script: str) -> int:
    """Run a script as the interpreter does, and what it has left for the end; returns the exit code."""
    sys.path[0] = str(Path(script).parent)
    code = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is not None:
            code = end.code if isinstance(end.code, int) else 1
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)  # noqa: T201
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()  # what has something to say when it goes shall say it
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    for name in IMPORTED_FIRST:
        with contextlib.suppress(
            ImportError
        ):  # optional, or not yet there in an older release of what needs it
            importlib.import_module(name)
    gc.freeze()  # pages that nobody writes to stay shared
    if (found := serve()) is not None:
        become(found)
        os._exit(run_to_the_end(sys.argv[0]))
