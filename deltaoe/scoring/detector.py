"""The detector: class prompts, settings of the score and a calibration, all that scoring an image feature takes."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.functional import conformal
from deltaoe.functional.text_features import centred
from deltaoe.functional.unit_rows import unit_rows
from deltaoe.scoring import detector_file
from deltaoe.scoring.detector_fields import DetectorFields
from deltaoe.store.atomic import write_bytes


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

    @property
    def tuned(self) -> bool:
        """Whether it has learned context vectors."""
        return self.context is not None

    @property
    def score_title(self) -> str:
        """Name of its score with τ, c, the number of background labels, and whether prompts are centred."""
        parts = [f"ΔEnergy, τ = {self.temperature:g}, c = {self.top_c}"]
        if len(self.background):
            parts.append(f"{len(self.background)} background labels")
        if len(self.centre):
            parts.append("prompts centred")
        return ", ".join(parts)

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
        """ΔEnergy of image features, in cosine units; no model is needed.

        Args:
            features: (N, D) image features of its feature space; scaled to unit length here.

        Returns:
            (N,) float64, higher = more in-distribution.

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
        """ΔEnergy and predicted class of each image, both (N,)."""
        # Imported here: it loads torch, which reading a detector does not need.
        from deltaoe.functional.label_sums import score_features

        rows = unit_rows(features, dim=self.text_features.shape[1])
        return score_features(rows, *self.prompts, temperature=self.temperature, top_c=self.top_c)

    def p_values(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Conformal p-values (N,) of scores (N,), by :func:`deltaoe.functional.conformal.p_values`."""
        return conformal.p_values(scores, self.calibration)

    def threshold(self, alpha: float) -> float | None:
        """The score below which an image is unknown at level α, cosine units; None if the calibration is too small.

        Raises:
            ConfigError: ``alpha`` is not in (0, 1).
        """
        return conformal.threshold(self.calibration, alpha)

    def calibrated(self, scores: npt.ArrayLike, classes: npt.ArrayLike = ()) -> Detector:
        """This detector with other calibration images.

        Args:
            scores: (n,) scores of held-out in-distribution images, in any order.
            classes: (n,) predicted classes of these images; empty if they are not known.
        """
        values, predicted = np.asarray(scores, dtype=np.float64), np.asarray(classes, dtype=np.int64)
        order = np.lexsort((predicted, values)) if len(predicted) else np.argsort(values, kind="stable")
        return dataclasses.replace(
            self,
            calibration=values[order],
            calibration_classes=predicted[order] if len(predicted) else predicted,
        )

    def to_bytes(self) -> bytes:
        """Content of its file; equal detectors give equal bytes."""
        return detector_file.to_bytes(self)

    @property
    def digest(self) -> str:
        """SHA-256 of its file, hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

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
            detector_file.check(detector)
        return detector
