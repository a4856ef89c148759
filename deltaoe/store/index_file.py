"""One file of a store's index: where the rows of a run of shards lie, sorted by their keys.

It is derived from these shards, names them as they were, and holds nothing that they do not. See
``docs/reference/store-format.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.images.views import VIEW_POLICY
from deltaoe.store.atomic import replacing
from deltaoe.store.feature_space import canonical_json
from deltaoe.store.key_table import KeyTable
from deltaoe.store.paged_table import Bytes, IndexFileError, PagedTable, Pages, write_table
from deltaoe.store.shards import PATH_KEY_BYTES, Shard

SUFFIX = ".index"
_MAGIC = b"deltaoe.index 1\n"
_TRAILER = struct.Struct(
    "<QQ32s16s"
)  # length of the head and of the numbers per page, SHA-256 of both, magic
_MADE_BY = ("space", "view_policy", "byteorder")
_PLACE = [("shard", "<i4"), ("row", "<i4")]
_FEATURE = np.dtype([("key", "u1", (34,)), ("view", "<u2"), *_PLACE])
_FILE = np.dtype(
    [
        ("key", "u1", (PATH_KEY_BYTES,)),
        *((name, "<i8") for name in ("size", "mtime_ns", "ctime_ns")),
        ("inode", "<u8"),
        ("digest", "u1", (32,)),
        ("problem", "<i4"),
        *_PLACE,
    ]
)
ROWS = {"features": _FEATURE, "imported": _FEATURE, "files": _FILE}


class Content(NamedTuple):
    """What an index file says beside its tables.

    Attributes:
        shards: the shards that it covers, in their order, as they were when they were read.
        most_views: the largest view of a feature in them.
        problems: why files are no usable images, each once; the first is empty.
        notes: content digest → what is to be said of that picture.
    """

    shards: Sequence[Shard]
    most_views: int
    problems: Sequence[str]
    notes: Mapping[bytes, str]


class IndexFile:
    """An index file, open for look-ups.

    Args:
        path: the file.
        space_id: id of the feature space that it must be of.

    Attributes:
        path: the file.
        content: what it says beside its tables.

    Raises:
        IndexFileError: it cannot be read, is cut off or changed.
    """

    def __init__(self, path: Path, space_id: str) -> None:
        self.path = path
        try:
            self._bytes = Bytes(path)
        except OSError as cause:
            raise IndexFileError(f"cannot open {path}: {cause}") from cause
        head, numbers = self._sealed()
        try:
            self._fits = [head[name] for name in _MADE_BY] == _made_by(space_id)
            shards = [Shard(path.parent.parent / name, *values) for name, *values in head["shards"]]
            notes = {bytes.fromhex(digest): note for digest, note in head["notes"].items()}
            self.content = Content(shards, head["most_views"], head["problems"], notes)
            self._pages: dict[str, Pages] = {}
            for name in ROWS:
                rows, offset, count = head["tables"][name]
                firsts, sums, numbers = numbers[:count], numbers[count : 2 * count], numbers[2 * count :]
                self._pages[name] = Pages(rows, offset, firsts, sums)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
        ) as cause:  # of a later version, as it is sealed
            raise self._bytes.error("it is not laid out as this version does") from cause

    def _sealed(self) -> tuple[dict[str, Any], npt.NDArray[np.uint64]]:
        """The head, and the numbers per page of all tables, of which the digest has been compared."""
        end = self._bytes.size - _TRAILER.size
        if end < 0:
            raise self._bytes.error("it is cut off")
        head_bytes, page_bytes, digest, magic = _TRAILER.unpack(self._bytes.read(end, _TRAILER.size))
        if magic != _MAGIC or head_bytes + page_bytes > end:
            raise self._bytes.error("it is cut off, or no such file")
        sealed = self._bytes.read(end - head_bytes - page_bytes, head_bytes + page_bytes)
        if hashlib.sha256(sealed).digest() != digest:
            raise self._bytes.error("its content has changed since it was written")
        return json.loads(sealed[:head_bytes]), np.frombuffer(sealed[head_bytes:] or bytes(8), dtype="<u8")

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._bytes.size

    @property
    def rows(self) -> int:
        """Number of features or of observations of files in its shards, whichever are more, summed up."""
        return sum(shard.rows for shard in self.content.shards)

    def covers(self, present: Sequence[Path]) -> bool:
        """Whether it is of this space and the present rules, and its shards are the first of these, unchanged."""
        shards = self.content.shards
        if not self._fits or [shard.path for shard in shards] != list(present[: len(shards)]):
            return False
        try:
            seen = [os.stat(shard.path) for shard in shards]
        except OSError:
            return False
        return all(
            (info.st_size, info.st_mtime_ns) == (shard.size, shard.mtime_ns)
            for info, shard in zip(seen, shards, strict=True)
        )

    def table(self, name: str, renumber: Mapping[str, npt.NDArray[Any]]) -> PagedTable:
        """One of the tables of ``ROWS``; ``renumber`` as :class:`PagedTable` takes it."""
        return PagedTable(self._bytes, self._pages[name], ROWS[name], renumber)

    def check(self) -> None:
        """Read all of it. Raises IndexFileError if something in it has changed."""
        for name in ROWS:
            self.table(name, {}).check()


def write_index(
    target: Path, space_id: str, content: Content, tables: Mapping[str, Iterable[KeyTable]]
) -> None:
    """Write an index file, atomically; of its tables no more is in memory than the rows that come at once.

    Args:
        target: the file.
        space_id: id of the feature space.
        content: what it says beside its tables.
        tables: for each of ``ROWS``, its rows in the order of their keys, some at a time; ``shard`` counts from the
            first of the content's shards, ``problem`` is an index into its problems.

    Raises:
        StoreError: the disk does not take it.
    """
    with replacing(target) as temporary, temporary.open("wb") as out:
        out.write(_MAGIC)
        pages = {name: write_table(out, tables[name], row) for name, row in ROWS.items()}
        head = canonical_json(
            {
                **dict(zip(_MADE_BY, _made_by(space_id), strict=True)),
                "shards": [[shard.path.name, *shard[1:]] for shard in content.shards],
                "most_views": content.most_views,
                "problems": list(content.problems),
                "notes": {digest.hex(): note for digest, note in content.notes.items()},
                "tables": {name: [one.rows, one.offset, len(one.firsts)] for name, one in pages.items()},
            }
        ).encode()
        head += b" " * (-len(head) % 8)
        numbers = b"".join(array.tobytes() for one in pages.values() for array in (one.firsts, one.sums))
        digest = hashlib.sha256(head + numbers).digest()
        out.write(head + numbers + _TRAILER.pack(len(head), len(numbers), digest, _MAGIC))


def _made_by(space_id: str) -> list[Any]:
    """What must be the same for a file to be of use, see ``_MADE_BY``."""
    return [space_id, VIEW_POLICY, sys.byteorder]
