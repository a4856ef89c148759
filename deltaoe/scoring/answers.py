"""Records of images from their features alone: what ``score --stream`` and :mod:`deltaoe.lite` answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deltaoe.errors import ConfigError
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule, ScoreOptions
from deltaoe.scoring.resembling import Vocabulary, with_names
from deltaoe.scoring.scorer import Scorer
from deltaoe.scoring.verdicts import decide, tabulated


class Answers:
    """Answers for images one after the other, by one detector and one rule.

    Args:
        detector: the detector.
        rule: the rule of the verdicts; a false discovery rate would be that of the images of one call.
        scorer: scores the detector's images.
        vocabulary: makes the names that unknown images are compared with, when there is the first; None for no names.

    Attributes:
        notes: sentences for the user, that hold for every image.

    Raises:
        ConfigError: as for :func:`deltaoe.scoring.verdicts.decide`.
    """

    def __init__(
        self,
        detector: Detector,
        rule: Rule,
        scorer: Scorer,
        vocabulary: Callable[[], Vocabulary | None] | None,
    ) -> None:
        self._detector, self._rule, self._scorer, self._vocabulary = detector, rule, scorer, vocabulary
        self.notes = decide(detector, np.empty(0), np.empty(0, dtype=np.int64), rule).notes

    def records(
        self, paths: Sequence[str], features: Rows, problems: Mapping[int, str]
    ) -> list[dict[str, Any]]:
        """The record of each of N files, as in ``scores.json``, in their order.

        Args:
            paths: N paths.
            features: (n, D) features of those without a problem, in their order, as a store would give them.
            problems: place of each of the others → why it is no usable image.
        """
        rows = [i for i in range(len(paths)) if i not in problems]
        failed = sorted(problems.items())
        scored = self._scorer(features)
        table = tabulated(
            self._detector,
            self._rule,
            scored,
            decide(self._detector, scored.scores, scored.labels[:, 0], self._rule),
            [paths[i] for i in rows],
            [(paths[i], reason) for i, reason in failed],
        )
        if self._vocabulary is not None:
            table = with_names(
                table, lambda unknown: [(np.arange(len(unknown)), features[unknown])], self._vocabulary
            )
        order = [*rows, *(i for i, _ in failed)]
        return [record for _, record in sorted(zip(order, table.records(), strict=True), key=lambda p: p[0])]


def check_each_alone(options: ScoreOptions, who: str) -> None:
    """Raise ConfigError for options that need all images at once, or many; ``who`` answers each at once, in words."""
    if options.rule.fdr is not None:
        raise ConfigError(
            f"--fdr compares all images with each other, and {who} answers each at once",
            hint="use --alpha, which holds for every image by itself",
        )
    if options.ingest.cluster.cluster is not None:
        raise ConfigError(
            f"--cluster is for many images at once, and {who} answers each at once",
            hint="leave --cluster out",
        )
    for flag, is_set in (
        ("--neighbours", options.neighbours is not None),
        ("--index", options.index != "flat"),
    ):
        if is_set:
            raise ConfigError(
                f"{flag} is for many images at once, and {who} answers each at once",
                hint=f"leave {flag} out: one image is soon compared with every label",
            )
