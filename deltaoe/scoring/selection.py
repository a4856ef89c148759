r"""``--select`` of ``score``: τ and c chosen on in-distribution images alone, with held-out classes as unknown ones.

Images of held-out classes are near out-of-distribution, because they resemble the known classes. The choice therefore
favours settings for near over those for far images; docs/explanation/defaults.md shows when it helps.
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
from deltaoe.functional.unit_rows import Rows

TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 1.0)
TOP_CS = (1, 2, 3, 5)
DRAWS = 8
_HELD_OUT = 1 / 3  # of the classes, in each draw
_IMAGES = 2000  # per draw; more do not change the order of the settings


@dataclass(frozen=True)
class SelectedSetting:
    """One pair of τ and c that was tried.

    Attributes:
        temperature: τ, cosine units.
        top_c: c.
        auroc: mean over the draws of the AUROC of known against held-out classes.
        error: standard error of that mean.
    """

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
    generator: np.random.Generator,
    temperatures: Sequence[float] = TEMPERATURES,
    top_cs: Sequence[int] = TOP_CS,
    draws: int = DRAWS,
) -> list[SelectedSetting]:
    """All settings, the best first, by the AUROC of images of known classes against images of held-out ones.

    In each draw a third of the classes is held out, the same one for all settings.

    Args:
        features: (n, D) unit rows, features of in-distribution images.
        classes: (n,) class index of each image.
        text: (K, D) unit rows, text features of the classes.
        background: (M, D) unit rows, text features of the background labels; M may be 0.
        generator: draws held-out classes and images.
        temperatures, top_cs: values of τ and c, all combinations of which are tried; a c above the number of known
            classes is left out.
        draws: number of draws.

    Raises:
        DataError: fewer than three classes have images.
    """
    present = np.unique(classes)
    if len(present) < 3:
        raise DataError(
            f"to hold classes out, images of at least 3 classes are needed, not of {len(present)}",
            hint="give --temperature and --top-c instead",
        )
    held_out_count = max(1, round(len(present) * _HELD_OUT))
    grid = [(tau, c) for tau in temperatures for c in top_cs if c <= len(text) - held_out_count]
    values = np.zeros((draws, len(grid)))
    for draw in range(draws):
        held_out = generator.choice(present, held_out_count, replace=False)
        known_classes = np.setdiff1d(np.arange(len(text)), held_out)
        rows = generator.permutation(len(classes))[:_IMAGES]
        known = ~np.isin(classes[rows], held_out)
        evidence = _evidence(features[rows], text[known_classes], background)
        for i, (tau, c) in enumerate(grid):
            scores = delta_energy_open(evidence, tau, c).numpy()
            values[draw, i] = auroc(scores[known], scores[~known])
    means, errors = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(draws)
    order = np.argsort(-means, kind="stable")
    return [SelectedSetting(grid[i][0], grid[i][1], float(means[i]), float(errors[i])) for i in order]


def _evidence(features: Rows, text: Rows, background: Rows) -> Evidence:
    """Images with the prompts of classes and background labels."""
    images, prompts, others = (torch.from_numpy(rows) for rows in (features, text, background))
    return Evidence(images, prompts, others, prompts, others)
