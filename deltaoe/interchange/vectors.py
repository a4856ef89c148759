"""Feature vectors of a file as float32, each checked to have a direction: a finite length above zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.interchange.arrays import Column

Vectors = npt.NDArray[np.float32]

_FLOAT = np.finfo(np.float32)


def vector_blocks(path: Path, column: Column, paths: Sequence[str] | None = None) -> Iterator[Vectors]:
    """The rows of an (n, D) array as float32 copies (m, D), a few thousand at a time, not scaled.

    Args:
        path: the file, for messages.
        column: the array.
        paths: (n,) names of the rows, for messages.

    Raises:
        DataError: a row is zero, not finite, or of a length whose square float32 cannot hold.
    """
    start = 0
    for block in column.blocks():
        rows = _float32(block)
        _check_rows(path, column.name, rows, block, start, paths)
        yield rows
        start += len(rows)


def matrix_of_shape(path: Path, column: Column, rows: int | None, dim: int | None) -> Vectors | None:
    """A whole 2-D array as float32 (rows, dim), transposed if it fits only as (dim, rows); None if it fits neither way.

    Any ``rows``, or any ``dim``, fits where None is given.

    Raises:
        DataError: a row is zero, not finite, or of a length whose square float32 cannot hold.
    """
    straight, transposed = (
        rows in (None, height) and dim in (None, width) and height * width > 0
        for height, width in (column.shape, column.shape[::-1])
    )
    if not straight and not transposed:
        return None
    held: npt.NDArray[Any] = np.concatenate(list(column.blocks()))
    exact = held if straight else held.T
    matrix = _float32(exact)
    _check_rows(path, column.name, matrix, exact, 0, None)
    return matrix


def _float32(block: npt.NDArray[Any]) -> Vectors:
    with np.errstate(over="ignore"):  # becomes infinite, and is found below
        return np.array(block, dtype=np.float32, order="C")


def _check_rows(
    path: Path,
    name: str,
    rows: Vectors,
    exact: npt.NDArray[Any],
    start: int,
    paths: Sequence[str] | None,
) -> None:
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    wrong = np.flatnonzero(~((squares >= _FLOAT.tiny) & (squares <= _FLOAT.max)))
    if not len(wrong):
        return
    first = int(wrong[0])
    with np.errstate(all="ignore"):
        values = np.asarray(exact[first], dtype=np.float64)
        largest = float(np.abs(values).max())
    if not np.isfinite(values).all():
        reason = f"holds {'NaN' if np.isnan(values).any() else 'an infinite number'}"
    elif largest == 0:
        reason = "is all zero, so it has no direction"
    else:
        reason = (
            f"is too {'long' if largest > 1 else 'short'} for float32: its largest component is {largest:.3g}"
        )
    whose = "" if paths is None else f" ({paths[start + first]!r})"
    more = f", and {len(wrong) - 1:,} more of the {len(rows):,} rows read with it" if len(wrong) > 1 else ""
    raise DataError(
        f"{path}: row {start + first:,}{whose} of {name!r} {reason}{more}",
        hint="rows count from 0; leave out such rows, with their paths and labels, and save the file again",
    )
