"""One idle decoder process that outlives its pool: few images are decoded without waiting for a process to start."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress

from deltaoe.extraction.decoder_processes import DecoderProcess

_lock = threading.Lock()
_kept: list[DecoderProcess] = []
_program_ends = False


def start_early() -> None:
    """Start the process now, so that it is ready when, say, a model is loaded; a failure shows when it is used."""
    with _lock:
        if not _kept:
            with suppress(Exception):
                _kept.append(DecoderProcess())


def kept_process() -> DecoderProcess | None:
    """The process, which is the caller's now; None if there is none, or it has ended."""
    with _lock:
        process = _kept.pop() if _kept else None
    if process is not None and process.has_ended:
        process.end()
        return None
    return process


def keep_process(process: DecoderProcess) -> None:
    """Keep an idle process for the next that asks; end it if one is kept, or this program ends."""
    with _lock:
        if not _kept and not _program_ends:
            _kept.append(process)
            return
    process.end()


def _end() -> None:
    global _program_ends
    _program_ends = True
    process = kept_process()
    if process is not None:
        process.end()


def _leave_to_parent() -> None:
    """In a forked child: the process answers the parent alone, and must end with it."""
    global _lock
    _lock = threading.Lock()
    for process in _kept:
        process.let_go()
    _kept.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
