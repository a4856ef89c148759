"""Search for the nearest labels with FAISS, exact or approximate, in label sets of any size, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, StoreError
from deltaoe.functional.limits import check_top_c
from deltaoe.scoring.options import IndexKind
from deltaoe.store.index_cache import index_file, save_file, unsealed

_LINKS = 32  # links per node of HNSW
_SAMPLES_PER_LIST = 39  # labels per list of IVF, the fewest that FAISS trains a list with
_PROBED = 16  # of IVF: one list in so many is searched
_PARAMETERS = (_LINKS, _SAMPLES_PER_LIST, _PROBED)
LEAST_KEPT = 10_000  # labels whose index is kept between runs

Rows = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class LabelIndex:
    """Index of label features for search by inner product, which is the cosine of unit rows.

    Args:
        labels: (K, D) unit rows.
        kind: ``flat`` is exact; ``hnsw`` and ``ivf`` are approximate and may miss neighbours (:meth:`recall`).
        folder: where an approximate index of many labels is kept between runs; None to keep none.

    Attributes:
        exact: whether a search finds the true nearest labels.
        notes: sentences for the user, on files of indexes that could not be used or written.

    Raises:
        ConfigError: there is no such kind.

    Example:
        >>> index = LabelIndex(np.eye(3, dtype=np.float32))
        >>> cosines, labels = index.search(np.array([[0.0, 0.8, 0.6]], dtype=np.float32), top_c=2)
        >>> labels.tolist()
        [[1, 2]]
    """

    def __init__(self, labels: Rows, kind: IndexKind = "flat", *, folder: Path | None = None) -> None:
        labels = np.ascontiguousarray(labels, dtype=np.float32)
        self._labels, self.exact = labels, kind == "flat"
        self.notes: list[str] = []
        keeps = folder is not None and not self.exact and len(labels) >= LEAST_KEPT
        self._index: Any = self._kept(folder, kind) if folder is not None and keeps else _build(labels, kind)

    def _kept(self, folder: Path, kind: IndexKind) -> Any:
        """The index of the file in a folder; one that is built and kept there if there is none that can be used."""
        import faiss

        # FAISS may crash on a damaged file, so it reads only what has the right digest.
        path = index_file(folder, self._labels, kind, faiss.__version__, *map(str, _PARAMETERS))
        try:
            unsealed(path)
            index = faiss.read_index(str(path))
            if (index.ntotal, index.d) != self._labels.shape:
                raise StoreError("it holds other labels")
            return index
        except FileNotFoundError:
            pass
        except (StoreError, RuntimeError) as cause:
            self.notes.append(rebuilt(path, cause))
        index = _build(self._labels, kind)
        try:
            save_file(path, lambda to: faiss.write_index(index, str(to)), kind)
        except (StoreError, RuntimeError) as cause:
            self.notes.append(not_kept(cause))
        return index

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
            ConfigError: ``top_c`` is outside 1..K.
        """
        check_top_c(top_c, len(self))
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


def rebuilt(path: Path, cause: Exception) -> str:
    """A sentence on a kept index that cannot be used."""
    return f"The kept index of labels {path} cannot be used ({cause}); it was built again."


def not_kept(cause: Exception) -> str:
    """A sentence on an index that cannot be kept."""
    return f"The index of labels is not kept for the next run: {cause}."


def _build(labels: Rows, kind: IndexKind) -> Any:
    """The FAISS index of one kind, with all labels in it."""
    import faiss

    count, dim = labels.shape
    index: Any
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
