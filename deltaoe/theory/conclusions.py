"""Conclusions on the source's theorems, drawn from findings by fixed rules, which docs/how-to/theory.md also states.

- Bound: ``supports`` if the interval of the share with E_2 ≤ E_1 lies at or above 95 %, ``contradicts`` if below it.
- Separation: ``supports`` if the interval of ΔEnergy's AUROC minus MCM's lies above 0, ``contradicts`` if below 0. The
  theorem is about MCM; beside Energy the same comparison gives ``higher`` or ``lower``.
- Hessian: the claim is that EBM makes the Hessians of different domains more alike. ``supports`` if the interval of the
  change of their mean distance, from the start or from a detector with a smaller λ, lies below 0, ``contradicts`` if
  above 0. Once for the absolute distance, which also falls where all Hessians shrink, and once for the relative one,
  which then does not.

Everything else is ``undecided``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deltaoe.functional.bootstrap import Interval
from deltaoe.theory.bounds import verdict
from deltaoe.theory.results import LEARNED, MEAN, START, Conclusion, Finding

PREMISE = 0.95

# By its quantity: the findings that agree in everything else.
Group = Mapping[str, Finding]


def conclude(
    findings: Sequence[Finding],
    not_measured: Sequence[Conclusion],
    weights: Mapping[str, float] | None = None,
) -> list[Conclusion]:
    """Conclusions on the bound, the separation and the Hessians.

    Args:
        findings: the numbers of all theorems and detectors.
        not_measured: conclusions on Hessians that could not be measured; they come last.
        weights: detector → its λ, of the tuned detectors.
    """
    groups: dict[tuple[object, ...], dict[str, Finding]] = {}
    for one in findings:
        key = (one.part, one.detector, one.known, one.against, one.at, one.reference)
        groups.setdefault(key, {})[one.quantity] = one
    means: dict[tuple[str, str], Group] = {}  # (detector, context) → mean distances of its Hessians
    for group in groups.values():
        first = next(iter(group.values()))
        if first.part == "distance" and first.known == MEAN and first.reference is None:
            means[first.detector, first.at] = group
    conclusions = []
    for group in groups.values():
        first = next(iter(group.values()))
        if first.part == "bound" and not first.by_domain:
            conclusions.append(_bound(group))
        elif first.part == "separation":
            conclusions.append(_separation(group))
        elif (reference := first.reference) is not None:
            after, before = means[first.detector, LEARNED], means[reference]
            for quantity in ("distance", "relative"):
                conclusions.append(_hessian(group[quantity], reference, after, before, weights or {}))
    if not any(one.part == "separation" for one in conclusions):
        conclusions.append(
            Conclusion("separation", "not measured", "no unknown images were given (--ood NAME=DIR)")
        )
    return [*conclusions, *not_measured]


def _bound(group: Group) -> Conclusion:
    """The conclusion on the bound of one detector, on one in-distribution set, at one τ and c."""
    premise, informative = group["premise"], group["informative"]
    word = "undecided"
    if premise.low >= PREMISE:
        word = "supports"
    elif premise.high < PREMISE:
        word = "contradicts"
    return Conclusion(
        "bound",
        word,
        f"{premise.detector}, {premise.at}: E2 ≤ E1, and so ΔE ≥ E2 − E0, holds on {premise.value:.1%} "
        f"[{premise.low:.1%}, {premise.high:.1%}] of {premise.n} images of {premise.known}; E2 − E0 is above 0 on "
        f"{informative.value:.1%}; means: E2 − E0 {group['lower'].value:.3g}, ΔE {group['change'].value:.3g}.",
    )


def _separation(group: Group) -> Conclusion:
    """The conclusion on ΔEnergy beside one other score, for one pair of image sets."""
    difference, gap = group["difference"], group["gap_difference"]
    auroc, rival_auroc = group["auroc"].value, group["rival_auroc"].value
    word: str = verdict(Interval(difference.value, difference.low, difference.high))
    if difference.rival != "mcm":
        word = {"supports": "higher", "contradicts": "lower"}.get(word, word)
    spans = "; the interval spans 0" if difference.low <= 0 <= difference.high else ""
    return Conclusion(
        "separation",
        word,
        f"{difference.detector}, {difference.known} against {difference.against}: AUROC of ΔEnergy {auroc:.3f}, of "
        f"{difference.at} {rival_auroc:.3f}, difference {difference.value:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}]{spans}; the "
        f"standardised gap differs by {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}].",
    )


def _hessian(
    change: Finding,
    reference: tuple[str, str],
    after: Group,
    before: Group,
    weights: Mapping[str, float],
) -> Conclusion:
    """The conclusion on one change of the mean distance between Hessians.

    Args:
        change: of the quantity ``distance`` or ``relative``, from ``before`` to ``after``.
        reference: (detector, context) of ``before``.
        after, before: mean distances at the learned context, and at the reference.
        weights: detector → λ.
    """
    other, context = reference
    from_start = context == START
    weight, reference_weight = weights.get(change.detector), 0.0 if from_start else weights.get(other)
    beside = "its start" if from_start else other + _weight(reference_weight)
    relative = change.quantity == "relative"
    form = "{:.3f}" if relative else "{:.4g}"
    was, now = (form.format(group[change.quantity].value) for group in (before, after))
    ends = ", ".join(f"{value:+.3g}" for value in (change.low, change.high))
    text = (
        f"{change.detector}{_weight(weight)} beside {beside}: the "
        f"mean {'relative' if relative else 'absolute'} distance between the domains' Hessians goes from {was} to "
        f"{now}, by {change.value:+.3g} [{ends}] over probes"
    )
    if relative:
        shuffled = (form.format(group["shuffled"].value) for group in (before, after))
        text += "; with shuffled domains from {} to {}".format(*shuffled)
    # The theorem is about EBM: a change without more of it is evidence neither for nor against.
    if weight is None or reference_weight is None or weight <= reference_weight:
        return Conclusion("hessian", "undecided", text + "; λ is not larger, so the claim is not tested.")
    word = verdict(Interval(-change.value, -change.high, -change.low))
    return Conclusion("hessian", word, text + ".")


def _weight(value: float | None) -> str:
    """λ in brackets; empty where it is not known."""
    return "" if value is None else f" (λ = {value:g})"
