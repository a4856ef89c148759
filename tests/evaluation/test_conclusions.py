"""Conclusions from results made by hand: what is said, and what must not be."""

from __future__ import annotations

import math

import pytest

from deltaoe.evaluation.conclusions import conclude, with_conclusions
from deltaoe.evaluation.results import Evaluation, Measurement

SCORES = {"verdict": "Verdict", "delta_energy": "ΔEnergy", "mcm": "MCM", "knn": "KNN", "energy": "Energy"}


def row(detector, score, value, half=0.01, metric="auroc", known="id", unknown="far") -> Measurement:
    return Measurement(detector, score, known, unknown, metric, value, value - half, value + half, 100, 50)


def accuracy(detector, value, half=0.02, known="id") -> Measurement:
    return row(detector, "", value, half, "accuracy", known, "")


def alarms(detector, value, half=0.01, known="new", score="verdict") -> Measurement:
    return row(detector, score, value, half, "false_alarms", known, "")


def said(*rows: Measurement) -> list[str]:
    detectors = {one.detector: "" for one in rows}
    return conclude(Evaluation("title", rows, detectors, SCORES, alpha=0.05, convention="id"))


# The best score


def test_one_score_is_no_contest():
    assert said(row("zero-shot", "mcm", 0.9)) == [
        "MCM of zero-shot: AUROC 0.900 [0.890, 0.910] on id against far.",
        "No tuned detector was evaluated, so nothing is said about tuning.",
        "No shifted images were evaluated, so nothing is said about images of another style.",
    ]


@pytest.mark.parametrize(
    ("others", "end"),
    [
        ((0.87, 0.8), ", above all others."),
        ((0.885, 0.8), "; within the intervals, it cannot be told from MCM of zero-shot."),
        ((0.885, 0.89), "; no other score can be told from it, as all intervals overlap with its own."),
    ],
)
def test_the_best_score_is_above_those_whose_intervals_lie_below(others, end):
    found = said(
        row("zero-shot", "mcm", others[0]),
        row("zero-shot", "delta_energy", 0.9),
        row("zero-shot", "energy", others[1]),
    )
    assert found[0] == "Best score: ΔEnergy of zero-shot, AUROC 0.900 [0.890, 0.910] on id against far" + end


def test_many_level_scores_are_counted():
    others = [row("zero-shot", score, 0.89) for score in ("delta_energy", "mcm", "knn", "energy")]
    (first, *_) = said(row("zero-shot", "verdict", 0.9), *others, row("images", "knn", 0.5))
    assert first.endswith("told from ΔEnergy of zero-shot, MCM of zero-shot, KNN of zero-shot and 1 more.")


def test_the_mean_over_sets_has_the_mean_ends_of_their_intervals():
    rows = [
        row("zero-shot", score, value, half, unknown=unknown)
        for score, values in (("mcm", (0.9, 0.7)), ("energy", (0.8, 0.76)))
        for unknown, value, half in zip(("far", "near"), values, (0.01, 0.05), strict=True)
    ]
    mean = row("zero-shot", "mcm", 0.8, math.nan, unknown="mean")
    (first, *_) = said(*rows, mean)
    assert "MCM of zero-shot, AUROC 0.800 [0.770, 0.830] on id against 2 sets (mean)" in first
    assert "all intervals overlap" in first
    # A protocol's means over seeds have intervals of their own.
    (first, *_) = said(*rows, row("zero-shot", "mcm", 0.8, 0.001, unknown="mean"))
    assert "AUROC 0.800 [0.799, 0.801]" in first


def test_without_intervals_nothing_is_called_a_difference():
    rows = [
        row("zero-shot", "mcm", 0.6, math.nan),
        row("tuned", "delta_energy", 0.9, math.nan),
        row("zero-shot", "delta_energy", 0.6, math.nan),
    ]
    found = said(*rows)
    assert found[0] == "Best score: ΔEnergy of tuned, AUROC 0.900 on id against far."
    assert "raises" not in " ".join(found) and "with no interval that tells it from chance" in found[1]
    assert found[-1].startswith("AUROCs have no intervals here")


def test_no_unknown_images():
    found = said(accuracy("zero-shot", 0.8), accuracy("tuned", 0.9))
    assert found[0] == (
        "No out-of-distribution images were evaluated, so nothing is said about telling them apart."
    )
    assert found[1] == "Tuning (tuned, beside zero-shot) raises accuracy 0.800 → 0.900."


# Tuning


def pair(score_before, score_after, right_before, right_after, plain="zero-shot + images"):
    return said(
        row(plain, "verdict", score_before),
        accuracy(plain, right_before),
        row("shop", "verdict", score_after),
        accuracy("shop", right_after),
    )[1]


def test_what_tuning_adds():
    assert pair(0.8, 0.9, 0.8, 0.9) == (
        "Tuning (shop, beside zero-shot + images) raises accuracy 0.800 → 0.900 and AUROC 0.800 → 0.900."
    )
    assert pair(0.9, 0.8, 0.8, 0.81) == (
        "Tuning (shop, beside zero-shot + images) lowers AUROC 0.900 → 0.800; it changes accuracy 0.800 → 0.810 by no "
        "more than the intervals allow for."
    )
    assert pair(0.9, 0.91, 0.8, 0.81) == (
        "Tuning adds nothing that can be told here (shop, beside zero-shot + images): accuracy 0.800 → 0.810 and "
        "AUROC 0.900 → 0.910, and the intervals overlap."
    )


def test_a_tuned_detector_is_compared_by_the_score_that_it_decides_by():
    """Not by the best of its scores: that would choose with the answers in view."""
    found = said(
        row("zero-shot", "delta_energy", 0.8),
        row("zero-shot", "mcm", 0.7),
        row("shop", "verdict", 0.8),
        row("shop", "mcm", 0.99),
    )
    assert found[0].startswith("Best score: MCM of shop")
    assert found[1].startswith("Tuning adds nothing that can be told here (shop, beside zero-shot)")


def test_the_best_detector_without_tuning_is_the_one_compared_with():
    found = said(
        row("zero-shot", "verdict", 0.5),
        row("zero-shot + images", "verdict", 0.9),
        row("shop", "verdict", 0.9),
    )
    assert "beside zero-shot + images" in found[1]


def test_nothing_to_compare_tuning_with():
    found = said(row("shop", "verdict", 0.9))
    assert found[1] == "No zero-shot detector was evaluated, so nothing is said about what tuning adds."


def test_a_protocol_with_two_tuning_methods():
    found = said(
        row("zero-shot", "delta_energy", 0.8),
        row("CoOp", "delta_energy", 0.82),
        row("deltaoe", "verdict", 0.9),
        accuracy("zero-shot", 0.7),
        accuracy("CoOp", 0.71),
        accuracy("deltaoe", 0.72),
    )
    assert found[1].startswith(
        "Tuning (deltaoe, beside zero-shot) raises AUROC 0.800 → 0.900; it changes accuracy"
    )
    assert found[2].startswith("Tuning adds nothing that can be told here (CoOp, beside zero-shot)")


# The shift


def shifted(*more: Measurement, value=0.8, right=0.6) -> list[str]:
    return said(
        row("zero-shot", "verdict", 0.9),
        accuracy("zero-shot", 0.8),
        accuracy("zero-shot", 0.3, known="id/photo"),  # a domain of the same set is no shift
        row("zero-shot", "verdict", value, known="new"),
        accuracy("zero-shot", right, known="new"),
        *more,
    )[2:]


def test_what_breaks_under_the_shift():
    assert shifted() == [
        "The shift to new (zero-shot) lowers accuracy 0.800 → 0.600 and AUROC 0.900 → 0.800."
    ]
    assert shifted(value=0.91, right=0.79) == [
        "The shift to new (zero-shot) changes accuracy 0.800 → 0.790 and AUROC 0.900 → 0.910 by no more than the "
        "intervals allow for."
    ]


@pytest.mark.parametrize(
    ("share", "compared"),
    [
        (0.3, ", more than the 5 % that α = 0.05 promises for images like id."),
        (0.055, "; the 5 % that α = 0.05 promises for images like id lies within the interval."),
        (0.02, ", less than the 5 % that α = 0.05 promises for images like id."),
    ],
)
def test_false_alarms_under_the_shift(share, compared):
    (_, last) = shifted(alarms("zero-shot", share), alarms("zero-shot", 0.05, known="id"))
    assert last == f"There {100 * share:.1f} % of the known images are called unknown{compared}"


def test_of_several_shifts_the_worst_is_said():
    (found,) = shifted(accuracy("zero-shot", 0.2, known="worse"))
    assert found == "The shift to worse (zero-shot; the worst of 2 shifts) lowers accuracy 0.800 → 0.200."


def test_nothing_measured_and_nothing_said():
    assert said() == []


def test_conclusions_go_with_the_evaluation():
    plain = Evaluation("title", [row("zero-shot", "mcm", 0.9)], {"zero-shot": ""}, SCORES, 0.05, "id")
    assert plain.to_dict()["conclusions"] == []
    found = with_conclusions(plain)
    assert found.to_dict()["conclusions"] == conclude(plain) and found.rows == plain.rows
