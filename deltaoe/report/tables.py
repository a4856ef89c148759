"""The tables of an evaluation and of the theorems: labels in words, and numbers as they were measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from deltaoe.evaluation.conclusions import accuracy_of, auroc_of, deciding_score
from deltaoe.evaluation.results import Evaluation, Measurement
from deltaoe.report.numbers import PLACES, number_text
from deltaoe.report.quantities import QUANTITIES
from deltaoe.theory.results import Finding, Part, Theory

Number_co = TypeVar("Number_co", bound=Measurement | Finding, covariant=True)

_TITLES: Mapping[Part, str] = {
    "bound": "The EBM bound ΔE ≥ E2 − E0; gap = ΔE − (E2 − E0), cosine units",
    "separation": "Separation: ΔEnergy beside other scores",
    "hessian": "Hessian of the cross-entropy in the context vectors; ± over probes",
    "distance": "Hessians of two domains; ± over probes",
}
# Attribute of a finding → heading of the column of labels.
_LABELS: Mapping[Part, Mapping[str, str]] = {
    "bound": {"detector": "detector", "known": "images", "at": "at"},
    "separation": {"detector": "detector", "known": "images", "against": "against", "at": "other"},
    "hessian": {"detector": "detector", "known": "domain", "at": "context"},
    "distance": {"detector": "detector", "known": "domain", "against": "other domain", "at": "context"},
}


@dataclass(frozen=True)
class TableRow(Generic[Number_co]):
    """One row of a table.

    Attributes:
        labels: words that say what the numbers are of.
        numbers: one per column; None where nothing was measured.
    """

    labels: Sequence[str]
    numbers: Sequence[Number_co | None]


@dataclass(frozen=True)
class Table(Generic[Number_co]):
    """Measurements of an evaluation, or findings about the theorems, in rows and columns.

    Attributes:
        title: heading of the table.
        labels: headings of the columns of words, which come first.
        columns: headings of the columns of numbers.
        rows: at least one.
    """

    title: str
    labels: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[TableRow[Number_co]]

    @property
    def headings(self) -> list[str]:
        """The headings of all columns."""
        return [*self.labels, *self.columns]

    def texts(self) -> list[list[str]]:
        """All cells as text, a number with its interval."""
        return [[*row.labels, *map(number_text, row.numbers)] for row in self.rows]


def evaluation_tables(evaluation: Evaluation) -> list[Table[Measurement]]:
    """The tables of an evaluation: AUROC and FPR@95 of each in-distribution set, classification, false alarms.

    What was not measured has no table, and a row without any number is left out.
    """
    tables = [
        _measurements(
            f"{title}, {known} against",
            ["detector", "score"],
            evaluation.names("unknown", metric=metric, known=known),
            _by_score(evaluation, "unknown", metric=metric, known=known),
        )
        for known in evaluation.names("known", metric="auroc")
        for metric, title in (("auroc", "AUROC"), ("fpr95", "FPR@95"))
    ]
    tables += [_classification(evaluation), _false_alarms(evaluation)]
    return [table for table in tables if table.rows]


def summary_rows(evaluation: Evaluation, known: str) -> list[tuple[str, ...]]:
    """For each detector its name, the score that it decides by, its AUROC and its accuracy on some images, as text."""
    rows = []
    for name in evaluation.detectors:
        score = deciding_score(evaluation, name)
        auroc = None if score is None else auroc_of(evaluation, name, score, known)
        accuracy = accuracy_of(evaluation, name, known)
        numbers = ("" if one is None else f"{one.value:.{PLACES}f}" for one in (auroc, accuracy))
        rows.append((name, "" if score is None else evaluation.scores[score], *numbers))
    return rows


def theory_tables(theory: Theory) -> list[Table[Finding]]:
    """The tables of the theorems: one for each part that was measured."""
    return [table for part in QUANTITIES if (table := _findings(theory, part)).rows]


def _classification(evaluation: Evaluation) -> Table[Measurement]:
    """Accuracy and calibration error of every detector, by in-distribution set."""
    rows = [
        ([detector, title], {row.known: row for row in evaluation.find(metric=metric, detector=detector)})
        for metric, title in (("accuracy", "accuracy"), ("ece", "calibration error"))
        for detector in evaluation.detectors
    ]
    return _measurements(
        "Classification", ["detector", ""], evaluation.names("known", metric="accuracy"), rows
    )


def _false_alarms(evaluation: Evaluation) -> Table[Measurement]:
    """The share of false alarms of every detector and score, by in-distribution set."""
    known = evaluation.names("known", metric="false_alarms")
    title = f"False alarms at alpha = {evaluation.alpha:g}"
    if known:  # the first are those that calibrate
        title += f", calibrated on images of {known[0]}"
    return _measurements(
        title, ["detector", "score"], known, _by_score(evaluation, "known", metric="false_alarms")
    )


def _by_score(
    evaluation: Evaluation, column: str, **wanted: str
) -> Iterator[tuple[list[str], dict[str, Measurement]]]:
    """For every detector and score, their names, and the measurements with these values by the value of a column."""
    for detector in evaluation.detectors:
        for score, title in evaluation.scores.items():
            found = evaluation.find(detector=detector, score=score, **wanted)
            yield [detector, title], {getattr(row, column): row for row in found}


def _findings(theory: Theory, part: Part) -> Table[Finding]:
    """The table of one part of the theorems; without rows if it was not measured."""
    rows: dict[tuple[str, ...], dict[str, Finding]] = {}
    for finding in theory.find(part=part):
        labels = tuple(getattr(finding, name) for name in _LABELS[part])
        rows.setdefault(labels, {})[finding.quantity] = finding
    return Table(
        _TITLES[part],
        list(_LABELS[part].values()),
        [quantity.heading for quantity in QUANTITIES[part].values()],
        [TableRow(labels, [found.get(name) for name in QUANTITIES[part]]) for labels, found in rows.items()],
    )


def _measurements(
    title: str,
    labels: Sequence[str],
    columns: Sequence[str],
    rows: Iterable[tuple[Sequence[str], Mapping[str, Measurement]]],
) -> Table[Measurement]:
    """A table of rows of labels and of measurements by column; rows without any measurement are left out."""
    filled = [TableRow(words, [found.get(name) for name in columns]) for words, found in rows if found]
    return Table(title, labels, columns, filled)
