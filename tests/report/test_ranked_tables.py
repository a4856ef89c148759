"""The tables of the evaluation's page: every number once, sorted, the best ones marked."""

from __future__ import annotations

import pytest
from pages import make_evaluation, measured

from deltaoe.report.numbers import value_text
from deltaoe.report.ranked_tables import ranked_tables
from deltaoe.report.tables import evaluation_tables


def made(evaluation):
    return ranked_tables(evaluation_tables(evaluation), evaluation.alpha)


def test_every_number_of_the_tables_is_there_once():
    evaluation = make_evaluation()
    found = made(evaluation)
    assert [(table.metric, table.known, table.lower_is_better) for table in found] == [
        ("auroc", "id", False),
        ("fpr95", "id", True),
        ("auroc", "sketches", False),
        ("fpr95", "sketches", True),
        ("accuracy", "", False),
        ("ece", "", True),
        ("false_alarms", "", True),
    ]
    shown = [cell.measurement for table in found for row in table.rows for cell in row.cells]
    assert len(shown) == len(evaluation.rows) and all(row in shown for row in evaluation.rows)
    for table in found[:4]:
        assert list(table.columns) == ["mean", "textures", "scenes"]
        for row in table.rows:
            score = next(name for name, title in evaluation.scores.items() if title == row.name)
            for out, cell in zip(table.columns, row.cells, strict=True):
                (one,) = evaluation.find(
                    metric=table.metric, known=table.known, unknown=out, score=score, detector=row.detector
                )
                assert cell.measurement == one


def test_rows_come_best_first():
    for table in made(make_evaluation()):
        worst = table.metric == "false_alarms"
        values = [
            max(cell.measurement.value for cell in row.cells[: None if worst else 1]) for row in table.rows
        ]
        assert values == sorted(values, reverse=not table.lower_is_better)
        assert all(row.detector == "" for row in table.rows) == (table.metric in ("accuracy", "ece"))


def test_the_best_of_each_column_is_marked():
    table = made(make_evaluation())[0]
    marks = [[row.cells[column].standing for row in table.rows] for column in range(3)]
    assert marks[0] == ["best"] + [""] * 5  # means have no interval
    assert marks[1][0] == "best" and "level" in marks[1] and "" in marks[1]


@pytest.mark.parametrize(("value", "over"), [(0.12, True), (0.06, False), (0.01, False)])
def test_a_broken_promise_is_marked(value, over):
    rows = [measured("false_alarms", value, 0.02, unknown="")]
    ((row,),) = (table.rows for table in made(make_evaluation(rows=rows)))
    assert row.cells[0].over == over
    rows = [measured("auroc", value, 0.02)]
    ((row,),) = (table.rows for table in made(make_evaluation(rows=rows)))
    assert not row.cells[0].over


def test_holes_stay_empty():
    rows = [measured(value=0.9), measured(value=0.8, unknown="scenes", score="knn")]
    (table,) = made(make_evaluation(rows=rows))
    assert [[value_text(cell.measurement) for cell in row.cells] for row in table.rows] == [
        ["0.900", ""],
        ["", "0.800"],
    ]
