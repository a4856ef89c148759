"""What the report shows of a fused verdict: the p-value of each part, and which side an image is unknown by."""

from __future__ import annotations

import dataclasses
import os
from datetime import UTC, datetime

import numpy as np
import pytest
from pages import Page, make_report, row
from samples import make_space, unit_rows

from deltaoe.report.from_scores import build_report
from deltaoe.report.render import p_value, places, render
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule
from deltaoe.scoring.score import ScoreResult
from deltaoe.scoring.score_table import ScoreTable
from deltaoe.scoring.verdicts import decide

N = 100
PARTS = ("text", "joint", "images")
WEIGHTS = np.array([0.25, 0.25, 0.5])
# Values of each part for five images, where the calibration has 1, 2, …, 100: rank of each among them.
VALUES = {
    "ordinary": [50.5, 50.5, 50.5],
    "odd text": [0.5, 0.5, 40.5],
    "odd images": [60.5, 0.5, 0.5],
    "both odd": [0.5, 0.5, 0.5],
    "a little odd": [6.5, 6.5, 6.5],
}
REASONS = {
    "ordinary": "",
    "odd text": "text says so, images do not",
    "odd images": "images say so, text does not",
    "both odd": "text and images agree",
    "a little odd": "text and images say so only together",
}


def detector() -> Detector:
    """A detector whose parts each have the values 1 … 100 on its calibration images, in orders of their own."""
    rng = np.random.default_rng(0)
    base = Detector(
        class_names=("cat", "dog"),
        text_features=unit_rows(2, 16),
        temperature=0.1,
        top_c=1,
        calibration=np.empty(0),
        space=make_space(),
        logit_scale=100.0,
        means=unit_rows(2, 16, seed=1),
        mean_classes=np.arange(2),
        root=np.eye(16, dtype=np.float32),
        image_weight=0.05,
        parts=PARTS,
        part_weights=WEIGHTS,
    )
    return base.calibrated(np.stack([rng.permutation(N) + 1.0 for _ in PARTS], axis=1))


def build(used: Detector, values: np.ndarray, names=tuple(VALUES)):
    scores = used.fused_scores(values)
    classes = np.zeros(len(values), dtype=np.int64)
    decisions = decide(used, scores, classes, Rule())
    table = ScoreTable(
        class_names=used.class_names,
        paths=list(names),
        scores=scores,
        labels=np.tile([0, 1], (len(values), 1)),
        cosines=np.full((len(values), 2), 0.2, dtype=np.float32),
        p_values=decisions.p_values,
        threshold=decisions.threshold,
        alpha=0.05,
        failed=[],
        thresholds=decisions.thresholds,
        parts=used.parts if used.fused else (),
        part_p_values=used.part_p_values(values) if used.fused else None,
    )
    result = ScoreResult(table, Rule(), [os.devnull] * len(values), used, "here", "m", 0, 0, [])
    return build_report(result, title="t", full_table="scores.csv", now=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture(scope="module")
def fused() -> Page:
    return Page(render(build(detector(), np.array(list(VALUES.values())))))


def test_each_image_has_the_p_value_of_each_part_and_its_reason(fused):
    paths = [text for _, text in fused.find("td", class_="path")]
    cells = dict(zip(paths, (text for _, text in fused.find("ul", class_="parts")), strict=True))
    reasons = dict(zip(paths, (text for _, text in fused.find("td", class_="why")), strict=True))
    assert set(cells) == set(VALUES)
    for name, values in VALUES.items():
        words = cells[name].split()
        # p = (1 + number of 1 … 100 that are not higher)/101
        text, joint, images = (p_value((1 + int(value)) / (N + 1)) for value in values)
        assert words == ["text", text, "both", "together", joint, "images", images], name
        assert reasons[name] == REASONS[name]
    verdicts = dict(zip(paths, (text for _, text in fused.find("td", class_="verdict")), strict=True))
    assert {name: verdict == "unknown" for name, verdict in verdicts.items()} == {
        name: bool(reason) for name, reason in REASONS.items()
    }
    assert fused.find("p", id="parts")
    assert {"p-value of each part", "likeliest classes, cosine"} == {text for _, text in fused.find("h3")}


def test_p_values_of_at_most_alpha_are_marked(fused):
    low = [text.split() for _, text in fused.find("li", class_="low")]
    small = [(part, v) for values in VALUES.values() for part, v in zip(PARTS, values, strict=True) if v < 4]
    assert len(low) == len(small) == 7
    assert all(float(words[-1]) <= 0.05 for words in low)


def test_a_fused_score_is_called_so_and_its_weights_are_listed(fused):
    assert "fused score below −" in fused.text("div", id="threshold")
    assert fused.text("title", id="histogram-title") == "Histogram of the scores: fused score"
    assert "Across: fused score. Up:" in fused.text("figcaption")
    names = [text for _, text in fused.find("dt")]
    told = dict(zip(names[-len(fused.find("dd")) :], (text for _, text in fused.find("dd")), strict=True))
    assert [told[f"weight of {name}"] for name in ("text", "both together", "images")] == [
        "0.25",
        "0.25",
        "0.5",
    ]
    assert told["evidence"] == "text and images"
    assert (told["classes with image evidence"], told["weight of images in the classification"]) == (
        "2",
        "0.05",
    )


def test_delta_energy_alone_has_nothing_of_it():
    used = dataclasses.replace(
        detector(), parts=(), part_weights=np.zeros(0), part_calibration=np.zeros((0, 0))
    ).calibrated(np.arange(N) + 1.0)
    html = render(build(used, np.array([[50.5], [0.5]]), ("a", "b")))
    page = Page(html)
    assert page.text("div", id="threshold").endswith("ΔEnergy below 5.0000")
    assert "Across: ΔEnergy, cosine units. Up:" in page.text("figcaption")
    headings = [text for attrs, text in page.find("th") if "data-sort" in attrs]
    assert headings == ["path", "verdict", "class", "p-value", "numbers"]
    assert {text for _, text in page.find("h3")} == {"likeliest classes, cosine"}
    assert (
        not page.find("ul", class_="parts")
        and not page.find("td", class_="why")
        and not page.find("p", id="parts")
    )
    assert "weight of text" not in html


def test_images_alone_are_called_a_distance_and_have_two_decimals():
    used = dataclasses.replace(
        detector(), parts=("images",), part_weights=np.ones(1), part_calibration=np.zeros((0, 1))
    ).calibrated(-10.0 * np.arange(N))
    report = build(used, np.array([[-50.5], [-1234.5]]), ("a", "b"))
    assert places(report) == 2
    page = Page(render(report))
    assert page.text("div", id="threshold").endswith("negative squared Mahalanobis distance below −950.00")
    assert [text for _, text in page.find("dd", class_="score")] == ["−1234.50", "−50.50"]
    assert not page.find("ul", class_="parts")


def test_names_of_parts_are_escaped_like_everything_else():
    attack = "<script>document.title='pwned'</script>"
    page = Page(render(make_report(rows=[row(parts=[(attack, 0.5)], reason=attack)])))
    assert len(page.find("script")) == 2
    assert page.text("ul", class_="parts").split() == [attack, "0.500"]
    assert page.find("td", class_="why")[0][1] == attack
