"""ΔEnergy and class of image features, arrays in and arrays out, in memory that does not grow with their number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.functional.background import Rows
from deltaoe.functional.energy import delta_energy_from_top
from deltaoe.functional.label_sums import nearest_and_floor

_BLOCK = 2048


def judged(
    features: Rows, prompts: Rows, background: Rows, *, temperature: float, top_c: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """ΔEnergy (N,) and the nearest class (N,) of unit rows.

    Args:
        features: (N, D) unit rows.
        prompts: (K, D) unit rows.
        background: (M, D) unit rows, over which energies run as well; M may be 0.
        temperature: τ > 0, cosine units.
        top_c: c, from 1 to K.

    Raises:
        ConfigError: τ or c is out of range.
    """
    labels, floor = (torch.from_numpy(np.ascontiguousarray(rows)) for rows in (prompts, background))
    scores, classes = [np.empty(0)], [np.empty(0, dtype=np.int64)]
    for start in range(0, len(features), _BLOCK):
        part = torch.from_numpy(features[start : start + _BLOCK])
        top, where, rest = nearest_and_floor(
            part, labels, floor, shown=top_c, top_c=top_c, temperature=temperature
        )
        scores.append(delta_energy_from_top(top, rest, temperature).numpy())
        classes.append(where[:, 0].numpy())
    return np.concatenate(scores), np.concatenate(classes)
