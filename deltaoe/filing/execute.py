"""Putting files into folders by a plan: nothing is overwritten, and an undo list can take it back."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deltaoe.errors import StoreError, os_reason
from deltaoe.filing.files import holds, put, put_bytes, same_content
from deltaoe.filing.names import numbered
from deltaoe.filing.plan import Mode, Plan, Step
from deltaoe.filing.undo_list import Entry, UndoWriter, new_undo_list
from deltaoe.images.decode import ImageError
from deltaoe.images.location_text import inside, is_url
from deltaoe.images.locations import read_location
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.short_repr import short_repr
from deltaoe.store.atomic import cannot_write

STAGES: dict[Mode, str] = {"copy": "Copying files", "move": "Moving files", "link": "Linking files"}


@dataclass
class Filed:
    """What became of the files of a plan.

    Attributes:
        root: the target folder.
        mode: what was done.
        done: (source, target) of each file that was copied, moved or linked.
        already: (source, target) of each file that was left out because a file of the same content is at the target.
        failed: (source, reason) of each file that could not be read, written or deleted.
        undo_list: the file that ``deltaoe undo`` takes; None if nothing was done.
    """

    root: Path
    mode: Mode
    done: list[tuple[str, str]] = field(default_factory=list)
    already: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    undo_list: Path | None = None

    def __repr__(self) -> str:
        """What was done with how many files; their names would fill the screen."""
        numbers = {"done": self.done, "there already": self.already, "failed": self.failed}
        counts = (f"{len(files):,} {what}" for what, files in numbers.items())
        return short_repr(self, self.mode, *counts, f"in {self.root}")


def undo_command(undo_list: Path | str) -> str:
    """The command that takes back what an undo list says, as a shell takes it."""
    return f"deltaoe undo {shlex.quote(os.fspath(undo_list))}"


def execute(plan: Plan, root: Path, mode: Mode, on: OnEvent = silent, *, dry_run: bool = False) -> Filed:
    """Copy, move or link the files of a plan into a folder.

    A file of the same name and content that is there already stands for the file; any other one makes the file get a
    number. A file that fails is named, and the others go on. What is about to be done is first written to the undo
    list in ``root``, so that it holds after a kill, too.

    An image in a tar or Parquet file is copied out of it; it is not moved or linked.

    Args:
        plan: files and where they go.
        root: the target folder; it is made if need be.
        mode: what to do.
        on: receives progress.
        dry_run: whether the result only says what would be done: nothing is written then.

    Raises:
        StoreError: the target folder or the undo list cannot be written.
    """
    root = Path(os.path.abspath(root))
    filed = Filed(root, mode, already=list(plan.same))
    if not plan.steps:
        return filed
    if dry_run:
        run = _Run(filed, None, plan.steps)
        for step in plan.steps:
            run.take(step)
        return filed
    try:
        made = _made_folders(root)
    except OSError as cause:
        raise cannot_write(root, cause) from cause
    try:
        with new_undo_list(root, mode, made) as undo:
            filed.undo_list = undo.path
            run = _Run(filed, undo, plan.steps)
            for number, step in enumerate(plan.steps, start=1):
                run.take(step)
                on(Event(STAGES[mode], number, len(plan.steps), {"failed": len(filed.failed)}))
    except (KeyboardInterrupt, StoreError):
        written = filed.undo_list if filed.done else None
        back = "" if written is None else f"; to take them back: {undo_command(written)}"
        said = f"stopping: {len(filed.done)} of {len(plan.steps)} files are done{back}"
        on(Event(STAGES[mode], message=said))
        raise
    if not filed.done:
        filed.undo_list = None
    return filed


class _Run:
    """Takes one step after the other; without an undo list it only says where each file would go."""

    def __init__(self, filed: Filed, undo: UndoWriter | None, steps: Sequence[Step]) -> None:
        self._filed, self._undo = filed, undo
        self._planned = {(step.folder.casefold(), step.name.casefold()) for step in steps}
        self._numbers: dict[tuple[str, str], int] = {}

    def take(self, step: Step) -> None:
        """Carry out one step; what cannot be done is among the failed."""
        if is_url(step.source):
            self._filed.failed.append((step.source, "a URL: download it, and name the file"))
            return
        source = os.path.abspath(step.source)
        container = inside(source)
        if container is not None and self._filed.mode != "copy":
            self._filed.failed.append(
                (step.source, f"lies in {os.path.basename(container[0])}: it can only be copied")
            )
            return
        folder = (
            os.path.join(self._filed.root, *step.folder.split("/")) if step.folder else str(self._filed.root)
        )
        try:
            data = None if container is None else read_location(source)
            info = os.stat(source if container is None else container[0])
            size = info.st_size if data is None else len(data)
            if not stat.S_ISREG(info.st_mode):  # a device never ends, and a pipe may never begin
                raise OSError(errno.EINVAL, "Is no file")
            if self._undo is not None:
                _made_folders(Path(folder), self._undo)
            while True:
                target = os.path.join(folder, self._name(step))
                if os.path.lexists(target):
                    same = (
                        holds(target, data)
                        if data is not None
                        else _stands_for(source, target, self._filed.mode)
                    )
                    if same:
                        self._filed.already.append((step.source, target))
                        return
                    self._next(step)
                    continue
                if self._undo is None:
                    self._filed.done.append((step.source, target))
                    return
                entry = Entry(source, target, size, info.st_mtime_ns)
                self._undo.add(entry)
                try:
                    if data is not None:
                        put_bytes(data, target, info.st_mtime_ns)
                    else:
                        put(source, target, self._filed.mode)
                except FileExistsError:  # it has appeared this moment
                    self._undo.withdraw(entry)
                    continue
                except OSError:
                    if not os.path.lexists(target):
                        self._undo.withdraw(entry)
                    raise
                self._filed.done.append((step.source, target))
                return
        except StoreError:
            raise
        except OSError as cause:
            self._filed.failed.append((step.source, os_reason(cause)))
        except ImageError as cause:  # of a member
            self._filed.failed.append((step.source, str(cause)))

    def _name(self, step: Step) -> str:
        return numbered(step.name, self._numbers.get((step.folder, step.name), 1))

    def _next(self, step: Step) -> None:
        """Give a step the next number that no other step has as its name."""
        key = (step.folder, step.name)
        while True:
            self._numbers[key] = self._numbers.get(key, 1) + 1
            if (step.folder.casefold(), self._name(step).casefold()) not in self._planned:
                return


def _stands_for(source: str, target: str, mode: Mode) -> bool:
    """Whether what is at the target is what would be put there."""
    if mode == "link" or os.path.islink(target):
        return os.path.islink(target) and os.path.realpath(target) == os.path.realpath(source)
    return same_content(source, target)


def _made_folders(folder: Path, undo: UndoWriter | None = None) -> list[str]:
    """Make a folder and those above it; the absolute paths of the new ones, which are first added to the undo list."""
    missing = [str(folder)] if not folder.is_dir() else []
    for parent in folder.parents if missing else ():
        if parent.is_dir():
            break
        missing.append(str(parent))
    for path in reversed(missing):
        if undo is not None:
            undo.add_folder(path)
        with contextlib.suppress(FileExistsError):  # somebody else has made it this moment
            os.mkdir(path)
    return missing[::-1]
