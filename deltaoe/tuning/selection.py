"""``--select auto``: λ, the blend weight, τ, c and when to stop, chosen on folds of the in-distribution images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.frozen import FrozenClip
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import OnEvent
from deltaoe.runtime import float64_device
from deltaoe.scoring.background import choose_background
from deltaoe.tuning.checkpoint import Checkpoint
from deltaoe.tuning.data import TuningData
from deltaoe.tuning.folds import Fold, make_folds
from deltaoe.tuning.learn import learn, new_learner, text_of
from deltaoe.tuning.options import TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.selection_rule import (
    Choice,
    FoldResult,
    Setting,
    TriedSetting,
    choose,
    score_settings,
    settings,
)

WEIGHTS = (0.05, 0.2, 0.5)
STOPS = (0.5, 1.0)
BLENDS = (0.3, 0.5, 0.7, 1.0)
TEMPERATURES = (0.05, 0.1, 0.2, 1.0)
TOP_CS = (1, 2)
# Of a large background so many labels stand for all in a fold.
_BACKGROUND = 128


def select(
    clip: FrozenClip, data: TuningData, options: TuningOptions, checkpoints: Path | None, on: OnEvent
) -> tuple[Choice | None, list[Checkpoint]]:
    """Tune on folds and compare settings; no choice where images do not suffice for two folds.

    Args:
        clip: the model through whose text tower prompts are tuned.
        data: shots and validation images, of which the folds are made.
        options: the recipe holds the defaults, of which the ``fixed`` ones stay.
        checkpoints: folder for the folds' checkpoints; None keeps none.
        on: progress.

    Returns:
        The choice; and the checkpoints of the folds, to be forgotten once the detector is saved.

    Raises:
        ConfigError: the context does not fit.
        ModelError: the loss of a fold diverged.
        StoreError: a checkpoint cannot be written.
    """
    images = _Images(
        features=np.concatenate([data.shots.features[0], data.validation]),
        classes=np.concatenate([data.shots.classes, data.validation_classes]),
    )
    folds = make_folds(
        images.classes,
        np.concatenate([data.domains, data.validation_domains]),
        np.arange(len(images.classes)) >= len(data.domains),
        np.random.default_rng(options.seed),
    )
    checkpoints_of_folds: list[Checkpoint] = []
    if len(folds) < 2:
        return None, checkpoints_of_folds
    recipe = options.recipe
    default = Setting(recipe.ebm_weight, 1.0, recipe.blend, recipe.temperature, recipe.top_c)
    grid = _grid(recipe, options.fixed)
    results: dict[Setting, list[FoldResult]] = {setting: [] for setting in grid}
    zero_shot: list[FoldResult] = []
    weights = sorted({setting.ebm_weight for setting in grid})
    for number, fold in enumerate(folds):
        trial = _FoldTrial(clip, data, images, fold, options, grid, options.seed + number)
        zero_shot.append(trial.zero_shot(default))
        for place, weight in enumerate(weights, start=1):
            stage = f"Choosing, {number * len(weights) + place} of {len(folds) * len(weights)}"
            found, checkpoint = trial.tuned(weight, checkpoints, stage, on)
            checkpoints_of_folds.append(checkpoint)
            for setting, result in found.items():
                results[setting].append(result)
    return choose(results, default, zero_shot), checkpoints_of_folds


def _grid(recipe: Recipe, fixed: frozenset[str]) -> list[Setting]:
    """Every combination of the values around the recipe's; those of fixed ones are the recipe's alone."""
    return settings(
        _around(WEIGHTS, recipe.ebm_weight, "ebm_weight" in fixed),
        _around(STOPS, 1.0, bool(fixed & {"epochs", "steps"})),
        _around(BLENDS, recipe.blend, "blend" in fixed),
        _around(TEMPERATURES, recipe.temperature, "temperature" in fixed),
        _around(TOP_CS, recipe.top_c, "top_c" in fixed),
    )


def _around(values: Sequence[Any], default: Any, fixed: bool) -> list[Any]:
    return [default] if fixed else sorted({*values, default})


@dataclasses.dataclass(frozen=True)
class _Images:
    """Shots and validation images together: features (n, D), unit rows, and classes (n,)."""

    features: Rows
    classes: npt.NDArray[np.int64]


class _FoldTrial:
    """Settings tried on one fold: its prompts, and its part of the background."""

    def __init__(
        self,
        clip: FrozenClip,
        data: TuningData,
        images: _Images,
        fold: Fold,
        options: TuningOptions,
        grid: Sequence[Setting],
        seed: int,
    ) -> None:
        self._clip, self._data, self._images, self._fold = clip, data, images, fold
        self._options, self._grid, self._seed = options, grid, seed
        self._names = [data.class_names[i] for i in fold.classes]
        text = data.zero_shot[fold.classes]
        encoded: list[str] = []

        def encode(names: Sequence[str]) -> Rows:
            encoded.extend(names)
            return data.encode(names)

        background = choose_background(options.background, self._names, text, encode)
        rows = np.arange(len(background.names))
        if encoded and len(rows) > _BACKGROUND:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_BACKGROUND])
        # Names that a tuned context is to be put before; none where their features were given.
        self._background_names = [background.names[i] for i in rows] if encoded else []
        self._zero_shot = (text, background.features[rows])
        self._log_weight = math.log(len(background.names) / len(rows)) if len(rows) else 0.0

    def zero_shot(self, default: Setting) -> FoldResult:
        """What prompts without tuning reach at the default's τ and c."""
        at = [(default.temperature, default.top_c)]
        return self._scored(self._zero_shot, [0.0], at).popitem()[1]

    def tuned(
        self, weight: float, checkpoints: Path | None, stage: str, on: OnEvent
    ) -> tuple[dict[Setting, FoldResult], Checkpoint]:
        """What all settings with λ = ``weight`` reach, and the checkpoint of the tuning."""
        fold, data, options = self._fold, self._data, self._options
        recipe = dataclasses.replace(
            options.recipe, ebm_weight=weight, top_c=min(options.recipe.top_c, len(fold.classes))
        )
        shots = data.shots.part(fold.train, fold.classes)
        epochs = recipe.epochs_for(len(fold.train) * len(shots.features), options.shots)
        # τ, c and the blend weight do not enter what is learned.
        learned = {
            name: value
            for name, value in dataclasses.asdict(recipe).items()
            if name not in {"blend", "temperature", "top_c"}
        }
        identity = {"fold": [fold.train.tolist(), fold.classes.tolist(), self._seed], "recipe": learned}
        checkpoint = Checkpoint(checkpoints, {**data.identity, **identity})
        last_epochs = {stop: max(1, round(stop * epochs)) for stop in {one.stop for one in self._grid}}
        learner = new_learner(self._clip, self._names, options.context, self._seed)
        progress = learn(
            self._clip,
            learner,
            shots,
            self._zero_shot[0],
            recipe,
            checkpoint,
            epochs=epochs,
            seed=self._seed,
            stage=stage,
            on=on,
            keep=sorted(last_epochs.values()),
        )
        checkpoint.write()
        found: dict[Setting, FoldResult] = {}
        grid = [one for one in self._grid if one.ebm_weight == weight]
        blends = sorted({one.blend for one in grid})
        measures = sorted({(one.temperature, one.top_c) for one in grid})
        for stop, epoch in last_epochs.items():
            text = text_of(learner, progress.kept[epoch])
            background = self._zero_shot[1]
            if self._background_names:
                background = self._clip.encode_with_context(learner, self._background_names).numpy()
            scored = self._scored((text, background), blends, measures)
            found |= {Setting(weight, stop, *key): result for key, result in scored.items()}
        return found, checkpoint

    def _scored(
        self, tuned: tuple[Rows, Rows], blends: Sequence[float], measures: Sequence[tuple[float, int]]
    ) -> dict[tuple[float, float, int], FoldResult]:
        return score_settings(
            self._fold,
            self._images.features,
            self._images.classes,
            self._zero_shot,
            tuned,
            self._log_weight,
            blends,
            measures,
            self._seed,
            float64_device(self._clip.device),
        )


def choice_facts(choice: Choice, most: int = 10) -> dict[str, Any]:
    """The choice as plain JSON values, for the detector."""

    def row(one: TriedSetting) -> dict[str, Any]:
        means = {
            name: None if math.isnan(value) else round(value, 4)
            for name, value in dataclasses.asdict(one.means).items()
        }
        gain = {"gain": round(one.gain, 4), "error": round(one.error, 4)}
        return {**dataclasses.asdict(one.setting), **means, **gain}

    return {
        "folds": choice.folds,
        "settings": len(choice.tried),
        "chosen": row(choice.chosen),
        "default": row(choice.default),
        "zero_shot": row(choice.zero_shot),
        "best": [row(one) for one in choice.tried[:most]],
    }
