r"""Metrics of detection, the calibration error, and intervals of shares and of means over seeds.

In-distribution is the positive class everywhere, and a higher score means more in-distribution. Average precision is
scikit-learn's. AUROC is counted from ranks, because tuning computes it thousands of times; the operating point of
FPR@95 is defined here, because published conventions differ and change the number. Intervals of detection metrics are
in :mod:`deltaoe.functional.bootstrap`.

scikit-learn and scipy.stats are imported where they are called: loading them takes longer than scoring a folder, which
needs neither.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from deltaoe.errors import ConfigError, DataError


def auroc(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> float:
    """AUROC: the probability that an ID image scores higher than an OOD image, ties counted half.

    Args:
        id_scores: (n,), of in-distribution images.
        ood_scores: (m,), of out-of-distribution images.

    Returns:
        In [0, 1]; 0.5 is chance.

    Raises:
        DataError: one side is empty or a score is not finite.

    Example:
        >>> auroc([0.9, 0.7], [0.7, 0.1])
        0.875
    """
    is_id, scores = _joined(id_scores, ood_scores)
    inside, outside = np.sort(scores[is_id == 1]), np.sort(scores[is_id == 0])
    # For each ID image the OOD images below it and those not above it: together twice the pairs won, ties half.
    won = np.searchsorted(outside, inside, "left").sum() + np.searchsorted(outside, inside, "right").sum()
    return float(won / (2 * len(inside) * len(outside)))


def aupr_in(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> float:
    """AUPR-in: average precision with the in-distribution images as positives, by scores.

    Arguments and errors are those of :func:`auroc`; chance is n/(n + m).

    Example:
        >>> round(aupr_in([0.9, 0.2], [0.7, 0.1]), 4)
        0.8333
    """
    from sklearn.metrics import average_precision_score

    is_id, scores = _joined(id_scores, ood_scores)
    return float(average_precision_score(is_id, scores))


def aupr_out(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> float:
    """AUPR-out: average precision with the out-of-distribution images as positives, by negated scores.

    Arguments and errors are those of :func:`auroc`; chance is m/(n + m).

    Example:
        >>> round(aupr_out([0.9, 0.2], [0.7, 0.1]), 4)
        0.8333
    """
    from sklearn.metrics import average_precision_score

    is_id, scores = _joined(id_scores, ood_scores)
    return float(average_precision_score(1 - is_id, -scores))


def fpr_at_tpr(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike, tpr: float = 0.95) -> float:
    r"""FPR@95: share of OOD images that score ≥ t, the largest threshold that ≥ 95 % of ID images reach.

    Args:
        id_scores: (n,), of in-distribution images.
        ood_scores: (m,), of out-of-distribution images.
        tpr: the share of ID images that reach t, above 0 and at most 1.

    Returns:
        In [0, 1]; lower is better.

    Raises:
        ConfigError: ``tpr`` is not in (0, 1].
        DataError: one side is empty or a score is not finite.

    Example:
        >>> fpr_at_tpr([0.9, 0.8, 0.7, 0.2], [0.75, 0.1, 0.1, 0.1], tpr=0.75)
        0.25
    """
    if not 0 < tpr <= 1:
        raise ConfigError(f"the true-positive rate must be above 0 and at most 1, not {tpr}")
    is_id, scores = _joined(id_scores, ood_scores)
    ordered = np.sort(scores[is_id == 1])
    return float(np.mean(scores[is_id == 0] >= ordered[len(ordered) - images_kept(tpr, len(ordered))]))


def images_kept(tpr: float, count: int) -> int:
    """The fewest of ``count`` ≥ 1 images that are a share of at least ``tpr``.

    Example:
        >>> images_kept(0.95, 30)
        29
    """
    # 1e-9: tpr·n is meant exactly, but 0.55·100 is 55.00000000000001 in floating point.
    return max(1, math.ceil(tpr * count - 1e-9))


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> float:
    r"""ECE = Σ_m |B_m|/N · |accuracy(B_m) − confidence(B_m)| (Guo et al., ICML 2017) **[source]**.

    B_m are the images whose confidence lies in ((m − 1)/M, m/M]; a confidence of 0 is in the first bin.

    Args:
        confidence: (N,), in [0, 1]: the probability given to the predicted class.
        correct: (N,), whether the prediction was right, as booleans or 0 and 1.
        bins: M ≥ 1 bins of equal width.

    Returns:
        In [0, 1]; 0 is calibrated. A bin without images adds nothing.

    Raises:
        ConfigError: ``bins`` is below 1.
        DataError: there are no images, the shapes differ, or a value is out of range.

    Example:
        >>> round(expected_calibration_error([0.9, 0.9, 0.6, 0.6], [1, 1, 1, 0]), 3)
        0.1
    """
    if bins < 1:
        raise ConfigError(f"the calibration error needs at least 1 bin, not {bins}", hint="15 is usual")
    confidences, outcomes = (np.asarray(v, dtype=np.float64) for v in (confidence, correct))
    if confidences.ndim != 1 or confidences.shape != outcomes.shape or not len(confidences):
        raise DataError(
            "the calibration error needs one confidence and one outcome per image, "
            f"not shapes {confidences.shape} and {outcomes.shape}"
        )
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise DataError("a confidence lies outside 0 to 1", hint="give softmax probabilities, not logits")
    if not np.isin(outcomes, (0, 1)).all():
        raise DataError("an outcome is neither right (1) nor wrong (0)")
    bin_of = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidences, side="left")
    return float(np.abs(np.bincount(bin_of, weights=outcomes - confidences)).sum() / len(confidences))


def proportion_interval(hits: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share ``hits / total`` (Wilson, JASA 1927), by scipy.

    Args:
        hits: from 0 to ``total``.
        total: ≥ 1.
        level: the share of such intervals that should hold the true share, in (0, 1).

    Returns:
        (low, high), within [0, 1]. Unlike hits/total ± z·s, it has a width also for 0 and for all hits.

    Raises:
        ConfigError: ``level`` is not in (0, 1).
        DataError: not 0 ≤ ``hits`` ≤ ``total``, or ``total`` is 0.

    Example:
        >>> [round(end, 3) for end in proportion_interval(95, 100)]
        [0.888, 0.978]
    """
    from scipy.stats import binomtest

    check_level(level)
    if not 0 <= hits <= total or not total:
        raise DataError(f"{hits} of {total} is not a share")
    interval = binomtest(hits, total).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    r"""Mean of a few runs and the half width of Student's t-interval, t_{n−1}·s/√n.

    Args:
        values: (n,), one number per seed.
        level: the share of such intervals that hold the true mean if the values are normal, in (0, 1).

    Returns:
        (mean, half width); the half width of a single value is NaN: nothing is known of its spread.

    Raises:
        ConfigError: ``level`` is not in (0, 1).
        DataError: there are no values or one is not finite.

    Example:
        >>> [round(number, 3) for number in mean_interval([0.80, 0.82, 0.84])]
        [0.82, 0.05]
    """
    check_level(level)
    runs = np.asarray(values, dtype=np.float64).ravel()
    if not len(runs) or not np.isfinite(runs).all():
        raise DataError("a mean over seeds needs at least one value and finite ones")
    if len(runs) == 1:
        return float(runs[0]), math.nan
    error = runs.std(ddof=1) / math.sqrt(len(runs))
    return float(runs.mean()), float(special.stdtrit(len(runs) - 1, (1 + level) / 2) * error)


def check_level(level: float) -> None:
    """Raise ConfigError unless the level of an interval is in (0, 1)."""
    if not 0 < level < 1:
        raise ConfigError(
            f"the level of an interval must lie between 0 and 1, not {level}", hint="0.95 is usual"
        )


def _joined(
    id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Whether each score is of an in-distribution image (1 or 0), and the scores, both (n + m,)."""
    inside, outside = (np.asarray(s, dtype=np.float64).ravel() for s in (id_scores, ood_scores))
    if not len(inside) or not len(outside):
        raise DataError("a detection metric needs both in-distribution and out-of-distribution scores")
    scores = np.concatenate([inside, outside])
    if not np.isfinite(scores).all():
        raise DataError("a detection metric needs finite scores")
    is_id = np.zeros(len(scores), dtype=np.int64)
    is_id[: len(inside)] = 1
    return is_id, scores
