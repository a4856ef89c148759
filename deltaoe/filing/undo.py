"""Taking back what an undo list says was done."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deltaoe.errors import os_reason
from deltaoe.filing.files import put, same_content
from deltaoe.filing.plan import Mode
from deltaoe.filing.undo_list import Entry, read_undo_list
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.store.atomic import TEMPORARY_PREFIX

_STAGE = "Taking back"
# Some disks keep times to two seconds.
_COARSEST_TIME_NS = 2_000_000_000


@dataclass
class Undone:
    """What became of the files of an undo list.

    Attributes:
        mode: what had been done to them.
        back: (target, source) of each file that was moved back, and of each copy or link that was deleted.
        nothing: number of files with nothing to take back: never done, or taken back before.
        kept: (target, reason) of each file that was left as it is.
        list_removed: whether the undo list was deleted, because nothing is left to take back.
        cut_off: whether the end of the list is missing, so that it may not name all files.
    """

    mode: Mode
    back: list[tuple[str, str]] = field(default_factory=list)
    nothing: int = 0
    kept: list[tuple[str, str]] = field(default_factory=list)
    list_removed: bool = False
    cut_off: bool = False


def undo(path: Path, on: OnEvent = silent) -> Undone:
    """Take back what an undo list says was done, the last file first; nothing is overwritten.

    Moved files go back if they have not changed and nothing is in their way. Copies are deleted if the original is
    there with the same content, links if they still lead to it. Folders that were made and are empty now are removed,
    and so is the list, if no file is left to take back and none can be missing from it.

    Args:
        path: the undo list.
        on: receives progress.

    Raises:
        DataError: it cannot be read, or is no undo list.
    """
    found = read_undo_list(path)
    undone = Undone(found.mode)
    take: Callable[[Entry], str | None] = {"move": _move_back, "copy": _delete_copy, "link": _delete_link}[
        found.mode
    ]
    for number, entry in enumerate(reversed(found.entries), start=1):
        try:
            why = take(entry)
        except OSError as cause:
            why = os_reason(cause)
        if why is None:
            undone.back.append((entry.target, entry.source))
        elif why:
            undone.kept.append((entry.target, why))
        else:
            undone.nothing += 1
        on(Event(_STAGE, number, len(found.entries), {"kept": len(undone.kept)}))
    undone.cut_off = not found.complete
    if not undone.kept and found.complete:
        path.unlink(missing_ok=True)
        undone.list_removed = True
    for folder in reversed(found.folders):
        _remove_if_empty(folder)
    return undone


def _move_back(entry: Entry) -> str | None:
    """Move a file back. None if it was; "" if there is nothing to do; else why it was not."""
    if not os.path.lexists(entry.target):
        return "" if os.path.lexists(entry.source) else "it is no longer there"
    if os.path.lexists(entry.source):
        # A move that was killed leaves the file under both names.
        if not same_content(entry.source, entry.target):
            return f"there is another file at {entry.source}"
        os.unlink(entry.target)
        return None
    info = os.stat(entry.target)
    if info.st_size != entry.size or abs(info.st_mtime_ns - entry.mtime_ns) > _COARSEST_TIME_NS:
        return "it has changed since"
    os.makedirs(os.path.dirname(entry.source), exist_ok=True)
    put(entry.target, entry.source, "move")
    return None


def _delete_copy(entry: Entry) -> str | None:
    """Delete a copy; the result is that of :func:`_move_back`."""
    if not os.path.lexists(entry.target):
        return ""
    if os.path.islink(entry.target) or not same_content(entry.source, entry.target):
        return f"{entry.source} is gone or differs, so the copy is kept"
    if os.path.samefile(entry.source, entry.target):
        return "it is the file itself"
    os.unlink(entry.target)
    return None


def _delete_link(entry: Entry) -> str | None:
    """Delete a link; the result is that of :func:`_move_back`."""
    if not os.path.lexists(entry.target):
        return ""
    if not os.path.islink(entry.target) or os.readlink(entry.target) != entry.source:
        return "it is no longer the link that was made"
    os.unlink(entry.target)
    return None


def _remove_if_empty(folder: str) -> None:
    """Remove a folder that holds nothing but what a killed run left unfinished."""
    try:
        names = os.listdir(folder)
        if all(name.startswith(TEMPORARY_PREFIX) for name in names):
            for name in names:
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)
    except OSError:
        return
