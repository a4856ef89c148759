"""The content of a report as plain data: ``from_scores`` makes it, ``render`` turns it into HTML."""

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

    ``score`` and ``margin`` (score − its threshold) are in cosine units; ``p_value`` is None where there is no
    calibration, ``margin`` where there is no threshold. ``top`` holds (label, cosine), largest first. ``thumbnail``
    is a small WebP file, None if it could not be made. ``path`` and labels come from users' files: any text at all.
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
    """All that a report says.

    ``manifest`` is a sequence of (heading, ((name, value), …)): everything needed to repeat the run.
    ``counts`` counts *all* images; ``rows`` may be the first of them only, then ``rows_left_out`` says how many
    are missing and ``full_table`` where all of them are. ``scores`` and ``calibration`` are all values, for the
    histogram. With ``fdr`` that share of the images called unknown may be false alarms, and ``alpha`` says nothing;
    with ``per_class`` images are compared with their own class. ``threshold`` is None where the calibration is too
    small, where each class has its own, and where ``fdr`` allows to call no image unknown. ``notes`` are the sentences
    a reader must see first (warnings among them). ``failed`` holds (path, reason).
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

    @property
    def level(self) -> float:
        """The largest p-value that can be unknown."""
        return self.alpha if self.fdr is None else self.fdr
