"""The tokens of prompts after their shared prefix, packed so that many classes are encoded at once.

All prompts of a classifier begin with the same tokens, the *prefix* ([SOS] and perhaps a shared context). What
remains of a class's prompt, up to and including EOT, is its *suffix*. Suffixes are sorted by length and concatenated;
those of equal length form a group, so that a CPU computes no padding and a GPU little.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Share of tokens that a GPU may compute in addition, as padding, for fewer groups: each group takes a dozen small
# kernels in every layer.
_GPU_PADDING = 0.25


def learned_vector_ids(indices: range) -> list[int]:
    """Stand-ins for learned vectors in a list of token ids: vector j of a class is written −1 − j.

    Example:
        >>> [*learned_vector_ids(range(2)), 320, 49407]
        [-1, -2, 320, 49407]
    """
    return [-1 - j for j in indices]


def common_prefix_length(rows: Sequence[Sequence[int]]) -> int:
    """Number of leading token ids that all rows share, at most the shortest row's length − 1: EOT stays outside.

    Example:
        >>> common_prefix_length([[1, 5, 6, 9], [1, 5, 9]])
        2
    """
    limit = min(len(row) for row in rows) - 1
    first = rows[0]
    for position in range(limit):
        if any(row[position] != first[position] for row in rows):
            return position
    return limit


@dataclass(frozen=True)
class Suffixes:
    """The suffixes of K classes (of all classes, or of one batch of them), T tokens in total.

    Attributes:
        tokens: (T,) token ids, concatenated in the order of ``order``; 0 at learned vectors and at padding.
        positions: (T,) position of each token within its suffix, from 0.
        groups: (number of classes, tokens per class) of each run of classes with equally long suffixes.
        order: (K,) class indices, sorted by suffix length.
        eot_indices: (K,) index of each class's EOT among ``tokens``.
        eot_positions: (K,) position of EOT within the suffix; None where no suffix is padded.
        learned_indices: (M,) indices of learned vectors among ``tokens``.
        learned_vectors: (M,) number of each of these vectors within its class, from 0.
        learned_classes: (M,) class that each of them belongs to, as an index into ``order``.
    """

    tokens: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    order: Tensor
    eot_indices: Tensor
    eot_positions: Tensor | None
    learned_indices: Tensor
    learned_vectors: Tensor
    learned_classes: Tensor

    @classmethod
    def of(
        cls, rows: Sequence[Sequence[int]], device: torch.device, *, padding: float | None = None
    ) -> Suffixes:
        """Pack the suffixes of all classes.

        Args:
            rows: K lists of token ids (or :func:`learned_vector_ids`), each ending with EOT.
            device: the text tower's device.
            padding: padding tokens that may be added for fewer groups, as a share of all tokens; None: 0 on a CPU,
                0.25 elsewhere.

        Example:
            >>> suffixes = Suffixes.of([[7, 8, 9], [7, 9], [8, 9]], torch.device("cpu"))
            >>> suffixes.groups, suffixes.order.tolist(), suffixes.tokens.tolist()
            (((2, 2), (1, 3)), [1, 2, 0], [7, 9, 8, 9, 7, 8, 9])
        """
        share = _default_padding(device) if padding is None else padding
        return cls._pack(rows, _order_by_length(rows), device, share)

    @classmethod
    def batches(
        cls,
        rows: Sequence[Sequence[int]],
        device: torch.device,
        *,
        max_classes: int | None,
        max_tokens: int,
    ) -> tuple[Suffixes, ...]:
        """Pack the suffixes in batches of at most ``max_classes`` classes or, if that is None, ``max_tokens`` tokens.

        A batch holds at least one class. Classes are sorted by length over all batches, so that groups stay large.
        """
        order, padding = _order_by_length(rows), _default_padding(device)
        max_tokens = max(1, int(max_tokens / (1 + padding)))
        if max_classes is None:
            total = sum(map(len, rows))
            # Batches of equal size; a last one of a few tokens would cost as many calls as a full one.
            max_tokens = math.ceil(total / math.ceil(total / max_tokens))
        starts, size = [0], 0
        for index, i in enumerate(order):
            classes = index - starts[-1]
            full = size + len(rows[i]) > max_tokens if max_classes is None else classes == max_classes
            if full and classes > 0:
                starts.append(index)
                size = 0
            size += len(rows[i])
        ends = [*starts[1:], len(order)]
        return tuple(cls._pack(rows, order[a:b], device, padding) for a, b in zip(starts, ends, strict=True))

    @classmethod
    def _pack(
        cls, rows: Sequence[Sequence[int]], order: Sequence[int], device: torch.device, padding: float
    ) -> Suffixes:
        """Pack the rows of the classes ``order``, which are sorted by length."""
        unpadded = [len(rows[i]) for i in order]
        padded = _padded_lengths(unpadded, padding)
        lengths = [padded[length] for length in unpadded]
        groups = tuple((lengths.count(length), length) for length in sorted(set(lengths)))
        flat = torch.tensor(
            [
                token
                for i, length in zip(order, lengths, strict=True)
                for token in [*rows[i], *[0] * (length - len(rows[i]))]
            ]
        )
        classes = torch.arange(len(order)).repeat_interleave(torch.tensor(lengths))
        learned = (flat < 0).nonzero()[:, 0]
        eot = torch.tensor(unpadded) - 1
        return cls(
            tokens=flat.clamp(min=0).to(device),
            positions=torch.tensor([p for length in lengths for p in range(length)], device=device),
            groups=groups,
            order=torch.tensor(order, device=device),
            eot_indices=(torch.tensor([0, *lengths[:-1]]).cumsum(0) + eot).to(device),
            eot_positions=eot.to(device) if lengths != unpadded else None,
            learned_indices=learned.to(device),
            learned_vectors=(-1 - flat[learned]).to(device),
            learned_classes=classes[learned].to(device),
        )

    @property
    def longest(self) -> int:
        """Number of tokens of the longest suffix, padding included."""
        return max(length for _, length in self.groups)


def _order_by_length(rows: Sequence[Sequence[int]]) -> list[int]:
    return sorted(range(len(rows)), key=lambda i: len(rows[i]))


def _default_padding(device: torch.device) -> float:
    return 0.0 if device.type == "cpu" else _GPU_PADDING


def _padded_lengths(lengths: Sequence[int], padding: float) -> dict[int, int]:
    """For each length the one it is padded to: the fewest groups with at most 1 + ``padding`` times the tokens."""
    counts = Counter(lengths)
    sizes = sorted(counts)
    cumulative = [0, *itertools.accumulate(counts[size] for size in sizes)]
    # After g rounds, cheapest[j] is the least number of tokens of the j smallest sizes in g groups, and each group's
    # longest size.
    cheapest: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    while padding > 0 and cheapest.get(len(sizes), (math.inf,))[0] > (1 + padding) * sum(lengths):
        cheapest = {
            j: min(
                (total + (cumulative[j] - cumulative[i]) * sizes[j - 1], (*tops, sizes[j - 1]))
                for i, (total, tops) in cheapest.items()
                if i < j
            )
            for j in range(min(cheapest) + 1, len(sizes) + 1)
        }
    tops = cheapest[len(sizes)][1] if padding > 0 else sizes
    return {size: next(top for top in tops if top >= size) for size in sizes}
