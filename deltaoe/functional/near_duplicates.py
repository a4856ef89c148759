r"""Images so similar that one of them adds nothing: each with the first image that it repeats.

All pairs are compared, but most of them by few numbers. With the projection p of a unit row onto q directions and the
length r of what is left of it, a·b ≤ p_a·p_b + r_a r_b (Cauchy and Schwarz), which is the product of the rows (p, r)
of q + 1 numbers **[derived]**. Only pairs whose bound reaches the limit are compared in full, so the result is exact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from deltaoe.functional.unit_rows import Rows

Indices = npt.NDArray[np.int64]
NO_ORIGINAL = -1
_BLOCK = 4096
_DIRECTIONS = 64
_ROUNDING = 1e-5  # of products of float32 rows


def near_duplicates(
    count: int,
    read: Callable[[Indices], Rows],
    limit: float,
    on_block: Callable[[int], None] = lambda done: None,
) -> Indices:
    """The first image that each image repeats; images that repeat nothing are the originals.

    Image i repeats the first original j < i with a cosine of at least ``limit``; what repeats something is no original,
    so that no chain of small changes joins different images.

    Args:
        count: n, the number of images.
        read: gives the features (b, D), unit rows, of images by index (b,).
        limit: the least cosine of near-duplicates.
        on_block: called with the number of images done.

    Returns:
        (n,) index of an original, :data:`NO_ORIGINAL` for the originals themselves.

    Example:
        >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.0, 1.0]], dtype=np.float32)
        >>> near_duplicates(4, rows.__getitem__, 0.9).tolist()
        [-1, -1, -1, 1]
    """
    original = np.full(count, NO_ORIGINAL, dtype=np.int64)
    basis: Rows | None = None
    short: list[Rows] = []
    for start in range(0, count, _BLOCK):
        own = np.arange(start, min(start + _BLOCK, count))
        rows = read(own)
        if basis is None:
            basis = _basis(rows)
        short.append(_shortened(rows, basis))
        for block, before in enumerate(short[:-1]):
            first = block * _BLOCK
            others = np.arange(first, first + len(before))
            _compare(original, own, rows, short[-1], others, before, read, limit)
        _compare_within(original, own, rows, limit)
        on_block(len(own) + start)
    return original


def _basis(rows: Rows) -> Rows:
    """(D, q) orthonormal directions in which the rows are longest."""
    _, directions = np.linalg.eigh(rows.astype(np.float64).T @ rows.astype(np.float64))
    return np.ascontiguousarray(directions[:, -_DIRECTIONS:], dtype=np.float32)


def _shortened(rows: Rows, basis: Rows) -> Rows:
    """(n, q + 1): projections, and the lengths of what is left."""
    projected = rows @ basis
    left = np.maximum(1 - np.einsum("ij,ij->i", projected, projected), 0)
    return np.concatenate([projected, np.sqrt(left)[:, None]], axis=1, dtype=np.float32)


def _compare(
    original: Indices,
    own: Indices,
    rows: Rows,
    short: Rows,
    others: Indices,
    other_short: Rows,
    read: Callable[[Indices], Rows],
    limit: float,
) -> None:
    """Note which of a block's images repeat originals of an earlier block."""
    open_rows = np.flatnonzero(original[own] == NO_ORIGINAL)
    originals = np.flatnonzero(original[others] == NO_ORIGINAL)
    if not len(open_rows) or not len(originals):
        return
    likely = short[open_rows] @ other_short[originals].T >= limit - _ROUNDING
    mine, theirs = open_rows[likely.any(axis=1)], originals[likely.any(axis=0)]
    if not len(mine):
        return
    reached = rows[mine] @ read(others[theirs]).T >= limit
    found = reached.any(axis=1)
    original[own[mine[found]]] = others[theirs[reached.argmax(axis=1)[found]]]


def _compare_within(original: Indices, own: Indices, rows: Rows, limit: float) -> None:
    """Note which of a block's images repeat earlier ones of the same block."""
    left = np.flatnonzero(original[own] == NO_ORIGINAL)
    reached = np.triu(rows[left] @ rows[left].T >= limit, 1)
    # Only images that are near to an earlier one have to be looked at one by one: few, or their originals are few.
    for place in np.flatnonzero(reached.any(axis=0)).tolist():
        first = int(reached[:, place].argmax())
        if reached[first, place]:
            original[own[left[place]]] = own[left[first]]
            reached[place] = False  # it is no original
