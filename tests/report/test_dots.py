"""The dot charts: every measurement has its dot, and it is where its value says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from pages import SCORES, make_evaluation, measured

from deltaoe.report.charts.dots import Axis, detection_charts, false_alarm_chart
from deltaoe.report.numbers import interval_text, number_text, value_text


def test_every_measurement_has_one_dot_with_its_number():
    evaluation = make_evaluation()
    charts = detection_charts(evaluation)
    assert [(chart.known, chart.images) for chart in charts] == [
        ("id", "100 images"),
        ("sketches", "100 images"),
    ]
    for chart in charts:
        assert [(panel.name, panel.images) for panel in chart.panels] == [
            ("", "100 images"),
            ("textures", "50 images"),
            ("scenes", "50 images"),
        ]
        for panel in chart.panels:
            found = evaluation.find(metric="auroc", known=chart.known, unknown=panel.name or "mean")
            wanted = {(row.detector, evaluation.scores[row.score]): row for row in found}
            drawn = {
                (dot.measurement.detector, line.score): dot.measurement
                for line in panel.lines
                for dot in line.dots
            }
            assert drawn == wanted
            for line in panel.lines:
                assert [dot.series for dot in line.dots] == [0, 1]
                assert line.words.startswith("zero-shot: 0.")
                assert all(number_text(dot.measurement) in line.words for dot in line.dots)


def test_dots_and_whiskers_are_where_their_values_are():
    rows = [measured(value=0.91, half=0.01), measured(value=0.41, score="knn")]
    (chart,) = detection_charts(make_evaluation(rows=rows))
    (panel,) = chart.panels
    (best,), (worst,) = (line.dots for line in panel.lines)
    assert (panel.name, [line.score for line in panel.lines]) == ("textures", ["MCM", "KNN"])
    assert (chart.axis.start, chart.axis.end) == (pytest.approx(0.4), 1.0)
    ticks = {label: at for at, label in chart.axis.ticks}
    assert (ticks["0.4"], ticks["1.0"]) == (0, 100)
    assert chart.axis.mark == pytest.approx(100 * 0.1 / 0.6, abs=0.01)  # guessing, 0.5
    assert best.at == pytest.approx(100 * 0.51 / 0.6, abs=0.01)
    assert (best.low, best.high) == (
        pytest.approx(100 * 0.5 / 0.6, abs=0.01),
        pytest.approx(100 * 0.52 / 0.6, abs=0.01),
    )
    assert worst.low == worst.at == worst.high


def test_lines_come_best_first_and_in_the_same_order_in_every_panel():
    chart = detection_charts(make_evaluation())[0]
    orders = [[line.score for line in panel.lines] for panel in chart.panels]
    assert orders == [list(reversed(SCORES.values()))] * 3  # the last ones made have the highest numbers


def test_a_score_that_one_detector_lacks_keeps_its_line():
    evaluation = make_evaluation()
    rows = [row for row in evaluation.rows if (row.detector, row.score) != ("tuned", "knn")]
    chart = detection_charts(replace(evaluation, rows=rows))[0]
    dots = {line.score: [dot.series for dot in line.dots] for line in chart.panels[0].lines}
    assert dots == {"KNN": [0], "MCM": [0, 1], "ΔEnergy": [0, 1]}


def test_what_is_no_number_has_no_dot():
    rows = [measured(value=math.nan), measured(value=0.8, score="knn")]
    (chart,) = detection_charts(make_evaluation(rows=rows))
    dots = {line.score: line.dots[0] for line in chart.panels[0].lines}
    texts = (value_text(dots["MCM"].measurement), interval_text(dots["MCM"].measurement))
    assert (dots["MCM"].at, *texts) == (None, "—", "")
    assert [line.score for line in chart.panels[0].lines] == ["KNN", "MCM"]
    assert chart.panels[0].bare
    (chart,) = detection_charts(make_evaluation(rows=[measured(value=math.nan)]))
    assert chart.axis.start < chart.axis.end


def test_false_alarms_are_drawn_beside_the_promise():
    chart = false_alarm_chart(make_evaluation())
    assert [panel.name for panel in chart.panels] == ["id", "sketches"]
    assert chart.axis.start == 0 and 0 < chart.axis.mark < 100
    assert chart.axis.mark == chart.axis.place(0.05)
    dots = [dot for panel in chart.panels for line in panel.lines for dot in line.dots]
    assert len(dots) == 12 and all(0 <= dot.low < dot.at < dot.high <= 100 for dot in dots)
    assert false_alarm_chart(make_evaluation(rows=[])) is None
    assert detection_charts(make_evaluation(unknown=())) == []


@pytest.mark.parametrize("value", [0.0, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("mark", [0.001, 0.5, 0.99])
def test_an_axis_holds_its_values_and_has_ticks(value, mark):
    for start, end in ((None, 1.0), (0.0, None)):
        axis = Axis.over([measured(value=value)], start=start, end=end, mark=mark)
        assert axis.start <= value <= axis.end <= 1
        assert 2 <= len(axis.ticks) <= 6
        assert all(0 <= at <= 100 for at, _ in axis.ticks)
    assert axis.mark is not None or mark == axis.end
