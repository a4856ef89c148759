"""Image files below folders, in columns: a million of them must not cost a million objects."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from deltaoe.errors import DataError, os_reason
from deltaoe.images.first_bytes import is_image_by_content
from deltaoe.images.glob_pattern import Pattern
from deltaoe.images.passed_over import Ignored, Others, Unlisted

_Inode = tuple[int, int]
Observed = tuple[int, int, int, int]  # size, modification time, change time, inode: see observed()
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NO_FAULT_OF_THE_FOLDER = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_SYSTEM = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"}
    | {".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
CONTAINER_SUFFIXES = (".parquet", ".tar")  # of files that hold images as a folder does
_FIRST, _LAST, _ALL_BITS = -(2**63), 2**63 - 1, 2**64 - 1
_BARE_SUFFIXES = frozenset(suffix[1:] for suffix in SUFFIXES)


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
            containers={number[root]: found for root, found in self.containers.items() if root in number},
            secrets={new: self.secrets[row] for new, row in enumerate(rows) if row in self.secrets},
        )


class FileCollector:
    """A :class:`FileList` while files are added to it.

    Args:
        on_found: called with the number of files after every thousandth.
    """

    def __init__(self, on_found: Callable[[int], None]) -> None:
        self.files = files = FileList()
        self.containers: list[
            tuple[str, str]
        ] = []  # folder that was walked, path: found, and not looked into
        self._on_found = on_found
        # Looked up once: they are called for every file of a million.
        self._add_root, self._add_path = files.root_of.append, files.relative.append
        self._add_size, self._add_inode = files.size.append, files.inode.append
        self._add_modified, self._add_changed = files.mtime_ns.append, files.ctime_ns.append
        self._count = 0

    def add(self, root: int, path: str, info: os.stat_result | None, problem: str | None = None) -> None:
        """Add one file.

        Args:
            root: index into the list's roots.
            path: below that root.
            info: of the file; what is no regular file has that for a problem.
            problem: why there is no ``info``.
        """
        if info is None:
            size = modified = changed = inode = 0
        else:
            size, modified, changed, inode = observed(info)
            if not stat.S_ISREG(info.st_mode):  # reading a pipe or a device may never end
                problem = "a folder, not a file" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        if problem is not None:
            self.files.problems[self._count] = problem
        self._add_root(root)
        self._add_path(path)
        self._add_size(size)
        self._add_modified(modified)
        self._add_changed(changed)
        self._add_inode(inode)
        self._count += 1
        if self._count % 1000 == 0:
            self._on_found(self._count)

    def added(self, number: int) -> None:
        """Take note of rows that were added to the list otherwise."""
        before, self._count = self._count, self._count + number
        if before // 1000 < self._count // 1000:
            self._on_found(self._count)

    def walk(self, root: int, folder: str, prefix: str = "", pattern: Pattern | None = None) -> bool:
        """Add the image files below a folder, depth first, names sorted.

        Links to files and folders are followed; a folder that contains itself is entered once. Hidden entries, system
        folders and other files are left out and counted; a file without a suffix is an image if its first bytes are
        those of one. A folder below that cannot be listed costs itself. With a pattern all this holds for what matches
        it; a folder that matches is walked.

        Args:
            root: index into the list's roots.
            folder: the folder to walk.
            prefix: put before each path below the folder.
            pattern: what files or folders must match.

        Returns:
            Whether anything matched the pattern; True without one.

        Raises:
            DataError: the folder itself cannot be listed, or nothing can, as too many files are open.
        """
        ignored = self.files.ignored
        # Of each open folder: its entries that are left, its path, its identity, what must match below. A list, because
        # folders may be deeper than Python's stack.
        trail: list[tuple[list[os.DirEntry[str]], str, _Inode, Pattern | None]] = []
        inside: set[_Inode] = set()
        own: list[list[int]] = []  # of each open folder: its images, and its other files
        examples: list[str] = []
        add = self.add

        def enter(path: str, prefix: str, rest: Pattern | None) -> bool:
            try:
                info = os.stat(path)  # the entry's own names no inode on Windows
                inode = (info.st_dev, info.st_ino)
                if inode in inside:
                    ignored.repeated += 1
                    return False
                with os.scandir(path) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
            except OSError as cause:
                if not trail or cause.errno in _NO_FAULT_OF_THE_FOLDER:
                    raise DataError(
                        f"cannot list {path}: {reason(cause)}", hint="check its permissions"
                    ) from cause
                self._unlisted(path, prefix, cause)
                return False
            inside.add(inode)
            trail.append((entries, prefix, inode, rest))
            own.append([0, 0])
            examples.append("")
            return True

        rest = None if pattern is None or pattern.complete else pattern
        matched = rest is None
        enter(folder, prefix, rest)
        while trail:
            entries, prefix, inode, rest = trail[-1]
            while entries:
                entry = entries.pop()  # no loop over them: each keeps its stat result while it lives
                name = entry.name
                below = None
                if rest is not None:
                    below = rest.below(name)
                    if below is None:
                        continue
                if is_passed_over(name) and not (rest is not None and rest.asks_for(name)):
                    ignored.hidden += 1
                    continue
                if below is not None and not below.takes_files:
                    if not self._is_folder(entry, prefix):
                        continue
                    matched = matched or below.complete
                    if enter(entry.path, f"{prefix}{name}/", None if below.complete else below):
                        break
                    continue
                matched = True
                unsuffixed = "." not in name and not is_folder(entry) and is_image_by_content(entry.path)
                if unsuffixed or is_image(name):
                    try:
                        info = entry.stat()
                    except OSError as cause:
                        own[-1][0] += 1
                        self.add(root, prefix + name, None, reason(cause))
                        continue
                    if not stat.S_ISDIR(info.st_mode):
                        own[-1][0] += 1
                        add(root, prefix + name, info)
                        if unsuffixed:
                            self.files.unsuffixed.append(prefix + name)
                        continue
                elif not self._is_folder(entry, prefix):
                    if name.lower().endswith(CONTAINER_SUFFIXES):
                        self.containers.append((folder, entry.path))
                        own[-1][0] += 1
                        continue
                    ignored.other_files += 1
                    own[-1][1] += 1
                    examples[-1] = examples[-1] or entry.path
                    continue
                if enter(entry.path, f"{prefix}{name}/", None):
                    break
            else:
                trail.pop()
                inside.discard(inode)
                images, others = own.pop()
                example = examples.pop()
                if not images and rest is None:
                    self.files.without_images[root, prefix.removesuffix("/")] = Others(others, example)
        return matched

    def _is_folder(self, entry: os.DirEntry[str], prefix: str) -> bool:
        """Whether an entry is a folder; what cannot be told, but for links to nowhere, is noted as an unlisted one."""
        try:
            return entry.is_dir()
        except OSError as cause:
            if cause.errno not in _NOWHERE:
                self._unlisted(entry.path, f"{prefix}{entry.name}/", cause)
            return False

    def _unlisted(self, path: str, relative: str, cause: OSError) -> None:
        self.files.unlisted.append(
            Unlisted(path.rstrip("/") + "/", relative, f"cannot be listed: {reason(cause)}")
        )


def observed(info: os.stat_result) -> Observed:
    """Size, modification time, change time and inode of a file, by which it is recognised unread.

    Times are nanoseconds since 1970; these, and the inode, modulo 2^64, in the range of int64 and uint64.
    """
    size, modified, changed, inode = info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino
    # File systems go beyond the year 2262, and those of Windows have longer inodes; wrapped, a change still shows.
    if not _FIRST <= modified <= _LAST:
        modified = (modified - _FIRST) % 2**64 + _FIRST
    if not _FIRST <= changed <= _LAST:
        changed = (changed - _FIRST) % 2**64 + _FIRST
    return size, modified, changed, inode & _ALL_BITS


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or a folder of the system's own.

    Example:
        >>> [is_passed_over(name) for name in ("cats", ".thumbnails", "__MACOSX")]
        [False, True, True]
    """
    return name[0] == "." or name in _SYSTEM


def is_image(name: str) -> bool:
    """Whether a file's name has the suffix of an image, in any case; ``.png`` alone has none.

    Example:
        >>> [is_image(name) for name in ("cat.JPG", "notes.txt", ".png")]
        [True, False, False]
    """
    stem, _, suffix = name.rpartition(".")
    return stem != "" and (suffix in _BARE_SUFFIXES or suffix.lower() in _BARE_SUFFIXES)


def reason(cause: OSError | ValueError) -> str:
    """Why a path cannot be used, in words that fit into a table cell."""
    return "not a possible file name" if isinstance(cause, ValueError) else os_reason(cause)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to nowhere, or to itself
        return False
