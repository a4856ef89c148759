"""The histogram of a report as plain geometry: horizontal positions in percent, vertical ones in pixels.

Scored images stand above a common baseline, calibration images hang below it, both as shares of their own
number. Percent sideways and pixels upright let one SVG fit a phone and a screen without scaling its text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Kind = Literal["known", "unknown", "scored", "calibration"]

LARGEST = 1e12  # beyond it a score is broken, and sums of two such values would overflow the scale
SMALLEST_SPREAD = 1e-12
FEWEST_BINS, MOST_BINS = 8, 40
LEFT, RIGHT = 6.0, 99.0  # percent: the room at the left is for the share labels
LINE_LABEL, TOP, BAR_SPACE, BOTTOM = 34.0, 16.0, 240.0, 28.0  # pixels, from top to bottom
GAP = 0.08  # of a bin's width, between bars
LOWEST_BAR = 1.5  # pixels: a single image among thousands must be seen
UNEQUAL = 3.0  # peaks further apart than this get a scale each, or the flatter half could not be read


@dataclass(frozen=True)
class Bar:
    """One bin of one half of the histogram.

    Attributes:
        kind: decides the colour: a bin lies on one side of the threshold.
        x, width: left end and width, in percent of the picture's width.
        y, height: upper end and height, in pixels.
        lower, upper: the scores at the bin's edges.
        count: number of images in the bin.
        total: number of images in its half.
    """

    kind: Kind
    x: float
    width: float
    y: float
    height: float
    lower: float
    upper: float
    count: int
    total: int


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis: percent on the horizontal one, pixels on the vertical one."""

    position: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """Everything that the template draws.

    Attributes:
        bars: of scored images above the baseline, of calibration images below it.
        ticks: of the score axis.
        shares: of the vertical axes, in percent of the images of a half.
        threshold: the line's place in percent; None without a line.
        baseline, height: of the picture, in pixels from the top.
        shared_scale: whether both halves have one vertical scale.
        scored, calibration: numbers of images that are drawn.
        left_out: number of scores that cannot be drawn.
        low, high: the scores at the ends of the horizontal axis.
    """

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    shares: tuple[Tick, ...]
    threshold: float | None
    baseline: float
    height: float
    shared_scale: bool
    scored: int
    calibration: int
    left_out: int
    low: float
    high: float

    def place(self, value: float) -> float | None:
        """Where a score lies on the horizontal axis, in percent of the picture's width; None if it is not on it."""
        return position(value, self.low, self.high) if self.low <= value <= self.high else None


def histogram(scores: Floats, calibration: Floats, threshold: float | None) -> Histogram | None:
    """The histogram of scored and calibration images on one grid of bins; None where there is no value to draw.

    Args:
        scores: (N,) of the scored images; what is not finite or beyond ±1e12 is left out and counted.
        calibration: (n,), likewise.
        threshold: becomes a bin edge, so that the bars left of it hold exactly the scores below it.
    """
    scored, calibrated = _drawable(scores), _drawable(calibration)
    values = np.concatenate([scored, calibrated])
    if not len(values):
        return None
    line = threshold if threshold is not None and abs(threshold) < LARGEST else None
    edges = bin_edges(values, line)
    upper, lower = bin_counts(scored, edges), bin_counts(calibrated, edges)
    low, high = float(edges[0]), float(edges[-1])
    peaks = _peak(upper), _peak(lower)
    shared = max(peaks) <= UNEQUAL * min(peaks) or min(peaks) == 0
    up, down = peaks if shared else (0.5, 0.5)
    steps = (max(peaks), max(peaks)) if shared else peaks
    top = TOP + (0.0 if line is None else LINE_LABEL)
    baseline = top + BAR_SPACE * up / (up + down)
    # Pixels per share (1.0 = all images of that half).
    spaces = baseline - top, top + BAR_SPACE - baseline
    scales = [space / peak if peak else 0.0 for space, peak in zip(spaces, peaks, strict=True)]
    return Histogram(
        bars=(
            *_bars(upper, edges, line, baseline, -scales[0]),
            *_bars(lower, edges, None, baseline, scales[1]),
        ),
        ticks=tuple(Tick(position(v, low, high), label) for v, label in nice_ticks(low, high)),
        shares=(
            *_share_ticks(peaks[0], steps[0], baseline, -scales[0]),
            *_share_ticks(peaks[1], steps[1], baseline, scales[1])[1 if peaks[0] else 0 :],
        ),
        threshold=None if line is None else position(line, low, high),
        baseline=baseline,
        height=top + BAR_SPACE + BOTTOM,
        shared_scale=shared,
        scored=len(scored),
        calibration=len(calibrated),
        left_out=np.size(scores) + np.size(calibration) - len(values),
        low=low,
        high=high,
    )


def bin_edges(values: Floats, threshold: float | None) -> Floats:
    """Equally wide bins over all ``values`` and the threshold, which is exactly one of the inner edges.

    Their number follows Rice's rule, 2·n^(1/3), within 8 and 40. Equal values get a scale around them.
    """
    ends = values if threshold is None else np.append(values, threshold)
    low, high = float(ends.min()), float(ends.max())
    size = max(abs(low), abs(high))
    if high - low <= max(SMALLEST_SPREAD, 1e-9 * size):
        half = 0.05 * size if size > SMALLEST_SPREAD else 0.5
        low, high = low - half, high + half
    wanted = min(MOST_BINS, max(FEWEST_BINS, math.ceil(2 * len(values) ** (1 / 3))))
    width = (high - low) / wanted
    anchor = low if threshold is None else threshold
    below = math.ceil((anchor - low) / width)
    above = math.floor((high - anchor) / width) + 1  # the largest value falls inside the last bin
    if threshold is not None:
        below, above = max(below, 2), max(above, 2)  # the line never lies on the border of the picture
    edges = anchor + width * np.arange(-below, above + 1)
    # Rounding must not push the extreme values off the grid.
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return np.asarray(edges, dtype=np.float64)


def bin_counts(values: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    """How many values lie in each bin [lower, upper), the last one closed; the sum is ``len(values)``."""
    return np.asarray(np.histogram(values, bins=edges)[0], dtype=np.int64)


def position(value: float, low: float, high: float) -> float:
    """Where ``value`` lies on an axis from ``low`` to ``high``, in percent of the picture's width."""
    return float(LEFT + (RIGHT - LEFT) * (value - low) / (high - low))


def nice_step(rough: float) -> tuple[float, int]:
    """The next 1, 2, 2.5 or 5 times a power of ten, and the decimals needed to write its multiples."""
    power = math.floor(math.log10(rough))
    factor = next(f for f in (1, 2, 2.5, 5, 10) if f * 10.0**power >= rough * (1 - 1e-9))
    return factor * 10.0**power, max(0, -power + (factor == 2.5) - (factor == 10))


def nice_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers within [low, high], at most 6 of them."""
    step, decimals = nice_step((high - low) / 5)
    places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    # Adding 0.0 turns the −0.0 that rounding leaves into 0.0.
    return [(i * step, f"{round(i * step, decimals) + 0.0:.{decimals}f}".replace("-", "−")) for i in places]


def _drawable(values: Floats) -> Floats:
    """The values that can be drawn, flat: finite and below :data:`LARGEST`."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    return flat[np.abs(flat) < LARGEST]  # comparisons with NaN are false


def _peak(counts: npt.NDArray[np.int64]) -> float:
    """The largest share of one bin; 0 of no images."""
    return float(counts.max() / counts.sum()) if counts.any() else 0.0


def _bars(
    counts: npt.NDArray[np.int64], edges: Floats, threshold: float | None, baseline: float, scale: float
) -> list[Bar]:
    """The bars that are not empty; a negative ``scale`` grows upwards, as y does downwards in SVG."""
    total, bars = int(counts.sum()), []
    for index in np.flatnonzero(counts):
        lower, upper, count = float(edges[index]), float(edges[index + 1]), int(counts[index])
        kind: Kind = "calibration" if scale > 0 else "scored"
        if threshold is not None:
            kind = "known" if lower >= threshold else "unknown"
        left, right = (position(edge, float(edges[0]), float(edges[-1])) for edge in (lower, upper))
        gap = GAP * (right - left)
        height = max(LOWEST_BAR, abs(scale) * count / total)
        y = baseline if scale > 0 else baseline - height
        bars.append(Bar(kind, left + gap / 2, right - left - gap, y, height, lower, upper, count, total))
    return bars


def _share_ticks(peak: float, step_for: float, baseline: float, scale: float) -> list[Tick]:
    """Ticks in percent of a half's images up to ``peak``, the baseline's 0 first; none for an empty half."""
    step, decimals = nice_step(100 * step_for / 3)
    return [
        Tick(baseline + scale * i * step / 100, f"{i * step:.{decimals}f} %")
        for i in range(math.floor(100 * peak / step + 1e-9) + 1 if peak else 0)
    ]
