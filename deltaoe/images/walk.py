"""Image files below folders, in columns: a million of them must not cost a million objects."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable

from deltaoe.errors import DataError, os_reason
from deltaoe.images.file_list import FileList
from deltaoe.images.first_bytes import is_image_by_content
from deltaoe.images.glob_pattern import Pattern
from deltaoe.images.passed_over import Others, Unlisted

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
# Ends of most names of images, by which these are told without a look at their parts.
_USUAL_ENDS = frozenset({".JPG", *(suffix for suffix in SUFFIXES if len(suffix) == 4)})
_BLOCK = 1000


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
        if self._count % _BLOCK == 0:
            self._on_found(self._count)

    def added(self, number: int) -> None:
        """Take note of rows that were added to the list otherwise."""
        before, self._count = self._count, self._count + number
        if before // _BLOCK < self._count // _BLOCK:
            self._on_found(self._count)

    def _add_block(self, root: int, prefix: str, names: list[str], infos: list[os.stat_result]) -> None:
        """Add n regular files of a folder at once, and clear the lists: (n,) names, and what is known of each."""
        try:
            size = array("q", [info.st_size for info in infos])
            modified = array("q", [info.st_mtime_ns for info in infos])
            changed = array("q", [info.st_ctime_ns for info in infos])
            inode = array("Q", [info.st_ino for info in infos])
        except OverflowError:  # see observed()
            for name, info in zip(names, infos, strict=True):
                self.add(root, prefix + name, info)
        else:
            files = self.files
            files.root_of.extend(array("i", [root]) * len(names))
            files.relative.extend([prefix + name for name in names])
            files.size.extend(size)
            files.mtime_ns.extend(modified)
            files.ctime_ns.extend(changed)
            files.inode.extend(inode)
            self.added(len(names))
        names.clear()
        infos.clear()

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
        # Of regular files that were found and not added yet, of one folder.
        names: list[str] = []
        infos: list[os.stat_result] = []

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
                self.files.folders.append((root, prefix, None))
                return False
            self.files.folders.append((root, prefix, observed(info)[1:]))
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
                if rest is None and name[-4:] in _USUAL_ENDS and name[0] != ".":
                    try:
                        info = entry.stat()
                    except OSError:
                        pass  # said below
                    else:
                        if stat.S_ISREG(info.st_mode):
                            names.append(name)
                            infos.append(info)
                            if len(names) == _BLOCK:
                                own[-1][0] += _BLOCK
                                self._add_block(root, prefix, names, infos)
                            continue
                if names:
                    own[-1][0] += len(names)
                    self._add_block(root, prefix, names, infos)
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
                if names:
                    own[-1][0] += len(names)
                    self._add_block(root, prefix, names, infos)
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
