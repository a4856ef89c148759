r"""Groups of directions by average linkage, where a group is known by the mean of its unit rows alone.

Average linkage (Sokal and Michener, 1958) **[source]** joins the two groups whose members have the smallest average
distance, as long as that is at most a limit. With the distance 1 − cos of unit rows the average is linear:
mean_{a ∈ A, b ∈ B} (1 − a·b) = 1 − m_A·m_B, where m_A and m_B are the means of the rows **[derived]**. So whether a
row, or a whole group, belongs to a group is decided by the mean of that group, without its members.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deltaoe.functional.unit_rows import Rows

NO_GROUP = -1
# A row that the centre was subtracted from and that is shorter has no direction.
_NO_LENGTH = 1e-12


def average_linkage(rows: Rows, limit: float, smallest: int) -> npt.NDArray[np.int64]:
    """The group of each row by average linkage; memory and time grow with n².

    Args:
        rows: (n, D) unit rows.
        limit: groups are joined as long as their average distance 1 − cos is at most this.
        smallest: rows of groups with fewer members are in no group.

    Returns:
        (n,) groups, numbered from 0 in the order of their first rows; :data:`NO_GROUP` for rows in no group.

    Example:
        >>> rows = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, -1.0]], dtype=np.float32)
        >>> average_linkage(rows, 0.5, 2).tolist()
        [0, 0, -1]
    """
    if len(rows) < 2:
        return np.zeros(len(rows), dtype=np.int64) if len(rows) >= smallest else _none(len(rows))
    # Imported here: it takes long to load, and few runs need it.
    from scipy.cluster.hierarchy import fcluster, linkage

    distances = 1 - np.asarray(rows, dtype=np.float32) @ np.asarray(rows, dtype=np.float32).T
    condensed = np.concatenate([distances[i, i + 1 :] for i in range(len(rows) - 1)], dtype=np.float64)
    del distances
    tree = linkage(np.maximum(condensed, 0), "average")
    found = fcluster(tree, limit, "distance")
    _, first, group_of, sizes = np.unique(found, return_index=True, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(sizes >= smallest)
    number = _none(len(sizes))
    number[kept[np.argsort(first[kept])]] = np.arange(len(kept))
    return np.asarray(number[group_of])


def _none(count: int) -> npt.NDArray[np.int64]:
    return np.full(count, NO_GROUP, dtype=np.int64)


def nearest_group(
    rows: Rows, means: Rows, limit: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The group that each row has the smallest average distance to, if that is at most ``limit``.

    Args:
        rows: (n, D) unit rows.
        means: (G, D) means of the unit rows of each group.
        limit: as in :func:`average_linkage`.

    Returns:
        (n,) groups, :data:`NO_GROUP` for a row that is too far from all, and (n,) average cosines with the nearest.
    """
    if not len(means):
        return _none(len(rows)), np.full(len(rows), -np.inf, dtype=np.float32)
    cosines = np.asarray(rows, dtype=np.float32) @ means.T
    nearest = cosines.argmax(axis=1)
    best = cosines[np.arange(len(rows)), nearest]
    return np.where(1 - best <= limit, nearest, NO_GROUP), best


def directions(features: Rows, centre: Rows, root: Rows) -> Rows:
    """Unit rows of (h − centre) W for image features h (n, D); a row at the centre stays zero.

    Args:
        features: (n, D).
        centre: (D,).
        root: (D, D), W; empty for the identity.
    """
    moved = features - centre
    moved = moved @ root if len(root) else moved
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(length, _NO_LENGTH), dtype=np.float32)
