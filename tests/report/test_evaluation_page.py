"""The evaluation's page: whole, safe, and true to its numbers."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import pytest

from deltaoe.data.evaluation import Evaluation, Measurement
from deltaoe.report.evaluation import charts, render_evaluation

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = '<script>alert("1")</script>\'"\n\x07\udcff|`'


def evaluation(detector="zero-shot", unknown="far", **changes) -> Evaluation:
    rows = [
        Measurement(detector, "mcm", "id", unknown, "auroc", 0.91, 0.9, 0.92, 10, 20),
        Measurement(detector, "energy", "id", unknown, "auroc", 0.41, math.nan, math.nan, 10, 20),
        Measurement(detector, "mcm", "id", unknown, "fpr95", 0.25, 0.2, 0.3, 10, 20),
        Measurement(detector, "", "id", "", "accuracy", 0.8, 0.7, 0.9, 10),
        Measurement(detector, "mcm", "id", "", "false_alarms", 0.049, 0.03, 0.07, 10),
    ]
    options = {
        "title": "a title",
        "rows": rows,
        "detectors": {detector: "ΔEnergy, τ = 0.1"},
        "scores": {"mcm": "MCM", "energy": "Energy"},
        "alpha": 0.05,
        "convention": "id",
        "notes": ["mind this"],
        "manifest": {"options": {"seed": 1}},
    }
    return Evaluation(**(options | changes))


def test_every_number_is_on_the_page():
    html = render_evaluation(evaluation(), NOW)
    for text in ("0.910 [0.900, 0.920]", "0.410", "0.250 [0.200, 0.300]", "0.800 [0.700, 0.900]", "0.049"):
        assert text in html
    for text in (
        "a title",
        "mind this",
        "MCM",
        "ΔEnergy, τ = 0.1",
        "2026-01-02T03:04:05+00:00",
        "&#34;seed&#34;: 1",
    ):
        assert text in html
    assert "keeps 95 % of the known ones" in html
    assert "flags 95 % of the unknown ones" in render_evaluation(evaluation(convention="ood"), NOW)


def test_dots_are_where_their_values_are():
    (chart,) = charts(evaluation())
    best, worst = chart.dots
    assert (best.score, worst.score) == ("MCM", "Energy") and best.best and not worst.best
    ticks = {label: at for at, label in chart.ticks}
    assert ticks["0.4"] == 0 and ticks["1.0"] == 100  # the axis begins below the lowest value
    assert best.at == pytest.approx(100 * (0.91 - 0.4) / 0.6, abs=0.01)
    assert best.low < best.at < best.high and worst.low == worst.at == worst.high


def test_hostile_names_are_shown_not_run():
    html = render_evaluation(
        evaluation(HOSTILE, HOSTILE, title=HOSTILE, notes=[HOSTILE], manifest={HOSTILE: [HOSTILE]}), NOW
    )
    html.encode("utf-8")
    assert "<script" not in html and "\x07" not in html
    assert not re.search(r"\son\w+=", html)
    assert "default-src 'none'" in html.replace("&#39;", "'")


def test_hostile_names_do_not_break_markdown():
    text = "\n".join(evaluation(HOSTILE, HOSTILE, title=HOSTILE).markdown())
    assert "<script" not in text and "\n\x07" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    plain = [re.sub(r"\\.", "", row) for row in rows]
    assert all(row.count("|") in {4, 5} for row in plain)


def test_nothing_unknown():
    found = evaluation()
    rows = [row for row in found.rows if row.unknown == ""]
    html = render_evaluation(evaluation(rows=rows), NOW)
    assert "Classification" in html and "AUROC, " not in html
