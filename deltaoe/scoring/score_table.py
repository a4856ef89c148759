"""The table that scoring results in, and its files ``scores.csv`` and ``scores.json``."""

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
_REASON = "unknown_by"
CSV_START = "path,verdict,class,score,p_value,margin"


@dataclass(frozen=True)
class ScoreTable:
    """N scored images, and the files that failed.

    Attributes:
        class_names: K class names.
        paths: N paths as given or found.
        scores: (N,), higher = more in-distribution: the detector's score.
        labels: (N, m) indices into ``class_names``, most similar first; the first is the predicted class.
        cosines: (N, m) cosines of the images with these labels.
        p_values: (N,) conformal p-values; None without calibration.
        threshold: the score below which an image is unknown; None if there is none, or if images have different ones.
        alpha: α, the accepted share of in-distribution images called unknown.
        failed: path and reason of each file that is no usable image.
        thresholds: (N,) threshold of each image; −∞ where no score is unknown, NaN where the calibration allows no
            threshold; None if ``threshold`` holds for all images.
        bounds: (N, 2) lower and upper bound of each score, where not all labels were compared; None if all scores are
            exact, or nothing is known of their error.
        parts: names of the parts that the scores are fused from; empty if they have one part.
        part_p_values: (N, P) conformal p-value of each part by itself; None if they have one part.

    Example:
        >>> table = ScoreTable(
        ...     class_names=["cat", "dog"], paths=["a.jpg", "b.jpg"], scores=np.array([0.4, 0.1]),
        ...     labels=np.array([[0], [1]]), cosines=np.array([[0.3], [0.2]]), p_values=np.array([0.5, 0.01]),
        ...     threshold=0.25, alpha=0.05, failed=[("c.jpg", "not an image")])
        >>> table.verdict(0), table.verdict(1), table.counts["failed"]
        ('known', 'unknown', 1)
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
    parts: Sequence[str] = ()
    part_p_values: npt.NDArray[np.float64] | None = None

    def threshold_of(self, row: int) -> float:
        """Threshold of one image: −∞ if no score is unknown, NaN if the calibration allows no threshold."""
        if self.thresholds is not None:
            return float(self.thresholds[row])
        return math.nan if self.threshold is None else self.threshold

    def margin(self, row: int) -> float | None:
        """Score of one image minus its threshold; None if there is no finite threshold."""
        threshold = self.threshold_of(row)
        return float(self.scores[row]) - threshold if math.isfinite(threshold) else None

    def verdict(self, row: int) -> Verdict:
        """Verdict on one image: ``undecided`` if the calibration allows no threshold."""
        threshold = self.threshold_of(row)
        if math.isnan(threshold):
            return "undecided"
        return "known" if self.scores[row] >= threshold else "unknown"

    def reason(self, row: int) -> str:
        """Which sides call an unknown image unknown by themselves: ``text``, ``images``, ``text and images``.

        ``together`` if neither does at α by itself; empty for other verdicts, and for scores of one part.
        """
        if self.part_p_values is None or self.verdict(row) != "unknown":
            return ""
        p = dict(zip(self.parts, self.part_p_values[row].tolist(), strict=True))
        return " and ".join(side for side in ("text", "images") if p.get(side, 1) <= self.alpha) or "together"

    @property
    def counts(self) -> dict[str, int]:
        """Number of known, unknown and undecided images, and of failed files."""
        n = len(self.paths)
        thresholds = (
            np.array([self.threshold_of(0) if n else 0.0]) if self.thresholds is None else self.thresholds
        )
        known = int(np.count_nonzero(self.scores >= thresholds))
        unknown = int(np.count_nonzero(self.scores < thresholds))
        undecided = n - known - unknown
        return {"known": known, "unknown": unknown, "undecided": undecided, "failed": len(self.failed)}

    def records(self) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries of JSON values: the images in order, then the failed files (verdict ``failed``)."""
        for row, path in enumerate(self.paths):
            pairs = zip(self.labels[row], self.cosines[row], strict=True)
            yield {
                "path": path,
                "verdict": self.verdict(row),
                "class": self.class_names[self.labels[row, 0]],
                "score": float(self.scores[row]),
                "p_value": None if self.p_values is None else float(self.p_values[row]),
                "margin": self.margin(row),
                **self._parts_of(row),
                **self._bounds_of(row),
                "top": [{"class": self.class_names[i], "cosine": round(float(c), 6)} for i, c in pairs],
                "error": None,
            }
        names = ("class", "score", "p_value", "margin", *self._part_columns, *self._bound_columns)
        for path, reason in self.failed:
            empty = dict.fromkeys(names)
            yield {"path": path, "verdict": "failed", **empty, "top": [], "error": reason}

    @property
    def _part_columns(self) -> tuple[str, ...]:
        return (*(f"p_{part}" for part in self.parts), _REASON) if self.parts else ()

    @property
    def _bound_columns(self) -> tuple[str, ...]:
        return _BOUNDS if self.bounds is not None else ()

    def _parts_of(self, row: int) -> dict[str, float | str]:
        if self.part_p_values is None:
            return {}
        values = [*self.part_p_values[row].tolist(), self.reason(row)]
        return dict(zip(self._part_columns, values, strict=True))

    def _bounds_of(self, row: int) -> dict[str, float]:
        if self.bounds is None:
            return {}
        return dict(zip(_BOUNDS, self.bounds[row].tolist(), strict=True))

    def write_csv(self, path: Path) -> None:
        """Write :meth:`records` as CSV, atomically; file names that are not UTF-8 keep their bytes.

        Raises:
            StoreError: the file cannot be written.
        """
        width = self.labels.shape[1]
        ranks = [f"{column}_{i}" for i in range(1, width + 1) for column in ("class", "cosine")]
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
        ):
            rows = csv.writer(out)
            extra = [*self._part_columns, *self._bound_columns]
            rows.writerow([*CSV_START.split(","), *extra, *ranks, "error"])
            for record in self.records():
                top = [cell for pair in record["top"] for cell in (pair["class"], pair["cosine"])]
                cells = [record[name] for name in ("score", "p_value", "margin", *extra)]
                rows.writerow(
                    [record["path"], record["verdict"], record["class"]]
                    + [value if isinstance(value, str) else _number(value) for value in cells]
                    + (top or [""] * (2 * width))
                    + [record["error"] or ""]
                )

    def write_json(self, path: Path, head: Mapping[str, Any]) -> None:
        """Write :meth:`json_chunks` to a file, atomically.

        Raises:
            StoreError: the file cannot be written.
        """
        with replacing(path) as temporary, temporary.open("w", encoding="ascii") as out:
            out.writelines(self.json_chunks(head))

    def json_chunks(self, head: Mapping[str, Any]) -> Iterator[str]:
        """Pieces of one JSON document in ASCII: ``head``, then :attr:`counts`, then :meth:`records`."""
        start = json.dumps({**head, "counts": self.counts}, indent=1)
        yield start.removesuffix("\n}") + ',\n "images": ['
        for number, record in enumerate(self.records()):
            yield ("," if number else "") + "\n  " + json.dumps(record)
        yield "\n ]\n}\n"


def _number(value: float | None) -> str:
    """A cell of the table; empty for a number that there is not."""
    return "" if value is None else f"{value:.9g}"
