"""Rows of a list of image files that no walk of folders has found."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from deltaoe.images.walk import FileCollector, Observed


def add_members(
    collector: FileCollector,
    root: int,
    names: Sequence[str],
    container: Observed,
    size: Iterable[int],
    inode: Iterable[int],
) -> None:
    """Add n members of a container at once.

    Args:
        collector: has the list.
        root: index into the list's roots.
        names: (n,) paths below that root.
        container: its times are the members'.
        size: (n,) bytes of each.
        inode: (n,) what stands for each one's inode.
    """
    files, number = collector.files, len(names)
    files.root_of.extend(array("i", [root]) * number)
    files.relative.extend(names)
    files.size.extend(size)
    files.inode.extend(inode)
    files.mtime_ns.extend(array("q", [container[1]]) * number)
    files.ctime_ns.extend(array("q", [container[2]]) * number)
    collector.added(number)


def add_observed(collector: FileCollector, root: int, path: str, seen: Observed) -> None:
    """Add one file that was observed otherwise than by the system."""
    add_members(collector, root, [path], seen, seen[:1], seen[3:])
