"""What the demo's numbers say: a small table of one run, and sentences about the gain over several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.demo.summary import ACCURACY, CALLED_UNKNOWN, DETECTION, FALSE_ALARMS

ZERO_SHOT, WITH_IMAGES, COOP, OURS = "zero-shot", "with images", "CoOp", "deltaoe (default)"
METHODS = (ZERO_SHOT, WITH_IMAGES, COOP, OURS)
BEST = "*"
# What the numbers over seeds come to.
TWO_GAINS = "Tuning gets more pictures right; your pictures as evidence find more that is unknown."
# Method → number → one value for each seed.
BySeed = Mapping[str, Mapping[str, Sequence[float]]]


class Row(NamedTuple):
    """A row of the small table.

    Attributes:
        name: what is asked.
        numbers: names of the numbers whose mean is shown, see :mod:`deltaoe.demo.summary`.
        wanted: whether the largest value is the best; false alarms are only to stay below what was accepted.
    """

    name: str
    numbers: tuple[str, ...]
    wanted: bool = True


_SEEN, _NEW = [*ACCURACY][:-1], [*ACCURACY][-1:]
_ALARMS, _NEW_ALARMS, _OBJECTS, _PATTERNS = CALLED_UNKNOWN
RIGHT = Row("right class", tuple(ACCURACY))
OBJECTS = Row("other objects found", (_OBJECTS,))
PATTERNS = Row("patterns found", (_PATTERNS,))
ALARMS = Row("false alarms, your styles", (FALSE_ALARMS,), wanted=False)
ROWS = (
    Row("right class, your styles", tuple(_SEEN)),
    Row("right class, new style", tuple(_NEW)),
    OBJECTS,
    PATTERNS,
    Row("AUROC, other objects", tuple(name for name in DETECTION if "objects" in name)),
    Row("AUROC, patterns", tuple(name for name in DETECTION if "patterns" in name)),
    ALARMS,
    Row("false alarms, new style", (_NEW_ALARMS,), wanted=False),
)


def small_table(
    results: Mapping[str, Mapping[str, float]], by_seed: BySeed | None = None
) -> list[tuple[str, ...]]:
    """A row for each of :data:`ROWS`: its name, a cell for each method of one run, the best ones marked.

    Args:
        results: numbers 0 … 1 of each method of one run.
        by_seed: for one more cell, our numbers over seeds.

    Example:
        >>> results = {method: {number: 0.5 for row in ROWS for number in row.numbers} for method in METHODS}
        >>> small_table(results)[0]
        ('right class, your styles', '*50.0%', '*50.0%', '*50.0%', '*50.0%')
    """
    out = []
    for row in ROWS:
        shown = [_shown(row, _mean(numbers, row)) for numbers in results.values()]
        best = max(shown, key=lambda cell: float(cell.rstrip("%")))
        cells = [f"{BEST if row.wanted and cell == best else ''}{cell}" for cell in shown]
        if by_seed is not None:
            cells.append(_spread(row, _each(by_seed[OURS], row)))
        out.append((row.name, *cells))
    return out


def over_seeds(by_seed: BySeed) -> list[str]:
    """Sentences that compare deltaoe with plain CLIP and with CoOp: means over seeds, and gains from lowest to highest.

    Example:
        >>> low, high = ({n: (v, v + 0.02) for row in (RIGHT, *ROWS) for n in row.numbers} for v in (0.5, 0.625))
        >>> for sentence in over_seeds({ZERO_SHOT: low, WITH_IMAGES: high, COOP: low, OURS: high})[1:3]:
        ...     print(sentence)
        In all styles, plain CLIP (zero-shot) gives 51.0% of pictures the right class.
        deltaoe, tuned on 16 pictures a class, gives 63.5%: +12.5 points (+12.5 to +12.5).
    """

    def mean(method: str, row: Row) -> str:
        return _shown(row, float(np.mean(_each(by_seed[method], row))))

    def points(row: Row) -> str:
        gains = 100 * (_each(by_seed[OURS], row) - _each(by_seed[ZERO_SHOT], row))
        shown = f"{np.mean(gains):+.1f} points ({min(gains):+.1f} to {max(gains):+.1f})"
        return shown.replace("-", "\N{MINUS SIGN}")

    def found(row: Row) -> str:
        return f"{mean(OURS, row)} (CLIP {mean(ZERO_SHOT, row)}): {points(row)}"

    def others(method: str) -> str:
        return f"{mean(method, RIGHT)} right, {mean(method, OBJECTS)} and {mean(method, PATTERNS)} found"

    return [
        TWO_GAINS,
        f"In all styles, plain CLIP (zero-shot) gives {mean(ZERO_SHOT, RIGHT)} of pictures the right class.",
        f"deltaoe, tuned on 16 pictures a class, gives {mean(OURS, RIGHT)}: {points(RIGHT)}.",
        f"Of other objects it finds {found(OBJECTS)}.",
        f"Of patterns it finds {found(PATTERNS)}.",
        f"False alarms in your styles: {mean(OURS, ALARMS)} (CLIP {mean(ZERO_SHOT, ALARMS)}).",
        f"Untuned, with your pictures as evidence: {others(WITH_IMAGES)}.",
        f"CoOp's tuned prompts: {others(COOP)}.",
    ]


def _each(numbers: Mapping[str, Sequence[float]], row: Row) -> npt.NDArray[np.float64]:
    """The row's value for each seed."""
    return np.asarray(np.mean([numbers[name] for name in row.numbers], axis=0), dtype=np.float64)


def _mean(numbers: Mapping[str, float], row: Row) -> float:
    return float(np.mean([numbers[name] for name in row.numbers]))


def _shown(row: Row, value: float) -> str:
    """A value as text: AUROC with three digits, everything else in per cent."""
    return f"{value:.3f}" if row.name.startswith("AUROC") else f"{value:.1%}"


def _spread(row: Row, values: npt.NDArray[np.float64]) -> str:
    """Mean, lowest and highest."""
    lowest, highest = (_shown(row, value).rstrip("%") for value in (min(values), max(values)))
    return f"{_shown(row, float(np.mean(values)))} ({lowest} to {highest})"
