"""What a tuning has brought and what its calibration allows, in words; and what to run after an extraction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltaoe.functional.conformal import smallest_alpha
from deltaoe.scoring.options import ALPHA
from deltaoe.tuning.plan import FEWEST_SHOTS, NEEDED, USUAL_SHOTS, Plan, best_plan, plan

_NOT_COMPARED = (
    "Accuracy on new images is not known: there are too few images to set some aside for validation. "
    "{}deltaoe evaluate measures it on other images."
)
_FEWER = "Fewer --shots leave more; "
# AUROC among the measurements → the unknown images that it is against.
_UNKNOWNS = {"near": "held-out classes", "far": "shuffled features"}
Interval = Sequence[float]  # (value, low, high)


def outcome(comparison: Mapping[str, Any], calibration: int, *, apart: bool = False) -> list[str]:
    """Sentences about a detector: how good it is, what tuning brought, and what its calibration allows.

    Args:
        comparison: the fact :data:`~deltaoe.scoring.detector_fields.COMPARISON` of the detector; empty if it has none.
        calibration: number of calibration images.
        apart: whether these come from a split that no shots come from, so that fewer shots do not leave more.

    Example:
        >>> facts = {"images": 192, "tuned": {"accuracy": 0.9, "near": None, "far": None}}
        >>> for sentence in outcome(facts, 480):
        ...     print(sentence)
        90.0 % of 192 validation images, which nothing was learned from, are classified right.
        480 images calibrate: the smallest usable α, the accepted share of false alarms, is 0.0021.
    """
    if not comparison:
        return [_NOT_COMPARED.format("" if apart else _FEWER), _calibration(calibration)]
    tuned, plain = comparison["tuned"], comparison.get("zero_shot")
    accuracy: Interval | None = comparison.get("accuracy_difference")
    auroc: Interval | None = comparison.get("auroc_difference")
    right = (
        f"{_percent(tuned['accuracy'])} of {comparison['images']} validation images, which nothing was learned from, "
        "are classified right"
    )
    if plain is not None and accuracy is not None:
        right += (
            f", {_percent(plain['accuracy'])} with zero-shot prompts: {_change(accuracy, 100, ' points', 1)}"
        )
    said = [f"{right}."]
    kinds = [words for name, words in _UNKNOWNS.items() if tuned[name] is not None]
    if kinds:
        detected = (
            f"Against unknowns made from your images ({' and '.join(kinds)}) the AUROC is {_auroc(tuned):.3f}"
        )
        if plain is not None and auroc is not None:
            detected += f", {_auroc(plain):.3f} with zero-shot prompts: {_change(auroc, 1, '', 3)}"
        said.append(f"{detected}.")
    if plain is not None and not any(one is not None and one[1] > 0 for one in (accuracy, auroc)):
        said.append(
            "Tuning has brought nothing that these images can show; deltaoe score --zero-shot does without it."
        )
    return [*said, _calibration(calibration)]


def _percent(share: float) -> str:
    """A share as percent."""
    return f"{100 * share:.1f} %"


def _auroc(measured: Mapping[str, float | None]) -> float:
    """The mean of the AUROCs that there are; there is one at least."""
    values = [value for name in _UNKNOWNS if (value := measured[name]) is not None]
    return sum(values) / len(values)


def _change(difference: Interval, factor: float, unit: str, places: int) -> str:
    """What tuning has changed for certain, or that it may be chance."""
    value, low, high = (factor * end for end in difference)
    ends = f"95 % interval {low:+.{places}f} to {high:+.{places}f}"
    if low > 0 or high < 0:
        verb = "raised" if low > 0 else "lowered"
        return f"tuning has {verb} it by {abs(value):.{places}f}{unit} ({ends})"
    if not value:
        return f"tuning has not changed it ({ends})"
    return f"the difference of {value:+.{places}f}{unit} can be chance ({ends})"


def _calibration(images: int) -> str:
    """How many images calibrate, and the smallest α that they allow."""
    if not images:
        return "No images are left to calibrate with: every image is undecided."
    count = f"{images:,} image{'s calibrate' if images > 1 else ' calibrates'}"
    smallest = f"the smallest usable α, the accepted share of false alarms, is {smallest_alpha(images):g}"
    if images < NEEDED:
        return f"Only {count}: {smallest}, and at the usual {ALPHA:g} every image is undecided."
    return f"{count}: {smallest}."


@dataclass(frozen=True)
class Next:
    """What to do after an extraction.

    Attributes:
        shots: shots per class that leave enough images to calibrate with; None if no number does.
        command: to run next; empty if there is none yet.
        reason: a sentence; empty where the usual number of shots will do.
    """

    shots: int | None
    command: str
    reason: str = ""


def after_extraction(sizes: Mapping[str, int], held_out: Sequence[int] = ()) -> Next:
    """The next command for classes of these numbers of distinct images, and of images that are never shots.

    Example:
        >>> after_extraction({"cat": 20, "dog": 20, "owl": 20}).command
        'deltaoe tune --shots 13'
        >>> after_extraction({"cat": 60, "dog": 60}).reason
        ''
    """
    counts = list(sizes.values())
    found = best_plan(counts, held_out=held_out)
    if found is not None:
        why = _why_not_usual(sizes, held_out, found) or _how_to_validate(counts, held_out, found)
        return Next(found.shots, f"deltaoe tune --shots {found.shots}", why)
    empty = [name for name, count in sizes.items() if not count]
    if empty:
        listed = ", ".join(empty[:3]) + (" …" if len(empty) > 3 else "")
        reason = (
            f"{len(empty)} of {len(sizes)} classes have no image of their own to learn from: {listed}; "
            "add some, or remove them"
        )
        return Next(None, "", reason)
    total = sum(counts) + sum(held_out)
    missing = len(counts) + NEEDED - total
    reason = (
        f"Too few images to tune: {total} distinct ones in {len(counts)} class{'es' if len(counts) > 1 else ''}, and "
        f"one of each class must be learned from and {NEEDED} calibrate for α = {ALPHA:g}; {missing} more would do."
    )
    return Next(None, "deltaoe score ./unknown --zero-shot" if total >= NEEDED else "", reason)


def _why_not_usual(sizes: Mapping[str, int], held_out: Sequence[int], found: Plan) -> str:
    """Why fewer shots than usual; empty for the usual number."""
    if found.shots == USUAL_SHOTS:
        return ""
    name, smallest = min(sizes.items(), key=lambda item: item[1])
    if smallest == found.shots:
        return f"{name} has {smallest} distinct image{'s' if smallest > 1 else ''}."
    left = plan(list(sizes.values()), found.shots + 1, held_out)
    return (
        f"{found.shots} shots of each class leave {found.calibration} images to calibrate with, and {left.shots} shots "
        f"{left.calibration}: α = {ALPHA:g} needs {NEEDED}."
    )


def _how_to_validate(sizes: Sequence[int], held_out: Sequence[int], found: Plan) -> str:
    """With how many shots the tuning can be validated; empty if it can with those found, or with no number near it."""
    if found.validation:
        return ""
    for shots in range(found.shots - 1, FEWEST_SHOTS - 1, -1):
        fewer = plan(sizes, shots, held_out)
        if fewer.validation and fewer.enough:
            return (
                f"{found.shots} shots of each class leave no images to validate the tuning with; "
                f"{shots} shots leave {fewer.validation}."
            )
    return ""
