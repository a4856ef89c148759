"""Means of the measurements of many runs, over splits and seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deltaoe.evaluation.protocol import HELD_OUT
from deltaoe.evaluation.results import Measurement
from deltaoe.evaluation.splits import Split
from deltaoe.functional.metrics import mean_interval


def mean_measurements(
    runs: Sequence[tuple[Split, Sequence[Measurement]]],
) -> tuple[list[Measurement], list[str]]:
    """Means over splits for each seed, then over seeds; accuracy also for each held-out domain by itself.

    A metric that some runs could not measure would have means that cannot be compared: it is left out, and a sentence
    says so.

    Args:
        runs: the split of each run, and what was measured on it.

    Returns:
        The means with Student's 95 % intervals over the seeds, cut to [0, 1]; and the sentences.
    """
    groups: dict[tuple[str, ...], dict[int, list[Measurement]]] = {}
    for split, rows in runs:
        for row in rows:
            names = [row.known]
            if row.known == HELD_OUT and row.metric == "accuracy":
                names.append(f"{HELD_OUT}/{split.name}")
            for known in names:
                key = (row.detector, row.score, known, row.unknown, row.metric)
                groups.setdefault(key, {}).setdefault(split.seed, []).append(row)
    pairs = {(split.seed, split.name) for split, _ in runs}
    means: list[Measurement] = []
    partial: set[str] = set()
    for (detector, score, known, unknown, metric), by_seed in groups.items():
        every_row = [row for rows in by_seed.values() for row in rows]
        domain = known.removeprefix(f"{HELD_OUT}/")
        expected = [name for _, name in pairs if domain in (known, name)]
        if len(every_row) < len(expected):
            partial.add(metric)
            continue
        values = [float(np.mean([row.value for row in rows])) for rows in by_seed.values()]
        mean, half = mean_interval(values)
        low, high = np.clip([mean - half, mean + half], 0, 1).tolist()
        counts = (round(np.mean([getattr(row, n) for row in every_row])) for n in ("n_known", "n_unknown"))
        means.append(Measurement(detector, score, known, unknown, metric, mean, low, high, *counts))
    why = "left out where some runs have too few images to measure it"
    return means, [f"{metric.replace('_', ' ')}: {why}" for metric in sorted(partial)]
