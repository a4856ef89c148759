"""The installed ``deltaoe`` command on a pseudo-terminal: what a person sees in a window of some width."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from command import COMMAND, environment

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(*arguments: str, cwd: Path, model: Path | str | None, columns: int) -> list[str]:
    """The lines of stdout on a terminal of this many columns, without colours and without blanks at their ends."""
    import pty  # of POSIX alone

    ours, theirs = pty.openpty()
    env = environment(model) | {"COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        [COMMAND, *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(theirs)
        told = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                told += chunk
        except OSError:  # how a pseudo-terminal ends on Linux
            pass
        assert process.stderr is not None
        errors = process.stderr.read()
    os.close(ours)
    assert process.returncode == 0, errors.decode()
    return [line.rstrip() for line in _CODES.sub("", told.decode()).splitlines()]
