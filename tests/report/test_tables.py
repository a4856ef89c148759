"""The tables of an evaluation and of its theorems: every measurement once, as it was measured."""

from __future__ import annotations

import math

import pytest
from pages import KNOWN, SCORES, make_evaluation, measured

from deltaoe.report.numbers import interval_text, number_text, value_text
from deltaoe.report.quantities import QUANTITIES
from deltaoe.report.tables import evaluation_tables, theory_tables
from deltaoe.theory.results import Finding, Theory


def test_every_measurement_is_in_one_cell_of_its_row_and_column():
    evaluation = make_evaluation()
    tables = evaluation_tables(evaluation)
    assert [table.title for table in tables] == [
        *(f"{title}, {known} against" for known in KNOWN for title in ("AUROC", "FPR@95")),
        "Classification",
        "False alarms at alpha = 0.05, calibrated on images of id",
    ]
    held = [one for table in tables for row in table.rows for one in row.numbers]
    assert len(held) == len(evaluation.rows) and all(row in held for row in evaluation.rows)
    for table in (*tables[:4], tables[5]):
        assert table.headings == ["detector", "score", *table.columns]
        for row in table.rows:
            for name, one in zip(table.columns, row.numbers, strict=True):
                assert row.labels == [one.detector, SCORES[one.score]]
                assert name == (one.unknown or one.known)


def test_what_was_not_measured_has_no_table_no_row_and_an_empty_cell():
    assert evaluation_tables(make_evaluation(rows=[])) == []
    rows = [measured(value=0.9), measured(value=0.8, unknown="scenes", score="knn")]
    (table,) = evaluation_tables(make_evaluation(rows=rows))
    assert table.texts() == [["zero-shot", "MCM", "0.900", ""], ["zero-shot", "KNN", "", "0.800"]]


def test_findings_are_in_the_column_of_their_quantity():
    findings = [
        Finding(part, "d", "id", "far", "at", quantity, number / 7, n=number)
        for part, quantities in QUANTITIES.items()
        for number, quantity in enumerate([*quantities, "gap_25"])
    ]
    tables = theory_tables(Theory("t", findings, []))
    assert len(tables) == len(QUANTITIES)
    for table, (part, quantities) in zip(tables, QUANTITIES.items(), strict=True):
        (row,) = table.rows
        assert [(one.part, one.quantity) for one in row.numbers] == [(part, name) for name in quantities]
        assert list(table.columns) == [quantity.heading for quantity in quantities.values()]
        assert len(row.labels) == len(table.labels) == (4 if part in {"separation", "distance"} else 3)
    assert theory_tables(Theory("t", findings[:1], []))[0].texts()[0][:4] == ["d", "id", "at", "0.000"]


@pytest.mark.parametrize(
    ("entry", "value", "interval"),
    [
        (None, "", ""),
        (measured(value=0.9136), "0.914", ""),
        (measured(value=0.9136, half=0.0102), "0.914", "[0.903, 0.924]"),
        (measured(value=math.nan, half=0.1), "—", ""),
        (
            Finding("separation", "d", "id", "o", "MCM", "difference", 0.02, -0.01, 0.05),
            "+0.020",
            "[-0.010, +0.050]",
        ),
        (Finding("bound", "d", "id", "", "s", "gap", 12345.678), "1.235e+04", ""),
        (Finding("hessian", "d", "id", "", "start", "trace", 3.0, 2.5, 3.5), "3", "± 0.5"),
        (Finding("bound", "d", "id", "", "s", "relative", math.nan), "—", ""),
    ],
)
def test_a_number_as_text(entry, value, interval):
    assert (value_text(entry), interval_text(entry)) == (value, interval)
    assert number_text(entry) == f"{value} {interval}".strip()
