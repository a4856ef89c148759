"""A list of image files, in columns: a million of them must not cost a million objects."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from deltaoe.images.passed_over import Ignored, Others, Unlisted


@dataclass
class FileList:
    """Image files, column by column, in the order in which they were named.

    Attributes:
        roots: folders that groups of files are relative to, as the user wrote them; "" is the current folder.
        root_of: index into ``roots`` of each file.
        relative: each file's path below its root, with ``/``; bytes of a name that is no UTF-8 are lone surrogates.
        size: bytes of each file.
        mtime_ns: time of each file's last modification, nanoseconds since 1970, modulo 2^64.
        ctime_ns: time of each file's last change of content or attributes (of its creation, on Windows), likewise.
        inode: number of each file in its file system, modulo 2^64; 0 where the system does not say.
        problems: row → reason, for what cannot be opened as a file (a broken link, a pipe, a folder in a list).
        classes: class of each file by a table, "" where there is none; None if no list had such a column.
        domains: domain of each file, likewise.
        splits: ``train``, ``val`` or ``test`` for each file, likewise.
        assumed: sentences on how the columns of lists were understood.
        notes: sentences on rows of lists that were joined or changed, and on files that lie elsewhere.
        ignored: counts of what is not in this list.
        unsuffixed: those of ``relative`` that were found below folders and are images by their first bytes alone.
        without_images: index into ``roots`` and path below it of each walked folder that has no images of its own.
        unlisted: folders whose files are not in this list, as they cannot be known.
        folders: of each walked folder, in no order: index of its root when it was walked, its path below with a slash
            at the end, and its times and inode before its entries were listed; None if it cannot be listed.
        containers: index into ``roots`` of a container → the folder that it was found in, and what stands before its
            members' names as folders are read: empty, or with a slash.
        secrets: row → the whole URL, of those that hold a password or a signature. Nothing else here has either.
    """

    roots: list[str] = field(default_factory=list)
    root_of: array[int] = field(default_factory=lambda: array("i"))
    relative: list[str] = field(default_factory=list)
    size: array[int] = field(default_factory=lambda: array("q"))
    mtime_ns: array[int] = field(default_factory=lambda: array("q"))
    ctime_ns: array[int] = field(default_factory=lambda: array("q"))
    inode: array[int] = field(default_factory=lambda: array("Q"))
    problems: dict[int, str] = field(default_factory=dict)
    classes: list[str] | None = None
    domains: list[str] | None = None
    splits: list[str] | None = None
    assumed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ignored: Ignored = field(default_factory=Ignored)
    unsuffixed: list[str] = field(default_factory=list)
    without_images: dict[tuple[int, str], Others] = field(default_factory=dict)
    unlisted: list[Unlisted] = field(default_factory=list)
    folders: list[tuple[int, str, tuple[int, ...] | None]] = field(default_factory=list)
    containers: dict[int, tuple[str, str]] = field(default_factory=dict)
    secrets: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.relative)

    def path(self, row: int) -> str:
        """The location to read, with this system's separators."""
        return self.secrets.get(row) or self.shown(row)

    def shown(self, row: int) -> str:
        """:meth:`path` as it may be shown and kept: without passwords and signatures of URLs."""
        root = self.roots[self.root_of[row]]
        if "://" in root:
            return f"{root}/{self.relative[row]}"
        path = os.path.join(root, self.relative[row])
        return path if os.sep == "/" else path.replace("/", os.sep)

    def title(self, row: int) -> str:
        """The path below the root for a message; of a member, below the folder that its container was found in."""
        found = self.containers.get(self.root_of[row])
        return self.relative[row] if found is None else self.shown(row)[len(found[0]) :].lstrip(os.sep)

    def part(self, rows: Iterable[int]) -> FileList:
        """The list of some rows, in the order given, with the roots that they need; what is not of rows is shared."""
        rows = list(rows)
        root_of = array("i", map(self.root_of.__getitem__, rows))
        used = sorted(set(root_of))
        number = {old: new for new, old in enumerate(used)}
        if len(used) < len(self.roots):
            root_of = array("i", map(number.__getitem__, root_of))
        return FileList(
            roots=[self.roots[root] for root in used],
            root_of=root_of,
            relative=[self.relative[row] for row in rows],
            size=array("q", map(self.size.__getitem__, rows)),
            mtime_ns=array("q", map(self.mtime_ns.__getitem__, rows)),
            ctime_ns=array("q", map(self.ctime_ns.__getitem__, rows)),
            inode=array("Q", map(self.inode.__getitem__, rows)),
            problems={new: self.problems[row] for new, row in enumerate(rows) if row in self.problems},
            classes=None if self.classes is None else [self.classes[row] for row in rows],
            domains=None if self.domains is None else [self.domains[row] for row in rows],
            splits=None if self.splits is None else [self.splits[row] for row in rows],
            assumed=self.assumed,
            notes=self.notes,
            ignored=self.ignored,
            unsuffixed=self.unsuffixed,
            unlisted=self.unlisted,
            folders=self.folders,
            containers={number[root]: found for root, found in self.containers.items() if root in number},
            secrets={new: self.secrets[row] for new, row in enumerate(rows) if row in self.secrets},
        )
