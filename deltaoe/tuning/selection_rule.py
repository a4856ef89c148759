r"""The rule that chooses λ, the blend weight, τ, c and when to stop, all at once, on folds of in-distribution images.

Two kinds of images stand for out-of-distribution ones. Near ones are images of held-out classes. Far ones are made of
known images, by shuffling every component of the features among the images: this keeps the distribution of each
component and destroys the content **[derived]**. Over many settings, AUROC against shuffled features is correlated with
AUROC against real far images; ``benchmarks/pseudo_unknown.py`` measures this on real CLIP features.

The objective of a setting in a fold is its mean accuracy plus its mean AUROC, each over held-out images and the
held-out domain. A setting replaces the default only if it is better with 95 % confidence, by a one-sided Student's t
test over the folds **[derived]**, for two reasons: the best of many settings is partly so by chance, and folds favour
small λ more than real out-of-distribution images do. Because a variance estimated from few folds is uncertain itself,
it is averaged with the median variance of all settings.
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
from deltaoe.functional.folds import Fold
from deltaoe.functional.metrics import auroc
from deltaoe.functional.text_features import blend
from deltaoe.functional.unit_rows import Rows

_SHUFFLED = 400  # shuffled feature rows per fold
# Images of one kind in a fold, at most: enough for an AUROC of .8 to within .01, where more would cost minutes.
_MAX_IMAGES = 4096


@dataclass(frozen=True)
class Setting:
    """One combination of the values that are chosen together.

    Attributes:
        ebm_weight: λ.
        stop: share of the schedule's epochs after which tuning stops, in (0, 1].
        blend: blend weight b.
        temperature: τ of ΔEnergy, cosine units.
        top_c: c of ΔEnergy.
    """

    ebm_weight: float
    stop: float
    blend: float
    temperature: float
    top_c: int


@dataclass(frozen=True)
class FoldResult:
    """Measurements of one setting in one fold, or their means over folds; NaN where the fold has no such images.

    Attributes:
        accuracy: accuracy on held-out images of known classes.
        shifted_accuracy: accuracy on the held-out domain.
        near: AUROC of ``accuracy``'s images against held-out classes.
        shifted_near: the same AUROC within the held-out domain.
        far: AUROC of ``accuracy``'s images against shuffled features of theirs.
        shifted_far: the same AUROC within the held-out domain.
    """

    accuracy: float
    shifted_accuracy: float
    near: float
    shifted_near: float
    far: float
    shifted_far: float

    @property
    def objective(self) -> float:
        """Mean accuracy plus mean AUROC, over the values that are not NaN; larger is better."""
        aurocs = [self.near, self.shifted_near, self.far, self.shifted_far]
        return _mean([self.accuracy, self.shifted_accuracy]) + _mean(aurocs)


@dataclass(frozen=True)
class TriedSetting:
    """One setting that was tried on all folds.

    Attributes:
        setting: the setting.
        means: its measurements, averaged over the folds.
        gain: mean over the folds of its objective minus the default's.
        error: standard error of the gain; 0 for the default.
    """

    setting: Setting
    means: FoldResult
    gain: float
    error: float


@dataclass(frozen=True)
class Choice:
    """The chosen setting and what it was compared with.

    Attributes:
        chosen: the chosen setting; the default if no other is reliably better.
        default: the default setting.
        zero_shot: zero-shot prompts, for comparison.
        tried: all settings, the largest gain first.
        folds: number of folds.
    """

    chosen: TriedSetting
    default: TriedSetting
    zero_shot: TriedSetting
    tried: Sequence[TriedSetting]
    folds: int


def setting_grid(
    weights: Sequence[float],
    stops: Sequence[float],
    blends: Sequence[float],
    temperatures: Sequence[float],
    top_cs: Sequence[int],
) -> list[Setting]:
    """All combinations of values of λ, stop, blend weight, τ and c."""
    return [Setting(*values) for values in itertools.product(weights, stops, blends, temperatures, top_cs)]


def score_settings(
    fold: Fold,
    features: Rows,
    classes: npt.NDArray[np.int64],
    zero_shot: tuple[Rows, Rows],
    tuned: tuple[Rows, Rows],
    log_weight: float,
    blends: Iterable[float],
    tau_c_pairs: Sequence[tuple[float, int]],
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[tuple[float, float, int], FoldResult]:
    """Measurements of all pairs of blend weight and (τ, c) in a fold, computed in float64.

    At most 4,096 images of each kind are used, drawn at random.

    Args:
        fold: rows of ``features``.
        features: (n, D) unit rows, image features.
        classes: (n,) class index of each image.
        zero_shot: zero-shot text features of the fold's K classes (K, D) and of m background labels (m, D), unit rows.
        tuned: learned text features of the same classes and labels.
        log_weight: log w, where each of the m background labels counts w times.
        blends: blend weights.
        tau_c_pairs: pairs (τ, c); a c above K counts as K.
        seed: seed of the shuffled features and of the draw.
        device: device on which cosines and energies are computed.

    Returns:
        (blend weight, τ, c) → measurements.
    """
    index_of = {label: i for i, label in enumerate(fold.classes.tolist())}
    rng = np.random.default_rng(seed)
    rows = [_sample(part, rng) for part in (fold.known, fold.unknown, fold.shifted, fold.shifted_unknown)]
    real = [features[part] for part in rows]
    made = [shuffled_features(part, rng) for part in (real[0], real[2])]
    # Known, held-out classes, both of these in the held-out domain; shuffled features of the first and the third.
    kinds = [torch.from_numpy(part).to(device, torch.float64) for part in (*real, *made)]
    truth = [np.array([index_of[label] for label in classes[part].tolist()]) for part in (rows[0], rows[2])]
    most = max(top_c for _, top_c in tau_c_pairs)
    results = {}
    for share in blends:
        text, background = (
            torch.from_numpy(blend(a, b, share)).to(device, torch.float64)
            for a, b in zip(zero_shot, tuned, strict=True)
        )
        images = [_ImageCosines(kind, text, background, most, log_weight) for kind in kinds]
        accuracies = [
            float(np.mean(one.nearest == labels)) if len(labels) else math.nan
            for one, labels in zip((images[0], images[2]), truth, strict=True)
        ]
        scores = [dict(one.scores(tau_c_pairs)) for one in images]
        for pair in tau_c_pairs:
            aurocs = [_auroc(scores[a][pair], scores[b][pair]) for a, b in ((0, 1), (2, 3), (0, 4), (2, 5))]
            results[share, *pair] = FoldResult(*accuracies, *aurocs)
    return results


class _ImageCosines:
    """Cosines of N images, for ΔEnergy at several τ and c.

    Args:
        features: (N, D) unit rows.
        text: (K, D) unit rows, text features of the classes.
        background: (m, D) unit rows, text features of the background labels.
        most: the largest c.
        log_weight: as for :func:`score_settings`.

    Attributes:
        nearest: (N,) predicted class indices.
    """

    def __init__(
        self,
        features: torch.Tensor,
        text: torch.Tensor,
        background: torch.Tensor,
        most: int,
        log_weight: float,
    ) -> None:
        cosines = features @ text.T
        self._top, indices = cosines.topk(min(most, len(text)), dim=1)
        self._rest = cosines.scatter_(1, indices, -math.inf)
        self._background = features @ background.T
        self._log_weight = log_weight
        self.nearest = indices[:, 0].cpu().numpy()

    def scores(
        self, tau_c_pairs: Iterable[tuple[float, int]]
    ) -> Iterator[tuple[tuple[float, int], npt.NDArray[np.float64]]]:
        """Each pair (τ, c) and ΔEnergy (N,) with it; sums over the other labels are computed once per τ."""
        for temperature, group in itertools.groupby(sorted(tau_c_pairs), key=lambda pair: pair[0]):
            outside = torch.logaddexp(
                torch.logsumexp(self._rest / temperature, dim=1),
                torch.logsumexp(self._background / temperature, dim=1) + self._log_weight,
            )
            for pair in group:
                top_c = min(pair[1], self._top.shape[1])
                between = torch.logsumexp(self._top[:, top_c:] / temperature, dim=1)
                floor = torch.logaddexp(between, outside)
                score = delta_energy_from_top(self._top[:, :top_c], floor, temperature)
                yield pair, np.asarray(score.cpu().numpy())


def _sample(rows: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """All rows, or a random part of them if there are too many."""
    return rows if len(rows) <= _MAX_IMAGES else np.sort(generator.permutation(rows)[:_MAX_IMAGES])


def shuffled_features(features: Rows, generator: np.random.Generator, count: int = _SHUFFLED) -> Rows:
    """Features that stand for far out-of-distribution images: each component comes from another image **[derived]**.

    Args:
        features: (n, D) image features.
        generator: draws the images.
        count: number of rows to make.

    Returns:
        (count, D) float32, unit rows; (0, D) if n < 2.

    Example:
        >>> rows = np.eye(4, dtype=np.float32) + 1
        >>> shuffled_features(rows, np.random.default_rng(0), count=6).shape
        (6, 4)
    """
    if len(features) < 2:
        return features[:0]
    # Each component has a permutation of the images of its own; as many rounds of them as give ``count`` rows.
    rounds = -(-count // len(features))
    image = np.broadcast_to(np.arange(len(features))[:, None], features.shape)
    order = np.concatenate([generator.permuted(image, axis=0) for _ in range(rounds)])[:count]
    mixed = np.take_along_axis(features, order, axis=0)
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)


def choose_setting(
    table: dict[Setting, list[FoldResult]],
    default: Setting,
    zero_shot: Sequence[FoldResult],
    confidence: float = 0.95,
) -> Choice:
    """The setting with the largest lower confidence bound of its gain over the default **[derived]**.

    The default is chosen if no bound is above 0: if no setting is better with this confidence.

    Args:
        table: setting → its measurements, fold by fold; the default is one of the settings.
        default: the setting that the others are compared with.
        zero_shot: measurements of zero-shot prompts in the same folds.
        confidence: one-sided confidence level, in (0, 1).
    """
    base = np.array([result.objective for result in table[default]])
    count = len(base)
    gains = {
        setting: np.array([one.objective for one in results]) - base for setting, results in table.items()
    }
    variances = [float(gain.var(ddof=1)) for setting, gain in gains.items() if setting != default]
    median_variance = float(np.median(variances)) if variances else 0.0

    def tried(setting: Setting, results: Sequence[FoldResult]) -> TriedSetting:
        gain = np.array([one.objective for one in results]) - base
        variance = (float(gain.var(ddof=1)) + median_variance) / 2 if setting != default else 0.0
        error = math.sqrt(variance / count)
        names = [one.name for one in dataclasses.fields(FoldResult)]
        means = FoldResult(*(_mean([getattr(one, name) for one in results], math.nan) for name in names))
        return TriedSetting(setting, means, float(gain.mean()), error)

    all_tried = sorted((tried(*item) for item in table.items()), key=lambda one: -one.gain)
    tried_default = next(one for one in all_tried if one.setting == default)
    # Student's t quantile: by so many standard errors a gain must exceed 0.
    quantile = float(special.stdtrit(count - 1, confidence)) if count > 1 else math.inf
    better = [one for one in all_tried if one.setting != default and one.gain > quantile * one.error]
    chosen = max(better, key=lambda one: one.gain - quantile * one.error, default=tried_default)
    untuned = Setting(0.0, 0.0, 0.0, default.temperature, default.top_c)
    return Choice(chosen, tried_default, tried(untuned, zero_shot), all_tried, count)


def _auroc(known: npt.NDArray[np.float64], unknown: npt.NDArray[np.float64]) -> float:
    """AUROC with known images as positives; NaN if either kind has none."""
    return float(auroc(known, unknown)) if len(known) and len(unknown) else math.nan


def _mean(values: Sequence[float], otherwise: float = 0.0) -> float:
    """Mean of the values that are not NaN; ``otherwise`` if all are."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else otherwise
