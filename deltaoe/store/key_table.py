"""Tables whose rows are found by keys of fixed length, many at a time.

A Python dictionary of a million digests takes 200 MB and a second to fill; these arrays take no more than their bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]
_RANGE_ROWS = 1 << 17  # about as many are joined at a time


class Table(Protocol):
    """Rows by their keys, sorted by the first eight bytes as a little-endian number; each key is there once."""

    def __len__(self) -> int:
        """Number of rows."""

    def pick(self, keys: Keys) -> tuple[Rows, Columns]:
        """Positions (f,) of those of (k, W) keys that are there, and all columns of their rows, (f, …)."""

    def between(self, low: int, high: int) -> KeyTable:
        """The rows whose first eight bytes are a number from ``low`` on and below ``high``."""


class KeyTable:
    """Rows sorted by the first eight bytes of their keys; of rows with equal keys only the latest stays.

    Args:
        keys: (n, W) uint8, W ≥ 8, in the order in which the rows came; evenly distributed, as digests are.
        columns: name → array of n rows.

    Attributes:
        keys: (m, W), the distinct keys, sorted.
        columns: name → array of m rows, in the order of the keys.

    Example:
        >>> table = KeyTable(np.array([[7] * 8, [3] * 8, [7] * 8], np.uint8), {"size": np.array([10, 20, 30])})
        >>> table.columns["size"].tolist(), table.find(np.array([[7] * 8, [9] * 8], np.uint8)).tolist()
        ([20, 30], [1, -1])
    """

    def __init__(self, keys: Keys, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        prefix = prefixes(keys)
        order = np.argsort(prefix, kind="stable")
        ordered = keys[order]
        same = _repeats(ordered)
        alike = prefix[order[1:]] == prefix[order[:-1]]
        if (alike & ~same).any():
            # Different keys with the same first eight bytes, which somebody must have made: sort by all bytes.
            order = np.lexsort((*keys[:, 8:].T, prefix))
            ordered = keys[order]
            same = _repeats(ordered)
        if same.any():
            latest = np.append(~same, True)
            order, ordered = order[latest], ordered[latest]
        self._prefix = prefix[order]
        self.keys = ordered
        self.columns: Columns = {name: column[order] for name, column in columns.items()}

    @classmethod
    def of_sorted(cls, keys: Keys, columns: Mapping[str, npt.NDArray[Any]]) -> KeyTable:
        """A table of rows that are in order already, and whose keys are distinct."""
        table = cls.__new__(cls)
        table._prefix, table.keys, table.columns = prefixes(keys), keys, dict(columns)
        return table

    def __len__(self) -> int:
        """Number of distinct keys."""
        return len(self.keys)

    def find(self, keys: Keys) -> Rows:
        """Row of each of (k, W) keys, (k,) int64; −1 where there is none."""
        found = np.full(len(keys), -1, dtype=np.int64)
        if not len(self) or not len(keys):
            return found
        prefix = prefixes(keys)
        at = np.searchsorted(self._prefix, prefix, side="right") - 1
        pending = np.arange(len(keys))
        while len(pending):
            row = at[pending]
            candidate = (row >= 0) & (self._prefix[row] == prefix[pending])
            pending, row = pending[candidate], row[candidate]
            same = (self.keys[row] == keys[pending]).all(axis=1)
            found[pending[same]] = row[same]
            pending = pending[~same]  # another key with the same first eight bytes: look at its neighbour
            at[pending] -= 1
        return found

    def pick(self, keys: Keys) -> tuple[Rows, Columns]:
        """As :meth:`Table.pick`."""
        rows = self.find(keys)
        positions = np.flatnonzero(rows >= 0)
        return positions, {name: column[rows[positions]] for name, column in self.columns.items()}

    def between(self, low: int, high: int) -> KeyTable:
        """As :meth:`Table.between`; a view of these rows."""
        start, stop = (
            int(np.searchsorted(self._prefix, np.uint64(end))) if end < 1 << 64 else len(self)
            for end in (low, high)
        )
        part = slice(start, stop)
        return KeyTable.of_sorted(self.keys[part], {name: one[part] for name, one in self.columns.items()})

    def followed_by(self, later: KeyTable) -> KeyTable:
        """Both tables as one; of a key that both have, the row of ``later`` stays."""
        return KeyTable(
            np.concatenate([self.keys, later.keys]),
            {name: np.concatenate([column, later.columns[name]]) for name, column in self.columns.items()},
        )


def joined(tables: Sequence[KeyTable]) -> KeyTable:
    """Several tables, at least one, as one; of a key that several have, the row of the latest stays."""
    if len(tables) == 1:
        return tables[0]
    names = tables[0].columns
    return KeyTable(
        np.concatenate([table.keys for table in tables]),
        {name: np.concatenate([table.columns[name] for table in tables]) for name in names},
    )


def in_ranges(tables: Sequence[Table], rows: int = _RANGE_ROWS) -> Iterator[KeyTable]:
    """Several tables as one, in the order of the keys, about ``rows`` of all tables at a time."""
    parts = max(1, -(-sum(map(len, tables)) // rows))
    ends = [(part << 64) // parts for part in range(parts + 1)]
    for low, high in itertools.pairwise(ends):
        if tables:
            yield joined([table.between(low, high) for table in tables])


class GrowingTable:
    """Tables that were appended one after the other: those that lie on disk, then those in memory.

    The latter are joined from time to time so that finding stays fast. Lists of tables are replaced, not changed, so
    that other threads may look up meanwhile.

    Args:
        settled: tables on disk.
    """

    def __init__(self, settled: Sequence[Table] = ()) -> None:
        self._settled: tuple[Table, ...] = tuple(settled)
        self._tables: tuple[KeyTable, ...] = ()

    def append(self, table: KeyTable) -> None:
        """Add rows; they overrule earlier ones with the same keys."""
        tables = [*self._tables, table]
        # Joining only tables of similar size moves each row a logarithmic number of times.
        while len(tables) > 1 and 2 * len(tables[-1]) >= len(tables[-2]):
            later = tables.pop()
            tables.append(tables.pop().followed_by(later))
        self._tables = tuple(tables)

    def tables(self, skipped: int = 0) -> tuple[Table, ...]:
        """All tables but the first so many, in the order in which they came."""
        return (*self._settled, *self._tables)[skipped:]

    def find(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], Columns]:
        """Whether there is a row of each of (k, W) keys, (k,), and all columns, of k rows: zeros where there is none.

        Without any rows there are no columns.
        """
        found = np.zeros(len(keys), dtype=bool)
        values: Columns = {}
        for table in reversed(self.tables()):
            pending = np.flatnonzero(~found) if values else np.arange(len(keys))
            positions, columns = table.pick(keys[pending] if values else keys)
            for name, column in columns.items():
                if name not in values:
                    values[name] = np.zeros((len(keys), *column.shape[1:]), dtype=column.dtype)
                values[name][pending[positions]] = column
            found[pending[positions]] = True
            if found.all():
                break
        return found, values

    def ranges(self) -> Iterator[KeyTable]:
        """All rows in the order of their keys, some at a time."""
        return in_ranges(self.tables())

    def whole(self) -> KeyTable | None:
        """All rows as one table, or None if nothing was ever added."""
        tables = self.tables()
        return joined([table.between(0, 1 << 64) for table in tables]) if tables else None


def _repeats(keys: Keys) -> npt.NDArray[np.bool_]:
    """Whether each of n sorted keys but the last is followed by an equal one, (n − 1,)."""
    return np.asarray((keys[1:] == keys[:-1]).all(axis=1))


def prefixes(keys: Keys) -> npt.NDArray[np.uint64]:
    """The first eight bytes of each key as a number, (n,)."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]
