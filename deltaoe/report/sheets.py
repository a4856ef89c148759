"""The tables of an evaluation, ready to be drawn: one metric each, sorted, the best of every column marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltaoe.evaluation.results import MEAN, Measurement, Table, shown
from deltaoe.report.ranking import LOWER, Standing, exceeds, standings, worth

# Of these no score is part; their rows are named by the detector alone.
_WITHOUT_SCORE = frozenset({"accuracy", "ece"})


@dataclass(frozen=True)
class Cell:
    """One number and its interval, both empty where there is none; ``over`` if it surely is more than promised."""

    value: str
    interval: str
    standing: Standing
    over: bool


@dataclass(frozen=True)
class SheetRow:
    """``name`` is the score's or, where none is part, the detector's; ``detector`` is empty then."""

    name: str
    detector: str
    cells: list[Cell]


@dataclass(frozen=True)
class Sheet:
    """One table. ``known`` is what all of it is about, empty where columns are known collections.

    The mean over the unknown collections, if there is one, is the first column. Rows come best first by that column,
    false alarms by their worst: where the calibration comes from, all are close to alpha.
    """

    metric: str
    known: str
    columns: Sequence[str]
    rows: list[SheetRow]

    @property
    def lower(self) -> bool:
        """Whether less is better."""
        return self.metric in LOWER


def sheets(tables: Sequence[Table], alpha: float) -> list[Sheet]:
    """All tables; one of several metrics becomes several, for only numbers of one can be compared."""
    return [_sheet(table, metric, alpha) for table in tables for metric in _metrics(table)]


def _metrics(table: Table) -> list[str]:
    return list(dict.fromkeys(one.metric for row in table.found for one in row if one is not None))


def _sheet(table: Table, metric: str, alpha: float) -> Sheet:
    names = table.columns[table.labels :]
    order = sorted(range(len(names)), key=lambda number: names[number] != MEAN)
    rows = [
        (words, [found[number] for number in order])
        for words, found in zip(table.rows, table.found, strict=True)
        if any(one is not None and one.metric == metric for one in found)
    ]
    if metric == "false_alarms":
        rows.sort(key=lambda row: min(worth(one) for one in row[1] if one is not None), reverse=True)
    else:
        rows.sort(key=lambda row: worth(row[1][0]), reverse=True)
    by_column = [standings([found[number] for _, found in rows]) for number in range(len(order))]
    promised = alpha if metric == "false_alarms" else None
    drawn = []
    for number, (words, found) in enumerate(rows):
        name, detector = (words[0], "") if metric in _WITHOUT_SCORE else (words[1], words[0])
        marks = (column[number] for column in by_column)
        cells = [_cell(one, mark, promised) for one, mark in zip(found, marks, strict=True)]
        drawn.append(SheetRow(name, detector, cells))
    about = {one.known for _, found in rows for one in found if one is not None and one.unknown}
    return Sheet(metric, about.pop() if len(about) == 1 else "", [names[i] for i in order], drawn)


def _cell(one: Measurement | None, standing: Standing, promised: float | None) -> Cell:
    if one is None:
        return Cell("", "", "", False)
    value, _, interval = shown(one).partition(" ")
    over = promised is not None and exceeds(one, promised)
    return Cell("—" if value == "nan" else value, interval, standing, over)
