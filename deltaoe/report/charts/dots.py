"""Dot charts of an evaluation as plain geometry: a panel per image collection, a line per score, a dot per detector.

Places are in percent of a panel's width, as in :mod:`deltaoe.report.charts.histogram`; all panels of a metric share one
axis, and all panels of a chart the order of their lines, so that they can be compared at a glance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from deltaoe.evaluation.results import MEAN, Evaluation, Measurement
from deltaoe.report.charts.histogram import nice_ticks
from deltaoe.report.numbers import has_interval, number_text
from deltaoe.report.ranking import Standing, ends, higher_is_better_value, standings
from deltaoe.report.sentences import images

_STEP = 0.05  # an axis of AUROC begins at a multiple of it
_NARROWEST = 0.1
_GUESSING = 0.5


@dataclass(frozen=True)
class Dot:
    """One measurement as a dot with a whisker.

    Attributes:
        series: the number of its detector, which decides colour and shape.
        measurement: the number, its interval and its detector.
        at: the dot's place in percent; None where the value is no finite number.
        low, high: the places of the whisker's ends in percent; equal where there is no interval.
        standing: the best of its panel, level with the best, or neither.
    """

    series: int
    measurement: Measurement
    at: float | None
    low: float
    high: float
    standing: Standing


@dataclass(frozen=True)
class Line:
    """One score: its title, and a dot for each detector that it was measured of."""

    score: str
    dots: tuple[Dot, ...]

    @property
    def words(self) -> str:
        """The detectors and their numbers, for a screen reader."""
        return "; ".join(f"{dot.measurement.detector}: {number_text(dot.measurement)}" for dot in self.dots)


@dataclass(frozen=True)
class Panel:
    """One image set.

    Attributes:
        name: of the image set; empty for the mean over all out-of-distribution sets.
        images: how many images it has, in words.
        lines: one per score.
    """

    name: str
    images: str
    lines: tuple[Line, ...]

    @property
    def bare(self) -> bool:
        """Whether none of its numbers has an interval."""
        return not any(has_interval(dot.measurement) for line in self.lines for dot in line.dots)


@dataclass(frozen=True)
class Axis:
    """A horizontal axis.

    Attributes:
        start, end: the values at its ends.
        ticks: (place, label), the place in percent.
        mark: the place of the vertical reference line, in percent; None where it would lie outside.
    """

    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]
    mark: float | None

    @classmethod
    def over(
        cls, rows: Sequence[Measurement], *, start: float | None, end: float | None, mark: float
    ) -> Axis:
        """The axis that holds all intervals, and the mark where ``end`` is None.

        Args:
            rows: the measurements to be drawn.
            start, end: the values at its ends; None to fit them to the measurements.
            mark: the value of the reference line.
        """
        values = [value for row in rows for value in ends(row) if math.isfinite(value)]
        if start is None:
            lowest = min([*values, 1.0])
            start = max(0.0, min(_STEP * math.floor(lowest / _STEP + 1e-9), 1 - _NARROWEST))
        if end is None:
            end = min(1.0, 1.1 * max([*values, mark]))
        plain = cls(start, end, (), None)
        return cls(
            start,
            end,
            tuple((plain.place(value), label) for value, label in nice_ticks(start, end)),
            plain.place(mark) if start < mark < end else None,
        )

    def place(self, value: float) -> float:
        """The place of a value in percent of the axis; values beyond an end are placed at that end."""
        return round(100 * min(1.0, max(0.0, (value - self.start) / (self.end - self.start))), 2)


@dataclass(frozen=True)
class Chart:
    """Panels with one axis.

    Attributes:
        known: the in-distribution images of all panels; empty where each panel has its own.
        images: how many images these are, in words.
        axis: of all panels.
        panels: the first is to be read first.
    """

    known: str
    images: str
    axis: Axis
    panels: tuple[Panel, ...]


def detection_charts(evaluation: Evaluation) -> list[Chart]:
    """A chart of AUROC for each in-distribution set: the mean over the out-of-distribution sets, then each of them."""
    axis = Axis.over(evaluation.find(metric="auroc"), start=None, end=1.0, mark=_GUESSING)
    charts = []
    for known in evaluation.names("known", metric="auroc"):
        by_name = _drawn(evaluation, "unknown", metric="auroc", known=known)
        # The mean is read first.
        by_name = {name: by_name[name] for name in sorted(by_name, key=lambda name: name != MEAN)}
        rows = [row for some in by_name.values() for row in some]
        order = _scores(next(iter(by_name.values()), []), max)
        order += [score for score in _scores(rows, max) if score not in order]
        charts.append(
            Chart(known, image_count(rows, "n_known"), axis, _panels(evaluation, axis, by_name, order))
        )
    return charts


def false_alarm_chart(evaluation: Evaluation) -> Chart | None:
    """The false alarms on each in-distribution set, with alpha marked; None where they were not measured.

    Lines are ordered by their worst set, because on the set that the threshold is calibrated on all are close to alpha.
    """
    by_name = _drawn(evaluation, "known", metric="false_alarms")
    rows = [row for some in by_name.values() for row in some]
    if not rows:
        return None
    axis = Axis.over(rows, start=0.0, end=None, mark=evaluation.alpha)
    return Chart("", "", axis, _panels(evaluation, axis, by_name, _scores(rows, min)))


def image_count(rows: Sequence[Measurement], column: str) -> str:
    """ "728 images", or "712–728 images" where detectors differ; "" where the number is not known."""
    counts = [count for row in rows if (count := getattr(row, column))]
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return images(high) if low == high else f"{low:,}–{high:,} images"


def _panels(
    evaluation: Evaluation,
    axis: Axis,
    by_name: Mapping[str, Sequence[Measurement]],
    order: Sequence[str],
) -> tuple[Panel, ...]:
    """One panel for each image set, with its lines in the given order of scores."""
    series = {name: number for number, name in enumerate(evaluation.detectors)}
    panels = []
    for name, mine in by_name.items():
        dots: dict[str, list[Dot]] = {score: [] for score in order}
        for row, standing in zip(mine, standings(mine), strict=True):
            dots[row.score].append(_dot(row, axis, series[row.detector], standing))
        lines = tuple(
            Line(evaluation.scores[score], tuple(sorted(dots[score], key=lambda dot: dot.series)))
            for score in order
        )
        about = "n_unknown" if mine and mine[0].unknown else "n_known"
        panels.append(
            Panel("" if name == MEAN and about == "n_unknown" else name, image_count(mine, about), lines)
        )
    return tuple(panels)


def _drawn(evaluation: Evaluation, column: str, **wanted: str) -> dict[str, list[Measurement]]:
    """The measurements with these values whose detector and score the evaluation lists, by the value of a column."""
    found: dict[str, list[Measurement]] = {}
    for row in evaluation.find(**wanted):
        if row.detector in evaluation.detectors and row.score in evaluation.scores:
            found.setdefault(getattr(row, column), []).append(row)
    return found


def _scores(rows: Sequence[Measurement], choose: Callable[[Iterable[float]], float]) -> list[str]:
    """The scores of these, the best first: by their best row if ``choose`` is max, by their worst if it is min."""
    of: dict[str, list[float]] = {}
    for row in rows:
        of.setdefault(row.score, []).append(higher_is_better_value(row))
    return sorted(of, key=lambda score: choose(of[score]), reverse=True)


def _dot(row: Measurement, axis: Axis, series: int, standing: Standing) -> Dot:
    """A measurement placed on an axis."""
    there = math.isfinite(row.value)
    low, high = (axis.place(end) if there else 0.0 for end in ends(row))
    return Dot(
        series=series,
        measurement=row,
        at=axis.place(row.value) if there else None,
        low=low,
        high=high,
        standing=standing,
    )
