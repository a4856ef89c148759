"""``--select auto`` of ``tune``: tuning on folds of the in-distribution images to choose settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.frozen import FrozenClip
from deltaoe.functional.folds import Fold, make_folds
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import OnEvent
from deltaoe.runtime import float64_device
from deltaoe.scoring.background import choose_background
from deltaoe.tuning.checkpoint import Checkpoint
from deltaoe.tuning.data import TuningData
from deltaoe.tuning.learn import learn, new_learner, text_features_of
from deltaoe.tuning.options import TUNED_BACKGROUND, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.selection_rule import (
    Choice,
    FoldResult,
    Setting,
    TriedSetting,
    choose_setting,
    score_settings,
    setting_grid,
)

# Values that are tried beside the recipe's own.
WEIGHTS = (0.05, 0.2, 0.5)
STOPS = (0.5, 1.0)
BLENDS = (0.3, 0.5, 0.7, 1.0)
TEMPERATURES = (0.05, 0.1, 0.2, 1.0)
TOP_CS = (1, 2)
_BACKGROUND_LABELS = 128  # of a larger background, so many random labels stand for all in a fold


def select_on_folds(
    clip: FrozenClip, data: TuningData, options: TuningOptions, checkpoints: Path | None, on: OnEvent
) -> tuple[Choice | None, list[Checkpoint]]:
    """Tune on each fold with each λ, and choose among all settings.

    Args:
        clip: the model whose text tower encodes the prompts.
        data: shots and validation images, of which the folds are made.
        options: the recipe has the defaults, of which the ``fixed`` ones are not varied.
        checkpoints: folder for the checkpoints; None writes none.
        on: receives progress.

    Returns:
        The choice, None if the images do not suffice for two folds; and the checkpoints of the folds, which the caller
        deletes once the detector is saved.

    Raises:
        ConfigError: a prompt is too long, or an option of the context is out of range.
        ModelError: the loss of a fold diverged.
        StoreError: a checkpoint cannot be written.
    """
    images = _LabelledImages(
        features=np.concatenate([data.shots.features[0], data.validation]),
        classes=np.concatenate([data.shots.classes, data.validation_classes]),
    )
    folds = make_folds(
        images.classes,
        np.concatenate([data.domains, data.validation_domains]),
        np.arange(len(images.classes)) >= len(data.domains),
        np.random.default_rng(options.seed),
    )
    written: list[Checkpoint] = []
    if len(folds) < 2:
        return None, written
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
            written.append(checkpoint)
            for setting, result in found.items():
                results[setting].append(result)
    return choose_setting(results, default, zero_shot), written


def _grid(recipe: Recipe, fixed: frozenset[str]) -> list[Setting]:
    """All combinations of the values to try; what is fixed has only the recipe's value."""
    return setting_grid(
        _around(WEIGHTS, recipe.ebm_weight, "ebm_weight" in fixed),
        _around(STOPS, 1.0, bool(fixed & {"epochs", "steps"})),
        _around(BLENDS, recipe.blend, "blend" in fixed),
        _around(TEMPERATURES, recipe.temperature, "temperature" in fixed),
        _around(TOP_CS, recipe.top_c, "top_c" in fixed),
    )


def _around(values: Sequence[Any], default: Any, fixed: bool) -> list[Any]:
    """The default and these values, ascending; the default alone if it is fixed."""
    return [default] if fixed else sorted({*values, default})


@dataclasses.dataclass(frozen=True)
class _LabelledImages:
    """Shots, followed by validation images: features (n, D), unit rows, and class indices (n,)."""

    features: Rows
    classes: npt.NDArray[np.int64]


class _FoldTrial:
    """One fold, on which settings are tried: its zero-shot prompts, and its part of the background."""

    def __init__(
        self,
        clip: FrozenClip,
        data: TuningData,
        images: _LabelledImages,
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

        background = choose_background(
            options.background, self._names, text, encode, default=TUNED_BACKGROUND
        )
        rows = np.arange(len(background.names))
        if encoded and len(rows) > _BACKGROUND_LABELS:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_BACKGROUND_LABELS])
        # Labels to encode again with the learned context; none if a file has given their features.
        self._background_names = [background.names[i] for i in rows] if encoded else []
        self._zero_shot = (text, background.features[rows])
        self._log_weight = math.log(len(background.names) / len(rows)) if len(rows) else 0.0

    def zero_shot(self, default: Setting) -> FoldResult:
        """Measurements of zero-shot prompts with the τ and c of a setting."""
        tau_c_pairs = [(default.temperature, default.top_c)]
        return self._measured(self._zero_shot, [0.0], tau_c_pairs).popitem()[1]

    def tuned(
        self, weight: float, checkpoints: Path | None, stage: str, on: OnEvent
    ) -> tuple[dict[Setting, FoldResult], Checkpoint]:
        """Measurements of all settings with λ = ``weight``, after one tuning; and the checkpoint of that tuning."""
        fold, data, options = self._fold, self._data, self._options
        recipe = dataclasses.replace(
            options.recipe, ebm_weight=weight, top_c=min(options.recipe.top_c, len(fold.classes))
        )
        shots = data.shots.subset(fold.train, fold.classes)
        epochs = recipe.epochs_for(len(fold.train) * len(shots.features), options.shots)
        # Blend weight, τ and c have no influence on what is learned.
        learning_options = {
            name: value
            for name, value in dataclasses.asdict(recipe).items()
            if name not in {"blend", "temperature", "top_c"}
        }
        identity = {
            "fold": [fold.train.tolist(), fold.classes.tolist(), self._seed],
            "recipe": learning_options,
        }
        checkpoint = Checkpoint(checkpoints, {**data.identity, **identity})
        epoch_of = {stop: max(1, round(stop * epochs)) for stop in {one.stop for one in self._grid}}
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
            snapshot_epochs=sorted(epoch_of.values()),
        )
        checkpoint.write()
        found: dict[Setting, FoldResult] = {}
        grid = [one for one in self._grid if one.ebm_weight == weight]
        blends = sorted({one.blend for one in grid})
        tau_c_pairs = sorted({(one.temperature, one.top_c) for one in grid})
        for stop, epoch in epoch_of.items():
            text = text_features_of(learner, progress.snapshots[epoch])
            background = self._zero_shot[1]
            if self._background_names:
                background = self._clip.encode_with_context(learner, self._background_names).numpy()
            measured = self._measured((text, background), blends, tau_c_pairs)
            found |= {Setting(weight, stop, *key): result for key, result in measured.items()}
        return found, checkpoint

    def _measured(
        self, tuned: tuple[Rows, Rows], blends: Sequence[float], tau_c_pairs: Sequence[tuple[float, int]]
    ) -> dict[tuple[float, float, int], FoldResult]:
        """:func:`score_settings` on this fold, of learned text features of classes and background."""
        return score_settings(
            self._fold,
            self._images.features,
            self._images.classes,
            self._zero_shot,
            tuned,
            self._log_weight,
            blends,
            tau_c_pairs,
            self._seed,
            float64_device(self._clip.device),
        )


def choice_facts(choice: Choice, most: int = 10) -> dict[str, Any]:
    """The choice as JSON values, with the ``most`` best settings, for the facts of a detector."""

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
