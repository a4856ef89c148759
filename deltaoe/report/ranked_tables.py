"""The tables of an evaluation's page: one metric each, rows sorted, the best number of every column marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltaoe.evaluation.results import MEAN, Measurement
from deltaoe.report.ranking import LOWER_IS_BETTER, Standing, exceeds, higher_is_better_value, standings
from deltaoe.report.tables import Table

# These metrics depend on no score; their rows are named by the detector alone.
_WITHOUT_SCORE = frozenset({"accuracy", "ece"})


@dataclass(frozen=True)
class RankedCell:
    """One number of a table.

    Attributes:
        measurement: None where nothing was measured.
        standing: the best of its column, level with the best, or neither.
        over: whether it is a share of false alarms whose whole interval lies above alpha.
    """

    measurement: Measurement | None
    standing: Standing
    over: bool


@dataclass(frozen=True)
class RankedRow:
    """One row of a table.

    Attributes:
        name: the score's title; the detector's name for a metric that depends on no score.
        detector: the detector's name where ``name`` is a score's, else empty.
        cells: one per column.
    """

    name: str
    detector: str
    cells: list[RankedCell]


@dataclass(frozen=True)
class RankedTable:
    """One metric of an evaluation, the best rows first.

    Rows are sorted by their first column, those of false alarms by their worst one, because on the images that the
    threshold is calibrated on all are close to alpha.

    Attributes:
        metric: as in :class:`~deltaoe.evaluation.results.Measurement`.
        known: the in-distribution images of all columns; empty where each column has its own.
        columns: names of image sets; the mean over the out-of-distribution ones, if there is one, comes first.
        rows: at least one.
    """

    metric: str
    known: str
    columns: Sequence[str]
    rows: list[RankedRow]

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower number is a better one."""
        return self.metric in LOWER_IS_BETTER


def ranked_tables(tables: Sequence[Table[Measurement]], alpha: float) -> list[RankedTable]:
    """The tables of an evaluation, ranked; a table of several metrics is split, as only one metric can be compared.

    Args:
        tables: from :func:`deltaoe.report.tables.evaluation_tables`.
        alpha: accepted share of false alarms.
    """
    return [_ranked(table, metric, alpha) for table in tables for metric in _metrics(table)]


def _metrics(table: Table[Measurement]) -> list[str]:
    """The distinct metrics of a table, in their order."""
    return list(dict.fromkeys(one.metric for row in table.rows for one in row.numbers if one is not None))


def _ranked(table: Table[Measurement], metric: str, alpha: float) -> RankedTable:
    """The rows of one metric of a table, sorted and marked."""
    order = sorted(range(len(table.columns)), key=lambda number: table.columns[number] != MEAN)
    rows = [
        (row.labels, [row.numbers[number] for number in order])
        for row in table.rows
        if any(one is not None and one.metric == metric for one in row.numbers)
    ]
    rows.sort(key=lambda row: _sort_value(row[1], metric), reverse=True)
    by_column = [standings([numbers[number] for _, numbers in rows]) for number in range(len(order))]
    limit = alpha if metric == "false_alarms" else None
    ranked = []
    for number, (labels, numbers) in enumerate(rows):
        name, detector = (labels[0], "") if metric in _WITHOUT_SCORE else (labels[1], labels[0])
        cells = [
            RankedCell(one, column[number], one is not None and limit is not None and exceeds(one, limit))
            for one, column in zip(numbers, by_column, strict=True)
        ]
        ranked.append(RankedRow(name, detector, cells))
    known = {one.known for _, numbers in rows for one in numbers if one is not None and one.unknown}
    columns = [table.columns[number] for number in order]
    return RankedTable(metric, known.pop() if len(known) == 1 else "", columns, ranked)


def _sort_value(numbers: Sequence[Measurement | None], metric: str) -> float:
    """The value that a row is sorted by, larger for a better row: its worst false alarms, else its first number."""
    if metric == "false_alarms":
        return min(higher_is_better_value(one) for one in numbers if one is not None)
    return higher_is_better_value(numbers[0])
