r"""The name of a vocabulary that an image is most similar to, and whether that name stands out **[reading]**.

CLIP answers "which of these names?" by the softmax of its logits 100 s, s the cosines with the names. The nearest name
has the probability 1 / Σ_v exp(100 (s_v − max s)). Where it is small, other names are nearly as similar: none fits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.functional.unit_rows import Rows

LOGIT_SCALE = 100.0  # of the CLIP models that open_clip loads, after training
_BLOCK = 2**22  # cosines that are held at a time


class NearestNames(NamedTuple):
    """The nearest of V names for each of n images.

    Attributes:
        place: (n,) int64, index of the name.
        cosine: (n,) float32, cosine of the image with the name.
        probability: (n,) float32, softmax probability of the name among all V.
    """

    place: npt.NDArray[np.int64]
    cosine: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]


def nearest_names(features: Rows, names: Rows) -> NearestNames:
    """The nearest name of each image, in memory that does not grow with n × V.

    Args:
        features: (n, D) unit rows, image features.
        names: (V, D) unit rows, text features of the names, V ≥ 1.

    Example:
        >>> found = nearest_names(np.array([[0.6, 0.8]], dtype=np.float32), np.eye(2, dtype=np.float32))
        >>> found.place.tolist(), found.cosine.round(3).tolist(), found.probability.round(3).tolist()
        ([1], [0.800000011920929], [1.0])
    """
    place = np.empty(len(features), dtype=np.int64)
    cosine = np.empty(len(features), dtype=np.float32)
    probability = np.empty(len(features), dtype=np.float32)
    rows = max(1, _BLOCK // max(1, len(names)))
    for start in range(0, len(features), rows):
        part = slice(start, start + rows)
        cosines = np.asarray(features[part], dtype=np.float32) @ names.T
        place[part] = cosines.argmax(axis=1)
        cosine[part] = cosines.max(axis=1)
        logits = LOGIT_SCALE * (cosines - cosine[part, None])
        probability[part] = 1 / np.exp(logits).sum(axis=1)
    return NearestNames(place, cosine, probability)
