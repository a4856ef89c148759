"""ΔEnergy of image features against a detector's prompts, in memory that does not grow with images × labels."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.functional.limits import ROUNDING
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.runtime import float64_device, resolve_device
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import IndexKind
from deltaoe.scoring.parts import few

if TYPE_CHECKING:
    from deltaoe.scoring.many_labels import ApproximateLabels, BoundedLabels
    from deltaoe.store.feature_store import Digests, Features, FeatureStore

IMAGE_BLOCK = 2048
_REPORTED = 3  # labels reported per image: c of them, but at least this many
_NEIGHBOURS = 64  # labels that an approximate index looks up per image by default

Floats = npt.NDArray[np.float64]


class ImageScores(NamedTuple):
    """Scores and nearest labels of N images.

    Attributes:
        scores: (N,) the detector's score; ΔEnergy in cosine units unless it has other parts.
        labels: (N, m) indices of the classes with the largest logits, the predicted one first; m is
            :attr:`Scorer.shown`.
        cosines: (N, m) cosines of the images with these classes.
        bounds: (N, 2) lower and upper bound of each score; None if all are exact, or if the index is approximate.
        parts: (N, P) value of each part of the detector; None of a detector whose only score is ΔEnergy.
    """

    scores: Floats
    labels: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]
    bounds: Floats | None
    parts: Floats | None = None


class Scorer:
    """Scores of image features by a detector: ΔEnergy against its prompts and background, and its other parts.

    By default scores are exact, from one pass over all labels in blocks. With ``neighbours`` labels are compared in 8
    bits, and only the nearest in single precision; the score is bounded from both sides **[derived]**, and is the
    middle of its bounds (docs/explanation/method.md, "Computation"). The few images of which 8 bits do not say for
    certain which labels are nearest are scored exactly.

    Few exact scores on a CPU are computed by NumPy, which takes less time than to import PyTorch; all others by
    PyTorch. The two differ by rounding; an image that is a calibration image has the same p-value by both
    (:func:`deltaoe.functional.conformal.with_ties`).

    Args:
        detector: its prompts, background, τ and c are used.
        device: device of the exact pass, as in ``--device``; None for NumPy alone, however many images there are.
        images: number of images that will be scored, if that is known: so many decide whether NumPy does it. None for
            many.
        neighbours: number of labels to compare in single precision, or to look up in an approximate index; None for
            all.
        index: ``hnsw`` and ``ivf`` are approximate indexes of FAISS: scores then have no bounds.
        folder: where indexes of many labels are kept between runs; None to keep none.

    Attributes:
        shown: number of nearest labels that are returned per image.

    Raises:
        ConfigError: ``neighbours`` is smaller than c, or the detector has image evidence, which has no bounds; or there
            is no such device or index.

    Example:
        >>> from deltaoe.store.feature_space import FeatureSpace
        >>> space = FeatureSpace("any", "weights", "architecture", "{}", "fp32", 1, 2)
        >>> detector = Detector(("cat", "dog"), np.eye(2, dtype=np.float32), 0.1, 1, np.empty(0), space, 100.0)
        >>> Scorer(detector)(np.array([[0.0, 1.0]], dtype=np.float32)).labels.tolist()
        [[1, 0]]
    """

    def __init__(
        self,
        detector: Detector,
        *,
        device: str | None = "cpu",
        neighbours: int | None = None,
        index: IndexKind = "flat",
        images: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.detector = detector
        self.shown = max(detector.top_c, min(_REPORTED, len(detector.class_names)))
        if neighbours is not None and neighbours < detector.top_c:
            raise ConfigError(
                f"--neighbours {neighbours} is fewer than top-c, {detector.top_c}",
                hint="64 is a good number; leave it out for exact scores",
            )
        wanted = neighbours or (_NEIGHBOURS if index != "flat" else None)
        if wanted is not None and len(detector.means):
            raise ConfigError(
                "image evidence compares with every class, so --neighbours can't be used with it",
                hint="leave --neighbours out, or use --evidence text",
            )
        self._neighbours: BoundedLabels | ApproximateLabels | None = None
        if device is None or (
            wanted is None and device in {"auto", "cpu"} and images is not None and few(images, detector)
        ):
            self._exact = functools.cache(lambda: detector.computing(images, None))
            return
        place = float64_device(resolve_device(device))
        # With neighbours, labels are moved to the device once more only if some image is scored exactly.
        self._exact = functools.cache(lambda: detector.computing(None, place))
        if wanted is not None:
            from deltaoe.scoring.many_labels import ApproximateLabels, BoundedLabels  # they load PyTorch

            prompts = detector.prompts
            if index == "flat":
                self._neighbours = BoundedLabels(
                    detector, prompts, wanted, self.shown, device=place, folder=folder
                )
            else:
                self._neighbours = ApproximateLabels(
                    detector, prompts, wanted, index, self.shown, folder=folder
                )

    @property
    def recall(self) -> float | None:
        """Share of the true nearest labels that an approximate index finds, on the first images that were scored.

        None before that, or if the index is exact.
        """
        return self._neighbours.recall if self._neighbours is not None else None

    @property
    def notes(self) -> list[str]:
        """Sentences for the user, on files of indexes that could not be used or written."""
        return self._neighbours.notes if self._neighbours is not None else []

    def __call__(self, features: Features) -> ImageScores:
        """Scores of image features (N, D), unit rows; exact unless ``neighbours`` or an index was given."""
        if self._neighbours is None:
            return self.exact(features)
        found = self._neighbours(features)
        rows = found.open
        # As exact scores are: one that equals a calibration image's but for rounding equals it. No order changes by
        # that, so that bounds stay bounds.
        scores, bounds = self._tied(found.scores), found.bounds
        if bounds is not None:
            bounds = np.stack([self._tied(ends) for ends in bounds.T], axis=1)
        scored = ImageScores(scores, found.labels, found.cosines, bounds)
        if len(rows):
            exact = self.exact(features[rows])
            scored.scores[rows], scored.labels[rows], scored.cosines[rows] = exact[:3]
            assert scored.bounds is not None  # noqa: S101 - for the type checker: only bounds leave rows open
            scored.bounds[rows] = _of_rounding(exact.scores)
        return scored

    def _tied(self, scores: Floats) -> Floats:
        return self.detector.fused_scores(scores[:, None])

    def exact(self, features: Features) -> ImageScores:
        """Exact scores of image features (N, D), unit rows, by one pass over all labels, whatever ``neighbours`` is."""
        found = self._exact()(features, self.shown)
        parts = found.values if self.detector.parts else None
        return ImageScores(self.detector.fused_scores(found.values), found.labels, found.cosines, None, parts)


def score_stored(scorer: Scorer, store: FeatureStore, digests: Digests, on: OnEvent = silent) -> ImageScores:
    """Score images of a feature store, in blocks of the order in which they are on disk.

    Args:
        scorer: the scorer.
        store: has the features.
        digests: (N, 32) uint8, digests of the images.
        on: receives progress.

    Returns:
        Scores in the order of ``digests``.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    scores = np.empty(len(digests), dtype=np.float64)
    labels = np.empty((len(digests), scorer.shown), dtype=np.int64)
    cosines = np.empty((len(digests), scorer.shown), dtype=np.float32)
    bounds: Floats | None = None
    parts = np.empty((len(digests), len(scorer.detector.parts))) if scorer.detector.parts else None
    done = 0
    for part, features in store.blocks(digests, rows=IMAGE_BLOCK):
        block = scorer(features)
        if parts is not None:
            assert block.parts is not None  # noqa: S101 - for the type checker: the detector has parts
            parts[part] = block.parts
        scores[part], labels[part], cosines[part] = block.scores, block.labels, block.cosines
        if block.bounds is not None:
            bounds = np.empty((len(digests), 2)) if bounds is None else bounds
            bounds[part] = block.bounds
        done += len(part)
        on(Event("Scoring", done, len(digests)))
    return ImageScores(scores, labels, cosines, bounds, parts)


def with_exact_scores(
    scored: ImageScores, rows: npt.NDArray[np.int64], scorer: Scorer, store: FeatureStore, digests: Digests
) -> ImageScores:
    """These scores with those of some rows replaced by exact ones, whose bounds are their rounding error.

    Args:
        scored: scores with bounds.
        rows: (m,) rows to compute exactly.
        scorer: the scorer.
        store: has the features.
        digests: (N, 32) uint8, digests of the images.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    assert scored.bounds is not None  # noqa: S101 - for the type checker: without bounds all are exact
    scores, bounds = scored.scores.copy(), scored.bounds.copy()
    for part, features in store.blocks(digests[rows], rows=IMAGE_BLOCK):
        exact = scorer.exact(features).scores
        scores[rows[part]] = exact
        bounds[rows[part]] = _of_rounding(exact)
    return scored._replace(scores=scores, bounds=bounds)


def _of_rounding(scores: Floats) -> Floats:
    """Bounds (N, 2) of exact scores (N,)."""
    bounds: Floats = scores[:, None] + np.array([-ROUNDING, ROUNDING])
    return bounds
