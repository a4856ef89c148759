"""Exact nearest labels with FAISS: the top-c similarities of the paper, over label sets of any size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deltaoe.functional.energy import check_top_c


class LabelIndex:
    """Inner-product search over label features, (K, D) float32 unit rows. Exact."""

    def __init__(self, labels: npt.NDArray[np.float32]) -> None:
        import faiss

        self._index = faiss.IndexFlatIP(labels.shape[1])
        self._index.add(np.ascontiguousarray(labels, dtype=np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, features: npt.NDArray[np.float32], top_c: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The ``top_c`` labels nearest to each image.

        Args:
            features: (N, D) unit rows.
            top_c: from 1 to K.

        Returns:
            Cosines and label indices, both (N, top_c), largest cosine first.

        Raises:
            ConfigError: ``top_c`` is outside 1..K.
        """
        check_top_c(top_c, len(self))
        cosines, labels = self._index.search(np.ascontiguousarray(features, dtype=np.float32), top_c)
        return cosines, labels
