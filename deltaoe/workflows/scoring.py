"""Features to scores against a detector's prompts, in memory that does not grow with images × labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.data.detector import Detector
from deltaoe.data.features import Features, FeatureStore
from deltaoe.functional.energy import delta_energy_from_top, log_floor
from deltaoe.models.label_index import LabelIndex
from deltaoe.workflows.progress import Event, OnEvent, silent

IMAGE_BLOCK = 2048
_SHOWN = 3  # labels reported per image, at least


class Scorer:
    """ΔEnergy of image features against a detector's K prompts.

    FAISS finds the c nearest labels; the log-sum-exp over all others is streamed over blocks of labels. The
    result is exact for any K, and no N×K matrix is ever held.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.shown = max(detector.top_c, min(_SHOWN, len(detector.class_names)))
        self._index = LabelIndex(detector.text_features)
        self._labels = torch.from_numpy(np.ascontiguousarray(detector.text_features))

    @torch.inference_mode()
    def __call__(
        self, features: Features
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Score (N, D) unit rows.

        Returns:
            scores (N,), indices of the ``shown`` nearest labels (N, shown), and their cosines.
        """
        cosines, labels = self._index.search(features, self.shown)
        top_c, temperature = self.detector.top_c, self.detector.temperature
        near = torch.from_numpy(labels[:, :top_c])
        floor = log_floor(torch.from_numpy(features), self._labels, near, temperature)
        scores = delta_energy_from_top(torch.from_numpy(cosines[:, :top_c]), floor, temperature)
        return scores.numpy(), labels, cosines


def score_stored(
    scorer: Scorer, store: FeatureStore, digests: Sequence[bytes], on: OnEvent = silent
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Score images of a store by digest, block by block; as :meth:`Scorer.__call__`.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    scores = np.empty(len(digests), dtype=np.float64)
    labels = np.empty((len(digests), scorer.shown), dtype=np.int64)
    cosines = np.empty((len(digests), scorer.shown), dtype=np.float32)
    for start, stop in _blocks(len(digests)):
        part = slice(start, stop)
        scores[part], labels[part], cosines[part] = scorer(store.features(digests[start:stop]))
        on(Event("Scoring", stop, len(digests)))
    return scores, labels, cosines


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, IMAGE_BLOCK):
        yield start, min(start + IMAGE_BLOCK, n)
