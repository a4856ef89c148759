"""What a report says, as plain data: filled by the scoring workflow, turned into HTML by ``render``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Verdict = Literal["known", "unknown", "undecided"]


@dataclass(frozen=True)
class ReportRow:
    """One scored image.

    ``score`` and ``margin`` (score − threshold) are in cosine units; ``p_value`` and ``margin`` are None where
    there is no calibration. ``top`` holds (label, cosine), largest first. ``thumbnail`` is a small WebP file,
    None if it could not be made. ``path`` and labels come from users' files: any text at all.
    """

    path: str
    verdict: Verdict
    label: str
    score: float
    p_value: float | None
    margin: float | None
    top: Sequence[tuple[str, float]]
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class Report:
    """A whole report.

    ``manifest`` is a sequence of (heading, ((name, value), …)): everything needed to repeat the run.
    ``counts`` counts *all* images; ``rows`` may be the first of them only, then ``rows_left_out`` says how many
    are missing and ``full_table`` where all of them are. ``scores`` and ``calibration`` are all values, for the
    histogram. ``threshold`` is None where the calibration is too small for ``alpha``; ``notes`` are the
    sentences a reader must see first (warnings among them). ``rule`` says when an image is unknown where that is not
    one threshold at ``alpha``. ``failed`` holds (path, reason).
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
    rule: str = ""
    rows_left_out: int = 0
    full_table: str = ""
