"""What the report says of each rule by which images are called unknown: never more than the rule promises."""

from __future__ import annotations

import dataclasses
import os
from datetime import UTC, datetime

import numpy as np
import pytest
from pages import HOSTILE, Page, make_report, row

from deltaoe.report.from_scores import build_report
from deltaoe.report.render import render
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule
from deltaoe.scoring.score import ScoreResult
from deltaoe.scoring.score_table import ScoreTable
from deltaoe.scoring.verdicts import decide
from deltaoe.store.feature_space import FeatureSpace

FDR = "on average at most 10 % of the images called unknown are false alarms (Benjamini–Hochberg over these images)."
ALL_KNOWN = {"known": 300, "unknown": 0, "undecided": 0, "failed": 2}
SOME = {"known": 250, "unknown": 50, "undecided": 0, "failed": 2}


def page(**changes) -> Page:
    return Page(render(make_report(**changes)))


def promise(found: Page) -> str:
    return found.text("p", class_="promise")


def test_a_share_of_the_images_called_unknown():
    found = page(fdr=0.1)
    line = f"{make_report().threshold:.4f}"
    assert promise(found) == (
        f"Images are called unknown so that {FDR} Here these are the images whose delta_energy is below {line}."
    )
    assert "5 %" not in promise(found)
    assert found.find("line", id="threshold-line")


@pytest.mark.parametrize("per_class", [False, True])
def test_where_no_image_may_be_called_unknown_all_are_known(per_class):
    found = page(fdr=0.1, threshold=None, counts=ALL_KNOWN, per_class=per_class)
    assert promise(found).endswith(
        f"{FDR} Here no image is called unknown: none is far enough from the calibration images."
    )
    assert found.text("div", id="threshold") == "false discovery rate 10 % no image is called unknown"
    assert "No image is called unknown, so no line is drawn." in found.text("figcaption")
    assert found.text("desc", id="histogram-desc").endswith("No image is called unknown.")
    assert not found.find("line", id="threshold-line")


def test_a_threshold_for_each_class():
    found = page(per_class=True, threshold=None, counts=SOME)
    assert promise(found) == (
        "An image is known if its delta_energy is at least the threshold of the class it was taken for: each "
        "class has its own. In each class at most 5 % of your own images are called unknown on average."
    )
    assert found.text("div", id="threshold") == "unknown if p ≤ 5 % each class has its own threshold"
    assert "Each class has its own threshold, so no line is drawn." in found.text("figcaption")
    assert not found.find("line", id="threshold-line")
    assert found.text("p", id="own-class").startswith("The p-value and the margin compare an image with")
    assert found.find("dd", class_="margin")[0][1] == "+0.0100"  # of its own class, as given
    assert not page().find("p", id="own-class")


def test_a_threshold_for_each_class_and_a_share():
    found = page(per_class=True, fdr=0.1, threshold=None, counts=SOME)
    assert promise(found) == (
        f"Images are called unknown so that {FDR} Each class has its own threshold: unknown are the images whose "
        "delta_energy is below the threshold of the class they were taken for."
    )


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize(
    ("fdr", "needed", "says"), [(None, 19, "of your own images"), (0.2, 4, "be false alarms")]
)
def test_too_small_a_calibration_says_so_under_every_rule(fdr, needed, says, per_class):
    counts = {"known": 0, "unknown": 0, "undecided": 300, "failed": 0}
    for have, sentence in ((0, "there is no calibration."), (needed - 1, f"only {needed - 1} images.")):
        found = page(
            fdr=fdr,
            per_class=per_class,
            threshold=None,
            counts=counts,
            calibration=np.full(have, 0.2),
            rows=[row(verdict="undecided", margin=None)],
        )
        assert sentence in promise(found) and f"at least {needed} images" in promise(found)
        assert says in promise(found)
        assert found.text("div", id="threshold").endswith(" % no threshold")
        assert not found.find("p", id="own-class")


def test_images_without_verdict_among_others_are_counted():
    counts = {"known": 200, "unknown": 50, "undecided": 50, "failed": 0}
    text = promise(page(per_class=True, threshold=None, counts=counts))
    assert text.endswith("50 images have no verdict: there are too few calibration images for their class.")
    assert "verdict" not in promise(page(per_class=True, threshold=None, counts=SOME))


# --- from a result of scoring

RNG = np.random.default_rng(4)
CLASSES = np.repeat([0, 1], 150)
SCORES = np.array([-9.0, -3.0, 0.0, 2.0])


def build(rule: Rule, scores=SCORES, calibration=300, facts=None):
    space = FeatureSpace("m", "w", "c", "{}", "fp32", 1, 4)
    detector = Detector(("cat", "dog"), np.eye(2, 4, dtype=np.float32), 0.1, 1, np.empty(0), space, 100.0)
    # Dogs score lower than cats.
    detector = detector.calibrated((RNG.normal(size=300) - CLASSES)[:calibration], CLASSES[:calibration])
    homes = np.arange(len(scores)) % 2
    decisions = decide(detector, scores, homes, rule)
    table = ScoreTable(
        class_names=detector.class_names,
        paths=[f"{i}.jpg" for i in range(len(scores))],
        scores=scores,
        labels=np.stack([homes, 1 - homes], axis=1),
        cosines=np.full((len(scores), 2), 0.2, dtype=np.float32),
        p_values=decisions.p_values,
        threshold=decisions.threshold,
        alpha=rule.alpha,
        failed=[],
        thresholds=decisions.thresholds,
    )
    files = [os.devnull] * len(scores)
    detector = dataclasses.replace(detector, facts=facts or {})
    result = ScoreResult(table, rule, files, detector, "here", "m", 0, 0, decisions.notes)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return table, build_report(result, title="t", full_table="scores.csv", now=now)


def verdict_entries(report) -> dict[str, str]:
    return dict(dict(report.manifest)["Verdict"])


@pytest.mark.parametrize("rule", [Rule(), Rule(fdr=0.2), Rule(per_class=True), Rule(fdr=0.2, per_class=True)])
def test_a_report_carries_the_rule_and_each_images_own_margin(rule):
    table, report = build(rule)
    assert (report.alpha, report.fdr, report.per_class) == (rule.alpha, rule.fdr, rule.per_class)
    assert report.level == rule.level
    assert report.threshold == table.threshold
    assert (report.threshold is None) == rule.per_class
    assert report.counts["unknown"] > 0
    assert [one.margin for one in report.rows] == [table.margin(i) for i in range(4)]
    assert all((one.margin < 0) == (one.verdict == "unknown") for one in report.rows)
    if rule.per_class:
        assert len(np.unique(table.thresholds)) == 2
        assert verdict_entries(report)["threshold"] == "one per class"
    else:
        assert float(verdict_entries(report)["threshold"]) == pytest.approx(table.threshold, rel=1e-5)
    assert ("alpha" in verdict_entries(report)) == (rule.fdr is None)
    assert promise(Page(render(report)))


@pytest.mark.parametrize("per_class", [False, True])
def test_a_report_in_which_nothing_is_called_unknown(per_class):
    table, report = build(Rule(fdr=0.05, per_class=per_class), scores=np.array([0.5, 1.0, 2.0]))
    assert report.threshold is None and np.isneginf(table.thresholds).all()
    assert report.counts == {"known": 3, "unknown": 0, "undecided": 0, "failed": 0}
    assert {(one.verdict, one.margin) for one in report.rows} == {("known", None)}
    assert verdict_entries(report)["threshold"] == "none, no image is called unknown"
    assert "Here no image is called unknown" in promise(Page(render(report)))


def test_a_report_with_too_small_a_calibration():
    _, report = build(Rule(fdr=0.01), calibration=50)
    assert report.counts["undecided"] == 4
    assert verdict_entries(report)["threshold"] == "none"
    assert "the calibration has only 50 images. With at least 99 images" in promise(Page(render(report)))


def test_of_many_images_the_lowest_are_listed_and_those_of_interest_have_thumbnails(monkeypatch):
    monkeypatch.setattr("deltaoe.report.from_scores.MAX_ROWS", 50)
    monkeypatch.setattr("deltaoe.report.from_scores.MAX_THUMBNAILS", 6)
    monkeypatch.setattr(
        "deltaoe.report.from_scores._thumbnails", lambda _, chosen, on: dict.fromkeys(chosen, b"RIFF")
    )
    scores = np.random.default_rng(8).permutation(np.linspace(-9, 3, 60))
    _, report = build(Rule(), scores=scores)
    rows = report.rows
    assert [one.score for one in rows] == sorted(scores)[:50] and report.rows_left_out == 10
    pictured = [number for number, one in enumerate(rows) if one.thumbnail]
    closest = sorted(range(3, 50), key=lambda number: abs(rows[number].margin))[:3]
    assert pictured == [0, 1, 2, *sorted(closest)]
    assert min(closest) > 3  # others than the lowest
    nothing = build(Rule(), scores=scores, calibration=0)[1]
    assert [number for number, one in enumerate(nothing.rows) if one.thumbnail] == list(range(6))


# --- what a detector says about its tuning


def test_facts_are_shown_but_for_the_table_of_an_older_detector():
    facts = {"steps": 150, "selection": {"chosen": {"gain": 0.0123}, "folds": HOSTILE[0]}}
    _, report = build(Rule(), facts=facts)
    page = render(report)
    assert "seen: steps" in page
    assert "0.0123" not in page and HOSTILE[0] not in page


# --- how many digits


@pytest.mark.parametrize(
    ("scores", "threshold", "shown"),
    [
        (np.linspace(0.1, 0.4, 50), 0.1234567, "0.1235"),
        (np.linspace(20, 30, 50), 25.3, "25.3000"),
        # Most near 0 and a few far away: two digits of the spread are none of the threshold.
        (np.r_[np.geomspace(4e-5, 2e-3, 200), 0.011], 0.00031299, "0.000313"),
        # A threshold close to 0 by chance, amid scores that are not.
        (np.linspace(-1, 1, 50), 3e-7, "3e−07"),
        (np.full(5, 0.2), 0.2, "0.2000"),
    ],
)
def test_the_threshold_has_digits_worth_showing(scores, threshold, shown):
    found = page(scores=scores, calibration=scores, threshold=threshold)
    assert found.text("div", id="threshold").split()[-1] == shown
