"""The installed ``deltaoe`` command, as a user runs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

COMMAND = Path(sys.executable).parent / ("deltaoe.exe" if os.name == "nt" else "deltaoe")
# What in the caller's environment would change what is printed.
MISLEADING = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "PYTHONWARNINGS"}
# Where the model hub's cache would lie: no weights that happen to be on this machine, and nothing can be written.
NO_FOLDER = os.path.join(os.devnull, "hub")


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code and both streams as text."""

    rc: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output, all of it, as one JSON document."""
        return json.loads(self.stdout)


class Run(Protocol):
    """Runs ``deltaoe`` with these arguments; ``rc`` is the exit code it must end with, ``stdin`` what it can read.

    With ``rc=None`` it may succeed or refuse.

    ``mortal`` (on Linux) takes root's right away to read and write what file permissions forbid. ``terminal``, the
    path of a pseudo-terminal, is what it has for stdout: see ``terminal.py``.
    """

    def __call__(
        self,
        *arguments: str | bytes | Path,
        cwd: Path,
        rc: int | None = 0,
        model: Path | str | None = ...,
        env: Mapping[str, str] | None = None,
        mortal: bool = False,
        stdin: bytes = b"",
        timeout: float = 600,
        terminal: str | None = None,
    ) -> Finished: ...


class Fails(Protocol):
    """Runs a command that must be refused."""

    def __call__(
        self,
        *arguments: str | bytes | Path,
        cwd: Path,
        rc: int = 1,
        says: tuple[str, ...],
        writes: bool = False,
        **more: Any,
    ) -> Finished: ...


def environment(model: Path | str | None) -> dict[str, str]:
    """The caller's environment without what would change the output; a folder becomes a ``local-dir:`` model."""
    env = {k: v for k, v in os.environ.items() if k not in MISLEADING and not k.startswith("DELTAOE_")}
    # One thread: the tiny model gains nothing from more, and waiting for the second one on a busy machine costs a lot.
    env |= {"HF_HUB_OFFLINE": "1", "HF_HOME": NO_FOLDER, "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    if model is not None:
        env["DELTAOE_MODEL"] = f"local-dir:{model}" if isinstance(model, Path) else model
    return env


def unwrapped(text: str) -> str:
    """Text without the box that usage errors are drawn in, on one line."""
    return re.sub(r"[│╭╮╰╯─\s]+", " ", text)


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, locks aside."""
    found = {}
    for where, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(where, name)
            if name != b"writer.lock" and os.path.isfile(path) and os.access(path, os.R_OK):
                with open(path, "rb") as file:
                    found[os.fsdecode(path)] = hashlib.sha256(file.read()).hexdigest()
    return found
