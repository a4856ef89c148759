r"""Choosing τ and c without any out-of-distribution data: some classes play the unknown ones.

A class that is held out is a *near* unknown: it lies among the known ones. The choice therefore favours near over far
unknowns; docs/explanation/defaults.md shows when it helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.errors import DataError
from deltaoe.functional.metrics import auroc
from deltaoe.functional.scores import Evidence, delta_energy_open
from deltaoe.functional.text_features import centre_of, centred
from deltaoe.functional.unit_rows import Rows

TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 1.0)
TOP_CS = (1, 2, 3, 5)
DRAWS = 8
_HELD_OUT = 1 / 3
_IMAGES = 2000  # per draw: more do not change a rank


@dataclass(frozen=True)
class SelectedSetting:
    """One setting, its AUROC over the draws, and the standard error of that mean."""

    temperature: float
    top_c: int
    auroc: float
    error: float


def select_settings(
    features: Rows,
    classes: npt.NDArray[np.int64],
    text: Rows,
    background: Rows,
    *,
    centre: bool,
    generator: np.random.Generator,
    temperatures: Sequence[float] = TEMPERATURES,
    top_cs: Sequence[int] = TOP_CS,
    draws: int = DRAWS,
) -> list[SelectedSetting]:
    """Every setting, the best first: AUROC of images of known classes against images of held-out ones.

    Args:
        features: (n, D) unit rows of in-distribution images.
        classes: (n,) class of each.
        text: (K, D) unit rows, the classes' prompts.
        background: (M, D) unit rows, or none.
        centre: whether prompts are centred.
        generator: draws which classes are held out, a third of them each time.
        temperatures, top_cs: the settings; c beyond the classes that stay is passed over.
        draws: how often.

    Raises:
        DataError: fewer than three classes have images.
    """
    present = np.unique(classes)
    if len(present) < 3:
        raise DataError(
            f"to hold classes out, images of at least 3 classes are needed, not of {len(present)}",
            hint="give --temperature and --top-c instead",
        )
    held = max(1, round(len(present) * _HELD_OUT))
    grid = [(tau, c) for tau in temperatures for c in top_cs if c <= len(text) - held]
    values = np.zeros((draws, len(grid)))
    for draw in range(draws):
        out = generator.choice(present, held, replace=False)
        stays = np.setdiff1d(np.arange(len(text)), out)
        rows = generator.permutation(len(classes))[:_IMAGES]
        known = ~np.isin(classes[rows], out)
        evidence = _evidence(features[rows], text[stays], background, centre)
        for i, (tau, c) in enumerate(grid):
            scores = delta_energy_open(evidence, tau, c).numpy()
            values[draw, i] = auroc(scores[known], scores[~known])
    means, errors = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(draws)
    order = np.argsort(-means, kind="stable")
    return [SelectedSetting(grid[i][0], grid[i][1], float(means[i]), float(errors[i])) for i in order]


def _evidence(features: Rows, text: Rows, background: Rows, centre: bool) -> Evidence:
    prompts, compared = text, background
    if centre:
        middle = centre_of(text, background)
        prompts, compared = centred(text, middle), centred(background, middle)
    h, z, b, p, q = (torch.from_numpy(rows) for rows in (features, text, background, prompts, compared))
    return Evidence(h, z, b, p, q)
