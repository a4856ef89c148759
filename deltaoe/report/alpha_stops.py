"""The α that a reader of a report can choose, each with the threshold that it gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deltaoe.functional.conformal import threshold
from deltaoe.report.charts.histogram import Histogram
from deltaoe.report.model import Report

# In thousandths: fine where a person chooses, coarse where hardly any image would be left as known.
_THOUSANDTHS = (*range(1, 10), *range(10, 100, 5), *range(100, 501, 10))


class Stop(NamedTuple):
    """One α.

    Attributes:
        alpha: in (0, 1).
        threshold: the score below which an image is unknown at this α; None if the calibration is too small for one.
        place: of the threshold in the histogram, in percent of its width; None without one.
    """

    alpha: float
    threshold: float | None
    place: float | None


def alpha_stops(report: Report, chart: Histogram | None) -> list[Stop]:
    """α from 0.1 % to 50 % in ascending order, with that of the report among them.

    Empty where p ≤ α does not decide: with ``fdr``, where the verdict depends on all images; with ``per_class``, where
    α decides which classes have calibration images of their own; and without calibration images.
    """
    if report.fdr is not None or report.per_class or not np.size(report.calibration):
        return []
    chosen = sorted({report.alpha, *(count / 1000 for count in _THOUSANDTHS)})
    ordered = np.sort(report.calibration)
    found = []
    for alpha in chosen:
        line = threshold(ordered, alpha)
        found.append(Stop(alpha, line, None if line is None or chart is None else chart.place(line)))
    return found
