"""Members of tar files, found by one pass over the headers and read where they lie; nothing is unpacked.

The archive is untrusted. A name in it is a name and no path: it is never joined to a folder of this machine. Links,
devices and sparse members are counted and not followed.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import BinaryIO

from deltaoe.errors import os_reason
from deltaoe.images.walk import Observed, observed

_BLOCK = 512
_WINDOW = 8192  # bytes that are read at a header: small members bring the next ones along
_MAX_EXTENDED = 1 << 20  # bytes of an extended header; a name takes thousands at most
_KEPT_MEMBERS = 300_000  # of the tars whose members are known in this process
_MIX = 0x9E3779B97F4A7C15  # odd: offsets of one tar stay different
_ALL_BITS = 2**64 - 1
_NO_DATA = {b"1": "link", b"2": "link", b"3": "device", b"4": "device", b"5": "", b"6": "pipe"}
_FILES = (b"0", b"\0", b"7")
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))


class ContainerError(Exception):
    """A file is no tar that can be read member by member. The message says what it is."""


@dataclass
class TarListing:
    """The regular members of a tar, column by column, in the order of the archive.

    Attributes:
        names: their names, without ``./`` and a leading ``/``; bytes that are no UTF-8 are lone surrogates. Of members
            of one name only the last is here, as it is the one that unpacking would leave.
        offset: byte at which each one's data begins.
        size: bytes of each.
        passed_over: what else there is, kind → number: ``link``, ``device``, ``pipe``, ``sparse member``,
            ``member of an unknown kind``, ``name with ..`` and ``repeated name``.
        problem: why members behind the last one here cannot be seen; empty for a whole tar.
    """

    names: list[str] = field(default_factory=list)
    offset: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("q"))
    passed_over: Counter[str] = field(default_factory=Counter)
    problem: str = ""


def list_members(path: str) -> tuple[TarListing, Observed]:
    """The members of a tar, and how the file was observed when they were listed.

    A tar that is cut off, or damaged behind some member, lists its whole members before that.

    Raises:
        ContainerError: it is none, or compressed.
        OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        info = os.fstat(file.fileno())
        return _Scan(file, info.st_size).listing(), observed(info)


class _Scan:
    """One pass over the headers of a tar. Every step moves on in the file, whatever its headers say."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file, self._end = file, end
        self._window, self._start = b"", 0

    def listing(self) -> TarListing:
        found = TarListing()
        add_name, add_offset, add_size = found.names.append, found.offset.append, found.size.append
        at = 0
        shared: dict[str, str] = {}  # of a global extended header
        own: dict[str, str] = {}
        while True:
            head = self._bytes(at, _BLOCK)
            if len(head) < _BLOCK:
                if at == 0:
                    raise ContainerError(_kind(head) if head else "empty")
                found.problem = "it is cut off" if head else "it has no end mark, and may be cut off"
                break
            if head[0] == 0 and not head.strip(b"\0"):
                break
            if not _is_header(head):
                if at == 0:
                    raise ContainerError(_kind(head))
                found.problem = f"it is damaged at byte {at:,}"
                break
            kind, length = head[156:157], _number(head[124:136])
            if "size" in own or "size" in shared:
                length = _decimal(own.get("size", shared.get("size", "")))
            if length < 0:
                found.problem = f"it is damaged at byte {at:,}"
                break
            data = at + _BLOCK
            if kind == b"S" and head[482]:  # its map of holes goes on in blocks of their own
                more = self._bytes(data, _BLOCK)
                data += _BLOCK
                while len(more) == _BLOCK and more[504]:
                    more = self._bytes(data, _BLOCK)
                    data += _BLOCK
            at = data if kind in _NO_DATA else data + -(-length // _BLOCK) * _BLOCK
            if kind in (b"x", b"X", b"g", b"L", b"K"):
                if length > _MAX_EXTENDED or data + length > self._end:
                    found.problem = f"it is cut off or damaged at byte {data:,}"
                    break
                text = self._bytes(data, length)
                if kind == b"L":
                    own["path"] = os.fsdecode(text.split(b"\0", 1)[0])
                elif kind == b"g":
                    shared |= _records(text)
                elif kind != b"K":
                    own |= _records(text)
                continue
            records, own = {**shared, **own}, {}
            what = "sparse member" if kind == b"S" or _is_sparse(records) else _NO_DATA.get(kind)
            name = records.get("path")
            if name is None:
                name = os.fsdecode(_name(head))
            if what is None and kind not in _FILES:
                what = "member of an unknown kind"
            if what is None and name.endswith("/"):  # how the first tars wrote folders
                what = ""
            if what is None:
                plain = member_name(name)
                if plain is None:
                    what = "name with .."
                elif data + length > self._end:
                    found.problem = f"it is cut off in {plain}"
                    break
                else:
                    add_name(plain)
                    add_offset(data)
                    add_size(length)
            if what:
                found.passed_over[what] += 1
        return _last_of_each_name(found)

    def _bytes(self, at: int, length: int) -> bytes:
        place = at - self._start
        if place < 0 or place + length > len(self._window):
            self._file.seek(at)
            self._window, self._start, place = _read(self._file, max(length, _WINDOW)), at, 0
        return self._window[place : place + length]


def _read(file: BinaryIO, length: int) -> bytes:
    """This many bytes, or all that are left: one call may give fewer."""
    data = file.read(length)
    while 0 < len(data) < length and (more := file.read(length - len(data))):
        data += more
    return data


def _is_header(head: bytes) -> bool:
    """Whether the checksum is right; it counts its own place as blanks, and some programs sum signed bytes."""
    told = _number(head[148:156])
    total = sum(head) - sum(head[148:156]) + 8 * 32
    if told == total:
        return True
    signed = total - 256 * sum(byte > 127 for byte in head[:148] + head[156:])
    return told == signed


def _number(digits: bytes) -> int:
    """A number of a header, in octal digits or, for large ones, in binary; −1 if it is none."""
    if digits[0] in (0x80, 0xFF):
        return int.from_bytes(digits[1:], "big") if digits[0] == 0x80 else -1
    text = digits.split(b"\0", 1)[0].strip()
    try:
        return int(text or b"0", 8) if text.isdigit() or not text else -1
    except ValueError:
        return -1


def _decimal(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def _name(head: bytes) -> bytes:
    name = head[:100].split(b"\0", 1)[0]
    if head[257:263] == b"ustar\0" and head[345]:
        name = head[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _records(text: bytes) -> dict[str, str]:
    """The records of an extended header of POSIX, ``length key=value``; from the first that is none on, no more."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        digits, blank, _ = text[at : at + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = text[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if not blank or not equals or not record.endswith(b"\n"):
            break
        found[key.decode("utf-8", "replace")] = os.fsdecode(value[:-1])
        at += length
    return found


def _is_sparse(records: dict[str, str]) -> bool:
    return bool(records) and any(key.startswith("GNU.sparse.") for key in records)


def member_name(name: str) -> str | None:
    """A member's name without ``./``, double slashes and a leading ``/``; None if it climbs with ``..`` or is none.

    Example:
        >>> [member_name(name) for name in ("./cat//a.jpg", "/etc/a.jpg", "../a.jpg")]
        ['cat/a.jpg', 'etc/a.jpg', None]
    """
    if "\0" in name:
        return None
    if "/." not in name and "//" not in name and name[:1] not in ("", "/", "."):
        return name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts or not parts else "/".join(parts)


def _last_of_each_name(found: TarListing) -> TarListing:
    last = {name: row for row, name in enumerate(found.names)}
    if len(last) == len(found.names):
        return found
    rows = sorted(last.values())
    found.passed_over["repeated name"] += len(found.names) - len(rows)
    return TarListing(
        [found.names[row] for row in rows],
        array("q", [found.offset[row] for row in rows]),
        array("q", [found.size[row] for row in rows]),
        found.passed_over,
        found.problem,
    )


def _kind(head: bytes) -> str:
    for start, name in _COMPRESSED:
        if head.startswith(start):
            return f"compressed with {name}"
    return "not a tar file"


def member_inode(container: Observed, offset: int) -> int:
    """The number by which a member is told from others of its tar, and of tars that took the place of that; not 0."""
    return ((container[3] ^ (offset * _MIX)) & _ALL_BITS) or 1


def member_observed(container: Observed, offset: int, size: int) -> Observed:
    """A member as it can be observed: of its own size, with the times of its tar."""
    return size, container[1], container[2], member_inode(container, offset)


class _Kept:
    """The members of the tars that were read last, name → place, as long as their files stay the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[Observed, dict[str, tuple[int, int]]]] = OrderedDict()

    def place(self, path: str, member: str) -> tuple[int, int, Observed] | None:
        """Offset and size of a member, and the file as observed; None if there is no such member. Raises as listing."""
        now = observed(os.stat(path))
        with self._lock:
            known = self._known.get(path)
            if known is None or known[0] != now:
                listing, now = list_members(path)
                pairs = zip(listing.offset, listing.size, strict=True)
                known = now, dict(zip(listing.names, pairs, strict=True))
                self._known[path] = known
                while (
                    len(self._known) > 1 and sum(len(one[1]) for one in self._known.values()) > _KEPT_MEMBERS
                ):
                    self._known.popitem(last=False)
            self._known.move_to_end(path)
        found = known[1].get(member)
        return None if found is None else (*found, known[0])


_kept = _Kept()


def _place(path: str, member: str) -> tuple[int, int, Observed]:
    from deltaoe.images.decode import ImageError

    try:
        found = _kept.place(path, member)
    except ContainerError as cause:
        raise ImageError(f"{os.path.basename(path)} is {cause}") from cause
    except OSError as cause:
        raise ImageError(os_reason(cause)) from cause
    if found is None:
        raise ImageError(f"no such member of {os.path.basename(path)}")
    return found


def member_size(path: str, member: str) -> int:
    """Bytes of a member; 0 if it cannot be found, as reading it will say why."""
    try:
        found = _kept.place(path, member)
    except (ContainerError, OSError):
        return 0
    return 0 if found is None else found[1]


def observe_member(path: str, member: str) -> Observed:
    """A member as it can be observed now. Raises ImageError."""
    offset, size, container = _place(path, member)
    return member_observed(container, offset, size)


def read_member(path: str, member: str) -> tuple[bytes, Observed | None]:
    """The bytes of a member, and how it was observed; None if the tar changed while it was read.

    Raises:
        ImageError: there is no such member, it cannot be read, or is too large for a picture.
    """
    from deltaoe.images.decode import ImageError, read_part

    offset, size, container = _place(path, member)
    try:
        with open(path, "rb", buffering=0) as file:
            same = observed(os.fstat(file.fileno())) == container
            file.seek(offset)
            data = read_part(file, size)
            same = same and observed(os.fstat(file.fileno())) == container
    except OSError as cause:
        raise ImageError(os_reason(cause)) from cause
    if len(data) < size:
        raise ImageError(f"{os.path.basename(path)} ends within it")
    return data, member_observed(container, offset, size) if same else None
