"""Images in the rows of Parquet files: as bytes, like Hugging Face's data sets, or named by paths and URLs."""

from __future__ import annotations

import bisect
import csv
import io
import os
import threading
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from deltaoe.errors import ConfigError, first_line, os_reason
from deltaoe.images.parquet_file import OpenedParquet, scalar_columns
from deltaoe.images.tar_images import LONGEST_CELL
from deltaoe.images.tars import ContainerError, member_inode
from deltaoe.images.walk import Observed, observed

_BATCH = 32  # images that are decoded together
_CELLS = 10_000  # rows of texts and numbers that are read together
_KEPT_BATCHES = 4
_KEPT_FILES = 8
_LONGEST_NAME = 80


class ParquetImages:
    """The images in the rows of a Parquet file; attributes as of :class:`~deltaoe.images.tar_images.TarImages`.

    A row's name is its number and, if the file says one, the image's: ``17-cat.jpg``.

    Attributes:
        holds_images: whether there is a column of images' bytes.

    Raises:
        ContainerError, ConfigError, OSError: it cannot be read, or pyarrow is not installed.
    """

    def __init__(self, path: str) -> None:
        self.path, self.problem, self.hidden, self.other_files = path, "", 0, 0
        self.passed_over: Counter[str] = Counter()
        with _reading(path) as opened:
            self.observed = opened.observed
            self.holds_images = bool(opened.bytes_leaf)
            self.names = list(_names(opened)) if self.holds_images else []
            if opened.other_images and self.holds_images:
                self.passed_over["further column of images"] += len(opened.other_images)
            self._columns = scalar_columns(opened)
        self.size = array("q", [self.observed[0]]) * len(self.names)
        self.inode = array("Q", [member_inode(self.observed, row + 1) for row in range(len(self.names))])
        self.beside = set(self._columns)

    def cells(self, rows: Sequence[int], wanted: Collection[str] | None = None) -> list[dict[str, str]]:
        """Texts and numbers of these rows: title → text. Numbers of classes that the file names are their names."""
        titles = [title for title in self._columns if wanted is None or title in wanted]
        opened = OpenedParquet(self.path)
        try:
            return list(_cells(opened, titles, rows, self._columns))
        except Exception as cause:
            raise ContainerError(f"a broken Parquet file ({first_line(cause, 80)})") from cause
        finally:
            opened.close()


@contextmanager
def _reading(path: str) -> Iterator[OpenedParquet]:
    """A file, closed at the end. Raises ContainerError, ConfigError or OSError for whatever goes wrong with it."""
    opened = OpenedParquet(path)
    try:
        yield opened
    except (ContainerError, OSError):
        raise
    except Exception as cause:
        raise ContainerError(f"a broken Parquet file ({first_line(cause, 80)})") from cause
    finally:
        opened.close()


def _names(opened: OpenedParquet) -> Iterator[str]:
    if not opened.name_leaf:
        yield from map(str, range(opened.rows))
        return
    row = 0
    for batch in opened.batches([opened.name_leaf], _CELLS):
        for value in opened.values(batch, opened.name_leaf):
            name = "" if not value else str(value).replace("\\", "/").rpartition("/")[2].replace("\0", "")
            yield f"{row}-{name[-_LONGEST_NAME:]}" if name else str(row)
            row += 1


def _cells(
    opened: OpenedParquet, titles: Sequence[str], rows: Sequence[int], classes: dict[str, list[str]]
) -> Iterator[dict[str, str]]:
    """Title → text of these rows, which are ascending."""
    start, at = 0, 0
    if not titles:
        yield from ({} for _ in rows)
        return
    for batch in opened.batches(titles, _CELLS):
        if at < len(rows) and rows[at] < start + batch.num_rows:
            columns = {title: opened.values(batch, title) for title in titles}
            while at < len(rows) and rows[at] < start + batch.num_rows:
                row = rows[at] - start
                yield {title: _cell(values[row], classes[title]) for title, values in columns.items()}
                at += 1
        start += batch.num_rows


def _cell(value: Any, names: Sequence[str]) -> str:
    if value is None:
        return ""
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""
    text = str(value).strip().replace("\0", "")
    return text if len(text) <= LONGEST_CELL else ""


def listed_rows(path: str) -> str | None:
    """A Parquet file of paths or URLs of images as a table with tabs between its cells, and titles.

    None if it holds the images themselves.

    Raises:
        ContainerError, ConfigError, OSError: it cannot be read, or pyarrow is not installed.
    """
    with _reading(path) as opened:
        if opened.bytes_leaf:
            return None
        columns = scalar_columns(opened)
        titles = list(columns)
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter="\t", lineterminator="\n")
        leaves = ([opened.path_leaf] if opened.path_leaf else []) + titles
        writer.writerow(["path", *titles] if opened.path_leaf else titles)
        for batch in opened.batches(leaves, _CELLS) if leaves else ():
            cells = [opened.values(batch, leaf) for leaf in leaves]
            for values in zip(*cells, strict=True):
                names = [columns.get(leaf, []) for leaf in leaves]
                writer.writerow([_listed(one, known) for one, known in zip(values, names, strict=True)])
        return out.getvalue()


def _listed(value: Any, names: Sequence[str]) -> str:
    """A cell: paths and URLs may be long."""
    return " ".join(str(value).split()) if isinstance(value, str) else _cell(value, names)


class _Reader:
    """Reads single rows of a file. Rows that follow each other cost one pass over their row groups."""

    def __init__(self, path: str) -> None:
        self.opened = OpenedParquet(path)
        self.lock = threading.Lock()
        self._batches: deque[tuple[int, list[Any]]] = deque(maxlen=_KEPT_BATCHES)
        self._iterator: Iterator[Any] = iter(())
        self._group, self._next = -1, 0

    def value(self, row: int) -> Any:
        for start, values in self._batches:
            if start <= row < start + len(values):
                return values[row - start]
        opened = self.opened
        group = bisect.bisect_right(opened.starts, row) - 1
        if group != self._group or row < self._next:
            self._iterator = opened.batches([opened.bytes_leaf], _BATCH, group)
            self._group, self._next = group, opened.starts[group]
        while self._next <= row:
            values = opened.values(next(self._iterator), opened.bytes_leaf)
            self._batches.append((self._next, values))
            self._next += len(values)
        start, values = self._batches[-1]
        return values[row - start]


class _Readers:
    """The files that were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Reader] = OrderedDict()

    def of(self, path: str) -> _Reader:
        now = observed(os.stat(path))
        with self._lock:
            reader = self._open.get(path)
            if reader is None or reader.opened.observed != now:
                self._open[path] = reader = _Reader(path)
                while len(self._open) > _KEPT_FILES:
                    self._open.popitem(last=False)  # closed when nobody reads it any more
            self._open.move_to_end(path)
            return reader


_readers = _Readers()


def _row(member: str) -> int:
    digits = member.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else -1


def observe_row(path: str, member: str) -> Observed:
    """A row as it can be observed now: of the size and with the times of its file. Raises OSError."""
    size, modified, changed, inode = observed(os.stat(path))
    return size, modified, changed, member_inode((size, modified, changed, inode), _row(member) + 1)


def read_row(path: str, member: str) -> tuple[bytes, Observed | None]:
    """The bytes of the image in a row, and how it was observed; None if the file changed while it was read.

    Raises:
        ImageError: there is no such row, or no image in it, or the file cannot be read.
    """
    from deltaoe.images.decode import MAX_FILE_BYTES, ImageError

    row, name = _row(member), os.path.basename(path)
    try:
        reader = _readers.of(path)
        if not reader.opened.bytes_leaf:
            raise ImageError(f"{name} has no column of images")
        if not 0 <= row < reader.opened.rows:
            raise ImageError(f"no such row of {name}")
        with reader.lock:
            data = reader.value(row)
        same = observed(os.stat(path)) == reader.opened.observed
    except (ImageError, ConfigError) as cause:
        raise ImageError(str(cause)) from cause
    except ContainerError as cause:
        raise ImageError(f"{name} is {cause}") from cause
    except OSError as cause:
        raise ImageError(os_reason(cause)) from cause
    except Exception as cause:  # pyarrow's kinds, and the end of a group that is shorter than it says
        raise ImageError(f"{name} is broken at this row: {first_line(cause, 80)}") from cause
    if not data:
        raise ImageError("no image in this row")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError("too large for a picture")
    size, modified, changed, _ = reader.opened.observed
    seen = size, modified, changed, member_inode(reader.opened.observed, row + 1)
    return data, seen if same else None
