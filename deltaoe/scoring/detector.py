"""The detector: class prompts, settings of the score and a calibration, all that scoring an image feature takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.functional import conformal, fusion
from deltaoe.functional.text_features import centred
from deltaoe.functional.unit_rows import Rows, unit_rows
from deltaoe.scoring import detector_file
from deltaoe.scoring.detector_checks import check
from deltaoe.scoring.detector_fields import (
    DELTA_ENERGY,
    FUSED,
    NEGATIVE_DISTANCE,
    PART_WORDS,
    DetectorFields,
    ScoreName,
)
from deltaoe.scoring.parts import PartValues, SideTensors, few
from deltaoe.short_repr import counted, of_classes, short_repr
from deltaoe.store.atomic import write_bytes

if TYPE_CHECKING:
    import torch

# τ from which on the rounding of the joint part is that of the others.
_USUAL_TEMPERATURE = 0.1


@dataclass(frozen=True)
class Detector(DetectorFields):
    """Class prompts as text features, the settings of ΔEnergy, and calibration scores.

    Its attributes are those of :class:`deltaoe.scoring.detector_fields.DetectorFields`.

    Example:
        >>> from deltaoe.store.feature_space import FeatureSpace
        >>> space = FeatureSpace("any", "weights", "architecture", "{}", "fp32", 1, 2)
        >>> prompts = np.eye(2, dtype=np.float32)
        >>> detector = Detector(("cat", "dog"), prompts, 0.1, 1, np.empty(0), space, logit_scale=100.0)
        >>> detector.predict([[0.0, 2.0], [3.0, 0.0]]).tolist(), detector.threshold(0.05)
        ([1, 0], None)
    """

    def __repr__(self) -> str:
        """Classes, evidence, shots and calibration images; the arrays would fill the screen."""
        return short_repr(
            self,
            of_classes(self.class_names),
            self.evidence,
            "tuned" if self.tuned else "",
            f"{counted(len(self.calibration), 'calibration image')}",
            f"features of {self.space.model}",
        )

    @property
    def tuned(self) -> bool:
        """Whether it has learned context vectors."""
        return self.context is not None

    @property
    def fused(self) -> bool:
        """Whether its score is fused from the ranks of several parts; else it is the value of one part."""
        return len(self.parts) > 1

    @property
    def score_name(self) -> ScoreName:
        """What its score is called in short; :attr:`score_title` says how it is computed."""
        if self.fused:
            return FUSED
        return NEGATIVE_DISTANCE if self.parts == ("images",) else DELTA_ENERGY

    @property
    def evidence(self) -> str:
        """The sides that its score comes from, in words: ``text``, ``images`` or ``text and images``."""
        if not self.parts:  # without calibration images, the score is ΔEnergy alone
            return "text"
        return "text and images" if self.fused else self.parts[0]

    @property
    def weight_of_parts(self) -> dict[str, float]:
        """The weight of each part of its score, by name; a score of one part has the weight 1."""
        if not self.parts:
            return {"text": 1.0}
        return dict(zip(self.parts, self.part_weights.tolist(), strict=True))

    @property
    def score_settings(self) -> dict[str, Any]:
        """What its score is and comes from, as ``scores.json`` and the manifest of an export have it; JSON values."""
        return {
            "score": self.score_name.key,
            "evidence": self.evidence,
            "parts": self.weight_of_parts,
            "temperature": self.temperature,
            "top_c": self.top_c,
            "background_labels": len(self.background),
        }

    @property
    def score_title(self) -> str:
        """Its score in words: the weights of the parts, then ΔEnergy's τ, c and background, if it has prompts."""
        text = [f"ΔEnergy, τ = {self.temperature:g}, c = {self.top_c}"]
        if len(self.background):
            text.append(f"{len(self.background)} background labels")
        if len(self.centre):
            text.append("prompts centred")
        if self.parts == ("images",):
            return "negative squared Mahalanobis distance to the nearest class"
        if not self.fused:
            return ", ".join(text)
        shares = [f"{PART_WORDS[name]} {weight:.0%}" for name, weight in self.weight_of_parts.items()]
        return f"fused: {', '.join(shares)}; " + ", ".join(text)

    @property
    def prompts(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Text features of classes (K, D) and background (M, D) that ΔEnergy is computed with.

        Those of the classes are ``energy_features`` where there are some; all are centred if so set.
        """
        text = self.energy_features if len(self.energy_features) else self.text_features
        background = self.background.reshape(-1, self.text_features.shape[1])
        if not len(self.centre):
            return text, background
        return centred(text, self.centre), centred(background, self.centre)

    def score(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The score of image features; no model is needed.

        Args:
            features: (N, D) image features of its feature space; scaled to unit length here.

        Returns:
            (N,) float64, higher = more in-distribution: ΔEnergy in cosine units; with several :attr:`parts`, the
            weighted sum of the logarithms of their p-values, ≤ 0; of images alone, minus a squared distance.

        Raises:
            DataError: the features have another shape, or a row is zero or not finite.
        """
        return self._scored(features)[0]

    def predict(self, features: npt.ArrayLike, alpha: float | None = None) -> npt.NDArray[np.int64]:
        """Predicted class of each image; with ``alpha``, −1 for images that are unknown at that level.

        Args:
            features: (N, D) image features of its feature space; scaled to unit length here.
            alpha: α, the accepted share of in-distribution images called unknown, in (0, 1); None calls none unknown.

        Returns:
            (N,) int64 class indices.

        Raises:
            DataError: as for :meth:`score`; or the calibration is too small for ``alpha``.
            ConfigError: ``alpha`` is not in (0, 1).
        """
        scores, classes = self._scored(features)
        if alpha is None:
            return classes
        if self.threshold(alpha) is None:
            raise DataError(
                f"{len(self.calibration)} calibration images are too few for alpha = {alpha:g}",
                hint=f"{conformal.images_needed(alpha)} would do, or use a larger alpha",
            )
        return np.where(self.p_values(scores) <= alpha, -1, classes)

    def _scored(self, features: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Score and predicted class of each image, both (N,)."""
        found = self.part_values(unit_rows(features, dim=self.space.dim))
        return self.fused_scores(found.values), found.labels[:, 0]

    def part_values(self, features: Rows, shown: int = 1) -> PartValues:
        """Values of its parts, and the classes with the largest logits, of image features (N, D), unit rows."""
        return self.computing(len(features))(features, shown)

    def computing(
        self, images: int | None, device: torch.device | str | None = "cpu"
    ) -> Callable[[Rows, int], PartValues]:
        """The function of :meth:`part_values`, for any number of calls.

        Args:
            images: number of images in all calls; None for many. Few are computed by NumPy, many by PyTorch.
            device: where PyTorch computes; None for NumPy whatever the number.
        """
        names, prompts = self.parts or ("text",), self.prompts
        if device is None or (images is not None and few(images, self)):
            return SideTensors(self, names, prompts, device=None)
        if not self.has_one_side:
            return SideTensors(self, names, prompts, device)
        from deltaoe.scoring.many_labels import AllLabels  # it loads PyTorch

        return AllLabels(prompts, self.temperature, self.top_c, device)

    def fused_scores(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The score (N,) of values (N, P) of its parts: their fused ranks, or the one value there is.

        Without calibration images there are no ranks, and fused scores are NaN.
        """
        if not self.fused:
            return self._with_ties((self.parts or ("text",))[0], values[:, 0], self.calibration)
        if not len(self.part_calibration):
            return np.full(len(values), np.nan)
        return fusion.fused_scores(self._tied(values), self.part_calibration, self.part_weights)

    def part_p_values(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Conformal p-value (N, P) of each part by itself, from values (N, P)."""
        columns = zip(self._tied(values).T, self.part_calibration.T, strict=True)
        return np.stack([conformal.p_values(column, own) for column, own in columns], axis=1)

    def _tied(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values (N, P) of its parts; those that equal a calibration image's but for rounding, exactly equal."""
        columns = zip(self.parts, values.T, self.part_calibration.T, strict=True)
        return np.stack([self._with_ties(name, column, own) for name, column, own in columns], axis=1)

    def _with_ties(
        self, part: str, values: npt.NDArray[np.float64], calibration: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Values (N,) of a part by :func:`deltaoe.functional.conformal.with_ties`."""
        # The joint logits are cosines over τ, and so is their rounding; ΔEnergy is a difference of cosines.
        sharper = max(1, _USUAL_TEMPERATURE / self.temperature) if part == "joint" else 1
        least = conformal.COSINE_ROUNDING if part == "text" else 0.0
        return conformal.with_ties(values, calibration, sharper * conformal.ROUNDING, least)

    def p_values(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Conformal p-values (N,) of scores (N,), by :func:`deltaoe.functional.conformal.p_values`."""
        return conformal.p_values(scores, self.calibration)

    def threshold(self, alpha: float) -> float | None:
        """The score below which an image is unknown at level α; None if the calibration is too small.

        Raises:
            ConfigError: ``alpha`` is not in (0, 1).
        """
        return conformal.threshold(self.calibration, alpha)

    def calibrated(self, values: npt.ArrayLike, classes: npt.ArrayLike = ()) -> Detector:
        """This detector with other calibration images.

        Without any image, ranks cannot be fused: the score is then ΔEnergy alone.

        Args:
            values: (n, P) values of its parts for held-out in-distribution images, in any order; (n,) of one part.
            classes: (n,) predicted classes of these images; empty if they are not known.

        Raises:
            DataError: there is not one value for each part.
        """
        parts = np.asarray(values, dtype=np.float64)
        parts = parts[:, None] if parts.ndim == 1 else parts
        predicted = np.asarray(classes, dtype=np.int64)
        if not len(parts) and self.fused:
            return dataclasses.replace(
                self, parts=(), part_weights=np.zeros(0), part_calibration=np.zeros((0, 0))
            ).calibrated(())
        if parts.shape[1] != max(1, len(self.parts)) and len(parts):
            raise DataError(
                f"calibration images have {parts.shape[1]} values each, not one for each part of the score"
            )
        scores = fusion.calibration_scores(parts, self.part_weights) if self.fused else np.ravel(parts)
        # By their values where fused scores are equal, so that the order in which they came leaves no trace.
        order = np.lexsort((*parts.T, *([predicted] if len(predicted) else []), scores))
        return dataclasses.replace(
            self,
            calibration=scores[order],
            calibration_classes=predicted[order] if len(predicted) else predicted,
            part_calibration=parts[order] if self.parts else self.part_calibration,
        )

    def to_bytes(self) -> bytes:
        """Content of its file; equal detectors give equal bytes."""
        return detector_file.file_content(self)

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of its file but for the digest in it; the names that tuning gives end in its start."""
        return detector_file.digest(self)

    def save(self, path: Path) -> None:
        """Write it to one file, atomically.

        Raises:
            StoreError: the file cannot be written.
        """
        write_bytes(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> Detector:
        """The detector in a file that :meth:`save` wrote. Nothing in it is executed, everything is checked.

        Raises:
            DataError: the file cannot be read, is not a detector, is damaged, or was written by a newer version.
        """
        with detector_file.damage_reported(path):
            detector = cls(**detector_file.read_fields(path))
            check(detector)
        return detector
