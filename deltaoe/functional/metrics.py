r"""Detection metrics. One convention everywhere: in-distribution is the positive class, higher = more ID.

Ranks and curves are scikit-learn's; only the operating point of FPR@95 is defined here, because
conventions in the wild differ and change the number.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from deltaoe.errors import ConfigError, DataError


def auroc(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> float:
    """Area under the ROC curve by ranks, ties count half.

    Raises:
        DataError: one side is empty or a score is not finite.
    """
    truth, scores = _joined(id_scores, ood_scores)
    return float(roc_auc_score(truth, scores))


def aupr_in(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> float:
    """Average precision of finding the in-distribution images. Raises DataError like :func:`auroc`."""
    truth, scores = _joined(id_scores, ood_scores)
    return float(average_precision_score(truth, scores))


def aupr_out(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> float:
    """Average precision of finding the out-of-distribution images. Raises DataError like :func:`auroc`."""
    truth, scores = _joined(id_scores, ood_scores)
    return float(average_precision_score(1 - truth, -scores))


def fpr_at_tpr(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike, tpr: float = 0.95) -> float:
    r"""FPR@95: share of OOD images with score ≥ t, the largest threshold that keeps ≥ ``tpr`` of ID images.

    Raises:
        ConfigError: ``tpr`` is not in (0, 1].
        DataError: one side is empty or a score is not finite.
    """
    if not 0 < tpr <= 1:
        raise ConfigError(f"the true-positive rate must be above 0 and at most 1, not {tpr}")
    truth, scores = _joined(id_scores, ood_scores)
    ordered = np.sort(scores[truth == 1])
    # 1e-9: tpr·n is meant exactly, but 0.55·100 is 55.00000000000001 in floating point.
    kept = max(1, math.ceil(tpr * len(ordered) - 1e-9))
    return float(np.mean(scores[truth == 0] >= ordered[len(ordered) - kept]))


def _joined(
    id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    inside, outside = (np.asarray(s, dtype=np.float64).ravel() for s in (id_scores, ood_scores))
    if not len(inside) or not len(outside):
        raise DataError("a detection metric needs both in-distribution and out-of-distribution scores")
    scores = np.concatenate([inside, outside])
    if not np.isfinite(scores).all():
        raise DataError("a detection metric needs finite scores")
    truth = np.zeros(len(scores), dtype=np.int64)
    truth[: len(inside)] = 1
    return truth, scores
