"""The result of scoring, column by column, and the files it is written to."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deltaoe.data.files import replacing

Verdict = Literal["known", "unknown", "undecided"]
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
        threshold: images with a score below are unknown; None if there is no threshold at ``alpha``.
        alpha: accepted share of in-distribution images called unknown.
        failed: (path, reason) of files that are no usable images.
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

    def verdict(self, row: int) -> Verdict:
        """``known``, ``unknown``, or ``undecided`` where the calibration allows no threshold."""
        if self.threshold is None:
            return "undecided"
        return "known" if self.scores[row] >= self.threshold else "unknown"

    @property
    def counts(self) -> dict[str, int]:
        """How many images are known, unknown, undecided and failed."""
        n = len(self.paths)
        known = 0 if self.threshold is None else int(np.count_nonzero(self.scores >= self.threshold))
        undecided = n if self.threshold is None else 0
        unknown = n - known - undecided
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
                "margin": None if self.threshold is None else float(self.scores[row] - self.threshold),
                "top": [{"class": self.class_names[i], "cosine": round(float(c), 6)} for i, c in pairs],
                "error": None,
            }
        for path, reason in self.failed:
            empty = dict.fromkeys(("class", "score", "p_value", "margin"))
            yield {"path": path, "verdict": "failed", **empty, "top": [], "error": reason}

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
            rows.writerow([*CSV_START.split(","), *ranks, "error"])
            for record in self.records():
                top = [cell for pair in record["top"] for cell in (pair["class"], pair["cosine"])]
                numbers = [record[name] for name in ("score", "p_value", "margin")]
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
