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

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deltaoe.functional.energy import delta_energy_from_top
from deltaoe.functional.gaussians import ClassGaussians, placed_labels
from deltaoe.functional.scores import CLIP_TEMPERATURE
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.detector_fields import PARTS, DetectorFields

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
    """The prompts and Gaussians of a detector on a device, ready to compute parts of many images.

    Args:
        detector: its prompts, background, means, covariance, τ, c and image weight are used.
        parts: names of the parts to compute, in :data:`~deltaoe.scoring.detector_fields.PARTS`.
        energy: text features (K, D) and (M, D) of classes and background that energies are computed with.
        device: where to compute.
    """

    def __init__(
        self,
        detector: DetectorFields,
        parts: tuple[str, ...],
        energy: tuple[Rows, Rows],
        device: torch.device | str = "cpu",
    ) -> None:
        self.parts = parts
        self._temperature, self._top_c = detector.temperature, detector.top_c
        self._classes = len(detector.class_names)

        def tensor(rows: npt.ArrayLike) -> Tensor:
            return torch.from_numpy(np.array(rows, dtype=np.float32)).to(device)

        self._text = tensor(detector.text_features)
        same = energy[0] is detector.text_features
        self._energy = self._text if same else tensor(energy[0])
        self._background = tensor(energy[1])
        self._share = detector.image_weight * CLIP_TEMPERATURE
        self._joint_share = detector.joint_weight * CLIP_TEMPERATURE
        self._has_images = len(detector.means) > 0
        if self._has_images:
            self._place(detector, energy, tensor)
        self.device = self._text.device

    def _place(
        self, detector: DetectorFields, energy: tuple[Rows, Rows], tensor: Callable[[npt.ArrayLike], Tensor]
    ) -> None:
        """Means of all labels, centred and multiplied by W."""
        fitted = ClassGaussians(detector.mean_classes, detector.means, detector.root)
        root, middle = fitted.root.astype(np.float64), fitted.means.mean(axis=0, dtype=np.float64)
        means = np.repeat(middle[None], self._classes, axis=0)
        others = np.zeros((0, len(middle)))
        if len(detector.text_features):
            means = placed_labels(detector.text_features, fitted, detector.text_features).astype(np.float64)
            others = placed_labels(energy[0], fitted, energy[1]).astype(np.float64)
        means[fitted.classes] = fitted.means
        self._directions = tensor(
            means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _NO_LENGTH)
        )
        whitened, background = (means - middle) @ root, (others - middle) @ root
        self._middle, self._root = tensor(middle), tensor(root)
        self._means, self._means_half = tensor(whitened), tensor((whitened**2).sum(axis=1) / 2)
        self._placed, self._placed_half = tensor(background), tensor((background**2).sum(axis=1) / 2)
        rows = np.zeros(self._classes, dtype=bool)
        rows[fitted.classes] = True
        self._with_images = torch.from_numpy(rows).to(self._means.device)

    @torch.inference_mode()
    def __call__(self, features: Rows, shown: int = 1, logit_scale: float | None = None) -> PartValues:
        """Parts and largest logits of image features (N, D), unit rows, in blocks of images.

        Args:
            features: the images.
            shown: number m of classes per image.
            logit_scale: factor on cosines in the softmax, for the confidence. Without prompts logits are those of the
                Gaussians, whose softmax is the posterior, and have no factor. None for no confidence.
        """
        pieces = [
            self._block(torch.from_numpy(features[part]).to(self.device), shown, logit_scale)
            for part in self._blocks_of(len(features))
        ]
        if not pieces:
            return PartValues(
                np.empty((0, len(self.parts))),
                np.empty((0, shown), dtype=np.int64),
                np.empty((0, shown), dtype=np.float32),
                None if logit_scale is None else np.empty(0),
            )
        return PartValues(*(torch.cat(column).cpu().numpy() for column in zip(*pieces, strict=True)))

    @torch.inference_mode()
    def predicted(self, features: Rows, image_weights: Sequence[float]) -> npt.NDArray[np.int64]:
        """The classes (W, N) of image features (N, D) if the discriminants had each of W weights w."""
        found = np.empty((len(image_weights), len(features)), dtype=np.int64)
        for part in self._blocks_of(len(features)):
            rows = torch.from_numpy(features[part]).to(self.device)
            cosines = rows @ self._text.T
            discriminants = (rows - self._middle) @ self._root @ self._means.T - self._means_half
            for i, weight in enumerate(image_weights):
                logits = cosines + weight * CLIP_TEMPERATURE * discriminants
                found[i, part] = logits.argmax(dim=-1).cpu().numpy()
        return found

    def _blocks_of(self, count: int) -> Iterator[slice]:
        """So many images in blocks, whose cosines with all labels fit in memory."""
        size = max(16, min(_MOST_IMAGES, _BLOCK // max(1, self._classes + len(self._background))))
        return (slice(start, start + size) for start in range(0, count, size))

    def _block(self, features: Tensor, shown: int, logit_scale: float | None) -> tuple[Tensor, ...]:
        """Values (N, P), labels and cosines (N, ``shown``) of the largest logits, and confidence, of one block."""
        sides = _Block(
            cosines=features @ self._energy.T,
            others=features @ self._background.T,
            discriminants=None,
            placed=None,
            whitened=None,
        )
        if self._has_images:
            whitened = (features - self._middle) @ self._root
            sides = sides._replace(
                discriminants=whitened @ self._means.T - self._means_half,
                placed=whitened @ self._placed.T - self._placed_half,
                whitened=whitened,
            )
        if len(self._text):
            cosines = sides.cosines if self._text is self._energy else features @ self._text.T
            logits = cosines
            if sides.discriminants is not None and self._share:
                logits = cosines + self._share * sides.discriminants
        else:
            assert sides.discriminants is not None  # noqa: S101 - a detector has prompts or means
            cosines = features @ self._directions.T
            logits = sides.discriminants.where(self._with_images, -torch.inf)
        labels = logits.topk(min(shown, logits.shape[-1]), dim=-1).indices
        values = [self._part(name, sides) for name in self.parts]
        stacked = torch.stack(values, dim=-1) if values else features.new_empty((len(features), 0)).double()
        found = stacked, labels, cosines.gather(-1, labels)
        if logit_scale is None:
            return found
        scale = logit_scale if len(self._text) else 1.0
        return *found, torch.softmax(scale * logits.double(), dim=-1).amax(dim=-1)

    def _part(self, name: str, sides: _Block) -> Tensor:
        """The value (N,) float64 of one part."""
        if name == "text":
            top = sides.cosines.topk(self._top_c, dim=-1)
            rest = sides.cosines.scatter(-1, top.indices, -torch.inf)
            floor = torch.logsumexp(torch.cat([rest, sides.others], dim=-1) / self._temperature, dim=-1)
            return delta_energy_from_top(top.values, floor, self._temperature)
        assert sides.discriminants is not None and sides.placed is not None  # noqa: S101
        assert sides.whitened is not None  # noqa: S101 - for the type checker: it has class means
        if name == "images":
            nearest = sides.discriminants.where(self._with_images, -torch.inf).argmax(dim=-1)
            # Not from the discriminants: as a difference of large numbers it would lose digits.
            return -(sides.whitened - self._means[nearest]).square().sum(dim=-1).double()
        both = torch.cat(
            [
                sides.cosines + self._joint_share * sides.discriminants,
                sides.others + self._joint_share * sides.placed,
            ],
            dim=-1,
        )
        scaled = both.div_(self._temperature)
        return (scaled[:, : self._classes].amax(dim=-1) - torch.logsumexp(scaled, dim=-1)).double()


class _Block(NamedTuple):
    """Cosines and discriminants of N images with K classes and M background labels; None without class means.

    Attributes:
        cosines, others: (N, K) and (N, M), with the energy prompts and the background.
        discriminants, placed: (N, K) and (N, M), Gaussian discriminants of the same labels.
        whitened: (N, D), deviations from the mean of the class means, multiplied by W.
    """

    cosines: Tensor
    others: Tensor
    discriminants: Tensor | None
    placed: Tensor | None
    whitened: Tensor | None


def possible_parts(detector: DetectorFields) -> tuple[str, ...]:
    """The parts that can be fused: text with prompts of two classes or more, images with class means, joint with both.

    Of a single class, cosines to background labels can point the wrong way: there images speak alone.
    """
    text = len(detector.text_features) > 1
    images = len(detector.means) > 0
    have = {"text": text, "joint": text and images, "images": images}
    return tuple(part for part in PARTS if have[part])
