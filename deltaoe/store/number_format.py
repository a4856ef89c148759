"""Features in the number format in which a store keeps them, and as they are computed with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def as_read(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Features (n, D) in the number format on disk as unit rows, float32."""
    rows = vectors.astype(np.float32)
    if vectors.dtype == np.float16:
        # Rounding to half precision moves the length by about 1e-4; cosines are meant between unit vectors.
        length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        rows /= np.maximum(length, np.finfo(np.float32).tiny)[:, None]
    return rows


def as_kept(features: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[np.float32]:
    """New features (n, D), unit rows, as they will be read from a store that keeps them in this number format.

    Example:
        >>> as_kept(np.array([[0.6, 0.8]], dtype=np.float32), "float16").round(7).tolist() == [[0.6, 0.8]]
        False
    """
    return as_read(features.astype(dtype))
