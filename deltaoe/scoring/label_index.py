"""Search for the nearest labels with FAISS, exact or approximate, in label sets of any size."""

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

_LINKS = 32  # links per node of HNSW
_SAMPLES_PER_LIST = 39  # labels per list of IVF, the fewest that FAISS trains a list with
_PROBED = 16  # of IVF: one list in so many is searched
_MOST_ON_GPU = 2048  # neighbours per image, a limit of FAISS's GPU kernels

Rows = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class LabelIndex:
    """Index of label features for search by inner product, which is the cosine of unit rows.

    Args:
        labels: (K, D) unit rows.
        kind: ``flat`` is exact; ``hnsw`` and ``ivf`` are approximate and may miss neighbours (:meth:`recall`).
        gpu: search on the first GPU if FAISS supports it; otherwise search on the CPU.

    Attributes:
        exact: whether a search finds the true nearest labels.
        on_gpu: whether the search runs on a GPU.

    Raises:
        ConfigError: there is no such kind.

    Example:
        >>> index = LabelIndex(np.eye(3, dtype=np.float32))
        >>> cosines, labels = index.search(np.array([[0.0, 0.8, 0.6]], dtype=np.float32), top_c=2)
        >>> labels.tolist()
        [[1, 2]]
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
        """The labels nearest to each image.

        Args:
            features: (N, D) unit rows.
            top_c: number of labels per image, from 1 to K.

        Returns:
            Cosines and label indices, both (N, top_c), largest cosine first.

        Raises:
            ConfigError: ``top_c`` is outside 1..K, or above 2,048 on a GPU.
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
        """Share of the true ``top_c`` nearest labels that the search finds, over images (N, D), unit rows."""
        if self.exact:
            return 1.0
        _, found = self.search(features, top_c)
        _, truth = LabelIndex(self._labels).search(features, top_c)
        return float((truth[:, :, None] == found[:, None, :]).any(axis=2).mean())


@functools.cache
def _runs_on_gpu() -> bool:
    """Whether FAISS can search on the GPU, tried in another process: without kernels for it, FAISS ends the process."""
    trial = "import faiss; faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatIP(8))"
    trial += ".search(__import__('numpy').ones((1, 8), 'f'), 1)"
    try:
        # -P: so that no module in the working folder is imported.
        done = subprocess.run(
            [sys.executable, "-P", "-c", trial], capture_output=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _build(faiss: Any, labels: Rows, kind: IndexKind) -> Any:
    """The FAISS index of one kind, with all labels in it."""
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
    """Search exactly, in place, for the images for which an approximate search has found too few labels."""
    rows = np.flatnonzero((found < 0).any(axis=1))
    if len(rows):
        all_cosines = features[rows] @ labels.T
        order = np.argsort(-all_cosines, axis=1, kind="stable")[:, : found.shape[1]]
        found[rows] = order
        cosines[rows] = np.take_along_axis(all_cosines, order, axis=1)
