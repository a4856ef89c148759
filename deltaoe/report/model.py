"""The content of a score report as plain data: ``from_scores`` makes it, ``render`` turns it into HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Verdict = Literal["known", "unknown", "undecided"]


@dataclass(frozen=True)
class ReportRow:
    """One scored image. Paths and labels come from users' files and may be any text.

    Attributes:
        path: of the image file.
        verdict: ``undecided`` where the calibration is too small for one.
        label: the predicted class.
        score: the detector's, in any unit.
        p_value: conformal; None where there is no calibration.
        margin: score − its threshold; None where there is no threshold.
        top: (label, cosine) of the nearest labels, largest cosine first.
        thumbnail: a small WebP file; None if it could not be made.
        parts: (name, p-value) of each part of a fused score; empty for a score of one part.
        reason: which evidence calls it unknown by itself, as :meth:`deltaoe.scoring.score_table.ScoreTable.reason` says
            it; empty for other images.
        looks_like: the nearest name of a vocabulary, or ``none fits``; empty for images not compared with one.
        looks_like_cosine: cosine of the image with the nearest name; None for such images.
        group: number of the group of similar unknown images that it is in; None if it is in none.
        group_name: of its group; the same for all images of one group.
    """

    path: str
    verdict: Verdict
    label: str
    score: float
    p_value: float | None
    margin: float | None
    top: Sequence[tuple[str, float]]
    thumbnail: bytes | None = None
    parts: Sequence[tuple[str, float]] = ()
    reason: str = ""
    looks_like: str = ""
    looks_like_cosine: float | None = None
    group: int | None = None
    group_name: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Attributes:
        title: the heading.
        score_name: what the score is called.
        alpha: accepted share of false alarms; not used with ``fdr``.
        threshold: images of a lower score are called unknown; None where the calibration is too small, where each class
            has its own, and where ``fdr`` allows to call no image unknown.
        counts: verdict → number of images, including those without a row; ``failed`` → number of files.
        scores: (N,), of all images, for the histogram.
        calibration: (n,), scores of the calibration images.
        rows: the images listed, or the first of them, in the order in which they are shown.
        failed: (path, reason) of each file that could not be used.
        manifest: (heading, ((name, value), …)): everything that is needed to repeat the run.
        notes: sentences that the reader must see first, warnings among them.
        rows_left_out: how many images have no row.
        full_table: path of the CSV file with all images.
        fdr: accepted share of false alarms among the images called unknown; None for ``alpha``.
        per_class: whether p-values are computed among the calibration images of the predicted class.
        score_unit: of the score; empty if it has none.
    """

    title: str
    score_name: str
    alpha: float
    threshold: float | None
    counts: dict[Literal["known", "unknown", "undecided", "failed"], int]
    scores: npt.NDArray[np.float64]
    calibration: npt.NDArray[np.float64]
    rows: Sequence[ReportRow]
    failed: Sequence[tuple[str, str]]
    manifest: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    notes: Sequence[str] = field(default_factory=tuple)
    rows_left_out: int = 0
    full_table: str = ""
    fdr: float | None = None
    per_class: bool = False
    score_unit: str = ""

    @property
    def fused(self) -> bool:
        """Whether the images have a p-value for each part of their score."""
        return any(row.parts for row in self.rows)

    @property
    def named(self) -> bool:
        """Whether any image was compared with a vocabulary."""
        return any(row.looks_like for row in self.rows)

    @property
    def grouped(self) -> bool:
        """Whether any image is in a group."""
        return any(row.group is not None for row in self.rows)

    @property
    def level(self) -> float:
        """The largest p-value of an image that is called unknown."""
        return self.alpha if self.fdr is None else self.fdr
