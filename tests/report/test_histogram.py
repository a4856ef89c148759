"""The histogram: nothing lost in binning, and everything drawn where its value says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import Page, make_report

from deltaoe.report.charts.histogram import bin_counts, bin_edges, histogram, nice_ticks
from deltaoe.report.render import render

scores = st.lists(st.floats(-1e6, 1e6) | st.floats(0.2, 0.2001) | st.just(0.25), min_size=1, max_size=60)


def percent(text: str | None) -> float:
    assert text is not None and text.endswith("%")
    return float(text[:-1])


@settings(max_examples=300, deadline=None)
@given(scores, scores, st.booleans())
def test_bins_hold_every_value_once_and_part_exactly_at_the_threshold(scored, calibration, with_line):
    line = sorted(calibration)[len(calibration) // 3] if with_line else None
    chart = histogram(np.array(scored), np.array(calibration), line)
    above = [bar for bar in chart.bars if bar.kind != "calibration"]
    assert sum(bar.count for bar in above) == len(scored) == chart.scored
    assert sum(bar.count for bar in chart.bars) - sum(bar.count for bar in above) == len(calibration)
    assert sum(bar.count for bar in above if bar.kind == "unknown") == sum(
        with_line and s < line for s in scored
    )
    for bar in chart.bars:
        assert 0 <= bar.x < bar.x + bar.width <= 100
        assert 0 < bar.y < bar.y + bar.height <= chart.height
        upward = bar.kind != "calibration"
        assert (bar.y + bar.height if upward else bar.y) == pytest.approx(chart.baseline)
        if line is not None and upward:
            assert (bar.x + bar.width <= chart.threshold) == (bar.kind == "unknown")
    assert chart.threshold is None or 0 < chart.threshold < 100
    assert 1 <= len(chart.ticks) <= 7


def test_edges_are_equally_wide_and_contain_the_threshold_itself():
    values = np.random.default_rng(1).normal(0.26, 0.02, 500)
    edges = bin_edges(values, values[7])
    assert values[7] in edges
    np.testing.assert_allclose(np.diff(edges), np.diff(edges)[0], rtol=1e-9)
    assert bin_counts(values, edges).sum() == 500
    assert 16 <= len(edges) - 1 <= 19  # Rice: 2 * 500 ** (1/3) = 15.9, and room at both ends


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0, 1e-300, 1e11])
@pytest.mark.parametrize("count", [1, 50])
def test_equal_values_make_one_bar_in_the_middle(value, count):
    chart = histogram(np.full(count, value), np.array([]), None)
    [bar] = chart.bars
    assert (bar.kind, bar.count, bar.total) == ("scored", count, count)
    assert bar.lower <= value < bar.upper
    assert 40 < bar.x < 60


def test_values_that_are_not_finite_are_left_out_and_counted():
    bad = [np.nan, np.inf, -1.7e308, 1.7e308]
    chart = histogram(np.array([0.1, *bad, 0.2]), np.array([0.15, np.nan]), 0.15)
    assert (chart.scored, chart.calibration, chart.left_out) == (2, 1, 5)
    assert histogram(np.array(bad), np.array([]), None) is None
    assert histogram(np.array([]), np.array([]), 0.2) is None
    assert histogram(np.array([0.1]), np.array([]), float("nan")).threshold is None
    report = make_report(scores=np.array([0.1, *bad, 0.2]))
    text = Page(render(report)).text("figcaption")
    assert "4 values that are not finite or beyond ±10¹² are not drawn." in text


def test_unequal_numbers_compare_as_shares():
    few = np.array([0.1, 0.1, 0.2, 0.3])
    chart = histogram(np.repeat(few, 100), few, None)
    heights = {kind: [b.height for b in chart.bars if b.kind == kind] for kind in ("scored", "calibration")}
    assert chart.shared_scale
    assert heights["scored"] == pytest.approx(heights["calibration"])
    assert heights["scored"][0] == pytest.approx(2 * heights["scored"][1])


def test_one_image_does_not_flatten_the_calibration():
    spread = np.linspace(0.2, 0.3, 400)
    chart = histogram(np.array([0.25]), spread, 0.21)
    assert not chart.shared_scale
    assert max(bar.height for bar in chart.bars if bar.kind == "calibration") == pytest.approx(120)
    assert "different scales" in render(
        make_report(scores=np.array([0.25]), calibration=spread, threshold=0.21)
    )


def test_a_single_image_among_many_can_be_seen():
    chart = histogram(np.append(np.full(99_999, 0.2), 0.1), np.array([]), None)
    assert min(bar.height for bar in chart.bars) >= 1


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.3, 0.31, ["−0.2", "0.0", "0.2"]),
        (0.2012, 0.2123, ["0.2025", "0.2050", "0.2075", "0.2100"]),
        (-12.0, 990.0, ["0", "250", "500", "750"]),
    ],
)
def test_ticks_are_round_numbers(low, high, labels):
    ticks = nice_ticks(low, high)
    assert [label for _, label in ticks] == labels
    assert [value for value, _ in ticks] == pytest.approx(
        [float(label.replace("−", "-")) for label in labels]
    )


def test_the_drawn_line_stands_at_the_threshold_on_the_drawn_scale():
    report = make_report()
    page = Page(render(report))
    ticks = [
        (percent(attrs["x"]), float(text.replace("−", "-")))
        for attrs, text in page.find("text", **{"text-anchor": "middle"})
    ]
    slope, offset = np.polyfit([value for _, value in ticks], [x for x, _ in ticks], 1)
    [(line, _)] = page.find("line", id="threshold-line")
    assert line["x1"] == line["x2"]
    assert percent(line["x1"]) == pytest.approx(slope * report.threshold + offset, abs=0.01)
    assert f"threshold {report.threshold:.4f}" in [text for _, text in page.find("text")]
    # The bars drawn left of the line are exactly the images called unknown.
    bars = [(attrs, int(text.split(": ")[1].split(" of ")[0])) for attrs, text in page.find("rect")]
    left = sum(
        n for bar, n in bars if bar["class"] != "calibration" and percent(bar["x"]) < percent(line["x1"])
    )
    assert left == report.counts["unknown"] == sum(n for bar, n in bars if bar["class"] == "unknown")


def test_the_picture_has_words_for_those_who_do_not_see_it():
    page = Page(render(make_report()))
    [(svg, _)] = page.find("svg")
    assert svg["role"] == "img" and svg["aria-labelledby"] == "histogram-title histogram-desc"
    assert page.text("title", id="histogram-title") == "Histogram of the scores: delta_energy"
    words = page.text("desc", id="histogram-desc")
    assert words.startswith("300 images scored, above the baseline; 200 images of the calibration, below it")
    legend = [(attrs, text) for attrs, text in page.find("li") if "calibration" in text or "scored" in text]
    assert [text for attrs, text in legend if "hidden" not in attrs] == [
        "scored, below the threshold",
        "scored, at or above it",
        "calibration",
    ]
