"""Checksums of a shard's rows: a changed bit is found when its row is read, and whole rows can be proven whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[np.uint64]
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that its products with odd numbers are odd


def row_sums(rows: npt.NDArray[np.generic]) -> Sums:
    """Checksum of each of n rows, (n,): Σ wⱼ uⱼ modulo 2⁶⁴ over the row's bytes as 64-bit words uⱼ, zeros at the end.

    wⱼ = (2j + 1) · 9E3779B97F4A7C15 in hexadecimal, j = 0, 1, …, modulo 2⁶⁴. All wⱼ are odd, so that a change within
    one word, of whatever bits, always changes the sum.

    Args:
        rows: (n, D), of any number format; their bytes in memory count.

    Example:
        >>> row_sums(np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)).tolist()
        [3855081281029144576, 9444886002540740608]
    """
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), rows.shape[1] * rows.itemsize)
    if spare := -raw.shape[1] % 8:
        raw = np.concatenate([raw, np.zeros((len(raw), spare), np.uint8)], axis=1)
    words = raw.view("<u8")
    return np.asarray(np.einsum("ij,j->i", words, word_weights(words.shape[1])), dtype=np.uint64)


def word_weights(count: int) -> npt.NDArray[np.uint64]:
    """The weights w₀ … of so many words, (count,): see :func:`row_sums`."""
    return (2 * np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(_MULTIPLIER)


def key_sums(
    keys: npt.NDArray[np.uint8], space_id: str, *, view_policy: int, decode_policy: int, origin: str
) -> Sums:
    """Checksum of each of n keys of features, (n,), bound to their space, their origin, and the rules of their pixels.

    Args:
        keys: (n, 34), as :func:`deltaoe.store.shards.content_keys` makes them.
        space_id: id of the feature space.
        view_policy: version of the augmentation rule.
        decode_policy: the oldest rule by which pixels were made.
        origin: ``computed`` or ``imported``.
    """
    same = np.frombuffer(f"{space_id}:{view_policy}:{decode_policy}:{origin}".encode(), dtype=np.uint8)
    return row_sums(np.concatenate([keys, np.broadcast_to(same, (len(keys), len(same)))], axis=1))
