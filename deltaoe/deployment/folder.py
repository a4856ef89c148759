"""A folder that is written whole: under its name there is the old one, or the new one with all its files."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from deltaoe.errors import StoreError
from deltaoe.store.atomic import cannot_write, clear_leftovers, sync, temporary_name


@contextlib.contextmanager
def replacing_folder(target: Path, names: Collection[str], *, force: bool) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``; on success sync its files to disk and rename it to ``target``.

    On any exception, Ctrl-C included, the temporary folder is removed and ``target`` stays as it was.

    Args:
        target: the new folder; an empty one may be there.
        names: the names that files of such a folder have.
        force: replace such a folder that is there; one with files of other names stays.

    Raises:
        StoreError: something stands at ``target`` that is not to be replaced, or the folder cannot be written.
    """
    target = Path(os.path.abspath(target))
    _check(target, names, force=force)
    temporary = target.parent / temporary_name()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(target.parent)
        temporary.mkdir()
    except OSError as cause:
        raise cannot_write(target, cause) from cause
    try:
        yield temporary
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        _check(target, names, force=force)  # hours may have passed
        _swap(temporary, target)
    except OSError as cause:
        raise cannot_write(target, cause) from cause
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(target: Path, names: Collection[str], *, force: bool) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise StoreError(f"cannot write {target}: it is no folder", hint="name a new folder")
    if os.path.samefile(target, os.curdir):  # whoever stands in it would stand in a folder that is deleted
        raise StoreError(f"cannot write {target}: it is the current folder", hint="name a new folder in it")
    there = sorted(entry.name for entry in target.iterdir())
    if not there:
        return
    if others := [name for name in there if name not in names]:
        raise StoreError(
            f"cannot write {target}: it holds {others[0]}, which no export has", hint="name a new folder"
        )
    if not force:
        raise StoreError(f"{target} is not empty", hint="name a new folder, or replace it with --force")


def _swap(temporary: Path, target: Path) -> None:
    """Rename a folder to a name; what has the name is removed, or gets it back if the renaming fails."""
    old = target.parent / temporary_name()
    there = target.exists()
    if there:
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        if there:
            old.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
