"""The table that scoring results in, and its files ``scores.csv`` and ``scores.json``."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from deltaoe.data_frame import categorical, data_frame, texts
from deltaoe.images.csv_cells import path_cell, text_cell
from deltaoe.store.atomic import replacing

if TYPE_CHECKING:
    from deltaoe.data_frame import DataFrame

Floats = npt.NDArray[np.float64]
Verdict = Literal["known", "unknown", "undecided"]
VERDICTS: tuple[Verdict, ...] = ("known", "unknown", "undecided")
CSV_START = "path,verdict,class,score,p_value,margin"
# What stands in ``looks_like`` of an unknown image that no name of the vocabulary fits.
NONE_FITS = "none fits"
_BOUNDS = ("score_low", "score_high")
_REASON = "unknown_by"
# Those of :meth:`ScoreTable.reason`.
_PLACE_OF_REASON = {"text": 0, "images": 1, "text and images": 2, "together": 3}
_NAMES = ("looks_like", "looks_like_cosine")
_DECIMALS = 6  # of cosines
_ROWS = 65_536  # of which the columns are held as Python values at a time


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
        looks_like: N names from a vocabulary (:mod:`deltaoe.scoring.vocabulary`): of each unknown image the nearest
            one, or ``none fits``; empty for other images. None without a vocabulary.
        looks_like_cosines: (N,) float32, cosine of each unknown image with the nearest name, also where it does not
            fit; NaN for other images.

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
    looks_like: Sequence[str] | None = None
    looks_like_cosines: npt.NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        """The numbers of images by verdict; the values of all images would fill the screen."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)
        return f"ScoreTable({counts or 'no images'})"

    def __len__(self) -> int:
        """N, the number of scored images, without the failed files."""
        return len(self.paths)

    def threshold_of(self, row: int) -> float:
        """Threshold of one image: −∞ if no score is unknown, NaN if the calibration allows no threshold."""
        return float(self._thresholds[row])

    @cached_property
    def _thresholds(self) -> npt.NDArray[np.float64]:
        """(N,), as :attr:`thresholds`, for tables with one threshold, too."""
        if self.thresholds is not None:
            return self.thresholds
        return np.full(len(self), math.nan if self.threshold is None else self.threshold)

    def margin(self, row: int) -> float | None:
        """Score of one image minus its threshold; None if there is no finite threshold."""
        threshold = self.threshold_of(row)
        return float(self.scores[row]) - threshold if math.isfinite(threshold) else None

    @cached_property
    def verdict_numbers(self) -> npt.NDArray[np.int8]:
        """(N,) verdict of each image, as its place in :data:`VERDICTS`."""
        compared = np.where(self.scores >= self._thresholds, 0, 1)
        return np.where(np.isnan(self._thresholds), 2, compared).astype(np.int8)

    def verdict(self, row: int) -> Verdict:
        """Verdict on one image: ``undecided`` if the calibration allows no threshold."""
        verdict: Verdict = VERDICTS[int(self.verdict_numbers[row])]
        return verdict

    def reason(self, row: int) -> str:
        """Which sides call an unknown image unknown by themselves: ``text``, ``images``, ``text and images``.

        ``together`` if neither does at α by itself; empty for other verdicts, and for scores of one part.
        """
        return self._reasons(slice(row, row + 1))[0]

    def _reasons(self, rows: slice) -> list[str]:
        unknown = self.verdict_numbers[rows] == 1
        if self.part_p_values is None:
            return [""] * len(unknown)
        p = dict(zip(self.parts, self.part_p_values[rows].T, strict=True))
        by = [side for side in ("text", "images") if side in p]
        number = sum((p[side] <= self.alpha).astype(int) << place for place, side in enumerate(by))
        words = {
            bits: " and ".join(side for place, side in enumerate(by) if bits >> place & 1) or "together"
            for bits in range(1 << len(by))
        }
        numbers = np.broadcast_to(number, unknown.shape).tolist()
        return [words[bits] if is_unknown else "" for bits, is_unknown in zip(numbers, unknown, strict=True)]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of known, unknown and undecided images, and of failed files."""
        counted = np.bincount(self.verdict_numbers, minlength=len(VERDICTS)).tolist()
        return {**dict(zip(VERDICTS, counted, strict=True)), "failed": len(self.failed)}

    def columns(self, start: int = 0, stop: int | None = None) -> dict[str, list[Any]]:
        """Columns of the rows from ``start`` to ``stop``, of images alone: name → one JSON value per row.

        ``top`` is not among them: :attr:`labels` and :attr:`cosines` have it.
        """
        rows = slice(start, len(self) if stop is None else stop)
        names, verdicts = self.class_names, VERDICTS
        scores = self.scores[rows]
        margins = scores - self._thresholds[rows]
        found: dict[str, list[Any]] = {
            "path": list(self.paths[rows]),
            "verdict": [verdicts[i] for i in self.verdict_numbers[rows].tolist()],
            "class": [names[i] for i in self.labels[rows, 0].tolist()],
            "score": scores.tolist(),
            "p_value": [None] * len(scores) if self.p_values is None else self.p_values[rows].tolist(),
            "margin": _finite(margins),
        }
        if self.part_p_values is not None:
            parts = zip(self._part_columns, self.part_p_values[rows].T, strict=False)
            found |= {name: column.tolist() for name, column in parts}
            found[_REASON] = self._reasons(rows)
        if self.bounds is not None:
            found |= {
                name: column.tolist() for name, column in zip(_BOUNDS, self.bounds[rows].T, strict=True)
            }
        if self.looks_like is not None and self.looks_like_cosines is not None:
            found[_NAMES[0]] = [name or None for name in self.looks_like[rows]]
            found[_NAMES[1]] = _finite(_rounded(self.looks_like_cosines[rows]))
        return found

    @property
    def _part_columns(self) -> tuple[str, ...]:
        return (*(f"p_{part}" for part in self.parts), _REASON) if self.part_p_values is not None else ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of :meth:`columns`."""
        bounds = _BOUNDS if self.bounds is not None else ()
        names = _NAMES if self.looks_like is not None else ()
        return (*CSV_START.split(","), *self._part_columns, *bounds, *names)

    def records(self) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries of JSON values: the images in order, then the failed files (verdict ``failed``)."""
        for start in range(0, len(self), _ROWS):
            stop = min(start + _ROWS, len(self))
            columns = self.columns(start, stop)
            top = zip(
                self.labels[start:stop].tolist(), _rounded(self.cosines[start:stop]).tolist(), strict=True
            )
            for values, (labels, cosines) in zip(zip(*columns.values(), strict=True), top, strict=True):
                yield {
                    **dict(zip(columns, values, strict=True)),
                    "top": [
                        {"class": self.class_names[i], "cosine": cosine}
                        for i, cosine in zip(labels, cosines, strict=True)
                    ],
                    "error": None,
                }
        yield from (failed_record(path, reason, self.column_names) for path, reason in self.failed)

    def to_pandas(self) -> DataFrame:
        """The columns of ``scores.csv`` as a data frame: the images in order, then the failed files.

        Verdicts (``known``, ``unknown``, ``undecided``, ``failed``), classes, and which parts call an image unknown are
        categorical. A number or name that there is not, such as the score of a failed file, is missing.

        Raises:
            ConfigError: pandas is not installed.
        """
        n, failed = len(self), len(self.failed)
        columns = self.columns()

        def numbers(values: npt.ArrayLike) -> Floats:
            return np.append(np.asarray(values, dtype=np.float64), np.full(failed, np.nan))

        def names(places: npt.ArrayLike, among: Sequence[str], of_failed: int = -1) -> Any:
            return categorical(np.append(places, np.full(failed, of_failed)).astype(np.int64), among)

        frame: dict[str, Any] = {
            "path": texts([*self.paths, *(path for path, _ in self.failed)]),
            "verdict": names(self.verdict_numbers, (*VERDICTS, "failed"), of_failed=len(VERDICTS)),
            "class": names(self.labels[:, 0], self.class_names),
        }
        for name, values in columns.items():
            if name == _REASON:
                frame[name] = names([_PLACE_OF_REASON.get(one, -1) for one in values], [*_PLACE_OF_REASON])
            elif name == _NAMES[0]:
                frame[name] = texts([*values, *[None] * failed])
            elif name not in frame:
                frame[name] = numbers(values)
        for rank in range(self.labels.shape[1]):
            frame[f"class_{rank + 1}"] = names(self.labels[:, rank], self.class_names)
            frame[f"cosine_{rank + 1}"] = numbers(_rounded(self.cosines[:, rank]))
        frame["error"] = texts([None] * n + [reason for _, reason in self.failed])
        return data_frame(frame)

    def write_csv(self, path: Path) -> None:
        """Write the columns as CSV, atomically; file names that are not UTF-8 keep their bytes.

        Names and paths are written by :mod:`deltaoe.images.csv_cells`, so that no spreadsheet takes them for a formula.

        Raises:
            StoreError: the file cannot be written.
        """
        width = self.labels.shape[1]
        names = [text_cell(name) for name in self.class_names]
        ranks = [f"{column}_{i}" for i in range(1, width + 1) for column in ("class", "cosine")]
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            out = csv.writer(file)
            out.writerow([*self.column_names, *ranks, "error"])
            for start in range(0, len(self), _ROWS):
                stop = min(start + _ROWS, len(self))
                cells = [_cells(name, column) for name, column in self.columns(start, stop).items()]
                for rank in range(width):
                    cells.append([names[i] for i in self.labels[start:stop, rank].tolist()])
                    cells.append(list(map(str, _rounded(self.cosines[start:stop, rank]).tolist())))
                out.writerows(zip(*cells, [""] * (stop - start), strict=True))
            empty = [""] * (len(self.column_names) - 2 + len(ranks))
            out.writerows(
                [path_cell(path), "failed", *empty, text_cell(reason)] for path, reason in self.failed
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


def failed_record(path: str, reason: str, columns: Sequence[str]) -> dict[str, Any]:
    """The record of a file that is no usable image, with the keys of :meth:`ScoreTable.records`."""
    return {**dict.fromkeys(columns), "path": path, "verdict": "failed", "top": [], "error": reason}


def _rounded(cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Cosines with the decimals that are written."""
    return cosines.astype(np.float64).round(_DECIMALS)


def _finite(values: npt.NDArray[np.float64]) -> list[float | None]:
    """The values, None in place of those that are not finite."""
    listed: list[float | None] = values.tolist()
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        listed[place] = None
    return listed


def _cells(name: str, column: Sequence[Any]) -> Sequence[str]:
    """A column as cells of a CSV file; empty for a value that there is not."""
    first = next((value for value in column if value is not None), None)
    if isinstance(first, float):
        return ["" if value is None else f"{value:.9g}" for value in column]
    written = path_cell if name == "path" else text_cell
    return ["" if value is None else written(value) for value in column]
