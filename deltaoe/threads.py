"""How OpenMP's threads wait for each other: asleep, so that they take no core that others need.

A thread that waits actively spins on a core. Where that core is shared, the threads starve each other: with one of two
cores busy, tuning took ten times as long, and several times as much of the CPU. Asleep, they cost nothing measurable.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_POLICY = "OMP_WAIT_POLICY"
# Elements of a tensor that PyTorch adds up with all its threads.
_MANY = 1 << 20
_read_already = False


def wait_passively() -> None:
    """Ask OpenMP for passive waiting, which it reads when PyTorch is first imported; the user's own choice stays.

    ``import deltaoe`` calls it. After PyTorch it comes too late, and :func:`spinning_little` helps instead.
    """
    global _read_already
    _read_already = "torch" in sys.modules and _POLICY not in os.environ
    if not _read_already:
        os.environ.setdefault(_POLICY, "PASSIVE")


@contextlib.contextmanager
def spinning_little() -> Iterator[None]:
    """A context in which OpenMP's threads soon fall asleep, also where PyTorch was imported before this package.

    GNU's OpenMP, which PyTorch brings along on Linux, spins a million times less while there are more threads than
    CPUs (its manual, GOMP_SPINCOUNT) **[source]**. So a second team of threads is started, and sleeps meanwhile
    **[derived]**. The number of threads that compute stays the same. Other OpenMPs take no notice. Tuning and encoding
    run in it.
    """
    if not _read_already:
        yield
        return
    import torch

    if torch.get_num_threads() == 1:
        yield
        return
    started, ended = threading.Event(), threading.Event()

    def hold_a_team() -> None:
        try:
            torch.ones(_MANY).sum()
        finally:
            started.set()
        ended.wait()

    holder = threading.Thread(target=hold_a_team, name="deltaoe-idle-team", daemon=True)
    holder.start()
    started.wait()
    try:
        yield
    finally:
        ended.set()
        holder.join()
