r"""Text features of class prompts: background labels, the common part of all prompts, tuned and zero-shot blended.

Nothing here looks at an image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.functional.unit_rows import Rows

QUANTILE = 0.95
# Without a background, the mean of K prompts counts as if this many more had a mean of zero.
_PRIOR_LABELS = 30
# Nearer to a class than this, a name is a synonym of it.
_SYNONYM = 0.98
_BLOCK = 4096


def likeness(background: Rows, labels: Rows, quantile: float = QUANTILE) -> npt.NDArray[np.float64]:
    r"""How like the classes each background label is: the ``quantile`` of its cosines to them.

    The measure by which NegLabel (Jiang et al., ICLR 2024) mines its negative labels; METHOD §4.

    Args:
        background: (M, D) unit rows.
        labels: (K, D) unit rows.
        quantile: from 0 to 1.

    Returns:
        (M,), cosines.

    Raises:
        ConfigError: ``quantile`` is out of range.
    """
    if not 0 <= quantile <= 1:
        raise ConfigError(f"the quantile must lie between 0 and 1, not {quantile}")
    out = np.empty(len(background))
    for start in range(0, len(background), _BLOCK):
        part = background[start : start + _BLOCK].astype(np.float64) @ labels.T.astype(np.float64)
        out[start : start + len(part)] = np.quantile(part, quantile, axis=1)
    return out


def nearest_label(background: Rows, labels: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Index of the class nearest to each of (M, D) background labels, and their cosine: both (M,)."""
    near, cosine = np.empty(len(background), dtype=np.int64), np.empty(len(background))
    for start in range(0, len(background), _BLOCK):
        part = background[start : start + _BLOCK].astype(np.float64) @ labels.T.astype(np.float64)
        rows = slice(start, start + len(part))
        near[rows] = part.argmax(axis=1)
        cosine[rows] = part.max(axis=1)
    return near, cosine


def mine(background: Rows, labels: Rows, fraction: float) -> npt.NDArray[np.int64]:
    r"""The background labels to keep: the ``fraction`` least :func:`like <likeness>` the classes, METHOD §4.

    A label that is a class itself (cosine above 0.98) is never kept.

    Args:
        background: (M, D) unit rows.
        labels: (K, D) unit rows.
        fraction: above 0, at most 1; ⌊fraction · M⌋ labels are kept, in the order of ``background``.

    Returns:
        Indices into ``background``, ascending.

    Raises:
        ConfigError: ``fraction`` is out of range.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"the background's fraction must be above 0 and at most 1, not {fraction}")
    if not len(background):
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(likeness(background, labels), kind="stable")
    kept = order[: int(fraction * len(background) + 1e-9)]
    _, cosine = nearest_label(background[kept], labels)
    return np.sort(kept[cosine <= _SYNONYM])


def centre_of(labels: Rows, background: Rows) -> Rows:
    r"""What all prompts have in common: the mean of their features **[derived]**.

    The words around a name ("a photo of a …") give all text features one large common part: real CLIP prompts have
    a mean cosine of 0.74 to each other. It adds the same to every cosine of an image, which an energy at a large
    temperature takes for familiarity, and its size differs from name to name, which favours some classes. Taking it
    out (:func:`centred`) leaves what tells the labels apart.

    Of K classes alone the mean is also made of what tells them apart (two classes would become each other's
    opposite), so without a background it counts K/(K + 30).

    Args:
        labels: (K, D) unit rows.
        background: (M, D) unit rows, or none.

    Returns:
        (D,) float32, no unit vector.
    """
    if len(background):
        total = labels.sum(axis=0, dtype=np.float64) + background.sum(axis=0, dtype=np.float64)
        return np.asarray(total / (len(labels) + len(background)), dtype=np.float32)
    return np.asarray(labels.sum(axis=0, dtype=np.float64) / (len(labels) + _PRIOR_LABELS), dtype=np.float32)


def centred(prompts: Rows, centre: Rows) -> Rows:
    """Prompts (n, D) less the centre (D,), unit rows again; one that *is* the centre stays as it was."""
    rest = prompts.astype(np.float64) - centre.astype(np.float64)
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    same = length < 1e-6
    return np.asarray(np.where(same, prompts, rest / np.where(same, 1.0, length)), dtype=np.float32)


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
