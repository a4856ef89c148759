"""A Ray cluster of two workers on this machine, which ends with whoever started it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_PROGRAM = """
import logging, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import ray
ray.init(address="local", num_cpus=2, num_gpus=0, object_store_memory=80 * 2**20, include_dashboard=False,
         log_to_driver=False, logging_level=logging.CRITICAL, _temp_dir=sys.argv[1])
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""
_WORKER = b"ray::MapWorker"
_DECODER = b"deltaoe.extraction.decoder_processes"
_SECONDS = 120.0


class Process(NamedTuple):
    """A process of this machine."""

    pid: int
    parent: int
    command: bytes


def processes() -> list[Process]:
    """All processes that can be seen, without those that have ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found.append(Process(int(folder.name), int(parent), (folder / "cmdline").read_bytes()))
    return found


def workers(below: int) -> list[Process]:
    """The workers of a cluster that have a decoder process, and so are at work.

    Args:
        below: process that the cluster was started by.
    """
    alive = {one.pid: one for one in processes()}
    busy = {one.parent for one in alive.values() if _DECODER in one.command}
    return [
        one
        for one in alive.values()
        if one.pid in busy and _WORKER in one.command and _is_below(one, below, alive)
    ]


def _is_below(one: Process, ancestor: int, alive: dict[int, Process]) -> bool:
    while one.parent in alive:
        if one.parent == ancestor:
            return True
        one = alive[one.parent]
    return False


def wait_for(what: Callable[[], object], while_running: subprocess.Popen[bytes] | None = None) -> object:
    """What this returns as soon as it is true; fails after two minutes, or once a process has ended."""
    until = time.monotonic() + _SECONDS
    while not (found := what()):
        assert time.monotonic() < until, "waited too long"
        assert while_running is None or while_running.poll() is None, "it has ended already"
        time.sleep(0.05)
    return found


class RayCluster(NamedTuple):
    """A cluster that runs: its address, the process that has started it, and the variables that let one use it."""

    address: str
    pid: int
    env: dict[str, str]


@contextmanager
def ray_cluster(env: dict[str, str]) -> Iterator[RayCluster]:
    """Start the cluster; at the end none of its processes is left."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    env = env | token | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    with tempfile.TemporaryDirectory(
        prefix="rc-", dir="/tmp"
    ) as folder:  # a short name: sockets lie below it
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            process_group=0,
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            address = process.stdout.readline().decode().strip()
            assert address, "Ray did not start"
            yield RayCluster(address, process.pid, token)
        finally:
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
        wait_for(lambda: not [one for one in processes() if folder.encode() in one.command])
