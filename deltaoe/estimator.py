"""A scikit-learn classifier of image features that also says which images it does not know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_random_state, column_or_1d, validate_data

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.conformal import images_needed
from deltaoe.functional.limits import CLIP_TEMPERATURE
from deltaoe.functional.sampling import feature_keys, share_of_each_class
from deltaoe.functional.unit_rows import Rows, imported_rows, unit_rows
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import TEMPERATURE, TOP_C, PromptOptions
from deltaoe.scoring.parts import SideTensors, few
from deltaoe.store.feature_space import UNNAMED, FeatureSpace

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Evidence = Literal["auto", "text", "images"]

_UNKNOWN = {"number": -1, "text": "unknown"}
# Kinds of NumPy's types of texts.
_TEXTS = "US"

# Checks of scikit-learn's check_estimator that cannot pass, and why; to be passed to it under this name.
EXPECTED_FAILED_CHECKS = {
    "check_estimators_dtypes": "small numbers cut to integers are rows of zeros, which have no direction",
}


class DeltaoeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Known classes and unknown images, from image features: what ``deltaoe score --zero-shot`` does, on arrays.

    A part of the images of each class is fitted on, the others calibrate: their scores turn those of new images into
    conformal p-values. Which images do which depends on their content and the seed alone. Rows of ``X`` are scaled to
    unit length, so that their length says nothing. Equal rows are one image, which is used for nothing if it is in two
    classes.

    ``predict``, ``predict_proba`` and ``decision_function`` are a classifier's, among the known classes;
    ``score_samples`` and ``p_values`` say how well an image is known. With ``alpha``, ``predict`` says
    ``unknown_label`` for images that are unknown at that level.

    Args:
        text_features: (K, D) text features of the classes, in the order of ``classes_``, or a mapping of each class to
            its (D,); text and images are fused then. None for images alone.
        background_features: (M, D) text features of labels that are none of the classes, all of which are used; None
            for none.
        evidence: ``auto`` for all that there is; ``text`` or ``images`` for one of both.
        alpha: α, the accepted share of in-distribution images called unknown, in (0, 1); None calls none unknown.
        unknown_label: what ``predict`` says of an unknown image; None for −1, or ``unknown`` where classes are texts.
        temperature: τ of ΔEnergy, cosine units.
        top_c: c of ΔEnergy.
        calibration_share: share of each class's images that calibrate, in (0, 1); at least one is fitted on.
        random_state: seed of the division: an integer, a generator of NumPy, or None for another one each time.

    Attributes:
        classes_: (K,) the classes of ``y``, sorted.
        detector_: the detector, which can be saved and scores as this does.
        n_features_in_: D.
        feature_names_in_: (D,) names of the columns of ``X``, if they are all texts.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = np.concatenate([rng.normal(mean, 0.1, (60, 3)) for mean in ([1, 0, 0], [0, 1, 0])])
        >>> classifier = DeltaoeClassifier(alpha=0.05).fit(X, np.repeat(["cat", "dog"], 60))
        >>> classifier.predict([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).tolist()
        ['cat', 'unknown']
    """

    classes_: npt.NDArray[Any]
    detector_: Detector
    n_features_in_: int

    def __init__(
        self,
        *,
        text_features: npt.ArrayLike | Mapping[Any, npt.ArrayLike] | None = None,
        background_features: npt.ArrayLike | None = None,
        evidence: Evidence = "auto",
        alpha: float | None = None,
        unknown_label: Any = None,
        temperature: float = TEMPERATURE,
        top_c: int = TOP_C,
        calibration_share: float = 0.5,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.text_features = text_features
        self.background_features = background_features
        self.evidence = evidence
        self.alpha = alpha
        self.unknown_label = unknown_label
        self.temperature = temperature
        self.top_c = top_c
        self.calibration_share = calibration_share
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit class Gaussians on a part of the images of each class, and calibrate with the others.

        Args:
            X: (n, D) image features, D ≥ 2.
            y: (n,) class of each image.

        Raises:
            ValueError: ``X`` or ``y`` is not what scikit-learn takes: a number is missing, the shapes do not fit.
            ConfigError: a parameter is out of range, or parameters exclude each other.
            DataError: a row of features is zero, text features do not fit, a class has no image that is in no other
                class, or too few images calibrate for ``alpha``.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_features=2)  # noqa: N806
        y = column_or_1d(y)
        check_classification_targets(y)
        self.classes_, class_of = np.unique(y, return_inverse=True)
        self._unknown_label()
        rows = unit_rows(X)
        fitted, rest = self._divided(imported_rows(np.asarray(X, dtype=np.float32)), class_of)
        if self.alpha is not None and len(rest) < images_needed(self.alpha):
            raise DataError(
                f"{len(rest)} images would calibrate, too few for alpha = {self.alpha:g}",
                hint=f"{images_needed(self.alpha)} would do: pass more images, or a larger alpha or "
                "calibration_share",
            )
        # Imported here: it takes long to load, and a wrong parameter should be answered at once.
        from deltaoe.scoring.image_evidence import LabelledImages, with_image_evidence

        detector = self._prompts(rows.shape[1])
        if len(fitted):
            images = LabelledImages.shots(rows[fitted], class_of[fitted])
            detector = with_image_evidence(detector, images)
        found = detector.part_values(rows[rest])
        values = found.values if detector.parts else detector.score(rows[rest])
        self.detector_ = detector.calibrated(values, found.labels[:, 0])
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:  # noqa: N803
        """The class of each image, (N,); ``unknown_label`` for images that are unknown at ``alpha``, unless it is None.

        Raises:
            ValueError: ``X`` is not what scikit-learn takes, or nothing has been fitted.
            ConfigError, DataError: as for :meth:`deltaoe.scoring.detector.Detector.predict`.
        """
        rows = self._rows(X)
        places = self.detector_.predict(rows, self.alpha)
        classes = self.classes_[np.maximum(places, 0)]
        if self.alpha is None:
            return classes
        # As an array of its own: small integers of NumPy would wrap −1.
        label = np.asarray(self._unknown_label())
        if (label.dtype.kind in _TEXTS) != (classes.dtype.kind in _TEXTS):
            classes = classes.astype(object)
        return np.where(places < 0, label, classes)

    def decision_function(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        """How much speaks for each class, (N, K); of two classes, (N,), how much more speaks for the second.

        They are the logits that images are classified with (:mod:`deltaoe.scoring.parts`): cosines to the prompts plus
        weighted Gaussian discriminants; of images alone, these discriminants. How well an image is known is
        :meth:`score_samples`.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        """Probability of each class, (N, K), given that it is one of them: softmax of the logits over CLIP's 0.01.

        Of images alone, it is the posterior of the Gaussians, with equal priors.
        """
        logits = self._logits(X)
        if len(self.detector_.text_features):
            logits = logits / CLIP_TEMPERATURE
        likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(likelihood / likelihood.sum(axis=1, keepdims=True))

    def score_samples(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        """How well each image is known, (N,), higher = more in-distribution: the score of the detector.

        It is :meth:`deltaoe.scoring.detector.Detector.score`.
        """
        rows = self._rows(X)
        return self.detector_.score(rows)

    def p_values(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        """Conformal p-value of each image, (N,): an image is unknown at α iff its p-value is at most α."""
        scores = self.score_samples(X)
        return self.detector_.p_values(scores)

    def _logits(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        rows = self._rows(X)
        detector = self.detector_
        device = None if few(len(rows), detector) else "cpu"
        return SideTensors(detector, (), detector.prompts, device).logits(rows)

    def _rows(self, X: npt.ArrayLike) -> Rows:  # noqa: N803
        """Unit rows of the features of new images."""
        check_is_fitted(self)
        return unit_rows(validate_data(self, X, dtype=np.float64, reset=False))

    def _check_parameters(self) -> None:
        """Raise ConfigError if a parameter is out of range, or two exclude each other."""
        if self.evidence not in ("auto", "text", "images"):
            raise ConfigError(f"evidence must be auto, text or images, not {self.evidence!r}")
        if self.evidence == "text" and self.text_features is None:
            raise ConfigError("there is no evidence of text without text_features", hint="pass text_features")
        if not 0 < self.calibration_share < 1:
            raise ConfigError(f"calibration_share must lie between 0 and 1, not {self.calibration_share}")
        if self.alpha is not None:
            images_needed(self.alpha)

    def _unknown_label(self) -> Any:
        """What unknown images are called. Raises ConfigError if a class is called so, and images can be unknown."""
        texts = self.classes_.dtype.kind in (*_TEXTS, "O")
        label = self.unknown_label
        if label is None:
            label = _UNKNOWN["text" if texts else "number"]
        if self.alpha is not None and label in self.classes_.tolist():
            raise ConfigError(
                f"{label!r} is a class, so it cannot mean unknown", hint="pass another unknown_label"
            )
        return label

    def _divided(self, rows: Rows, class_of: Indices) -> tuple[Indices, Indices]:
        """Images to fit on, and images to calibrate with, as ``store import`` and ``score`` would divide these rows.

        Raises:
            DataError: a class has no image of its own.
        """
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31)
        share = 0.0 if self._without_images else 1 - self.calibration_share
        found = share_of_each_class(
            class_of.tolist(), feature_keys(rows), share, int(seed), at_least=0 if self._without_images else 1
        )
        fitted, rest = found
        empty = np.setdiff1d(np.arange(len(self.classes_)), class_of[np.concatenate(found)])
        if len(empty):
            raise DataError(
                f"no image of class {self.classes_.tolist()[empty[0]]!r} is in that class alone",
                hint="equal rows of features are one image: give each one class",
            )
        return fitted, rest

    @property
    def _without_images(self) -> bool:
        return self.evidence == "text" and len(self.classes_) > 1

    def _prompts(self, dim: int) -> Detector:
        """The detector of the text features, or of none. Raises DataError if they do not fit."""
        from deltaoe.scoring.zero_shot import detector_of_text_features
        from deltaoe.scoring.zero_shot_images import image_detector

        names = tuple(str(one) for one in self.classes_.tolist())
        space = FeatureSpace.imported(UNNAMED, dim, "float32")
        if self.text_features is None or self.evidence == "images" or len(names) == 1:
            return image_detector(names, space)
        text = unit_rows(self._text_of_classes(self.text_features), dim=dim, what="text features")
        if len(text) != len(names):
            raise DataError(
                f"there are {len(text)} text features and {len(names)} classes in y",
                hint="pass one for each class, in the order of np.unique(y), or a mapping of classes to features",
            )
        options = PromptOptions(temperature=self.temperature, top_c=self.top_c)
        detector = detector_of_text_features(names, text, space, options)
        if self.background_features is None:
            return detector
        background = unit_rows(self.background_features, dim=dim, what="background features")
        return dataclasses.replace(
            detector,
            background=background,
            background_names=tuple(f"background {i}" for i in range(len(background))),
        )

    def _text_of_classes(self, given: npt.ArrayLike | Mapping[Any, npt.ArrayLike]) -> npt.ArrayLike:
        """The text features in the order of the classes. Raises DataError if a class has none."""
        if not isinstance(given, Mapping):
            return given
        labels: Sequence[Any] = self.classes_.tolist()
        missing = [label for label in labels if label not in given]
        if missing:
            raise DataError(f"class {missing[0]!r} has no text feature", hint="add it to text_features")
        return np.stack([np.asarray(given[label]) for label in labels])
