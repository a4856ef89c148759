"""Whether anything was added to folders or removed from them: found without a look at their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from deltaoe.images.walk import is_folder, is_passed_over, observed


def fingerprint(folders: Sequence[str]) -> str:
    """A digest of the times at which the folders, and all folders below, last got or lost an entry, and their inodes.

    It differs after files or folders were added, removed or renamed. The reverse does not hold: files that are no
    images, and copying a folder, may change it as well. Entries are listed, and folders alone are looked at.

    Args:
        folders: absolute paths. One that cannot be listed has a fingerprint, too.
    """
    lines: list[str] = []
    for number, root in enumerate(folders):
        stack, visited = [("", root)], set[tuple[int, int]]()
        while stack:
            relative, path = stack.pop()
            try:
                info = os.stat(path)
                inode = (info.st_dev, info.st_ino)
                if inode in visited:
                    continue
                visited.add(inode)
                with os.scandir(path) as listing:
                    names = [
                        entry.name for entry in listing if not is_passed_over(entry.name) and is_folder(entry)
                    ]
            except OSError:
                lines.append(f"{number}/{relative}\0")
                continue
            lines.append(f"{number}/{relative}\0{observed(info)[1:]}")
            stack += [(f"{relative}/{name}", os.path.join(path, name)) for name in names]
    text = "\n".join(sorted(lines))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
