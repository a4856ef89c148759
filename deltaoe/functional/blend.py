"""Blending learned with zero-shot text features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]


def blend(zero_shot: Rows, tuned: Rows, share: float) -> Rows:
    r"""z = normalise((1 − α) z_0 + α z_tuned) **[derived, METHOD §5]**.

    Tuning costs accuracy on a domain it has not seen; the zero-shot features give it back.

    Args:
        zero_shot: (K, D) unit rows z_0.
        tuned: (K, D) unit rows.
        share: α, from 0 (zero-shot) to 1 (tuned).

    Returns:
        (K, D), unit rows; a row that cancels out is the tuned one.
    """
    mixed = (1 - share) * zero_shot.astype(np.float64) + share * tuned.astype(np.float64)
    length = np.linalg.norm(mixed, axis=1, keepdims=True)
    gone = length < 1e-6
    return np.asarray(np.where(gone, tuned, mixed / np.where(gone, 1.0, length)), dtype=np.float32)
