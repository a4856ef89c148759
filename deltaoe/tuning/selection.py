"""``--select auto``: λ, α, τ, c and when to stop, chosen on folds of the in-distribution images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.frozen import FrozenClip
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import OnEvent
from deltaoe.runtime import float64_device
from deltaoe.scoring.background import BackgroundOptions, choose_background
from deltaoe.tuning.folds import Fold, make_folds
from deltaoe.tuning.learn import Checkpoint, Sample, learn, new_learner, text_of
from deltaoe.tuning.options import ContextOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.selection_rule import Choice, Seen, Setting, Tried, choose, judge, settings

WEIGHTS = (0.05, 0.2, 0.5)
STOPS = (0.5, 1.0)
BLENDS = (0.3, 0.5, 0.7, 1.0)
TEMPERATURES = (0.05, 0.1, 0.2, 1.0)
TOP_CS = (1, 2)
# Of a large background so many labels stand for all in a fold.
_BACKGROUND = 128


@dataclass(frozen=True)
class Material:
    """What is chosen with.

    Attributes:
        class_names: K names.
        sample: the shots.
        domains: (n,) domain of each shot, −1 for none.
        spare: features (m, D) of images that only judge, none of them calibrates; their classes and domains (m,).
        zero_shot: (K, D) text features.
        encode: other names to zero-shot text features.
        about: plain values that name the data, for checkpoints.
    """

    class_names: Sequence[str]
    sample: Sample
    domains: npt.NDArray[np.int64]
    spare: Rows
    spare_classes: npt.NDArray[np.int64]
    spare_domains: npt.NDArray[np.int64]
    zero_shot: Rows
    encode: Callable[[Sequence[str]], Rows]
    about: dict[str, object]


def select(
    clip: FrozenClip,
    material: Material,
    recipe: Recipe,
    context: ContextOptions,
    background: BackgroundOptions,
    fixed: frozenset[str],
    *,
    seed: int,
    shots: int,
    checkpoints: Path | None,
    on: OnEvent,
) -> tuple[Choice | None, list[Checkpoint]]:
    """Tune on folds and compare settings; None where images do not suffice for two folds.

    Args:
        clip: whose text tower.
        material: images and prompts.
        recipe: the defaults, and the values that are fixed.
        context, background: as for the tuning itself.
        fixed: names of the recipe's values that stay.
        seed: of folds and starts.
        shots: per class.
        checkpoints: folder for them.
        on: progress.

    Returns:
        The choice; and the checkpoints of the folds, to be forgotten once the detector is saved.
    """
    classes = np.concatenate([material.sample.classes, material.spare_classes])
    domains = np.concatenate([material.domains, material.spare_domains])
    features = np.concatenate([material.sample.features[0], material.spare])
    spare = np.arange(len(classes)) >= len(material.domains)
    folds = make_folds(classes, domains, spare, np.random.default_rng(seed))
    kept: list[Checkpoint] = []
    if len(folds) < 2:
        return None, kept
    default = Setting(recipe.ebm_weight, 1.0, recipe.blend, recipe.temperature, recipe.top_c)
    grid = settings(
        _around(WEIGHTS, recipe.ebm_weight, "ebm_weight" in fixed),
        _around(STOPS, 1.0, bool(fixed & {"epochs", "steps"})),
        _around(BLENDS, recipe.blend, "blend" in fixed),
        _around(TEMPERATURES, recipe.temperature, "temperature" in fixed),
        _around(TOP_CS, recipe.top_c, "top_c" in fixed),
    )
    table: dict[Setting, list[Seen]] = {setting: [] for setting in grid}
    zero_shot: list[Seen] = []
    weights = sorted({setting.ebm_weight for setting in grid})
    for number, fold in enumerate(folds):
        judged = _Judge(clip, material, fold, background, features, classes, grid, seed + number)
        zero_shot.append(judged.zero_shot(default))
        for weight in weights:
            stage = f"Choosing, {number * len(weights) + weights.index(weight) + 1} of {len(folds) * len(weights)}"
            tried = dataclasses.replace(recipe, ebm_weight=weight, top_c=min(recipe.top_c, len(fold.classes)))
            found, checkpoint = judged.tuned(tried, context, shots, checkpoints, stage, on)
            kept.append(checkpoint)
            for setting in grid:
                if setting.ebm_weight == weight:
                    table[setting].append(found[setting])
    return choose(table, default, zero_shot), kept


class _Judge:
    """One fold: its prompts, its part of the background."""

    def __init__(
        self,
        clip: FrozenClip,
        material: Material,
        fold: Fold,
        background: BackgroundOptions,
        features: Rows,
        classes: npt.NDArray[np.int64],
        grid: Sequence[Setting],
        seed: int,
    ) -> None:
        self._clip, self._material, self._fold, self._seed = clip, material, fold, seed
        self._features, self._classes, self._grid = features, classes, grid
        self._names = [material.class_names[i] for i in fold.classes]
        self._text = material.zero_shot[fold.classes]
        encoded: list[str] = []

        def encode(names: Sequence[str]) -> Rows:
            encoded.extend(names)
            return material.encode(names)

        chosen = choose_background(background, self._names, self._text, encode)
        rows = np.arange(len(chosen.names))
        if encoded and len(rows) > _BACKGROUND:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_BACKGROUND])
        self._background = [chosen.names[i] for i in rows] if encoded else []
        self._floor = chosen.features[rows]
        self._log_weight = math.log(len(chosen.names) / len(rows)) if len(rows) else 0.0

    def zero_shot(self, default: Setting) -> Seen:
        """What prompts without tuning reach at the default's τ and c."""
        own = (self._text, self._floor)
        return self._judged(own, [0.0], [(default.temperature, default.top_c)]).popitem()[1]

    def tuned(
        self,
        recipe: Recipe,
        context: ContextOptions,
        shots: int,
        checkpoints: Path | None,
        stage: str,
        on: OnEvent,
    ) -> tuple[dict[Setting, Seen], Checkpoint]:
        """What all settings of this λ reach."""
        fold, weight = self._fold, recipe.ebm_weight
        sample = self._material.sample.rows(fold.train, fold.classes)
        epochs = recipe.epochs_for(len(fold.train) * len(sample.features), shots)
        # τ, c and α do not enter what is learned.
        about = {
            **self._material.about,
            "fold": [fold.train.tolist(), fold.classes.tolist(), self._seed],
            "recipe": {
                k: v
                for k, v in dataclasses.asdict(recipe).items()
                if k not in {"blend", "temperature", "top_c"}
            },
        }
        checkpoint = Checkpoint(checkpoints, about)
        moments = {stop: max(1, round(stop * epochs)) for stop in {one.stop for one in self._grid}}
        learner = new_learner(self._clip, self._names, context, self._seed)
        progress = learn(
            self._clip,
            learner,
            sample,
            self._text,
            recipe,
            checkpoint,
            epochs=epochs,
            seed=self._seed,
            stage=stage,
            on=on,
            keep=sorted(moments.values()),
        )
        checkpoint.write()
        found: dict[Setting, Seen] = {}
        blends = sorted({one.blend for one in self._grid})
        measures = sorted({(one.temperature, one.top_c) for one in self._grid})
        for stop, moment in moments.items():
            text = text_of(learner, progress.kept[moment])
            floor = self._floor
            if self._background:
                floor = self._clip.encode_with_context(learner, self._background).numpy()
            for (share, temperature, top_c), seen in self._judged((text, floor), blends, measures).items():
                found[Setting(weight, stop, share, temperature, top_c)] = seen
        return found, checkpoint

    def _judged(
        self, tuned: tuple[Rows, Rows], blends: Sequence[float], measures: Sequence[tuple[float, int]]
    ) -> dict[tuple[float, float, int], Seen]:
        own = (self._text, self._floor)
        return judge(
            self._fold,
            self._features,
            self._classes,
            own,
            tuned,
            self._log_weight,
            blends,
            measures,
            self._seed,
            float64_device(self._clip.device),
        )


def facts(choice: Choice, most: int = 10) -> dict[str, Any]:
    """The choice as plain JSON values, for the detector."""

    def row(one: Tried) -> dict[str, Any]:
        seen = {k: None if math.isnan(v) else round(v, 4) for k, v in dataclasses.asdict(one.seen).items()}
        gain = {"gain": round(one.gain, 4), "error": round(one.error, 4)}
        return {**dataclasses.asdict(one.setting), **seen, **gain}

    return {
        "folds": choice.folds,
        "settings": len(choice.tried),
        "chosen": row(choice.chosen),
        "default": row(choice.default),
        "zero_shot": row(choice.zero_shot),
        "best": [row(one) for one in choice.tried[:most]],
    }


def _around(values: Sequence[Any], default: Any, fixed: bool) -> list[Any]:
    return [default] if fixed else sorted({*values, default})
