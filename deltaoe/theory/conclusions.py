"""Sentences on what the numbers say of the source's theorems, by rules that stand here and in the documentation.

- Bound: supports if the interval of the share with E_2 ≤ E_1 lies at or above 95 %, contradicts if below it.
- Separation: supports if the interval of ΔEnergy's AUROC minus MCM's lies above 0, contradicts if below 0. The theorem
  is about MCM; beside Energy the same finds that ΔEnergy is ``higher`` or ``lower``.
- Hessian: EBM is said to bring the domains' Hessians closer. Supports if the interval of the change of the mean
  distance, from the start or from a detector with a smaller λ, lies below 0, contradicts if above 0. Once for the
  absolute distance, which also falls where all Hessians shrink, and once for the relative one, which then does not.

Everything else is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deltaoe.functional.bootstrap import Interval
from deltaoe.theory.bounds import verdict
from deltaoe.theory.results import Conclusion, Finding

PREMISE = 0.95


def conclude(
    findings: Sequence[Finding], refused: Sequence[Conclusion], weights: Mapping[str, float] | None = None
) -> list[Conclusion]:
    """Conclusions from findings; ``weights``: λ of the tuned detectors, ``refused``: what was not measured."""
    groups: dict[tuple[str, ...], dict[str, Finding]] = {}
    for one in findings:
        groups.setdefault((one.part, one.detector, one.known, one.against, one.at), {})[one.quantity] = one
    found = []
    for (part, _, known, _, at), numbers in groups.items():
        if part == "bound" and "/" not in known:
            found.append(_bound(numbers))
        elif part == "separation":
            found.append(_separation(numbers))
        elif part == "distance" and known == "mean" and "−" in at:
            found += [_hessian(numbers[name], groups, weights or {}) for name in ("distance", "relative")]
    if not any(one.part == "separation" for one in found):
        found.append(
            Conclusion("separation", "not measured", "no unknown images were given (--ood NAME=DIR)")
        )
    return [*found, *refused]


def _bound(numbers: Mapping[str, Finding]) -> Conclusion:
    premise, informative = numbers["premise"], numbers["informative"]
    judged = "undecided"
    if premise.low >= PREMISE:
        judged = "supports"
    elif premise.high < PREMISE:
        judged = "contradicts"
    return Conclusion(
        "bound",
        judged,
        f"{premise.detector}, {premise.at}: E2 ≤ E1, and so ΔE ≥ E2 − E0, holds on {premise.value:.1%} "
        f"[{premise.low:.1%}, {premise.high:.1%}] of {premise.n} images of {premise.known}; E2 − E0 is above 0 on "
        f"{informative.value:.1%}; means: E2 − E0 {numbers['lower'].value:.3g}, ΔE {numbers['change'].value:.3g}.",
    )


def _separation(numbers: Mapping[str, Finding]) -> Conclusion:
    change, gap = numbers["difference"], numbers["gap_difference"]
    ours, theirs = numbers["auroc"].value, numbers["rival_auroc"].value
    judged: str = verdict(Interval(change.value, change.low, change.high))
    if not change.at.startswith("MCM"):
        judged = {"supports": "higher", "contradicts": "lower"}.get(judged, judged)
    spans = "; the interval spans 0" if change.low <= 0 <= change.high else ""
    return Conclusion(
        "separation",
        judged,
        f"{change.detector}, {change.known} against {change.against}: AUROC of ΔEnergy {ours:.3f}, of {change.at} "
        f"{theirs:.3f}, difference {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]{spans}; the "
        f"standardised gap differs by {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}].",
    )


def _hessian(
    change: Finding, groups: Mapping[tuple[str, ...], Mapping[str, Finding]], weights: Mapping[str, float]
) -> Conclusion:
    other = change.at.partition("− ")[2]
    key = ("distance", change.detector, "mean", "", "learned")
    there = (
        ("distance", change.detector, "mean", "", "start") if other == "start" else (key[0], other, *key[2:])
    )
    after, before = groups[key], groups[there]
    own, others = weights.get(change.detector), 0.0 if other == "start" else weights.get(other)
    judged = verdict(Interval(-change.value, -change.high, -change.low))
    tested = own is not None and others is not None and own > others
    relative = change.quantity == "relative"
    form = "{:.3f}" if relative else "{:.4g}"
    was, now = (form.format(one[change.quantity].value) for one in (before, after))
    ends = ", ".join(f"{value:+.3g}" for value in (change.low, change.high))
    text = (
        f"{change.detector}{_weight(own)} beside {'its start' if other == 'start' else other + _weight(others)}: the "
        f"mean {'relative' if relative else 'absolute'} distance between the domains' Hessians goes from {was} to "
        f"{now}, by {change.value:+.3g} [{ends}] over probes"
    )
    if relative:
        shuffled = (form.format(one["shuffled"].value) for one in (before, after))
        text += "; with shuffled domains from {} to {}".format(*shuffled)
    if (
        not tested
    ):  # the theorem is about EBM: a change without more of it is evidence neither for nor against
        return Conclusion("hessian", "undecided", text + "; λ is not larger, so the claim is not tested.")
    return Conclusion("hessian", judged, text + ".")


def _weight(value: float | None) -> str:
    return "" if value is None else f" (λ = {value:g})"
