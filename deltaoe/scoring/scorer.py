"""ΔEnergy of image features against a detector's prompts, in memory that does not grow with images × labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.errors import ConfigError
from deltaoe.functional.energy import delta_energy_from_top
from deltaoe.functional.label_sums import ROUNDING, delta_energy_bounds, nearest_and_floor, tail_bounds
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.runtime import float64_device, resolve_device
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.label_index import LabelIndex
from deltaoe.scoring.options import IndexKind
from deltaoe.scoring.parts import SideTensors
from deltaoe.store.feature_store import Digests, Features, FeatureStore

IMAGE_BLOCK = 2048
_REPORTED = 3  # labels reported per image: c of them, but at least this many
_NEIGHBOURS = 64  # labels that an approximate index looks up per image by default
_RECALL_IMAGES = 256  # on which the recall of an approximate index is measured

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

    By default scores are exact, from one pass over all labels in blocks. With ``neighbours`` FAISS looks up only so
    many labels per image; the sum over the others is bounded from both sides **[derived]**, and the score is the
    middle of its bounds (docs/explanation/method.md, "Computation").

    Args:
        detector: its prompts, background, τ and c are used.
        device: device of the exact pass, as in ``--device``.
        neighbours: number of labels to look up per image; None for all.
        index: kind of FAISS index. ``hnsw`` and ``ivf`` are approximate: scores then have no bounds.

    Attributes:
        shown: number of nearest labels that are returned per image.
        recall: share of the true nearest labels that an approximate index finds, measured on the first images that
            are scored; None before that, or if the index is exact.

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
        device: str = "cpu",
        neighbours: int | None = None,
        index: IndexKind = "flat",
    ) -> None:
        self.detector = detector
        self.shown = max(detector.top_c, min(_REPORTED, len(detector.class_names)))
        self.recall: float | None = None
        self._device = float64_device(resolve_device(device))
        labels, background = detector.prompts
        self._labels, self._background = (
            torch.from_numpy(np.ascontiguousarray(rows)).to(self._device) for rows in (labels, background)
        )
        self._sides = (
            None
            if detector.has_one_side
            else SideTensors(detector, detector.parts or ("text",), (labels, background), self._device)
        )
        if neighbours is not None and neighbours < detector.top_c:
            raise ConfigError(
                f"--neighbours {neighbours} is fewer than top-c, {detector.top_c}",
                hint="64 is a good number; leave it out for exact scores",
            )
        self._neighbours = neighbours or (_NEIGHBOURS if index != "flat" else None)
        if self._neighbours is not None:
            if len(detector.means):
                raise ConfigError(
                    "image evidence compares with every class, so --neighbours can't be used with it",
                    hint="leave --neighbours out, or use --evidence text",
                )
            gpu = self._device.type != "cpu"
            # Classes are predicted by prompts of their own, if the energies have others.
            own = len(detector.energy_features) > 0
            self._class_index = LabelIndex(detector.text_features, index, gpu=gpu) if own else None
            self._indexes = [
                (LabelIndex(rows, index, gpu=gpu), rows.sum(axis=0, dtype=np.float64))
                for rows in (labels, background)
                if len(rows)
            ]

    @torch.inference_mode()
    def __call__(self, features: Features) -> ImageScores:
        """Scores of image features (N, D), unit rows; exact unless ``neighbours`` or an index was given."""
        return self.exact(features) if self._neighbours is None else self._by_neighbours(features)

    @torch.inference_mode()
    def exact(self, features: Features) -> ImageScores:
        """Exact scores of image features (N, D), unit rows, by one pass over all labels, whatever ``neighbours`` is."""
        if self._sides is not None:
            found = self._sides(features, self.shown)
            parts = found.values if self.detector.parts else None
            return ImageScores(
                self.detector.fused_scores(found.values), found.labels, found.cosines, None, parts
            )
        cosines, labels, floor = nearest_and_floor(
            torch.from_numpy(features).to(self._device),
            self._labels,
            self._background,
            shown=self.shown,
            top_c=self.detector.top_c,
            temperature=self.detector.temperature,
        )
        scores = delta_energy_from_top(cosines[:, : self.detector.top_c], floor, self.detector.temperature)
        return ImageScores(scores.cpu().numpy(), labels.cpu().numpy(), cosines.cpu().numpy(), None)

    def _by_neighbours(self, features: Features) -> ImageScores:
        """Scores from the nearest labels, and bounds on what the labels that were not looked up add."""
        temperature, top_c = self.detector.temperature, self.detector.top_c
        class_index = self._indexes[0][0]
        if not class_index.exact and self.recall is None:
            self.recall = class_index.recall(features[:_RECALL_IMAGES], self.shown)
        # Terms of the log-sum-exp outside the c largest cosines: (N,) each, once as lower and once as upper bounds.
        lower: list[torch.Tensor] = []
        upper: list[torch.Tensor] = []
        nearest: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]] = []
        for number, (index, label_sum) in enumerate(self._indexes):
            cosines, labels = index.search(features, self._neighbours_in(index))
            nearest.append((cosines, labels))
            values = torch.from_numpy(cosines).double()
            outside = values[:, top_c:] if number == 0 else values
            known_term = torch.logsumexp(outside / temperature, dim=-1)
            lower.append(known_term)
            upper.append(known_term)
            others = torch.tensor(float(len(index) - values.shape[1]))
            if others > 0:
                all_cosines = torch.from_numpy(features.astype(np.float64) @ label_sum)
                mean = (all_cosines - values.sum(dim=-1)) / others
                low_term, high_term = tail_bounds(others, mean, values[:, -1], temperature)
                lower.append(low_term)
                upper.append(high_term)
        cosines, labels = nearest[0]
        low, high = (torch.logsumexp(torch.stack(terms), dim=0) for terms in (lower, upper))
        bounds = torch.stack(
            delta_energy_bounds(torch.from_numpy(cosines[:, :top_c]), low, high, temperature), dim=1
        ).numpy()
        if self._class_index is not None:
            cosines, labels = self._class_index.search(features, self.shown)
        return ImageScores(
            bounds.mean(axis=1),
            labels[:, : self.shown],
            cosines[:, : self.shown],
            bounds if class_index.exact else None,
        )

    def _neighbours_in(self, index: LabelIndex) -> int:
        """Number of labels to look up in this index: at most all, at least as many as are shown."""
        assert self._neighbours is not None  # noqa: S101 - for the type checker
        return min(len(index), max(self._neighbours, self.shown))


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
        bounds[rows[part]] = exact[:, None] + np.array([-ROUNDING, ROUNDING])
    return scored._replace(scores=scores, bounds=bounds)
