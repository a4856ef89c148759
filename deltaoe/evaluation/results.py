"""What an evaluation found: one measurement per row, and the files that hold them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltaoe.store.atomic import replacing

COLUMNS = ("detector", "score", "known", "unknown", "metric", "value", "low", "high", "n_known", "n_unknown")
CSV_START = ",".join(COLUMNS[:5])
MEAN = "mean"


@dataclass(frozen=True)
class Measurement:
    """One number.

    Attributes:
        detector: which.
        score: name in :data:`deltaoe.functional.scores.SCORES`; empty where none enters (accuracy, calibration error).
        known: the in-distribution images: ``id``, a shift's name, or either with ``/domain``.
        unknown: the out-of-distribution images; ``mean`` over all of them; empty where there are none.
        metric: ``auroc``, ``fpr95``, ``aupr_in``, ``aupr_out``, ``accuracy``, ``ece``, ``false_alarms``.
        value: from 0 to 1.
        low, high: ends of its 95 % interval; NaN without one.
        n_known, n_unknown: images.
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
    """All measurements of a run.

    Attributes:
        title: for people.
        rows: in the order of detectors, scores, data.
        detectors: name → in words.
        scores: name → title, of those measured.
        alpha: of the false alarms.
        convention: ``id`` or ``ood``, which is positive in FPR@95.
        notes: the sentences a reader must see.
        manifest: what is needed to repeat it.
    """

    title: str
    rows: Sequence[Measurement]
    detectors: Mapping[str, str]
    scores: Mapping[str, str]
    alpha: float
    convention: str
    notes: Sequence[str] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def find(self, **wanted: str) -> list[Measurement]:
        """The measurements whose columns have these values."""
        return [row for row in self.rows if all(getattr(row, k) == v for k, v in wanted.items())]

    def names(self, column: str, **wanted: str) -> list[str]:
        """The distinct values of a column, in order, among :meth:`find`."""
        return list(dict.fromkeys(getattr(row, column) for row in self.find(**wanted)))

    def write(self, folder: Path) -> dict[str, Path]:
        """Write ``evaluation.csv``, ``.json`` and ``.md``, each atomically. Raises StoreError."""
        paths = {kind: folder / f"evaluation.{kind}" for kind in ("csv", "json", "md")}
        with replacing(paths["csv"]) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(COLUMNS)
            rows.writerows([cell(getattr(row, name)) for name in COLUMNS] for row in self.rows)
        with replacing(paths["json"]) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="ascii")
        with replacing(paths["md"]) as temporary:
            temporary.write_text("\n".join(self.markdown()) + "\n", encoding="utf-8")
        return paths

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "title": self.title,
            "alpha": self.alpha,
            "convention": self.convention,
            "detectors": dict(self.detectors),
            "scores": dict(self.scores),
            "notes": list(self.notes),
            "manifest": dict(self.manifest),
            "rows": [{name: plain(getattr(row, name)) for name in COLUMNS} for row in self.rows],
        }

    def markdown(self) -> Iterator[str]:
        """The tables, as Markdown."""
        yield f"# {escaped(self.title)}"
        for note in self.notes:
            yield f"\n> {escaped(note)}"
        for table in self.tables():
            yield from table_lines(table)

    def tables(self) -> list[Table]:
        """The measurements as tables for people."""
        found = [
            self._detection(metric, title, known)
            for known in self.names("known", metric="auroc")
            for metric, title in (("auroc", "AUROC"), ("fpr95", "FPR@95"))
        ]
        found += [self._accuracy(), self._false_alarms()]
        return [table for table in found if table.rows]

    def _detection(self, metric: str, title: str, known: str) -> Table:
        rows = [
            (
                [detector, self.scores[score]],
                {
                    row.unknown: row
                    for row in self.find(metric=metric, known=known, detector=detector, score=score)
                },
            )
            for detector in self.detectors
            for score in self.scores
        ]
        outs = self.names("unknown", metric=metric, known=known)
        return _table(f"{title}, {known} against", ["detector", "score"], outs, rows)

    def _accuracy(self) -> Table:
        rows = [
            ([detector, title], {row.known: row for row in self.find(metric=metric, detector=detector)})
            for metric, title in (("accuracy", "accuracy"), ("ece", "calibration error"))
            for detector in self.detectors
        ]
        return _table("Classification", ["detector", ""], self.names("known", metric="accuracy"), rows)

    def _false_alarms(self) -> Table:
        rows = [
            (
                [detector, self.scores[score]],
                {row.known: row for row in self.find(metric="false_alarms", detector=detector, score=score)},
            )
            for detector in self.detectors
            for score in self.scores
        ]
        known = self.names("known", metric="false_alarms")
        title = f"False alarms at alpha = {self.alpha:g}"
        if known:  # the first are those that calibrate
            title += f", calibrated on images of {known[0]}"
        return _table(title, ["detector", "score"], known, rows)


@dataclass(frozen=True)
class Table:
    """Measurements for people.

    Attributes:
        title: heading.
        columns: the first ``labels`` are of words, the others of numbers.
        rows: cells as text.
        labels: how many columns are of words.
        found: for every row the measurements of its numbers; None where a cell is empty.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int
    found: Sequence[Sequence[Measurement | None]]


def table_lines(table: Table) -> Iterator[str]:
    """A table as Markdown, under a heading."""
    yield f"\n## {escaped(table.title)}\n"
    yield "| " + " | ".join(map(escaped, table.columns)) + " |"
    yield "|---" * table.labels + "|---:" * (len(table.columns) - table.labels) + "|"
    for row in table.rows:
        yield "| " + " | ".join(map(escaped, row)) + " |"


def _table(
    title: str,
    words: Sequence[str],
    names: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Mapping[str, Measurement]]],
) -> Table:
    """A table of rows of words and measurements by column; rows without any are left out."""
    full = [(labels, [cells.get(name) for name in names]) for labels, cells in rows if cells]
    text = [[*labels, *("" if one is None else shown(one) for one in found)] for labels, found in full]
    return Table(title, [*words, *names], text, len(words), [found for _, found in full])


def shown(row: Measurement) -> str:
    """A value and its interval, for people: ``0.914 [0.905, 0.922]``."""
    text = f"{row.value:.3f}"
    return text if math.isnan(row.low) else f"{text} [{row.low:.3f}, {row.high:.3f}]"


def cell(value: Any) -> Any:
    """A value as a cell of a CSV file; NaN is empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6f}"
    return value


def plain(value: Any) -> Any:
    """A value as JSON has it; NaN is null."""
    return None if isinstance(value, float) and math.isnan(value) else value


def escaped(text: str) -> str:
    """Text as Markdown shows it, letter by letter."""
    # Names of data are the user's: they must not break a table, nor become HTML where Markdown is rendered.
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join("\\" + c if c in "\\|`*_[]#" else c for c in plain)
