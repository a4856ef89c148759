"""The installed ``deltaoe`` command on a pseudo-terminal: what a person sees in a window of some width."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from command import Run

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(*arguments: str, cwd: Path, run: Run, columns: int) -> list[str]:
    """The lines of stdout on a terminal of this many columns, without colours and without blanks at their ends."""
    import pty  # of POSIX alone

    ours, theirs = pty.openpty()
    told: list[bytes] = []

    def listen() -> None:
        try:
            while chunk := os.read(ours, 1 << 16):
                told.append(chunk)
        except OSError:  # how a pseudo-terminal ends on Linux
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        run(
            *arguments,
            cwd=cwd,
            env={"COLUMNS": str(columns), "TERM": "xterm"},
            terminal=os.ttyname(theirs),
        )
    finally:
        os.close(theirs)
        listener.join()
        os.close(ours)
    return [line.rstrip() for line in _CODES.sub("", b"".join(told).decode()).splitlines()]
