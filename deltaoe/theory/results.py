"""The results about the source's theorems: findings, conclusions, and the CSV and JSON files of both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deltaoe.evaluation.results import json_rows, rows_with, write_csv, write_document
from deltaoe.short_repr import counted, listed, number_of_notes, short_repr

Part = Literal["bound", "separation", "hessian", "distance"]
# What the files hold of a finding.
COLUMNS = ("part", "detector", "known", "against", "at", "quantity", "value", "low", "high", "n")
CSV_START = ",".join(COLUMNS[:5])
# Contexts of a Hessian: that which tuning started from, and that which it learned.
START, LEARNED = "start", "learned"
MEAN = "mean"  # over all pairs of domains


@dataclass(frozen=True)
class Finding:
    """One number that was measured about a theorem, with its interval.

    ``rival``, ``reference`` and ``by_domain`` say as values what ``at`` and ``known`` say in words; files do not hold
    them.

    Attributes:
        part: ``bound``, ``separation``, ``hessian`` (of one domain) or ``distance`` (of two).
        detector: name of the detector.
        known: the in-distribution images: ``id``, a shift's name, or either with ``/domain``; ``mean`` for the mean
            over all pairs of domains.
        against: the out-of-distribution images, the other domain, or empty.
        at: τ and c of a bound; the other score of a separation; of a Hessian the context (``start`` or ``learned``), or
            two of them for a change.
        quantity: what the number is, such as ``premise`` or ``gap_50`` (the median); those that tables show are keys of
            :data:`deltaoe.report.quantities.QUANTITIES`.
        value: the number; energies and gaps are in cosine units, shares from 0 to 1.
        low, high: ends of its 95 % interval; NaN without one.
        n: number of in-distribution images that it is computed from; 0 where it is of two domains.
        rival: name of the other score of a separation, as in :data:`deltaoe.functional.scores.SCORES`.
        reference: of a change, the (detector, context) whose number was subtracted.
        by_domain: whether it is of one domain of ``known`` alone.
    """

    part: Part
    detector: str
    known: str
    against: str
    at: str
    quantity: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    rival: str = ""
    reference: tuple[str, str] | None = None
    by_domain: bool = False


@dataclass(frozen=True)
class Conclusion:
    """What the data say of one claim.

    Attributes:
        part: what the claim is about.
        verdict: ``supports``, ``contradicts``, ``undecided`` or ``not measured``; ``higher`` or ``lower`` for a
            comparison that no theorem is about.
        text: the numbers behind it, in a sentence.
    """

    part: Literal["bound", "separation", "hessian"]
    verdict: str
    text: str


@dataclass(frozen=True)
class Theory:
    """All findings about the theorems on one evaluation's images.

    Attributes:
        title: names the images, for headings.
        findings: the numbers, in the order of detectors and parts.
        conclusions: drawn from the findings by the rules of :mod:`deltaoe.theory.conclusions`.
        notes: sentences on how the numbers were computed, and on what was not measured.
        settings: probes, draws and seed; with the evaluation's manifest, all that is needed to repeat it.
    """

    title: str
    findings: Sequence[Finding]
    conclusions: Sequence[Conclusion]
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """What was measured and how many findings there are; the findings would fill the screen."""
        return short_repr(
            self,
            listed([self.title]),
            counted(len(self.findings), "finding"),
            counted(len(self.conclusions), "conclusion"),
            number_of_notes(self.notes),
        )

    def find(self, **wanted: str) -> list[Finding]:
        """The findings whose attributes have these values, such as ``part="bound"``, in their order."""
        return rows_with(self.findings, wanted)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values; NaN is null."""
        return {
            "title": self.title,
            "notes": list(self.notes),
            "conclusions": [dataclasses.asdict(one) for one in self.conclusions],
            "settings": dict(self.settings),
            "findings": json_rows(COLUMNS, self.findings),
        }

    def write(self, folder: Path) -> dict[str, Path]:
        """Write ``theory.csv`` and ``theory.json``, each atomically; returned as ``theory, csv`` and ``theory, json``.

        Raises:
            StoreError: the folder cannot be written.
        """
        paths = {f"theory, {kind}": folder / f"theory.{kind}" for kind in ("csv", "json")}
        table, document = paths.values()
        write_csv(table, COLUMNS, self.findings)
        write_document(document, self.to_dict())
        return paths
