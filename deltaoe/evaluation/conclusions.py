"""What an evaluation says, in words: the best score, what tuning adds, and what breaks under a covariate shift.

A difference is called one only if the 95 % intervals do not overlap. That is a cautious rule: on the same images, even
differences with overlapping intervals can be real. The mean over out-of-distribution sets has the mean ends of
their intervals, which is at least as wide as the interval of the mean **[derived]**.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deltaoe.evaluation.options import VERDICT
from deltaoe.evaluation.results import MEAN, Evaluation, Measurement
from deltaoe.evaluation.zero_shot_detectors import IMAGES, WITH_IMAGES, ZERO_SHOT

# Detectors that nothing was tuned for, the best one to compare a tuned detector with first.
UNTUNED = (WITH_IMAGES, ZERO_SHOT, IMAGES)
_DECIDING = (VERDICT, "delta_energy", "mahalanobis")  # the scores that detectors decide by
_NAMED = 3  # scores that a sentence names
_MOST_TUNED = 2
Compared = Literal["higher", "lower", "level", "unknown"]


@dataclass(frozen=True)
class Number:
    """A value with its 95 % interval; the ends are NaN without one."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def compared(self, other: Number) -> Compared:
        """Whether it is higher or lower than another, by intervals that do not overlap; ``unknown`` without them."""
        if any(math.isnan(end) for end in (self.low, self.high, other.low, other.high)):
            return "unknown"
        return "higher" if self.low > other.high else "lower" if self.high < other.low else "level"

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def with_conclusions(evaluation: Evaluation) -> Evaluation:
    """The evaluation with its conclusions."""
    return dataclasses.replace(evaluation, conclusions=conclude(evaluation))


def conclude(evaluation: Evaluation) -> list[str]:
    """Sentences about an evaluation, from its measurements alone.

    Example:
        >>> rows = [Measurement("zero-shot", score, "id", "far", "auroc", value, value - 0.01, value + 0.01)
        ...         for score, value in (("mcm", 0.9), ("energy", 0.8))]
        >>> scores = {"mcm": "MCM", "energy": "Energy"}
        >>> found = conclude(Evaluation("title", rows, {"zero-shot": ""}, scores, alpha=0.05, convention="id"))
        >>> found[0]
        'Best score: MCM of zero-shot, AUROC 0.900 [0.890, 0.910] on id against far, above all others.'
    """
    sets = [name for name in evaluation.names("known") if "/" not in name]
    if not sets:
        return []
    said = [*_best(evaluation, sets[0]), *_tuning(evaluation, sets[0]), *_shift(evaluation, sets)]
    each = [row for row in evaluation.find(metric="auroc") if row.unknown != MEAN]
    if each and all(math.isnan(row.low) for row in each):
        said.append("AUROCs have no intervals here, so that small differences between them may be chance.")
    return said


def auroc_of(evaluation: Evaluation, detector: str, score: str, known: str) -> Number | None:
    """The AUROC of a score, the mean over the out-of-distribution sets; None where it was not measured."""
    rows = evaluation.find(metric="auroc", detector=detector, score=score, known=known)
    each = [row for row in rows if row.unknown != MEAN]
    if not each:
        return None
    mean = next((row for row in rows if row.unknown == MEAN), each[0] if len(each) == 1 else None)
    value = mean.value if mean else sum(row.value for row in each) / len(each)
    if mean and not math.isnan(mean.low):
        return Number(value, mean.low, mean.high)
    return Number(value, *(sum(getattr(row, end) for row in each) / len(each) for end in ("low", "high")))


def deciding_score(evaluation: Evaluation, detector: str) -> str | None:
    """The score that a detector decides by, if its AUROC was measured."""
    scores = evaluation.names("score", metric="auroc", detector=detector)
    return next((score for score in _DECIDING if score in scores), None)


def accuracy_of(evaluation: Evaluation, detector: str, known: str) -> Number | None:
    """The accuracy of a detector; None where it was not measured."""
    return _number(evaluation.find(metric="accuracy", detector=detector, known=known))


def _number(rows: Sequence[Measurement]) -> Number | None:
    """The first measurement."""
    return Number(rows[0].value, rows[0].low, rows[0].high) if rows else None


def _best(evaluation: Evaluation, known: str) -> list[str]:
    """The score with the highest AUROC, and those that cannot be told from it."""
    found = {
        (row.detector, row.score): number
        for row in evaluation.find(metric="auroc", known=known)
        if (number := auroc_of(evaluation, row.detector, row.score, known)) is not None
    }
    if not found:
        return ["No out-of-distribution images were evaluated, so nothing is said about telling them apart."]
    best = max(found, key=lambda key: found[key].value)
    number = found[best]
    unknown = [name for name in evaluation.names("unknown", metric="auroc") if name != MEAN]
    against = unknown[0] if len(unknown) == 1 else f"{len(unknown)} sets (mean)"
    where = f"AUROC {number} on {known} against {against}"

    def title(key: tuple[str, str]) -> str:
        return f"{evaluation.scores[key[1]]} of {key[0]}"

    if len(found) == 1:
        return [f"{title(best)}: {where}."]
    others = {key: found[key] for key in found if key != best}
    states = {key: one.compared(number) for key, one in others.items()}
    level = sorted((key for key in others if states[key] == "level"), key=lambda key: -others[key].value)
    if "unknown" in states.values():
        end = ""
    elif not level:
        end = ", above all others"
    elif len(level) == len(others):
        end = "; no other score can be told from it, as all intervals overlap with its own"
    else:
        named = ", ".join(map(title, level[:_NAMED]))
        more = f" and {len(level) - _NAMED} more" if len(level) > _NAMED else ""
        end = f"; within the intervals, it cannot be told from {named}{more}"
    return [f"Best score: {title(best)}, {where}{end}."]


def _tuning(evaluation: Evaluation, known: str) -> list[str]:
    """What tuned detectors add to the best detector without tuning."""
    tuned = [name for name in evaluation.detectors if name not in UNTUNED]
    plain = next((name for name in UNTUNED if name in evaluation.detectors), None)
    if not tuned:
        return ["No tuned detector was evaluated, so nothing is said about tuning."]
    if plain is None:
        return ["No zero-shot detector was evaluated, so nothing is said about what tuning adds."]

    def rank(name: str) -> float:
        number = _decided(evaluation, name, known) or accuracy_of(evaluation, name, known)
        return -number.value if number else math.inf

    said = []
    for name in sorted(tuned, key=rank)[:_MOST_TUNED]:
        pairs = _pairs((evaluation, plain, known), (evaluation, name, known))
        if not pairs:
            continue
        which = f"{name}, beside {plain}"
        if all(after.compared(before) == "level" for _, before, after in pairs):
            numbers = " and ".join(
                f"{words} {before.value:.3f} → {after.value:.3f}" for words, before, after in pairs
            )
            said.append(
                f"Tuning adds nothing that can be told here ({which}): {numbers}, and the intervals overlap."
            )
        else:
            said.append(f"Tuning ({which}) {_changes(pairs)}.")
    return said


Pair = tuple[str, Number, Number]  # what it is, before and after


def _pairs(before: tuple[Evaluation, str, str], after: tuple[Evaluation, str, str]) -> list[Pair]:
    """Accuracy and AUROC of a detector on some images, beside another detector or other images."""
    measures = (
        ("accuracy", accuracy_of(*before), accuracy_of(*after)),
        ("AUROC", _decided(*before), _decided(*after)),
    )
    return [(words, one, other) for words, one, other in measures if one is not None and other is not None]


def _changes(pairs: Sequence[Pair]) -> str:
    """What goes up or down beyond the intervals, and what does not."""
    forms: dict[Compared, str] = {
        "higher": "raises {}",
        "lower": "lowers {}",
        "level": "changes {} by no more than the intervals allow for",
        "unknown": "changes {}, with no interval that tells it from chance",
    }
    by_state: dict[Compared, list[str]] = {}
    for words, before, after in pairs:
        change = f"{words} {before.value:.3f} → {after.value:.3f}"
        by_state.setdefault(after.compared(before), []).append(change)
    return "; it ".join(
        form.format(" and ".join(by_state[state])) for state, form in forms.items() if state in by_state
    )


def _decided(evaluation: Evaluation, detector: str, known: str) -> Number | None:
    """The AUROC of the score that a detector decides by."""
    score = deciding_score(evaluation, detector)
    return None if score is None else auroc_of(evaluation, detector, score, known)


def _shift(evaluation: Evaluation, sets: Sequence[str]) -> list[str]:
    """What changes on images of other domains, for the detector that is best on the first set."""
    known, *shifts = sets
    if not shifts:
        return ["No shifted images were evaluated, so nothing is said about images of another style."]

    def rank(name: str) -> float:
        number = _decided(evaluation, name, known) or accuracy_of(evaluation, name, known)
        return number.value if number else -math.inf

    name = max(evaluation.detectors, key=rank)

    def accuracy(shift: str) -> float:
        number = accuracy_of(evaluation, name, shift)
        return number.value if number else math.inf

    shift = min(shifts, key=accuracy)
    pairs = _pairs((evaluation, name, known), (evaluation, name, shift))
    which = f"{name}; the worst of {len(shifts)} shifts" if len(shifts) > 1 else name
    said = [f"The shift to {shift} ({which}) {_changes(pairs)}."] if pairs else []
    return [*said, *_false_alarms(evaluation, name, known, shift)]


def _false_alarms(evaluation: Evaluation, detector: str, known: str, shift: str) -> list[str]:
    """Whether the threshold, calibrated on the first set, keeps its promise on shifted images."""
    measured = evaluation.names("score", metric="false_alarms", detector=detector)
    score = next((score for score in (*_DECIDING, *measured) if score in measured), "")
    alarms = _number(evaluation.find(metric="false_alarms", detector=detector, score=score, known=shift))
    if alarms is None:
        return []
    promise = (
        f"the {100 * evaluation.alpha:g} % that α = {evaluation.alpha:g} promises for images like {known}"
    )
    found = f"There {100 * alarms.value:.1f} % of the known images are called unknown"
    if alarms.low > evaluation.alpha:
        return [f"{found}, more than {promise}."]
    if alarms.high < evaluation.alpha:
        return [f"{found}, less than {promise}."]
    return [f"{found}; {promise} lies within the interval."]
