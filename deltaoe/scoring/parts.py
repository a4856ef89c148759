r"""The parts of a verdict: what the text side, the image side and both together say of an image.

With cosines s_j of an image h to the prompts, its Gaussian discriminants d_j, and v = w/100 and v' = u/100 of the
detector's image weight w and joint weight u:

- ``text``: ΔEnergy of the cosines to classes and background labels **[source]**;
- ``joint``: log max_j softmax((s_j + v' d_j)/τ) over classes j, where the softmax is over background labels as well
  **[derived]**: the maximum softmax probability of MCM (Ming et al., NeurIPS 2022), of logits that both sides share;
- ``images``: minus the squared Mahalanobis distance to the nearest class mean (Lee et al., NeurIPS 2018) **[source]**.

The class is argmax_j s_j + v d_j, with the cosines of the class prompts: CLIP's logits plus Gaussian discriminant
analysis (Wang et al., ICLR 2024) **[source]**. d_j = ⟨Wᵀ(h − μ̄), Wᵀ(μ_j − μ̄)⟩ − ½|Wᵀ(μ_j − μ̄)|², which is the
discriminant of equal priors but for a constant of the image. A label without images is placed by its text
(:func:`deltaoe.functional.gaussians.placed_labels`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.functional.arrays import double, largest, library, logsumexp, replaced, taken
from deltaoe.functional.energy import delta_energy_from_top
from deltaoe.functional.gaussians import ClassGaussians, placed_labels
from deltaoe.functional.limits import CLIP_TEMPERATURE
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.detector_fields import PARTS, DetectorFields

if TYPE_CHECKING:
    import torch

# Cosines of images and labels, images × labels, that NumPy computes before PyTorch has been imported:
# benchmarks/cached_score.py measures both.
FEW_COSINES = 4_000_000
# Labels whose prompts fit into memory a second time, in float64.
_FEW_LABELS = 20_000
# Cosines held at a time: images × labels.
_BLOCK = 1 << 23
_MOST_IMAGES = 2048
# A mean shorter than this has no direction.
_NO_LENGTH = 1e-6


class PartValues(NamedTuple):
    """What the sides of a detector say of N images.

    Attributes:
        values: (N, P) float64, value of each part, higher = more in-distribution.
        labels: (N, m) indices of the classes with the largest logits, the predicted class first.
        cosines: (N, m) cosines of the images with the class prompts of these; of a detector without prompts, their
            cosines with the class means.
        confidence: (N,) softmax probability of the predicted class; None unless it was asked for.
    """

    values: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float64] | None = None


class SideTensors:
    """The prompts and Gaussians of a detector, ready to compute parts of many images.

    Args:
        detector: its prompts, background, means, covariance, τ, c and image weight are used.
        parts: names of the parts to compute, in :data:`~deltaoe.scoring.detector_fields.PARTS`.
        energy: text features (K, D) and (M, D) of classes and background that energies are computed with.
        device: where PyTorch computes, in float32; None for NumPy, in float64, which imports no PyTorch.
    """

    def __init__(
        self,
        detector: DetectorFields,
        parts: tuple[str, ...],
        energy: tuple[Rows, Rows],
        device: torch.device | str | None = "cpu",
    ) -> None:
        self.parts = parts
        self._device = device
        self._temperature, self._top_c = detector.temperature, detector.top_c
        self._classes = len(detector.class_names)
        # A detector of version 0.1.0 may be centred; it classifies with the centred prompts.
        text = energy[0] if detector.has_one_side else detector.text_features
        self._text = self._array(text)
        self._energy = self._text if energy[0] is text else self._array(energy[0])
        self._background = self._array(energy[1])
        self._share = detector.image_weight * CLIP_TEMPERATURE
        self._joint_share = detector.joint_weight * CLIP_TEMPERATURE
        self._has_images = len(detector.means) > 0
        if self._has_images:
            self._place(detector, energy)

    def _array(self, rows: npt.ArrayLike) -> Any:
        """Rows in the precision and at the place where this computes."""
        if self._device is None:
            return np.asarray(rows, dtype=np.float64)
        import torch

        return torch.from_numpy(np.array(rows, dtype=np.float32)).to(self._device)

    def _place(self, detector: DetectorFields, energy: tuple[Rows, Rows]) -> None:
        """Means of all labels, centred and multiplied by W."""
        fitted = ClassGaussians(detector.mean_classes, detector.means, detector.root)
        root, middle = fitted.root.astype(np.float64), fitted.means.mean(axis=0, dtype=np.float64)
        means = np.repeat(middle[None], self._classes, axis=0)
        others = np.zeros((0, len(middle)))
        if len(detector.text_features):
            means = placed_labels(detector.text_features, fitted, detector.text_features).astype(np.float64)
            others = placed_labels(energy[0], fitted, energy[1]).astype(np.float64)
        means[fitted.classes] = fitted.means
        self._directions = self._array(
            means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _NO_LENGTH)
        )
        whitened, background = (means - middle) @ root, (others - middle) @ root
        self._middle, self._root = self._array(middle), self._array(root)
        self._means, self._means_half = self._array(whitened), self._array((whitened**2).sum(axis=1) / 2)
        self._placed, self._placed_half = (
            self._array(background),
            self._array((background**2).sum(axis=1) / 2),
        )
        # Added to discriminants, it leaves the classes with images alone.
        without_images = np.full(self._classes, -np.inf)
        without_images[fitted.classes] = 0
        self._only_with_images = self._array(without_images)

    def __call__(self, features: Rows, shown: int = 1, logit_scale: float | None = None) -> PartValues:
        """Parts and largest logits of image features (N, D), unit rows, in blocks of images.

        Args:
            features: the images.
            shown: number m of classes per image.
            logit_scale: factor on cosines in the softmax, for the confidence. Without prompts logits are those of the
                Gaussians, whose softmax is the posterior, and have no factor. None for no confidence.
        """
        pieces = [
            self._block(self._array(features[part]), shown, logit_scale)
            for part in self._blocks_of(len(features))
        ]
        if not pieces:
            return PartValues(
                np.empty((0, len(self.parts))),
                np.empty((0, shown), dtype=np.int64),
                np.empty((0, shown), dtype=np.float32),
                None if logit_scale is None else np.empty(0),
            )
        values, labels, cosines, *confidence = (
            np.concatenate([_numpy(piece) for piece in column]) for column in zip(*pieces, strict=True)
        )
        return PartValues(values, labels, cosines.astype(np.float32), *confidence)

    def predicted(self, features: Rows, image_weights: Sequence[float]) -> npt.NDArray[np.int64]:
        """The classes (W, N) of image features (N, D) if the discriminants had each of W weights w."""
        found = np.empty((len(image_weights), len(features)), dtype=np.int64)
        for part in self._blocks_of(len(features)):
            rows = self._array(features[part])
            cosines = rows @ self._text.T
            discriminants = (rows - self._middle) @ self._root @ self._means.T - self._means_half
            for i, weight in enumerate(image_weights):
                logits = cosines + weight * CLIP_TEMPERATURE * discriminants
                found[i, part] = _numpy(logits.argmax(axis=-1))
        return found

    def logits(self, features: Rows) -> npt.NDArray[np.float64]:
        """The logits (N, K) that image features (N, D) are classified with; −∞ without prompt and images."""
        found = np.empty((len(features), self._classes))
        for part in self._blocks_of(len(features)):
            rows = self._array(features[part])
            found[part] = _numpy(self._logits(rows, self._compared(rows))[0])
        return found

    def _blocks_of(self, count: int) -> Iterator[slice]:
        """So many images in blocks, whose cosines with all labels fit in memory."""
        size = max(16, min(_MOST_IMAGES, _BLOCK // max(1, self._classes + len(self._background))))
        return (slice(start, start + size) for start in range(0, count, size))

    def _block(self, features: Any, shown: int, logit_scale: float | None) -> tuple[Any, ...]:
        """Values (N, P), labels and cosines (N, ``shown``) of the largest logits, and confidence, of one block."""
        xp = library(features)
        sides = self._compared(features)
        logits, cosines = self._logits(features, sides)
        _, labels = largest(logits, min(shown, logits.shape[-1]))
        values = [self._part(name, sides) for name in self.parts]
        stacked = xp.stack(values, axis=-1) if values else double(features[:, :0])
        found = stacked, labels, taken(cosines, labels)
        if logit_scale is None:
            return found
        scaled = double(logits) * (logit_scale if len(self._text) else 1.0)
        return *found, xp.exp(xp.amax(scaled, axis=-1) - logsumexp(scaled))

    def _compared(self, features: Any) -> _Block:
        """One block of images, compared with all labels."""
        sides = _Block(
            cosines=features @ self._energy.T,
            others=features @ self._background.T,
            discriminants=None,
            placed=None,
            whitened=None,
        )
        if not self._has_images:
            return sides
        whitened = (features - self._middle) @ self._root
        return sides._replace(
            discriminants=whitened @ self._means.T - self._means_half,
            placed=whitened @ self._placed.T - self._placed_half,
            whitened=whitened,
        )

    def _logits(self, features: Any, sides: _Block) -> tuple[Any, Any]:
        """Logits of the classes, and the cosines that are shown with them: (N, K) each."""
        if not len(self._text):
            return sides.discriminants + self._only_with_images, features @ self._directions.T
        cosines = sides.cosines if self._text is self._energy else features @ self._text.T
        if self._has_images and self._share:
            return cosines + self._share * sides.discriminants, cosines
        return cosines, cosines

    def _part(self, name: str, sides: _Block) -> Any:
        """The value (N,) float64 of one part."""
        xp = library(sides.cosines)
        if name == "text":
            top, places = largest(sides.cosines, self._top_c)
            rest = replaced(sides.cosines, places, -np.inf)
            floor = logsumexp(xp.concatenate([rest, sides.others], axis=-1) / self._temperature)
            return delta_energy_from_top(top, floor, self._temperature)
        if name == "images":
            nearest = (sides.discriminants + self._only_with_images).argmax(axis=-1)
            # Not from the discriminants: as a difference of large numbers it would lose digits.
            return -double(xp.square(sides.whitened - self._means[nearest]).sum(axis=-1))
        both = xp.concatenate(
            [
                sides.cosines + self._joint_share * sides.discriminants,
                sides.others + self._joint_share * sides.placed,
            ],
            axis=-1,
        )
        top, place = largest(both[:, : self._classes], 1)
        others = double(logsumexp((replaced(both, place, -np.inf) - top) / self._temperature))
        # −log(1 + Σ): of a class that is nearly certain, the difference of two logarithms would keep no digits.
        return -xp.logaddexp(xp.zeros_like(others), others)


class _Block(NamedTuple):
    """Cosines and discriminants of N images with K classes and M background labels; None without class means.

    Attributes:
        cosines, others: (N, K) and (N, M), with the energy prompts and the background.
        discriminants, placed: (N, K) and (N, M), Gaussian discriminants of the same labels.
        whitened: (N, D), deviations from the mean of the class means, multiplied by W.
    """

    cosines: Any
    others: Any
    discriminants: Any
    placed: Any
    whitened: Any


def few(images: int, detector: DetectorFields) -> bool:
    """Whether NumPy has so few cosines to compute that it is not worth while to import PyTorch."""
    labels = max(len(detector.class_names), 1) + len(detector.background)
    return labels <= _FEW_LABELS and images * labels <= FEW_COSINES


def _numpy(values: Any) -> Any:
    """An array of NumPy with these values."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def possible_parts(detector: DetectorFields) -> tuple[str, ...]:
    """The parts that can be fused: text with prompts of two classes or more, images with class means, joint with both.

    Of a single class, cosines to background labels can point the wrong way: there images speak alone.
    """
    text = len(detector.text_features) > 1
    images = len(detector.means) > 0
    have = {"text": text, "joint": text and images, "images": images}
    return tuple(part for part in PARTS if have[part])
