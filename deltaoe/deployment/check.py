"""What an export is checked with before it gets its name: features of pictures, by ONNX Runtime and by PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ModelError
from deltaoe.extraction.reading import read_file
from deltaoe.functional.unit_rows import Rows
from deltaoe.images.decode import ImageError
from deltaoe.images.geometry import Geometry
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore

# Cosine of each picture's features by ONNX Runtime and by PyTorch in the same arithmetic, at least.
LEAST_COSINE = 0.9999
# The same where PyTorch computed in half precision, or from pixels that a device decoded.
LEAST_ROUNDED = 0.995
PICTURES = 8  # of each kind

Pixels = npt.NDArray[np.uint8]


class Expected(NamedTuple):
    """Pictures with features that PyTorch computed.

    Attributes:
        pixels: (n, H, W, 3).
        features: (n, D) unit rows.
        least: the smallest cosine that ONNX Runtime's features may have with these.
        what: the pictures, in words.
    """

    pixels: Pixels
    features: Rows
    least: float
    what: str


def is_exact(space: FeatureSpace) -> bool:
    """Whether the export computes as the features of a space were computed, up to rounding in single precision."""
    return space.precision == "fp32" and space.decode != "gpu"


def least_cosine(space: FeatureSpace) -> float:
    """The smallest cosine of features from an export with those of a space."""
    return LEAST_COSINE if is_exact(space) else LEAST_ROUNDED


def trial_pictures(size: tuple[int, int], count: int = PICTURES) -> Pixels:
    """Pictures (n, H, W, 3): waves of all colours, coarse and fine, with noise; the same every time."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(size)[:, None, ..., None] / max(size)
    across, down, start = rng.uniform((1, 1, 0), (40, 40, 6.3), (count, 1, 1, 3, 3)).transpose(4, 0, 1, 2, 3)
    light = rng.uniform(40, 215, (count, 1, 1, 3)) + 80 * np.sin(rows * down + columns * across + start)
    noisy = np.clip(light + rng.normal(0, 8, light.shape), 0, 255)
    return np.asarray(noisy, dtype=np.uint8)


def workspace_pictures(data: DataSet, store: FeatureStore, geometry: Geometry) -> Expected | None:
    """Images of a data set, from its first to its last, with the features that the workspace has of them.

    None if no file of those looked at is there any more as it was.
    """
    rows = data.distinct_rows()
    wanted = rows[np.unique(np.linspace(0, len(rows) - 1, PICTURES).astype(np.int64))] if len(rows) else rows
    pixels, kept = [], []
    for row in wanted.tolist():
        content = read_file(os.path.join(data.root, data.paths[row]))
        if content.problem or content.digest != data.digests[row].tobytes():
            continue
        try:
            pixels.append(geometry.decode(content.data, content.digest, (0,))[0])
        except ImageError:  # it was decoded elsewhere, by another version or on a device
            continue
        kept.append(row)
    if not kept:
        return None
    features = store.features(data.digests[np.array(kept, dtype=np.int64)])
    return Expected(
        np.stack(pixels), features, least_cosine(store.space), f"{len(kept)} images of {data.title}"
    )


def smallest_cosine(found: Rows, expected: Expected) -> float:
    """The smallest cosine of features (n, D) with those expected.

    Raises:
        ModelError: it is too small.
    """
    cosine = float((found.astype(np.float64) * expected.features.astype(np.float64)).sum(axis=1).min())
    if not cosine >= expected.least:
        raise ModelError(
            f"ONNX Runtime computes other features than PyTorch: the smallest cosine on {expected.what} is "
            f"{cosine:.6f}, and {expected.least} is wanted",
            hint="extract and tune with --precision fp32; if that was so, try another version of onnxruntime or torch",
        )
    return cosine


def in_words(cosines: Sequence[tuple[str, float]]) -> str:
    """What was compared, and how well it agreed.

    Example:
        >>> in_words([("8 test pictures", 0.99999994), ("8 images of photos", 0.99996)])
        'cosine ≥ 0.999999 on 8 test pictures, ≥ 0.999960 on 8 images of photos'
    """
    listed = (f"≥ {np.floor(value * 1e6) / 1e6:.6f} on {what}" for what, value in cosines)
    return "cosine " + ", ".join(listed)
