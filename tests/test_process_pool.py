"""Worker processes: they do the work, and do not outlive the process that they work for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from deltaoe.runtime import process_pool, usable_cpus


def test_it_works_in_other_processes() -> None:
    with process_pool() as pool:
        done = [pool.submit(os.getpid) for _ in range(6)]
        pids = {job.result() for job in done}
    assert os.getpid() not in pids and len(pids) <= usable_cpus()


def test_there_are_as_many_as_asked_for() -> None:
    with process_pool(1) as pool:
        pids = {job.result() for job in [pool.submit(os.getpid) for _ in range(4)]}
    assert len(pids) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_is_left_to_the_parent() -> None:
    with process_pool(1) as pool:
        pid = pool.submit(os.getpid).result()
        os.kill(pid, signal.SIGINT)
        assert pool.submit(os.getpid).result() == pid


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc to look")
def test_workers_end_with_a_parent_that_was_killed() -> None:
    code = (
        "import os, time\n"
        "from deltaoe.runtime import process_pool\n"
        "if __name__ == '__main__':\n"
        "    pool = process_pool()\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # multiprocessing misses the semaphores of the killed
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        worker = int(process.stdout.readline())
        assert alive(worker)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 20
        while alive(worker) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not alive(worker)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
