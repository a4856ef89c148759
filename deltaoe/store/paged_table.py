"""Tables on disk whose rows are found by their keys, of which no more is read than the pages that are asked for.

A table is its rows, sorted by the first eight bytes of their keys, in pages of equal size. In memory there are two
numbers per page: the first eight bytes of its first key, and the checksum of its bytes. Each page that is read is
compared with its checksum, so that a changed bit gives no wrong row and hides none.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DamagedError, os_reason
from deltaoe.store.key_table import Columns, Keys, KeyTable, Rows, prefixes
from deltaoe.store.row_sums import row_sums, word_weights

PAGE_ROWS = 128
_PAGES_AT_ONCE = 512
_GAP_PAGES = 3  # pages nearer to each other than this are read at once, with those between them
_FLAGS = os.O_RDONLY
for _flag in (
    "O_BINARY",
    "O_CLOEXEC",
    "O_NONBLOCK",
):  # the last, so that opening a pipe does not wait for ever
    _FLAGS |= getattr(os, _flag, 0)
_pread: Callable[[int, int, int], bytes] | None = getattr(os, "pread", None)  # not on Windows
_Numbers = npt.NDArray[np.uint64]


class IndexFileError(DamagedError):
    """A file of the index cannot be read, or holds other bytes than were written; the shards may be sound."""


class Pages(NamedTuple):
    """Where a table lies in its file.

    Attributes:
        rows: number of rows.
        offset: of its first page, bytes.
        firsts: (P,), the first eight bytes of each page's first key.
        sums: (P,), the checksum of each page.
    """

    rows: int
    offset: int
    firsts: _Numbers
    sums: _Numbers


class Bytes:
    """A file that stays open, and is read in parts by several threads.

    It is not mapped into memory: where a disk fails, or a file server has lost the file, a mapped one would end the
    process.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, _FLAGS)
        weakref.finalize(self, os.close, self._file)
        info = os.fstat(self._file)
        if not stat.S_ISREG(info.st_mode):
            raise self.error("not a regular file")
        self.size = info.st_size
        self._turn = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        """Some bytes. Raises IndexFileError if they cannot be read, or are not there."""
        try:
            if _pread is not None:
                content = _pread(self._file, count, offset)
            else:
                with self._turn:
                    os.lseek(self._file, offset, os.SEEK_SET)
                    content = os.read(self._file, count)
        except OSError as cause:
            raise self.error(os_reason(cause)) from cause
        if len(content) < count:
            if not content:
                raise self.error("it is cut off")
            return content + self.read(offset + len(content), count - len(content))  # one read has its limit
        return content

    def read_all(self, offsets: Sequence[int], counts: Sequence[int]) -> bytes:
        """Several parts, one after the other. Raises IndexFileError as :meth:`read`."""
        if _pread is not None:  # most of the time of a thousand small reads is Python's
            try:
                parts = [_pread(self._file, *part) for part in zip(counts, offsets, strict=True)]
            except OSError as cause:
                raise self.error(os_reason(cause)) from cause
            content = b"".join(parts)
            if len(content) == sum(counts):
                return content
        return b"".join(map(self.read, offsets, counts))

    def error(self, why: str) -> IndexFileError:
        """What is wrong with it, and what to do."""
        return IndexFileError(
            f"cannot use the index {self.path}: {why}",
            hint="it holds nothing that the shards do not: delete it, and it is made again",
        )


class PagedTable:
    """A table of an index file.

    Args:
        file: the file.
        pages: where the table lies in it.
        row: the NumPy type of a row; its first field is ``key``, of W bytes.
        renumber: column → array that gives the value to return for each value in the file.
    """

    def __init__(
        self,
        file: Bytes,
        pages: Pages,
        row: np.dtype[Any],
        renumber: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        self._file, self._pages, self._row, self._renumber = file, pages, row, renumber
        self._page_bytes = PAGE_ROWS * row.itemsize
        self._weights = word_weights(self._page_bytes // 8)
        self._nothing = np.zeros(0, dtype=np.int64), self._columns(np.zeros(0, dtype=row))

    def __len__(self) -> int:
        """Number of rows."""
        return self._pages.rows

    def pick(self, keys: Keys) -> tuple[Rows, Columns]:
        """Positions (f,) of those of (k, W) keys that are there, and all columns of their rows, (f, …).

        Raises:
            IndexFileError: a page that was needed cannot be read, or has changed.
        """
        if len(keys) == 1:
            return self._pick_one(keys.tobytes())
        wanted = prefixes(keys)
        order = np.argsort(wanted)
        wanted = wanted[order]
        firsts = self._pages.firsts
        # Rows whose keys begin alike may lie in several pages.
        last = np.searchsorted(firsts, wanted, side="right") - 1
        first = np.maximum(np.searchsorted(firsts, wanted, side="left") - 1, 0)
        inside = int(np.searchsorted(last, 0))  # those before it come before the first row
        order, wanted, first, last = order[inside:], wanted[inside:], first[inside:], last[inside:]
        found: list[Rows] = [np.zeros(0, dtype=np.int64)]
        picked = [np.zeros(0, dtype=self._row)]
        if len(order):
            pages = _union(first, last)
            begin, end = np.searchsorted(pages, first), np.searchsorted(pages, last) + 1
            start = 0
            while start < len(order):
                stop = int(np.searchsorted(end, begin[start] + _PAGES_AT_ONCE, side="right"))
                stop = max(stop, start + 1)
                rows = self._read(pages[begin[start] : end[stop - 1]])
                some, at = _find(rows["key"], wanted[start:stop], keys, order[start:stop])
                found.append(some)
                picked.append(rows[at])
                start = stop
        return np.concatenate(found), self._columns(np.concatenate(picked))

    def _pick_one(self, key: bytes) -> tuple[Rows, Columns]:
        """As :meth:`pick`, of one key, in a tenth of the time."""
        first, last = self._span(np.frombuffer(key, dtype="<u8", count=1)[0])
        if last < 0:
            return self._nothing
        raw = self._file.read(
            self._pages.offset + first * self._page_bytes, (last + 1 - first) * self._page_bytes
        )
        sums = np.frombuffer(raw, dtype="<u8").reshape(-1, len(self._weights)) @ self._weights
        if sums.tobytes() != self._pages.sums[first : last + 1].tobytes():
            raise self._changed(first)
        step, rows = (
            self._row.itemsize,
            self._pages.rows - first * PAGE_ROWS,
        )  # what follows the last row is padding
        at = raw.find(key)
        while at >= 0 and at % step:
            at = raw.find(key, at + 1)
        if not 0 <= at < rows * step:
            return self._nothing
        row = np.frombuffer(raw, dtype=self._row, count=1, offset=at)
        return np.zeros(1, dtype=np.int64), self._columns(row)

    def _span(self, prefix: np.uint64) -> tuple[int, int]:
        """The first and the last page that may hold keys that begin with these bytes; the last is −1 if none may."""
        last = int(self._pages.firsts.searchsorted(prefix, side="right")) - 1
        if last >= 0 and self._pages.firsts[last] < prefix:
            return last, last
        return max(int(self._pages.firsts.searchsorted(prefix)) - 1, 0), last

    def _changed(self, page: int) -> IndexFileError:
        return self._file.error(f"page {page} of a table has changed since it was written")

    def between(self, low: int, high: int) -> KeyTable:
        """The rows whose first eight bytes are a number from ``low`` on and below ``high``.

        Raises:
            IndexFileError: a page that was needed cannot be read, or has changed.
        """
        firsts = self._pages.firsts
        start = max(0, int(np.searchsorted(firsts, np.uint64(low))) - 1)
        stop = int(np.searchsorted(firsts, np.uint64(high))) if high < 1 << 64 else len(firsts)
        rows = self._read(np.arange(start, stop))
        table = KeyTable.of_sorted(np.ascontiguousarray(rows["key"]), self._columns(rows))
        return table.between(low, high)

    def check(self) -> None:
        """Read every page. Raises IndexFileError if one cannot be read, or has changed."""
        for start in range(0, len(self._pages.firsts), _PAGES_AT_ONCE):
            self._read(np.arange(start, min(start + _PAGES_AT_ONCE, len(self._pages.firsts))))

    def _columns(self, rows: npt.NDArray[Any]) -> Columns:
        names = [name for name in self._row.names or () if name != "key"]
        return {
            name: self._renumber[name][rows[name]]
            if name in self._renumber
            else np.ascontiguousarray(rows[name])
            for name in names
        }

    def _read(self, pages: Rows) -> npt.NDArray[Any]:
        """The rows of some pages, which ascend, and of some between them."""
        if not len(pages):
            return np.zeros(0, dtype=self._row)
        size = self._page_bytes
        cuts = np.flatnonzero(np.diff(pages) > _GAP_PAGES)
        starts, ends = pages[np.append(0, cuts + 1)], pages[np.append(cuts, len(pages) - 1)] + 1
        content = self._file.read_all(
            (self._pages.offset + starts * size).tolist(), ((ends - starts) * size).tolist()
        )
        if len(pages) < (ends - starts).sum():
            pages = np.concatenate([np.arange(*both) for both in zip(starts, ends, strict=True)])
        raw = np.frombuffer(content, dtype=np.uint8).reshape(len(pages), size)
        wrong = row_sums(raw) != self._pages.sums[pages]
        if wrong.any():
            raise self._changed(int(pages[np.argmax(wrong)]))
        rows = raw.reshape(-1).view(self._row)
        if pages[-1] == len(self._pages.firsts) - 1:  # what follows its last row is padding
            rows = rows[: len(rows) - (-self._pages.rows % PAGE_ROWS)]
        return rows


def write_table(out: BinaryIO, tables: Iterable[KeyTable], row: np.dtype[Any]) -> Pages:
    """Write rows that come in the order of their keys, some at a time, from the file's present position on.

    Raises:
        OSError: the disk does not take it.
    """
    offset, count = out.tell(), 0
    firsts: list[_Numbers] = []
    sums: list[_Numbers] = []
    rest = np.zeros(0, dtype=row)

    def put(rows: npt.NDArray[Any]) -> None:
        firsts.append(prefixes(rows["key"][::PAGE_ROWS]))
        spare = -len(rows) % PAGE_ROWS
        rows = np.concatenate([rows, np.zeros(spare, dtype=row)]) if spare else rows
        raw = rows.view(np.uint8).reshape(-1, PAGE_ROWS * row.itemsize)
        sums.append(row_sums(raw))
        out.write(raw.data)

    for table in tables:
        rows = np.zeros(len(rest) + len(table), dtype=row)
        rows[: len(rest)] = rest
        rows["key"][len(rest) :] = table.keys
        for name, column in table.columns.items():
            rows[name][len(rest) :] = column
        whole = len(rows) // PAGE_ROWS * PAGE_ROWS
        put(rows[:whole])
        rest, count = rows[whole:].copy(), count + len(table)
    put(rest)
    return Pages(count, offset, np.concatenate(firsts), np.concatenate(sums))


def _union(first: Rows, last: Rows) -> Rows:
    """All numbers from one of n firsts to the last of the same position, each once, ascending; both ascend."""
    several = last > first
    spans = [
        np.arange(a, b + 1) for a, b in set(zip(first[several].tolist(), last[several].tolist(), strict=True))
    ]
    return np.unique(np.concatenate([last, *spans]))


def _find(present: Keys, prefix: _Numbers, keys: Keys, order: Rows) -> tuple[Rows, Rows]:
    """Of the keys at these positions, which begin with these bytes: positions of those present, and where they are."""
    starts = prefixes(present)
    at = np.searchsorted(starts, prefix, side="right") - 1
    pending = np.arange(len(order))
    positions: list[Rows] = []
    rows: list[Rows] = []
    while len(pending):
        row = at[pending]
        candidate = (row >= 0) & (starts[row] == prefix[pending])
        pending, row = pending[candidate], row[candidate]
        same = (present[row] == keys[order[pending]]).all(axis=1)
        positions.append(order[pending[same]])
        rows.append(row[same])
        pending = pending[~same]  # another key with the same first eight bytes: look at its neighbour
        at[pending] -= 1
    empty = np.zeros(0, dtype=np.int64)
    return np.concatenate([*positions, empty]), np.concatenate([*rows, empty])
