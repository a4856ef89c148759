"""Folders that are looked at again and again: image files as they come, or change."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from deltaoe.errors import DataError
from deltaoe.images.walk import FileCollector, Observed, Unlisted

# A file that has not changed for so long when the folders are looked at first is whole.
_OLD_SECONDS = 10.0


class FolderWatch:
    """New and changed image files below folders, each once it is whole: observed as the same at two looks.

    Hidden files, such as the temporary ones of rsync, are left out. A file that is removed and comes back is new.

    Args:
        folders: they need not hold any images yet.

    Attributes:
        unlisted: folders below that could not be listed at the last look.

    Raises:
        DataError: one of them is no folder.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        for folder in folders:
            if not os.path.isdir(folder):
                raise DataError(f"there is no folder {folder} to watch", hint="check the path, or create it")
        self._folders = folders
        self.unlisted: list[Unlisted] = []
        self._before: dict[str, Observed] | None = None
        self._told: dict[str, Observed] = {}

    def look(self) -> list[str]:
        """Paths of the files that have become whole since the last look, in the order of the folders.

        Raises:
            DataError: one of the folders cannot be listed; what was known of its files is kept, as it is of those in a
                folder below that cannot be listed.
        """
        self.unlisted = []
        found: dict[str, Observed] = {}
        for folder in self._folders:
            collector = FileCollector(lambda number: None)
            collector.files.roots.append(folder)
            collector.walk(0, folder)
            files = collector.files
            self.unlisted += files.unlisted
            for row in range(len(files)):
                modified, changed = files.mtime_ns[row], files.ctime_ns[row]
                found[files.path(row)] = files.size[row], modified, changed, files.inode[row]
        whole = [
            path
            for path, state in found.items()
            if state != self._told.get(path) and self._is_whole(path, state)
        ]
        unseen = tuple(one.path for one in self.unlisted)
        self._told = {
            path: state for path, state in self._told.items() if path in found or path.startswith(unseen)
        }
        self._told |= {path: found[path] for path in whole}
        self._before = found
        return whole

    def _is_whole(self, path: str, state: Observed) -> bool:
        if self._before is None:
            return time.time_ns() - state[1] > _OLD_SECONDS * 1e9
        return self._before.get(path) == state
