"""The undo list: what was done to which file, a JSON line each, written before it is done."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, get_args

from deltaoe.errors import DataError
from deltaoe.files import read_small_file
from deltaoe.filing.plan import Mode
from deltaoe.store.atomic import cannot_write

_FORMAT = 1
_START = "deltaoe_undo"
_END = "end"
_CHECK = "check"  # entry of a line with the digest of the others; lines of earlier versions have none


@dataclass(frozen=True)
class Entry:
    """A file that was, or was about to be, put somewhere.

    Attributes:
        source: its absolute path before.
        target: the absolute path that it was given.
        size: its size, bytes.
        mtime_ns: time of its last change, nanoseconds since 1970.
    """

    source: str
    target: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class UndoList:
    """What an undo list says.

    Attributes:
        mode: what was done to the files.
        entries: the files, in order.
        folders: absolute paths of the folders that were made, the outer ones first.
        complete: whether it has its last line; a list that was cut off, or whose writer was killed, has none. Lists
            of earlier versions have none either, and count as complete.
    """

    mode: Mode
    entries: list[Entry]
    folders: list[str]
    complete: bool = True


class UndoWriter:
    """Adds lines to an undo list; each has reached the operating system before the method returns.

    Args:
        path: of the list.
        file: that file, open.
    """

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self._file = file

    def add(self, entry: Entry) -> None:
        """Add a file that is about to be put somewhere."""
        self._write(
            {"from": entry.source, "to": entry.target, "size": entry.size, "mtime_ns": entry.mtime_ns}
        )

    def withdraw(self, entry: Entry) -> None:
        """Say of a file that was added that it was not put there."""
        self._write({"not_done": entry.target})

    def add_folder(self, folder: str) -> None:
        """Add a folder that is about to be made."""
        self._write({"folder": folder})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(_line(line))
        self._file.flush()


@contextmanager
def new_undo_list(folder: Path, mode: Mode, folders: list[str]) -> Iterator[UndoWriter]:
    """A new undo list in a folder, to which files are added; a list without files is removed again.

    Args:
        folder: where the list is written.
        mode: what is done to the files.
        folders: the folders that were made for ``folder``, itself included.

    Raises:
        StoreError: it cannot be written.
    """
    now = datetime.now().astimezone()
    path = folder / f"deltaoe-undo-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.jsonl"
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(_line({_START: _FORMAT, "mode": mode, "made": now.isoformat()}))
            writer = UndoWriter(path, file)
            for made in folders:
                writer.add_folder(made)
            try:
                yield writer
            finally:
                file.write(_line({_END: True}))
                file.flush()
                os.fsync(file.fileno())
    except OSError as cause:
        raise cannot_write(path, cause) from cause
    if not read_undo_list(path).entries:
        path.unlink()


def read_undo_list(path: Path) -> UndoList:
    """An undo list; a last line that was cut off, as by a power failure, is left out.

    Raises:
        DataError: it cannot be read, or is no undo list.
    """
    try:
        lines = read_small_file(path).decode("ascii").split("\n")
    except UnicodeDecodeError as cause:
        raise _no_list(path) from cause
    head = _parsed(path, 1, lines[0])
    if head.get(_START) != _FORMAT or head.get("mode") not in get_args(Mode):
        raise _no_list(path)
    entries: list[Entry] = []
    folders: list[str] = []
    complete = _CHECK not in lines[0]
    for number, line in enumerate(lines[1:-1], start=2):
        found = _parsed(path, number, line)
        try:
            if _END in found:
                complete = True
            elif "folder" in found:
                folders.append(_path(found["folder"]))
            elif "not_done" in found:
                if not entries or entries[-1].target != found["not_done"]:
                    raise ValueError
                entries.pop()
            else:
                source, target = _path(found["from"]), _path(found["to"])
                entries.append(Entry(source, target, int(found["size"]), int(found["mtime_ns"])))
        except (KeyError, TypeError, ValueError, OverflowError) as cause:
            raise _no_list(path) from cause
    return UndoList(head["mode"], entries, folders, complete)


def _path(value: object) -> str:
    if not isinstance(value, str) or not os.path.isabs(value) or "\0" in value:
        raise ValueError
    return value


def _line(values: dict[str, Any]) -> str:
    """A line of the list, in ASCII: file names of any bytes and line ends are escaped."""
    return json.dumps({**values, _CHECK: _digest(values)}) + "\n"


def _digest(values: dict[str, Any]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a line's entries."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    """The entries of a line, compared with its digest if it has one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as cause:
        raise _no_list(path) from cause
    if not isinstance(value, dict):
        raise _no_list(path)
    if (check := value.pop(_CHECK, None)) is not None and check != _digest(value):
        raise DataError(
            f"{path}, line {number}: it has changed since it was written",
            hint="put the file in that line back by hand, remove the line, and run it again for the others",
        )
    return value


def _no_list(path: Path) -> DataError:
    return DataError(
        f"{path} is no undo list, or is damaged",
        hint="name a file deltaoe-undo-*.jsonl that filing images has written",
    )
