"""Files found below folders and by patterns, as columns: a million of them must not cost a million objects."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from array import array
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field

from deltaoe.errors import DataError

_Inode = tuple[int, int]
_Matcher = Callable[[str], object]
_SYSTEM = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"}
    | {".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
_BARE_SUFFIXES = frozenset(suffix[1:] for suffix in SUFFIXES)
_MAGIC = re.compile(r"[*?[]")


@dataclass
class Ignored:
    """What was passed over, by kind; counted so that nothing is skipped without a word.

    ``repeated`` are files that were named before, and links from a folder to one that it lies in.
    """

    hidden: int = 0
    other_files: int = 0
    repeated: int = 0


@dataclass
class FileList:
    """Image files, column by column, in the order in which they were named.

    Attributes:
        roots: the folder that each group of files is relative to, as the user wrote it; "" is the current folder.
        root_of: index into ``roots``, per file.
        relative: the path below that root, with ``/``; bytes of a name that is no UTF-8 are lone surrogates.
        size: bytes.
        mtime_ns: nanoseconds since 1970, modulo 2^64.
        problems: row → reason, for what cannot even be looked at (a broken link, a pipe, a folder in a list).
        classes: as given in a CSV list, "" where none; None if no list had such a column.
        domains: likewise.
        ignored: what is not in this list.
    """

    roots: list[str] = field(default_factory=list)
    root_of: array[int] = field(default_factory=lambda: array("i"))
    relative: list[str] = field(default_factory=list)
    size: array[int] = field(default_factory=lambda: array("q"))
    mtime_ns: array[int] = field(default_factory=lambda: array("q"))
    problems: dict[int, str] = field(default_factory=dict)
    classes: list[str] | None = None
    domains: list[str] | None = None
    ignored: Ignored = field(default_factory=Ignored)

    def __len__(self) -> int:
        return len(self.relative)

    def path(self, row: int) -> str:
        """The path to open, with this system's separators."""
        path = os.path.join(self.roots[self.root_of[row]], self.relative[row])
        return path if os.sep == "/" else path.replace("/", os.sep)

    def part(self, rows: Iterable[int]) -> FileList:
        """The list of these rows only, in this order, and of the roots that they need; ``ignored`` is shared."""
        rows = list(rows)
        root_of = array("i", map(self.root_of.__getitem__, rows))
        used = sorted(set(root_of))
        if len(used) < len(self.roots):
            number = {old: new for new, old in enumerate(used)}
            root_of = array("i", map(number.__getitem__, root_of))
        return FileList(
            roots=[self.roots[root] for root in used],
            root_of=root_of,
            relative=[self.relative[row] for row in rows],
            size=array("q", map(self.size.__getitem__, rows)),
            mtime_ns=array("q", map(self.mtime_ns.__getitem__, rows)),
            problems={new: self.problems[row] for new, row in enumerate(rows) if row in self.problems},
            classes=None if self.classes is None else [self.classes[row] for row in rows],
            domains=None if self.domains is None else [self.domains[row] for row in rows],
            ignored=self.ignored,
        )


class Gathering:
    """A :class:`FileList` while it grows; ``on_found`` hears the number of files at every thousandth."""

    def __init__(self, on_found: Callable[[int], None]) -> None:
        self.files = files = FileList()
        self._on_found = on_found
        # Looked up once: they are called for every file of a million.
        self._add_root, self._add_path = files.root_of.append, files.relative.append
        self._add_size, self._add_time = files.size.append, files.mtime_ns.append
        self._count = 0

    def add(self, group: int, path: str, info: os.stat_result | None, problem: str | None = None) -> None:
        """One more file; without ``info`` there must be a problem, with it what is no regular file is one."""
        if info is None:
            size = changed = 0
        else:
            size, changed = info.st_size, info.st_mtime_ns
            if not stat.S_ISREG(info.st_mode):  # reading a pipe or a device may never end
                problem = "a folder, not a file" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        if problem is not None:
            self.files.problems[self._count] = problem
        self._add_root(group)
        self._add_path(path)
        self._add_size(size)
        try:
            self._add_time(changed)
        except OverflowError:  # file systems go beyond the year 2262; wrapped, a change still shows
            self._add_time((changed + 2**63) % 2**64 - 2**63)
        self._count += 1
        if self._count % 1000 == 0:
            self._on_found(self._count)

    def walk(self, group: int, folder: str, prefix: str = "", pattern: Pattern | None = None) -> bool:
        """Add the image files below ``folder``, depth first, names sorted, as ``prefix`` and the path below it.

        Links to files and folders are followed; a folder that contains itself is entered once. Hidden entries and
        system folders are passed over and counted, other files are counted. With a pattern, all this is for what
        matches it, and folders that match are walked. Returns whether anything did.

        Raises:
            DataError: a folder cannot be listed.
        """
        ignored = self.files.ignored
        # Of each folder that we are in: what is left of it, its path, its identity, what must match below. A list,
        # because folders may be deeper than Python's stack.
        trail: list[tuple[list[os.DirEntry[str]], str, _Inode, Pattern | None]] = []
        inside: set[_Inode] = set()
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
                raise DataError(
                    f"cannot list {path}: {reason(cause)}", hint="check its permissions"
                ) from cause
            inside.add(inode)
            trail.append((entries, prefix, inode, rest))
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
                if (name[0] == "." or name in _SYSTEM) and not (rest is not None and rest.asks_for(name)):
                    ignored.hidden += 1
                    continue
                if below is not None and not below.takes_files:
                    if not _is_folder(entry):
                        continue
                    matched = matched or below.complete
                    if enter(entry.path, f"{prefix}{name}/", None if below.complete else below):
                        break
                    continue
                matched = True
                if is_image(name):
                    try:
                        info = entry.stat()
                    except OSError as cause:
                        self.add(group, prefix + name, None, reason(cause))
                        continue
                    if not stat.S_ISDIR(info.st_mode):
                        add(group, prefix + name, info)
                        continue
                elif not _is_folder(entry):
                    ignored.other_files += 1
                    continue
                if enter(entry.path, f"{prefix}{name}/", None):
                    break
            else:
                trail.pop()
                inside.discard(inode)
        return matched


@dataclass(frozen=True)
class Pattern:
    """What is left to match of a glob: ``*``, ``?``, ``[…]`` and, as a whole part, ``**`` for any folders.

    Not Python's ``glob``: that goes round a loop of links forty times, and is silent about folders that it cannot
    list.

    Attributes:
        parts: of the whole glob.
        matchers: of each part.
        states: how many parts can be behind us; more than one after a ``**``.
        takes_files: nothing must follow, and what we are at may be a file: ``a/**`` begins with a folder ``a``.
    """

    parts: tuple[str, ...]
    matchers: tuple[_Matcher, ...]
    states: frozenset[int]
    takes_files: bool = False

    @classmethod
    def of(cls, glob: str) -> Pattern:
        """A glob below some folder, with ``/``."""
        glob += "*" if glob.endswith("/") else ""  # "*/" names folders: everything in them
        parts = tuple(part for part in glob.split("/") if part not in {"", "."})
        flags = re.IGNORECASE if os.name == "nt" else 0
        matchers = tuple(re.compile(fnmatch.translate(part), flags).match for part in parts)
        return cls(parts, matchers, _reachable(parts, {0}))

    @property
    def complete(self) -> bool:
        """Whether nothing must follow."""
        return len(self.parts) in self.states

    def below(self, name: str) -> Pattern | None:
        """What is left behind an entry of this name; None if it does not fit."""
        end = len(self.parts)
        inside = {state for state in self.states if state < end and self.parts[state] == "**"}
        behind = {state + 1 for state in self.states - inside if state < end and self.matchers[state](name)}
        if not inside and not behind:
            return None
        takes_files = end in behind or end in _reachable(self.parts, inside)
        return Pattern(self.parts, self.matchers, _reachable(self.parts, inside | behind), takes_files)

    def asks_for(self, name: str) -> bool:
        """Whether a hidden name is meant: as in a shell, by a part that has its dot, or by itself."""
        parts = [self.parts[state] for state in self.states if state < len(self.parts)]
        return any(part == name or part[0] == name[0] == "." for part in parts)


def _reachable(parts: tuple[str, ...], states: Set[int]) -> frozenset[int]:
    states = set(states)
    for state, part in enumerate(parts):
        if state in states and part == "**":  # which also stands for no folder at all
            states.add(state + 1)
    return frozenset(states)


def is_pattern(text: str) -> bool:
    """Whether this can be a pattern rather than a path."""
    return _MAGIC.search(text) is not None


def is_image(name: str) -> bool:
    """Whether a name ends like an image's, in any case; ``.png`` alone does not."""
    stem, _, suffix = name.rpartition(".")
    return stem != "" and (suffix in _BARE_SUFFIXES or suffix.lower() in _BARE_SUFFIXES)


def reason(cause: OSError | ValueError) -> str:
    """Why a path cannot be used, in words fit for a table cell."""
    if isinstance(cause, ValueError):
        return "not a possible file name"
    if cause.errno == errno.ENOENT:
        return "no such file or folder"
    return (cause.strerror or str(cause)).lower()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to nowhere, or to itself
        return False
