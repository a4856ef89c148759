"""An index in memory: rows found by a key of fixed length, many at a time, at the cost of their bytes.

A Python dictionary of a million digests takes 200 MB and a second to fill; these arrays take their own size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


class KeyTable:
    """Columns sorted by the first eight bytes of their keys; of equal keys only the latest row is kept.

    Args:
        keys: (n, W) uint8, W ≥ 8, in the order in which the rows came; spread evenly, as digests are.
        columns: arrays of n rows by name.
    """

    def __init__(self, keys: Keys, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        prefix = _prefix(keys)
        order = np.argsort(prefix, kind="stable")
        ordered = keys[order]
        same = _repeats(ordered)
        alike = prefix[order[1:]] == prefix[order[:-1]]
        if (alike & ~same).any():
            # Different keys with the same first eight bytes, by foul play: only the rest brings equal ones together.
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
        """Row of each of (m, W) keys, −1 where there is none: (m,)."""
        found = np.full(len(keys), -1, dtype=np.int64)
        if not len(self) or not len(keys):
            return found
        prefix = _prefix(keys)
        at = np.searchsorted(self._prefix, prefix, side="right") - 1
        pending = np.arange(len(keys))
        while len(pending):
            here = at[pending]
            near = (here >= 0) & (self._prefix[here] == prefix[pending])
            pending, here = pending[near], here[near]
            same = (self.keys[here] == keys[pending]).all(axis=1)
            found[pending[same]] = here[same]
            pending = pending[~same]  # another key with the same first eight bytes: look at its neighbour
            at[pending] -= 1
        return found

    def followed_by(self, later: KeyTable) -> KeyTable:
        """Both tables as one; where they share a key, ``later`` wins."""
        return KeyTable(
            np.concatenate([self.keys, later.keys]),
            {name: np.concatenate([column, later.columns[name]]) for name, column in self.columns.items()},
        )


class GrowingTable:
    """Key tables that came one after the other, joined now and then: appending stays cheap, finding too."""

    def __init__(self) -> None:
        self._tables: list[KeyTable] = []

    def append(self, table: KeyTable) -> None:
        """Add rows that overrule the ones before."""
        self._tables.append(table)
        # Joining only tables of like size moves each row a logarithmic number of times.
        while len(self._tables) > 1 and 2 * len(self._tables[-1]) >= len(self._tables[-2]):
            later = self._tables.pop()
            self._tables.append(self._tables.pop().followed_by(later))

    def find(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], dict[str, npt.NDArray[Any]]]:
        """Which of (m, W) keys are there, (m,), and all columns, of m rows: zeros where one is not."""
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
    """Whether each row but the last is followed by its equal: (n - 1,)."""
    return np.asarray((keys[1:] == keys[:-1]).all(axis=1))


def _prefix(keys: Keys) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]
