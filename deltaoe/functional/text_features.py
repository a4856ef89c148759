r"""Text features of class prompts: background labels, centred prompts, tuned and zero-shot blended.

Nothing here looks at an image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.functional.unit_rows import Rows

QUANTILE = 0.95
# A label whose cosine to a class is above this is a synonym of it.
_SYNONYM = 0.98
# A vector shorter than this has no direction.
_NO_LENGTH = 1e-6
# Background labels whose cosines are computed at a time.
_BLOCK = 4096


def likeness(background: Rows, labels: Rows, quantile: float = QUANTILE) -> npt.NDArray[np.float64]:
    r"""How similar each background label is to the classes: the ``quantile`` of its cosines to them **[source]**.

    By this measure NegLabel mines its negative labels (Jiang et al., ICLR 2024).

    Args:
        background: (M, D) unit rows.
        labels: (K, D) unit rows.
        quantile: from 0 to 1.

    Returns:
        (M,), cosines.

    Raises:
        ConfigError: ``quantile`` is out of range.

    Example:
        >>> classes = np.eye(2, dtype=np.float32)
        >>> likeness(np.array([[0.6, 0.8], [-1, 0]], dtype=np.float32), classes, quantile=1).round(3).tolist()
        [0.8, 0.0]
    """
    if not 0 <= quantile <= 1:
        raise ConfigError(f"the quantile must lie between 0 and 1, not {quantile}")
    out = np.empty(len(background))
    for rows, cosines in _cosine_blocks(background, labels):
        out[rows] = np.quantile(cosines, quantile, axis=1)
    return out


def nearest_label(background: Rows, labels: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The class nearest to each background label.

    Args:
        background: (M, D) unit rows.
        labels: (K, D) unit rows, K ≥ 1.

    Returns:
        Index of that class, (M,), and its cosine, (M,) float64.

    Example:
        >>> index, cosine = nearest_label(np.array([[0.6, 0.8]], dtype=np.float32), np.eye(2, dtype=np.float32))
        >>> index.tolist(), cosine.round(3).tolist()
        ([1], [0.8])
    """
    nearest, cosine = np.empty(len(background), dtype=np.int64), np.empty(len(background))
    for rows, cosines in _cosine_blocks(background, labels):
        nearest[rows] = cosines.argmax(axis=1)
        cosine[rows] = cosines.max(axis=1)
    return nearest, cosine


def mine(background: Rows, labels: Rows, fraction: float) -> npt.NDArray[np.int64]:
    r"""Which background labels to use: the ``fraction`` least :func:`similar <likeness>` to the classes **[source]**.

    A label that is a class itself (cosine above 0.98) is never used **[derived]**.

    Args:
        background: (M, D) unit rows.
        labels: (K, D) unit rows.
        fraction: above 0, at most 1; of the ⌊fraction · M⌋ least similar labels those that are no class are used.

    Returns:
        Indices into ``background``, (m,) int64, ascending.

    Raises:
        ConfigError: ``fraction`` is out of range.

    Example:
        >>> background = np.array([[0.6, 0.8], [-1, 0], [0, -1], [1, 0]], dtype=np.float32)
        >>> mine(background, np.eye(2, dtype=np.float32), fraction=0.5).tolist()
        [1, 2]
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"the background's fraction must be above 0 and at most 1, not {fraction}")
    if not len(background):
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(likeness(background, labels), kind="stable")
    least = order[: int(fraction * len(background) + 1e-9)]
    _, cosine = nearest_label(background[least], labels)
    return np.sort(least[cosine <= _SYNONYM])


def centred(prompts: Rows, centre: Rows) -> Rows:
    r"""Prompts less a common part, normalise(z − centre) **[derived]**.

    Detectors of version 0.1.0 compare images with such prompts. New ones do not: the division by the length favours
    the prompts near the centre, so that the predicted class is no longer CLIP's own (docs/explanation/method.md,
    "Centred prompts").

    Args:
        prompts: (n, D) unit rows z.
        centre: (D,), a detector's.

    Returns:
        (n, D) float32, unit rows; a prompt that *is* the centre stays as it was.

    Example:
        >>> centred(np.array([[0.6, 0.8]], dtype=np.float32), np.array([0, 0.8], dtype=np.float32)).tolist()
        [[1.0, 0.0]]
    """
    return _unit_or(prompts.astype(np.float64) - centre.astype(np.float64), prompts)


def blend(zero_shot: Rows, tuned: Rows, share: float) -> Rows:
    r"""Tuned and zero-shot text features mixed, z = normalise((1 − b) z_0 + b z_tuned) **[derived]**.

    Tuning costs accuracy in domains that it was not trained on; the zero-shot features give it back.

    Args:
        zero_shot: (K, D) unit rows z_0.
        tuned: (K, D) unit rows.
        share: b, from 0 (zero-shot) to 1 (tuned).

    Returns:
        (K, D) float32, unit rows; where the two cancel out, the tuned row.

    Example:
        >>> zero_shot, tuned = np.array([[1, 0]], dtype=np.float32), np.array([[0, 1]], dtype=np.float32)
        >>> [blend(zero_shot, tuned, share).round(2).tolist() for share in (0, 1)]
        [[[1.0, 0.0]], [[0.0, 1.0]]]
    """
    return _unit_or((1 - share) * zero_shot.astype(np.float64) + share * tuned.astype(np.float64), tuned)


def _unit_or(rows: npt.NDArray[np.float64], otherwise: Rows) -> Rows:
    """Each row of (n, D) at unit length; the row of ``otherwise`` in the place of one that has no direction."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    none = length < _NO_LENGTH
    return np.asarray(np.where(none, otherwise, rows / np.where(none, 1.0, length)), dtype=np.float32)


def _cosine_blocks(background: Rows, labels: Rows) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Cosines of background labels to the classes, (b, K) float64 at a time, and which labels they are."""
    classes = labels.T.astype(np.float64)
    for start in range(0, len(background), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, background[rows].astype(np.float64) @ classes
