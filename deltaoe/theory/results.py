"""What an evaluation found about the source's theorems: one finding per row, conclusions, and the files they lie in."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deltaoe.evaluation.results import Table, cell, escaped, plain, table_lines
from deltaoe.store.atomic import replacing

Part = Literal["bound", "separation", "hessian", "distance"]
COLUMNS = ("part", "detector", "known", "against", "at", "quantity", "value", "low", "high", "n")
CSV_START = ",".join(COLUMNS[:5])

# quantity → (column's heading, format); in this order a table has them.
_SHARE, _NUMBER, _SIGNED = "{:.3f}", "{:.4g}", "{:+.3f}"
SHOWN: Mapping[Part, Mapping[str, tuple[str, str]]] = {
    "bound": {
        "premise": ("E2 ≤ E1", _SHARE),
        "bound": ("bound holds", _SHARE),
        "informative": ("bound > 0", _SHARE),
        "change": ("mean ΔE", _NUMBER),
        "lower": ("mean E2 − E0", _NUMBER),
        "gap": ("mean gap", _NUMBER),
        "gap_5": ("gap 5 %", _NUMBER),
        "gap_50": ("50 %", _NUMBER),
        "gap_95": ("95 %", _NUMBER),
        "relative": ("mean gap/ΔE", _NUMBER),
        "relative_50": ("median gap/ΔE", _NUMBER),
    },
    "separation": {
        "auroc": ("AUROC ΔEnergy", _SHARE),
        "rival_auroc": ("AUROC other", _SHARE),
        "difference": ("difference", _SIGNED),
        "gap": ("gap/SD ΔEnergy", _SHARE),
        "rival_gap": ("gap/SD other", _SHARE),
        "gap_difference": ("difference of gaps", _SIGNED),
    },
    "hessian": {
        "loss": ("cross-entropy", _NUMBER),
        "gradient": ("‖gradient‖", _NUMBER),
        "norm": ("‖H‖F", _NUMBER),
        "trace": ("trace H", _NUMBER),
    },
    "distance": {
        "distance": ("‖Ha − Hb‖F", _NUMBER),
        "relative": ("relative", _SHARE),
        "cosine": ("cosine", _SHARE),
        "shuffled": ("relative, domains shuffled", _SHARE),
    },
}
_TITLES: Mapping[Part, tuple[str, tuple[str, ...]]] = {
    "bound": (
        "The EBM bound ΔE ≥ E2 − E0; gap = ΔE − (E2 − E0), cosine units",
        ("detector", "images", "at"),
    ),
    "separation": ("Separation: ΔEnergy beside other scores", ("detector", "images", "against", "other")),
    "hessian": (
        "Hessian of the cross-entropy in the context vectors; ± over probes",
        ("detector", "domain", "context"),
    ),
    "distance": (
        "Hessians of two domains; ± over probes",
        ("detector", "domain", "other domain", "context"),
    ),
}


@dataclass(frozen=True)
class Finding:
    """One number.

    Attributes:
        part: ``bound``, ``separation``, ``hessian`` (of one domain) or ``distance`` (of two).
        detector: which.
        known: the in-distribution images: ``id``, a shift's name, or either with ``/domain``; ``mean`` over pairs.
        against: the unknown images, the other domain, or empty.
        at: τ and c of a bound; the other score; ``start`` or ``learned``, the context of a Hessian.
        quantity: a key of :data:`SHOWN`, or a further quantile of the bound's gap.
        value: the number.
        low, high: ends of its 95 % interval; NaN without one.
        n: known images.
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


@dataclass(frozen=True)
class Conclusion:
    """What the data say of one claim: ``supports``, ``contradicts``, ``undecided`` or ``not measured``, and why.

    Of a comparison that no theorem is about, ``higher`` or ``lower``.
    """

    part: Literal["bound", "separation", "hessian"]
    verdict: str
    text: str

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.verdict.capitalize()}: {self.text}"


@dataclass(frozen=True)
class Theory:
    """All findings of a run.

    Attributes:
        title: for people.
        findings: in the order of detectors and parts.
        conclusions: from the findings by stated rules.
        notes: how they were made, and what was not measured.
        settings: what is needed to repeat it beside the evaluation's manifest.
    """

    title: str
    findings: Sequence[Finding]
    conclusions: Sequence[Conclusion]
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def find(self, **wanted: str) -> list[Finding]:
        """The findings whose columns have these values."""
        return [one for one in self.findings if all(getattr(one, k) == v for k, v in wanted.items())]

    def tables(self) -> list[Table]:
        """One table for each part that was measured."""
        return [table for part in SHOWN if (table := self._table(part)).rows]

    def _table(self, part: Part) -> Table:
        rows: dict[tuple[str, ...], dict[str, Finding]] = {}
        title, words = _TITLES[part]
        for one in self.find(part=part):
            names = (one.detector, one.known, one.against, one.at)
            labels = names if len(words) == 4 else (one.detector, one.known, one.at)
            rows.setdefault(labels, {})[one.quantity] = one
        columns = SHOWN[part]
        text = [
            [*labels, *(_text(found.get(name), how) for name, (_, how) in columns.items())]
            for labels, found in rows.items()
        ]
        return Table(title, [*words, *(heading for heading, _ in columns.values())], text, len(words), [])

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "title": self.title,
            "notes": list(self.notes),
            "conclusions": [dataclasses.asdict(one) for one in self.conclusions],
            "settings": dict(self.settings),
            "findings": [{name: plain(getattr(one, name)) for name in COLUMNS} for one in self.findings],
        }

    def markdown(self) -> Iterator[str]:
        """Notes, tables and conclusions, as Markdown."""
        yield f"# {escaped(self.title)}"
        for note in self.notes:
            yield f"\n> {escaped(note)}"
        for table in self.tables():
            yield from table_lines(table)
        yield "\n## What these data say\n"
        yield from (f"- {escaped(one.sentence)}" for one in self.conclusions)

    def write(self, folder: Path) -> dict[str, Path]:
        """Write ``theory.csv``, ``.json`` and ``.md``, each atomically. Raises StoreError."""
        paths = {f"theory, {kind}": folder / f"theory.{kind}" for kind in ("csv", "json", "md")}
        table, document, text = paths.values()
        with replacing(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(COLUMNS)
            rows.writerows([cell(getattr(one, name)) for name in COLUMNS] for one in self.findings)
        with replacing(document) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="ascii")
        with replacing(text) as temporary:
            temporary.write_text("\n".join(self.markdown()) + "\n", encoding="utf-8")
        return paths


def _text(one: Finding | None, how: str) -> str:
    if one is None:
        return ""
    if math.isnan(one.value):
        return "—"
    text = how.format(one.value)
    if math.isnan(one.low):
        return text
    if one.part in {"hessian", "distance"}:  # an interval that is symmetrical
        return f"{text} ± {(one.high - one.low) / 2:.2g}"
    return f"{text} [{how.format(one.low)}, {how.format(one.high)}]"
