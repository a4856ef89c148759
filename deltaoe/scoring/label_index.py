"""Nearest labels with FAISS, over label sets of any size: exact, or approximate by request."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.functional.limits import check_top_c
from deltaoe.scoring.options import IndexKind

_LINKS = 32  # of HNSW
_SAMPLES_PER_LIST = 39  # FAISS wants as many labels to train each list of IVF
_PROBED = 16  # one list in so many is searched
_MOST_ON_GPU = 2048  # neighbours that FAISS's GPU kernels select

Rows = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class LabelIndex:
    """Inner-product search over label features.

    Args:
        labels: (K, D) unit rows.
        kind: ``flat`` is exact; ``hnsw`` and ``ivf`` may miss a neighbour: measure :meth:`recall`.
        gpu: search on the first GPU, where FAISS has one and kernels for it; else this changes nothing.
    """

    def __init__(self, labels: Rows, kind: IndexKind = "flat", *, gpu: bool = False) -> None:
        import faiss

        labels = np.ascontiguousarray(labels, dtype=np.float32)
        self._labels, self.exact = labels, kind == "flat"
        self._index: Any = _build(faiss, labels, kind)
        self.on_gpu = (
            gpu and kind != "hnsw" and getattr(faiss, "get_num_gpus", lambda: 0)() > 0 and _runs_on_gpu()
        )
        if self.on_gpu:
            self._index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, self._index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, features: Rows, top_c: int) -> tuple[Rows, Indices]:
        """The ``top_c`` labels nearest to each image.

        Args:
            features: (N, D) unit rows.
            top_c: from 1 to K.

        Returns:
            Cosines and label indices, both (N, top_c), largest cosine first.

        Raises:
            ConfigError: ``top_c`` is outside 1..K, or more than a GPU looks up.
        """
        check_top_c(top_c, len(self))
        if self.on_gpu and top_c > _MOST_ON_GPU:
            raise ConfigError(
                f"FAISS looks up at most {_MOST_ON_GPU} labels per image on a GPU, not {top_c}",
                hint="use fewer --neighbours, or --device cpu",
            )
        features = np.ascontiguousarray(features, dtype=np.float32)
        cosines, labels = self._index.search(features, top_c)
        if not self.exact:
            _complete(self._labels, features, cosines, labels)
        return cosines, labels

    def recall(self, features: Rows, top_c: int) -> float:
        """Share of the true ``top_c`` nearest labels of these images that the search finds."""
        if self.exact:
            return 1.0
        _, found = self.search(features, top_c)
        _, truth = LabelIndex(self._labels).search(features, top_c)
        return float((truth[:, :, None] == found[:, None, :]).any(axis=2).mean())


@functools.cache
def _runs_on_gpu() -> bool:
    """Whether FAISS can compute on the GPU: without kernels for it, it ends the process instead of raising."""
    trial = "import faiss; faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatIP(8))"
    trial += ".search(__import__('numpy').ones((1, 8), 'f'), 1)"
    try:
        # -P: a module in the working folder is not to be run.
        done = subprocess.run(
            [sys.executable, "-P", "-c", trial], capture_output=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _build(faiss: Any, labels: Rows, kind: IndexKind) -> Any:
    count, dim = labels.shape
    if kind == "flat":
        index = faiss.IndexFlatIP(dim)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = 4 * _LINKS
    elif kind == "ivf":
        lists = max(1, min(int(4 * count**0.5), count // _SAMPLES_PER_LIST))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(1, lists // _PROBED)
        index.train(labels)
    else:
        raise ConfigError(f"there is no index {kind!r}", hint="the indexes are: flat, hnsw, ivf")
    index.add(labels)
    return index


def _complete(labels: Rows, features: Rows, cosines: Rows, found: Indices) -> None:
    """Fill the places of rows for which an approximate search has found too few labels, by looking at all."""
    rows = np.flatnonzero((found < 0).any(axis=1))
    if len(rows):
        every = features[rows] @ labels.T
        order = np.argsort(-every, axis=1, kind="stable")[:, : found.shape[1]]
        found[rows] = order
        cosines[rows] = np.take_along_axis(every, order, axis=1)
