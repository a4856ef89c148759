"""The result of scoring, column by column, and the files it is written to."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deltaoe.store.atomic import replacing

Verdict = Literal["known", "unknown", "undecided"]
_BOUNDS = ("score_low", "score_high")
CSV_START = "path,verdict,class,score,p_value,margin"


@dataclass(frozen=True)
class ScoreTable:
    """N scored images and the files that failed.

    Attributes:
        paths: N paths as given or found.
        scores: (N,) ΔEnergy, cosine units, higher = more in-distribution.
        labels: (N, m) indices into ``class_names``, most similar first; the first is the class.
        cosines: (N, m) their cosines.
        p_values: (N,) conformal p-values; None without calibration.
        threshold: images with a score below are unknown; None if there is no threshold, or each image has its own.
        alpha: accepted share of in-distribution images called unknown.
        failed: (path, reason) of files that are no usable images.
        thresholds: (N,) each image's own; −∞ where no score is unknown, NaN where nothing can be said; None where
            ``threshold`` is everybody's.
        bounds: (N, 2) between which the score surely lies, where not all labels were looked at; None: it is exact.
    """

    class_names: Sequence[str]
    paths: Sequence[str]
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]
    p_values: npt.NDArray[np.float64] | None
    threshold: float | None
    alpha: float
    failed: Sequence[tuple[str, str]]
    thresholds: npt.NDArray[np.float64] | None = None
    bounds: npt.NDArray[np.float64] | None = None

    def limit(self, row: int) -> float:
        """The threshold of one image: −∞ where no score is unknown, NaN where nothing can be said."""
        if self.thresholds is not None:
            return float(self.thresholds[row])
        return math.nan if self.threshold is None else self.threshold

    def margin(self, row: int) -> float | None:
        """Score less threshold; None without one."""
        limit = self.limit(row)
        return float(self.scores[row]) - limit if math.isfinite(limit) else None

    def verdict(self, row: int) -> Verdict:
        """``known``, ``unknown``, or ``undecided`` where the calibration allows no threshold."""
        limit = self.limit(row)
        if math.isnan(limit):
            return "undecided"
        return "known" if self.scores[row] >= limit else "unknown"

    @property
    def counts(self) -> dict[str, int]:
        """How many images are known, unknown, undecided and failed."""
        n = len(self.paths)
        limits = np.array([self.limit(0) if n else 0.0]) if self.thresholds is None else self.thresholds
        known = int(np.count_nonzero(self.scores >= limits))
        unknown = int(np.count_nonzero(self.scores < limits))
        undecided = n - known - unknown
        return {"known": known, "unknown": unknown, "undecided": undecided, "failed": len(self.failed)}

    def records(self) -> Iterator[dict[str, Any]]:
        """One plain dictionary per image, in order, then one per failed file (verdict ``failed``)."""
        for row, path in enumerate(self.paths):
            pairs = zip(self.labels[row], self.cosines[row], strict=True)
            yield {
                "path": path,
                "verdict": self.verdict(row),
                "class": self.class_names[self.labels[row, 0]],
                "score": float(self.scores[row]),
                "p_value": None if self.p_values is None else float(self.p_values[row]),
                "margin": self.margin(row),
                **self._bound(row),
                "top": [{"class": self.class_names[i], "cosine": round(float(c), 6)} for i, c in pairs],
                "error": None,
            }
        names = ("class", "score", "p_value", "margin", *(_BOUNDS if self.bounds is not None else ()))
        for path, reason in self.failed:
            empty = dict.fromkeys(names)
            yield {"path": path, "verdict": "failed", **empty, "top": [], "error": reason}

    def _bound(self, row: int) -> dict[str, float]:
        if self.bounds is None:
            return {}
        return dict(zip(_BOUNDS, self.bounds[row].tolist(), strict=True))

    def write_csv(self, path: Path) -> None:
        """Write one row per image and failed file, atomically.

        File names that are not UTF-8 keep their bytes. Raises StoreError.
        """
        width = self.labels.shape[1]
        ranks = [f"{column}_{i}" for i in range(1, width + 1) for column in ("class", "cosine")]
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
        ):
            rows = csv.writer(out)
            bounds = _BOUNDS if self.bounds is not None else ()
            rows.writerow([*CSV_START.split(","), *bounds, *ranks, "error"])
            for record in self.records():
                top = [cell for pair in record["top"] for cell in (pair["class"], pair["cosine"])]
                numbers = [record[name] for name in ("score", "p_value", "margin", *bounds)]
                rows.writerow(
                    [record["path"], record["verdict"], record["class"]]
                    + ["" if value is None else f"{value:.9g}" for value in numbers]
                    + (top or [""] * (2 * width))
                    + [record["error"] or ""]
                )

    def write_json(self, path: Path, head: Mapping[str, Any]) -> None:
        """Write :meth:`json_chunks` to a file, atomically. Raises StoreError."""
        with replacing(path) as temporary, temporary.open("w", encoding="ascii") as out:
            out.writelines(self.json_chunks(head))

    def json_chunks(self, head: Mapping[str, Any]) -> Iterator[str]:
        """``head``, counts and all records as one JSON document, record by record, in ASCII."""
        start = json.dumps({**head, "counts": self.counts}, indent=1)
        yield start.removesuffix("\n}") + ',\n "images": ['
        for number, record in enumerate(self.records()):
            yield ("," if number else "") + "\n  " + json.dumps(record)
        yield "\n ]\n}\n"
