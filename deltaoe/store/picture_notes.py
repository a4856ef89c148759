"""What is to be said of pictures, kept beside their features: few of them have any."""

from __future__ import annotations

import numpy as np

from deltaoe.store.hdf5 import Digests
from deltaoe.store.key_table import KeyTable


class PictureNotes:
    """Notes by content.

    Attributes:
        by_digest: content digest → notes, one per line.
    """

    def __init__(self) -> None:
        self.by_digest: dict[bytes, str] = {}

    def of(self, digests: Digests) -> dict[int, tuple[str, ...]]:
        """The notes of some of n pictures, (n, 32) digests: position → short phrases."""
        if not self.by_digest:
            return {}
        keys = np.frombuffer(b"".join(self.by_digest), dtype=np.uint8).reshape(-1, 32)
        table = KeyTable(keys, {"at": np.arange(len(keys))})
        rows, texts = table.find(digests), list(self.by_digest.values())
        places = table.columns["at"]
        return {int(i): tuple(texts[places[rows[i]]].split("\n")) for i in np.flatnonzero(rows >= 0)}
