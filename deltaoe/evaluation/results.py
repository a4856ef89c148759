"""The results of an evaluation: its measurements, and the CSV and JSON files that they are written to."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deltaoe.data_frame import categorical, data_frame
from deltaoe.images.csv_cells import text_cell
from deltaoe.short_repr import counted, listed, number_of_notes, short_repr
from deltaoe.store.atomic import replacing

if TYPE_CHECKING:
    from deltaoe.data_frame import DataFrame

COLUMNS = ("detector", "score", "known", "unknown", "metric", "value", "low", "high", "n_known", "n_unknown")
CSV_START = ",".join(COLUMNS[:5])
MEAN = "mean"

Row = TypeVar("Row")


@dataclass(frozen=True)
class Measurement:
    """One number that was measured, with its interval.

    Attributes:
        detector: name of the detector.
        score: name in :data:`deltaoe.functional.scores.SCORES`, or ``verdict``; empty for accuracy and calibration
            error, which do not depend on a score.
        known: the in-distribution images: ``id``, a shift's name, or either with ``/domain``.
        unknown: the out-of-distribution images; ``mean`` for the mean over all such sets; empty for a metric of
            in-distribution images alone.
        metric: ``auroc``, ``fpr95``, ``aupr_in``, ``aupr_out``, ``accuracy``, ``ece`` (expected calibration error) or
            ``false_alarms`` (share of in-distribution images called unknown).
        value: from 0 to 1.
        low, high: ends of its 95 % interval; NaN without one.
        n_known, n_unknown: numbers of in-distribution and out-of-distribution images that it is computed from.
    """

    detector: str
    score: str
    known: str
    unknown: str
    metric: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n_known: int = 0
    n_unknown: int = 0


@dataclass(frozen=True)
class Evaluation:
    """All measurements of an evaluation.

    Attributes:
        title: names the images, for headings.
        rows: the measurements, in the order of detectors, scores and image sets.
        detectors: name → the score that the detector computes, with τ and c, in words.
        scores: name → title, of the scores measured.
        alpha: accepted share of false alarms.
        convention: the class that is positive in FPR@95: ``id`` or ``ood``.
        notes: sentences that the reader must know to judge the numbers, warnings among them.
        manifest: options, versions and inputs, as JSON values: everything needed to repeat it.
        conclusions: what the measurements say, as sentences (:func:`deltaoe.evaluation.conclusions.conclude`).
    """

    title: str
    rows: Sequence[Measurement]
    detectors: Mapping[str, str]
    scores: Mapping[str, str]
    alpha: float
    convention: str
    notes: Sequence[str] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    conclusions: Sequence[str] = ()

    def __repr__(self) -> str:
        """What was evaluated and how many numbers there are; the measurements would fill the screen."""
        return short_repr(
            self,
            listed([self.title]),
            counted(len(self.rows), "measurement"),
            f"{counted(len(self.detectors), 'detector')}: {listed([*self.detectors])}",
            counted(len(self.scores), "score"),
            number_of_notes(self.notes),
        )

    def find(self, **wanted: str) -> list[Measurement]:
        """The measurements whose attributes have these values, in their order.

        Example:
            >>> rows = [Measurement("zero-shot", "mcm", "id", "far", metric, 0.9) for metric in ("auroc", "fpr95")]
            >>> evaluation = Evaluation("title", rows, {"zero-shot": ""}, {"mcm": "MCM"}, alpha=0.05, convention="id")
            >>> [row.metric for row in evaluation.find(unknown="far")], evaluation.find(metric="ece")
            (['auroc', 'fpr95'], [])
        """
        return rows_with(self.rows, wanted)

    def names(self, column: str, **wanted: str) -> list[str]:
        """The distinct values of one attribute of the measurements that :meth:`find` returns, in their order."""
        return list(dict.fromkeys(getattr(row, column) for row in self.find(**wanted)))

    def write(self, folder: Path) -> dict[str, Path]:
        """Write ``evaluation.csv`` and ``evaluation.json``, each atomically; they are returned as ``csv`` and ``json``.

        Raises:
            StoreError: the folder cannot be written.
        """
        paths = {kind: folder / f"evaluation.{kind}" for kind in ("csv", "json")}
        write_csv(paths["csv"], COLUMNS, self.rows)
        write_document(paths["json"], self.to_dict())
        return paths

    def to_pandas(self) -> DataFrame:
        """The measurements as a data frame with the columns of ``evaluation.csv``; all names are categorical.

        Raises:
            ConfigError: pandas is not installed.
        """
        frame: dict[str, Any] = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
        for name in COLUMNS[: COLUMNS.index("value")]:
            found = {value: place for place, value in enumerate(dict.fromkeys(frame[name]))}
            frame[name] = categorical([found[value] for value in frame[name]], [*found])
        return data_frame(frame)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; NaN is null."""
        return {
            "title": self.title,
            "alpha": self.alpha,
            "convention": self.convention,
            "detectors": dict(self.detectors),
            "scores": dict(self.scores),
            "notes": list(self.notes),
            "conclusions": list(self.conclusions),
            "manifest": dict(self.manifest),
            "rows": json_rows(COLUMNS, self.rows),
        }


def rows_with(rows: Iterable[Row], values: Mapping[str, str]) -> list[Row]:
    """The rows whose attributes have these values, in their order."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in values.items())]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[object]) -> None:
    """Write attributes of objects as a CSV file with a header, one object per row, atomically.

    Numbers have six decimals; NaN is an empty cell.

    Raises:
        StoreError: the folder cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(columns)
        table.writerows([_csv_cell(getattr(row, name)) for name in columns] for row in rows)


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write plain JSON values as a JSON file, atomically. Raises StoreError."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


def json_rows(columns: Sequence[str], rows: Iterable[object]) -> list[dict[str, Any]]:
    """Attributes of objects as plain JSON values, one mapping per object; NaN is null."""
    return [{name: _json_value(getattr(row, name)) for name in columns} for row in rows]


def _csv_cell(value: Any) -> Any:
    """A number with six decimals, empty for NaN; a text so that no spreadsheet runs it; anything else as it is."""
    if isinstance(value, str):
        return text_cell(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6f}"
    return value


def _json_value(value: Any) -> Any:
    """None for NaN; anything else as it is."""
    return None if isinstance(value, float) and math.isnan(value) else value
