r"""Choosing λ, α, τ, c and when to stop, together, from what folds of in-distribution images say.

Unknown images are played twice. Near ones are images of held-out classes. Far ones are made of the known ones: every
component of the features is shuffled among the images, which keeps where CLIP's images lie and leaves no content
**[derived]**: over many settings, AUROC against these goes with AUROC against real far images, as
``benchmarks/pseudo_unknown.py`` measures on real CLIP features.

The objective of a setting in a fold is the mean accuracy plus the mean AUROC, each over unseen images and the
held-out domain.
The default stands unless another setting is better with 95 % confidence, by Student's t over the folds **[derived]**:
the best of many settings is always partly lucky, and what folds can see favours small λ more than real unknown
images do. With so few folds the scatter of one setting is itself a matter of luck, so its variance is averaged with
the median one of all settings.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from deltaoe.functional.energy import delta_energy_from_top
from deltaoe.functional.metrics import auroc
from deltaoe.functional.text_features import blend
from deltaoe.functional.unit_rows import Rows
from deltaoe.tuning.folds import Fold

_MADE = 400
# Images of one kind that judge a setting: an AUROC of .8 is then right to .01 and less, and more would cost minutes.
_MOST = 4096


@dataclass(frozen=True)
class Setting:
    """λ, at which epoch's share of the schedule to stop, α, τ and c."""

    ebm_weight: float
    stop: float
    blend: float
    temperature: float
    top_c: int


@dataclass(frozen=True)
class FoldResult:
    """What a setting reached in a fold; NaN where the fold has not what it takes."""

    accuracy: float
    shifted_accuracy: float
    near: float
    shifted_near: float
    far: float
    shifted_far: float

    @property
    def objective(self) -> float:
        """Mean accuracy plus mean AUROC, of what is there."""
        unknown = [self.near, self.shifted_near, self.far, self.shifted_far]
        return _mean([self.accuracy, self.shifted_accuracy]) + _mean(unknown)


@dataclass(frozen=True)
class TriedSetting:
    """A setting, its means over the folds, and how much its objective exceeds the default's, ± one standard error."""

    setting: Setting
    means: FoldResult
    gain: float
    error: float


@dataclass(frozen=True)
class Choice:
    """The setting chosen, the default, zero-shot prompts for comparison, and all that was tried, best first."""

    chosen: TriedSetting
    default: TriedSetting
    zero_shot: TriedSetting
    tried: Sequence[TriedSetting]
    folds: int


def settings(
    weights: Sequence[float],
    stops: Sequence[float],
    blends: Sequence[float],
    temperatures: Sequence[float],
    top_cs: Sequence[int],
) -> list[Setting]:
    """All combinations."""
    return [Setting(*values) for values in itertools.product(weights, stops, blends, temperatures, top_cs)]


def score_settings(
    fold: Fold,
    features: Rows,
    classes: npt.NDArray[np.int64],
    zero_shot: tuple[Rows, Rows],
    tuned: tuple[Rows, Rows],
    log_weight: float,
    blends: Iterable[float],
    measures: Sequence[tuple[float, int]],
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[tuple[float, float, int], FoldResult]:
    """What each (α, τ, c) reaches in a fold, in float64; of more than 4,096 images of a kind, so many are drawn.

    Args:
        fold: rows of ``features``.
        features: (n, D) unit rows.
        classes: (n,) classes.
        zero_shot, tuned: text features of the fold's classes and of the background, (K, D) and (m, D).
        log_weight: log of how many background labels each of the m stands for.
        blends: α.
        measures: pairs of τ and c; c beyond the classes is the number of classes.
        seed: of the shuffling, and of the draw.
        device: where cosines and energies are computed.

    Returns:
        By (α, τ, c).
    """
    place = {label: i for i, label in enumerate(fold.classes.tolist())}
    rng = np.random.default_rng(seed)
    rows = [_some(one, rng) for one in (fold.known, fold.unknown, fold.shifted, fold.shifted_unknown)]
    own = [features[one] for one in rows]
    made = [shuffled(one, rng) for one in (own[0], own[2])]
    parts = [torch.from_numpy(one).to(device, torch.float64) for one in (*own, *made)]
    truth = [np.array([place[label] for label in classes[one].tolist()]) for one in (rows[0], rows[2])]
    found = {}
    for share in blends:
        text, floor = (
            torch.from_numpy(blend(a, b, share)).to(device, torch.float64)
            for a, b in zip(zero_shot, tuned, strict=True)
        )
        images = [_Images(part, text, floor, max(c for _, c in measures), log_weight) for part in parts]
        right = [
            float(np.mean(one.nearest == labels)) if len(labels) else math.nan
            for one, labels in zip((images[0], images[2]), truth, strict=True)
        ]
        scored = [dict(one.scores(measures)) for one in images]
        for measure in measures:
            scores = [one[measure] for one in scored]
            pairs = [_auroc(scores[a], scores[b]) for a, b in ((0, 1), (2, 3), (0, 4), (2, 5))]
            found[share, *measure] = FoldResult(right[0], right[1], *pairs)
    return found


class _Images:
    """ΔEnergy of some images at several τ and c: cosines once, the sum over what is in no T_c once per τ."""

    def __init__(
        self, features: torch.Tensor, text: torch.Tensor, floor: torch.Tensor, most: int, log_weight: float
    ) -> None:
        cosines = features @ text.T
        self._top, places = cosines.topk(min(most, len(text)), dim=1)
        self._rest = cosines.scatter_(1, places, -math.inf)
        self._beside = features @ floor.T
        self._log_weight = log_weight
        self.nearest = places[:, 0].cpu().numpy()

    def scores(
        self, measures: Iterable[tuple[float, int]]
    ) -> Iterator[tuple[tuple[float, int], npt.NDArray[np.float64]]]:
        """Each (τ, c) and its scores (N,)."""
        for temperature, group in itertools.groupby(sorted(measures), key=lambda one: one[0]):
            outside = torch.logaddexp(
                torch.logsumexp(self._rest / temperature, dim=1),
                torch.logsumexp(self._beside / temperature, dim=1) + self._log_weight,
            )
            for measure in group:
                top_c = min(measure[1], self._top.shape[1])
                between = torch.logsumexp(self._top[:, top_c:] / temperature, dim=1)
                floor = torch.logaddexp(between, outside)
                score = delta_energy_from_top(self._top[:, :top_c], floor, temperature)
                yield measure, np.asarray(score.cpu().numpy())


def _some(rows: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    return rows if len(rows) <= _MOST else np.sort(generator.permutation(rows)[:_MOST])


def shuffled(features: Rows, generator: np.random.Generator, count: int = _MADE) -> Rows:
    """Unit rows (count, D) made of (n, D) by drawing every component from another image; none of fewer than two."""
    if len(features) < 2:
        return features[:0]
    # A permutation of the images for each component, as often as it takes.
    times = -(-count // len(features))
    order = np.concatenate([generator.permuted(_places(features), axis=0) for _ in range(times)])[:count]
    mixed = np.take_along_axis(features, order, axis=0)
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)


def choose(
    table: dict[Setting, list[FoldResult]],
    default: Setting,
    zero_shot: Sequence[FoldResult],
    confidence: float = 0.95,
) -> Choice:
    """The setting that is most surely better than the default; the default where none is, with this confidence.

    Args:
        table: what each setting reached, fold by fold; the default among them.
        default: to be kept when in doubt.
        zero_shot: what zero-shot prompts reached in the same folds.
        confidence: one-sided.
    """
    base = np.array([result.objective for result in table[default]])
    count = len(base)
    gains = {
        setting: np.array([one.objective for one in results]) - base for setting, results in table.items()
    }
    variances = [float(gain.var(ddof=1)) for setting, gain in gains.items() if setting != default]
    usual = float(np.median(variances)) if variances else 0.0

    def tried(setting: Setting, results: Sequence[FoldResult]) -> TriedSetting:
        gain = np.array([one.objective for one in results]) - base
        error = math.sqrt((float(gain.var(ddof=1)) + usual) / 2 / count) if setting != default else 0.0
        names = [one.name for one in dataclasses.fields(FoldResult)]
        means = FoldResult(*(_mean([getattr(one, name) for one in results], math.nan) for name in names))
        return TriedSetting(setting, means, float(gain.mean()), error)

    all_tried = sorted((tried(*item) for item in table.items()), key=lambda one: -one.gain)
    own = next(one for one in all_tried if one.setting == default)
    errors = float(special.stdtrit(count - 1, confidence)) if count > 1 else math.inf
    better = [one for one in all_tried if one.setting != default and one.gain > errors * one.error]
    chosen = max(better, key=lambda one: one.gain - errors * one.error, default=own)
    reference = Setting(0.0, 0.0, 0.0, default.temperature, default.top_c)
    return Choice(chosen, own, tried(reference, zero_shot), all_tried, count)


def _places(features: Rows) -> npt.NDArray[np.int64]:
    return np.broadcast_to(np.arange(len(features))[:, None], features.shape)


def _auroc(known: npt.NDArray[np.float64], unknown: npt.NDArray[np.float64]) -> float:
    return float(auroc(known, unknown)) if len(known) and len(unknown) else math.nan


def _mean(values: Sequence[float], none: float = 0.0) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else none
