"""Tables in memory whose rows are found by keys of fixed length, many at a time.

A Python dictionary of a million digests takes 200 MB and a second to fill; these arrays take no more than their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


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
        prefix = _prefix(keys)
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
        self.columns = {name: column[order] for name, column in columns.items()}

    def __len__(self) -> int:
        """Number of distinct keys."""
        return len(self.keys)

    def find(self, keys: Keys) -> Rows:
        """Row of each of (k, W) keys, (k,) int64; −1 where there is none."""
        found = np.full(len(keys), -1, dtype=np.int64)
        if not len(self) or not len(keys):
            return found
        prefix = _prefix(keys)
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

    def followed_by(self, later: KeyTable) -> KeyTable:
        """Both tables as one; of a key that both have, the row of ``later`` stays."""
        return KeyTable(
            np.concatenate([self.keys, later.keys]),
            {name: np.concatenate([column, later.columns[name]]) for name, column in self.columns.items()},
        )


class GrowingTable:
    """Key tables that were appended one after the other, joined from time to time so that finding stays fast."""

    def __init__(self) -> None:
        self._tables: list[KeyTable] = []

    def append(self, table: KeyTable) -> None:
        """Add rows; they overrule earlier ones with the same keys."""
        self._tables.append(table)
        # Joining only tables of similar size moves each row a logarithmic number of times.
        while len(self._tables) > 1 and 2 * len(self._tables[-1]) >= len(self._tables[-2]):
            later = self._tables.pop()
            self._tables.append(self._tables.pop().followed_by(later))

    def find(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], dict[str, npt.NDArray[Any]]]:
        """Whether there is a row of each of (k, W) keys, (k,), and all columns, of k rows: zeros where there is none.

        Without any rows there are no columns.
        """
        found = np.zeros(len(keys), dtype=bool)
        values: dict[str, npt.NDArray[Any]] = {}
        for table in reversed(self._tables):
            rows = table.find(keys)
            new = (rows >= 0) & ~found
            for name, column in table.columns.items():
                if name not in values:
                    values[name] = np.zeros((len(keys), *column.shape[1:]), dtype=column.dtype)
                values[name][new] = column[rows[new]]
            found |= new
        return found, values

    def whole(self) -> KeyTable | None:
        """All rows as one table, or None if nothing was ever added."""
        while len(self._tables) > 1:
            later = self._tables.pop()
            self._tables.append(self._tables.pop().followed_by(later))
        return self._tables[0] if self._tables else None


def _repeats(keys: Keys) -> npt.NDArray[np.bool_]:
    """Whether each of n sorted keys but the last is followed by an equal one, (n − 1,)."""
    return np.asarray((keys[1:] == keys[:-1]).all(axis=1))


def _prefix(keys: Keys) -> npt.NDArray[np.uint64]:
    """The first eight bytes of each key as a number, (n,)."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]
