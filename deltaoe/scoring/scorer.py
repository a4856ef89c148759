"""Features to scores against a detector's prompts, in memory that does not grow with images × labels."""

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
from deltaoe.store.feature_store import Digests, Features, FeatureStore

IMAGE_BLOCK = 2048
_SHOWN = 3  # labels reported per image, at least
_NEIGHBOURS = 64  # looked up by an approximate index, unless said otherwise
_RECALL_IMAGES = 256

Floats = npt.NDArray[np.float64]


class Scored(NamedTuple):
    """N scored images.

    ``scores`` (N,); ``labels`` (N, shown) indices of the nearest classes, and their ``cosines``, largest first;
    ``bounds`` (N, 2), between which each score surely lies, or None where it is exact or nothing is sure.
    """

    scores: Floats
    labels: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]
    bounds: Floats | None


class Scorer:
    """ΔEnergy of image features against a detector's K prompts and M background prompts.

    By default exact: one pass over all labels, in blocks. With ``neighbours`` FAISS looks up only so many labels per
    image; the others are bounded from both sides (METHOD §3), and the score is the middle of its bounds.

    Args:
        detector: whose prompts, background, τ and c.
        device: where the pass runs, as in ``--device``.
        neighbours: labels to look up per image; None for all.
        index: ``hnsw`` and ``ivf`` are approximate: scores then have no bounds, and :attr:`recall` says how many of
            the true neighbours were found.

    Raises:
        ConfigError: ``neighbours`` is smaller than c, or there is no such device or index.
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
        self.shown = max(detector.top_c, min(_SHOWN, len(detector.class_names)))
        self.recall: float | None = None
        self._device = float64_device(resolve_device(device))
        labels, background = detector.prompts
        self._labels, self._background = (
            torch.from_numpy(np.ascontiguousarray(rows)).to(self._device) for rows in (labels, background)
        )
        if neighbours is not None and neighbours < detector.top_c:
            raise ConfigError(
                f"--neighbours {neighbours} is fewer than top-c, {detector.top_c}",
                hint="64 is a good number; leave it out for exact scores",
            )
        self._neighbours = neighbours or (_NEIGHBOURS if index != "flat" else None)
        if self._neighbours is not None:
            gpu = self._device.type != "cpu"
            self._indexes = [
                (LabelIndex(rows, index, gpu=gpu), rows.sum(axis=0, dtype=np.float64))
                for rows in (labels, background)
                if len(rows)
            ]

    @torch.inference_mode()
    def __call__(self, features: Features) -> Scored:
        """Score (N, D) unit rows."""
        return self.exact(features) if self._neighbours is None else self._bounded(features)

    @torch.inference_mode()
    def exact(self, features: Features) -> Scored:
        """Score (N, D) unit rows by one pass over all labels, whatever ``neighbours`` is."""
        cosines, labels, floor = nearest_and_floor(
            torch.from_numpy(features).to(self._device),
            self._labels,
            self._background,
            shown=self.shown,
            top_c=self.detector.top_c,
            temperature=self.detector.temperature,
        )
        scores = delta_energy_from_top(cosines[:, : self.detector.top_c], floor, self.detector.temperature)
        return Scored(scores.cpu().numpy(), labels.cpu().numpy(), cosines.cpu().numpy(), None)

    def _bounded(self, features: Features) -> Scored:
        temperature, top_c = self.detector.temperature, self.detector.top_c
        first = self._indexes[0][0]
        if not first.exact and self.recall is None:
            self.recall = first.recall(features[:_RECALL_IMAGES], self.shown)
        ends: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        found: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]] = []
        for number, (index, total) in enumerate(self._indexes):
            near, labels = index.search(features, self._looked_up(index))
            found.append((near, labels))
            values = torch.from_numpy(near).double()
            outside = values[:, top_c:] if number == 0 else values
            seen = torch.logsumexp(outside / temperature, dim=-1)
            rest = torch.tensor(float(len(index) - values.shape[1]))
            for end in ends:
                end.append(seen)
            if rest > 0:
                every = torch.from_numpy(features.astype(np.float64) @ total)
                mean = (every - values.sum(dim=-1)) / rest
                for end, bound in zip(ends, tail_bounds(rest, mean, values[:, -1], temperature), strict=True):
                    end.append(bound)
        cosines, labels = found[0]
        low, high = (torch.logsumexp(torch.stack(end), dim=0) for end in ends)
        bounds = torch.stack(
            delta_energy_bounds(torch.from_numpy(cosines[:, :top_c]), low, high, temperature), dim=1
        ).numpy()
        return Scored(
            bounds.mean(axis=1),
            labels[:, : self.shown],
            cosines[:, : self.shown],
            bounds if first.exact else None,
        )

    def _looked_up(self, index: LabelIndex) -> int:
        assert self._neighbours is not None  # noqa: S101 - for the type checker
        return min(len(index), max(self._neighbours, self.shown))


def score_stored(scorer: Scorer, store: FeatureStore, digests: Digests, on: OnEvent = silent) -> Scored:
    """Score images of a store by digest (n, 32), block by block as they lie on disk.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    scores = np.empty(len(digests), dtype=np.float64)
    labels = np.empty((len(digests), scorer.shown), dtype=np.int64)
    cosines = np.empty((len(digests), scorer.shown), dtype=np.float32)
    bounds: Floats | None = None
    done = 0
    for part, features in store.blocks(digests, rows=IMAGE_BLOCK):
        found = scorer(features)
        scores[part], labels[part], cosines[part] = found.scores, found.labels, found.cosines
        if found.bounds is not None:
            bounds = np.empty((len(digests), 2)) if bounds is None else bounds
            bounds[part] = found.bounds
        done += len(part)
        on(Event("Scoring", done, len(digests)))
    return Scored(scores, labels, cosines, bounds)


def made_exact(
    found: Scored, rows: npt.NDArray[np.int64], scorer: Scorer, store: FeatureStore, digests: Digests
) -> Scored:
    """Some images of what was found, by their rows, with exact scores; bounds say how far those may be rounded."""
    assert found.bounds is not None  # noqa: S101 - for the type checker: without bounds all are exact
    scores, bounds = found.scores.copy(), found.bounds.copy()
    for part, features in store.blocks(digests[rows], rows=IMAGE_BLOCK):
        exact = scorer.exact(features).scores
        scores[rows[part]] = exact
        bounds[rows[part]] = exact[:, None] + np.array([-ROUNDING, ROUNDING])
    return found._replace(scores=scores, bounds=bounds)
