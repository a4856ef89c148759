"""Vectors from elsewhere, block by block, as float32 that can be brought to unit length."""

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


def directed(path: Path, column: Column, paths: Sequence[str] | None = None) -> Iterator[Vectors]:
    """The raw rows of an (n, D) array, a few thousand at a time, in memory of their own.

    Raises:
        DataError: a row has no direction; with its number and, if given, its path.
    """
    start = 0
    for block in column.blocks():
        rows = _float32(block)
        _check_rows(path, column.name, rows, block, start, paths)
        yield rows
        start += len(rows)


def oriented(path: Path, column: Column, rows: int | None, dim: int | None) -> Vectors | None:
    """A small array as (rows, dim), turned if it fits only as (dim, rows); None if it fits neither way.

    ``rows`` or ``dim`` is None if anything goes. Raises DataError for a row that has no direction.
    """
    straight, turned = (
        rows in (None, height) and dim in (None, width) and height * width > 0
        for height, width in (column.shape, column.shape[::-1])
    )
    if not straight and not turned:
        return None
    whole: npt.NDArray[Any] = np.concatenate(list(column.blocks()))
    whole = whole if straight else whole.T
    texts = _float32(whole)
    _check_rows(path, column.name, texts, whole, 0, None)
    return texts


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
