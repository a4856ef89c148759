"""The tables of the evaluation's page: every number once, sorted, the best ones marked."""

from __future__ import annotations

import pytest
from pages import make_evaluation, measured

from deltaoe.evaluation.results import shown
from deltaoe.report.sheets import sheets


def made(evaluation):
    return sheets(evaluation.tables(), evaluation.alpha)


def test_every_number_of_the_tables_is_there_once():
    evaluation = make_evaluation()
    found = made(evaluation)
    assert [(sheet.metric, sheet.known, sheet.lower) for sheet in found] == [
        ("auroc", "id", False),
        ("fpr95", "id", True),
        ("auroc", "sketches", False),
        ("fpr95", "sketches", True),
        ("accuracy", "", False),
        ("ece", "", True),
        ("false_alarms", "", True),
    ]
    texts = [
        f"{cell.value} {cell.interval}".strip() for sheet in found for row in sheet.rows for cell in row.cells
    ]
    assert sorted(texts) == sorted(shown(row) for row in evaluation.rows)
    for sheet in found[:4]:
        assert list(sheet.columns) == ["mean", "textures", "scenes"]
        for row in sheet.rows:
            score = next(name for name, title in evaluation.scores.items() if title == row.name)
            for out, cell in zip(sheet.columns, row.cells, strict=True):
                (one,) = evaluation.find(
                    metric=sheet.metric, known=sheet.known, unknown=out, score=score, detector=row.detector
                )
                assert shown(one).startswith(cell.value)


def test_rows_come_best_first():
    for sheet in made(make_evaluation()):
        worst = sheet.metric == "false_alarms"
        values = [max(float(cell.value) for cell in row.cells[: None if worst else 1]) for row in sheet.rows]
        assert values == sorted(values, reverse=not sheet.lower)
        assert all(row.detector == "" for row in sheet.rows) == (sheet.metric in ("accuracy", "ece"))


def test_the_best_of_each_column_is_marked():
    sheet = made(make_evaluation())[0]
    marks = [[row.cells[column].standing for row in sheet.rows] for column in range(3)]
    assert marks[0] == ["best"] + [""] * 5  # means have no interval
    assert marks[1][0] == "best" and "level" in marks[1] and "" in marks[1]


@pytest.mark.parametrize(("value", "over"), [(0.12, True), (0.06, False), (0.01, False)])
def test_a_broken_promise_is_marked(value, over):
    rows = [measured("false_alarms", value, 0.02, unknown="")]
    ((row,),) = (sheet.rows for sheet in made(make_evaluation(rows=rows)))
    assert row.cells[0].over == over
    rows = [measured("auroc", value, 0.02)]
    ((row,),) = (sheet.rows for sheet in made(make_evaluation(rows=rows)))
    assert not row.cells[0].over


def test_holes_stay_empty():
    rows = [measured(value=0.9), measured(value=0.8, unknown="scenes", score="knn")]
    (sheet,) = made(make_evaluation(rows=rows))
    assert [[cell.value for cell in row.cells] for row in sheet.rows] == [["0.900", ""], ["", "0.800"]]
