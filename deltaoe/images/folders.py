"""Whether anything was added to folders or removed from them: found without a look at their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence

from deltaoe.images.walk import is_folder, is_passed_over, observed

Seen = tuple[int, str, tuple[int, ...] | None]


def fingerprint(folders: Sequence[str]) -> str:
    """A digest of the times at which the folders, and all folders below, last got or lost an entry, and their inodes.

    It differs after files or folders were added, removed or renamed. The reverse does not hold: files that are no
    images, and copying a folder, may change it as well. Entries are listed, and folders alone are looked at.

    Args:
        folders: absolute paths. One that cannot be listed has a fingerprint, too.
    """
    seen: list[Seen] = []
    for number, root in enumerate(folders):
        stack = [("", root, frozenset[tuple[int, int]]())]
        while stack:
            prefix, path, above = stack.pop()
            try:
                info = os.stat(path)
                inode = (info.st_dev, info.st_ino)
                if inode in above:  # it contains itself
                    continue
                with os.scandir(path) as listing:
                    names = [
                        entry.name for entry in listing if not is_passed_over(entry.name) and is_folder(entry)
                    ]
            except OSError:
                seen.append((number, prefix, None))
                continue
            seen.append((number, prefix, observed(info)[1:]))
            stack += [(f"{prefix}{name}/", os.path.join(path, name), above | {inode}) for name in names]
    return fingerprint_of_walk(seen)


def fingerprint_of_walk(folders: Iterable[Seen]) -> str:
    """The same of folders that were walked, as :attr:`~deltaoe.images.file_list.FileList.folders` has them."""
    lines = [f"{number}/{prefix}\0{times or ''}" for number, prefix, times in folders]
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
