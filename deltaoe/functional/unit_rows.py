"""Feature vectors as rows of unit length: what every other function here takes features for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError

Rows = npt.NDArray[np.float32]


def unit_rows(features: npt.ArrayLike, dim: int | None = None, what: str = "features") -> Rows:
    """Feature vectors h scaled to unit length, h/‖h‖₂; lengths are computed in float64.

    Args:
        features: (n, D), of any real type.
        dim: D, if only one dimension will do.
        what: the name of the features in an error message.

    Returns:
        (n, D) float32.

    Raises:
        DataError: another shape, or a row that is zero or not finite.

    Example:
        >>> unit_rows([[0.0, 2.0], [-0.5, 0.0]]).tolist()
        [[0.0, 1.0], [-1.0, 0.0]]
    """
    rows = np.asarray(features, dtype=np.float32)
    if rows.ndim != 2 or (dim is not None and rows.shape[1] != dim):
        raise DataError(f"{what} must be (n, {dim or 'D'}), not {rows.shape}")
    length = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(length).all() or not (length > 0).all():
        raise DataError(f"some {what} are zero or not finite")
    return np.asarray(rows / length, dtype=np.float32)


def imported_rows(features: Rows) -> Rows:
    """Rows of (n, D) features made elsewhere, h/‖h‖₂ with ‖h‖₂ rounded to float32, as they are stored.

    :func:`unit_rows` rounds once, and so differently. The digests of imported images depend on every bit: with it, a
    file that is imported again would get other digests than the first time.
    """
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True).astype(np.float32)
    return np.asarray(features / length, dtype=np.float32)


def are_unit_rows(rows: npt.NDArray[np.floating], tolerance: float = 1e-3) -> bool:
    """Whether every row of (n, D) has a Euclidean length of 1 within ``tolerance``."""
    return bool(np.allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=tolerance))
