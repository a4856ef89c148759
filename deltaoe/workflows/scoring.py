"""Features to scores against a detector's prompts, in memory that does not grow with images × labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.data.detector import Detector
from deltaoe.data.features import Digests, Features, FeatureStore
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
    scorer: Scorer, store: FeatureStore, digests: Digests, on: OnEvent = silent
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Score images of a store by digest (n, 32), block by block as they lie on disk; as :meth:`Scorer.__call__`.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    scores = np.empty(len(digests), dtype=np.float64)
    labels = np.empty((len(digests), scorer.shown), dtype=np.int64)
    cosines = np.empty((len(digests), scorer.shown), dtype=np.float32)
    done = 0
    for part, features in store.blocks(digests, rows=IMAGE_BLOCK):
        scores[part], labels[part], cosines[part] = scorer(features)
        done += len(part)
        on(Event("Scoring", done, len(digests)))
    return scores, labels, cosines
