"""Prompts through CLIP's text tower: exact, with all that classes share computed once.

A prompt is [SOS] and what else all classes share, then each class's own tokens up to EOT. CLIP's text attention is
causal, so (a) what follows EOT can't reach it and is cut off, and (b) hidden states of the shared part are the same
for every class: they run once, and the classes' own tokens attend to its keys and values. Classes are grouped by
the number of their own tokens, so that nothing is padded on a CPU and little on a GPU, and the last layer is computed
at EOT only. All of this is exact: equal to the full 77-token forward up to rounding.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deltaoe.errors import ConfigError, ModelError
from deltaoe.runtime import activation_memory

# What backward keeps of a token in a layer, in units of its width, at 4 bytes: the inputs of both norms (2), queries,
# keys, values (3), QuickGELU's input and its sigmoid (8), attention weights (1). See the test that counts them.
_KEPT = 14 * 4
# Tokens that a GPU may compute on top for fewer groups, each of which takes a dozen small kernels in every layer.
_PADDING = 0.25

KeysValues = tuple[Tensor, Tensor]


def learned(slots: range) -> list[int]:
    """Stand-ins among token ids for learned vectors: vector j of a class is −1 − j."""
    return [-1 - j for j in slots]


@dataclass(frozen=True)
class Suffixes:
    """The classes' own tokens, from the first one that is not shared to EOT; some or all of the classes.

    Attributes:
        tokens: (T,) token ids, concatenated in the order of ``order``; 0 where a learned vector or nothing goes.
        positions: (T,) each token's place within its suffix, from 0.
        groups: (number of classes, tokens per class), for runs of ``order`` with equal length.
        order: (K,) class indices, sorted by length.
        ends: (K,) where each class's EOT lies among ``tokens``.
        lasts: (K,) its place within the suffix; None where no suffix is padded behind it.
        places: (M,) where learned vectors lie among ``tokens``.
        slots: (M,) which of its class's vectors each of them is.
        owners: (M,) to which class each belongs, as a place in ``order``.
    """

    tokens: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    order: Tensor
    ends: Tensor
    lasts: Tensor | None
    places: Tensor
    slots: Tensor
    owners: Tensor

    @classmethod
    def of(
        cls, rows: Sequence[Sequence[int]], device: torch.device, *, padding: float | None = None
    ) -> Suffixes:
        """Build from one list of token ids (or :func:`learned` stand-ins) per class; each ends with EOT.

        Args:
            rows: K of them.
            device: where the classes are encoded.
            padding: how many times as many tokens may be added for fewer groups; None: 0 on a CPU, 0.25 elsewhere.
        """
        return cls._of(rows, _by_length(rows), device, _padding(device) if padding is None else padding)

    @classmethod
    def in_parts(
        cls, rows: Sequence[Sequence[int]], device: torch.device, *, classes: int | None, tokens: int
    ) -> tuple[Suffixes, ...]:
        """The same in parts of at most ``classes`` classes, or else ``tokens`` tokens, and at least one class.

        Sorted by length over all parts, so that groups stay large.
        """
        order, padding = _by_length(rows), _padding(device)
        tokens = max(1, int(tokens / (1 + padding)))
        if classes is None:
            total = sum(map(len, rows))
            # Parts of equal size; a last one of a few tokens would cost as many calls as a full one.
            tokens = math.ceil(total / math.ceil(total / tokens))
        cuts, size = [0], 0
        for place, i in enumerate(order):
            full = size + len(rows[i]) > tokens if classes is None else place - cuts[-1] == classes
            if full and place > cuts[-1]:
                cuts.append(place)
                size = 0
            size += len(rows[i])
        ends = [*cuts[1:], len(order)]
        return tuple(cls._of(rows, order[a:b], device, padding) for a, b in zip(cuts, ends, strict=True))

    @classmethod
    def _of(
        cls, rows: Sequence[Sequence[int]], order: Sequence[int], device: torch.device, padding: float
    ) -> Suffixes:
        own = [len(rows[i]) for i in order]
        wider = _widths(own, padding)
        lengths = [wider[length] for length in own]
        groups = tuple((lengths.count(length), length) for length in sorted(set(lengths)))
        flat = torch.tensor(
            [token for i, length in zip(order, lengths, strict=True) for token in _padded(rows[i], length)]
        )
        owners = torch.arange(len(order)).repeat_interleave(torch.tensor(lengths))
        places = (flat < 0).nonzero()[:, 0]
        lasts = torch.tensor(own) - 1
        return cls(
            tokens=flat.clamp(min=0).to(device),
            positions=torch.tensor([p for length in lengths for p in range(length)], device=device),
            groups=groups,
            order=torch.tensor(order, device=device),
            ends=(torch.tensor([0, *lengths[:-1]]).cumsum(0) + lasts).to(device),
            lasts=lasts.to(device) if lengths != own else None,
            places=places.to(device),
            slots=(-1 - flat[places]).to(device),
            owners=owners[places].to(device),
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest suffix."""
        return max(length for _, length in self.groups)


class TextTower:
    """The parts of an open_clip text tower, for towers on which the shared-prefix form is exact.

    Raises:
        ModelError: the tower is of another kind (not causal, or not open_clip's own transformer).
    """

    def __init__(self, model: nn.Module) -> None:
        text: Any = getattr(model, "text", model)
        blocks = getattr(getattr(text, "transformer", None), "resblocks", None)
        pool = getattr(text, "text_pool_type", getattr(text, "pool_type", None))
        supported = (
            blocks is not None
            and getattr(text, "attn_mask", None) is not None
            and getattr(text, "cls_emb", None) is None
            and pool in {"argmax", "eos"}
            and all(type(block).__name__ == "ResidualAttentionBlock" for block in blocks)
        )
        if not supported:
            raise ModelError(
                "this model's text tower is not the causal transformer of CLIP",
                hint="zero-shot scoring works with it; to tune prompts, use a CLIP model such as ViT-B-16/openai",
            )
        self.blocks: Any = blocks
        self.token_embedding: nn.Embedding = text.token_embedding
        self.positional_embedding: Tensor = text.positional_embedding
        self.ln_final: nn.Module = text.ln_final
        self.projection: Any = text.text_projection
        self.eot_is_largest = pool == "argmax"
        self.eot_id = int(getattr(text, "text_eos_id", getattr(text, "eos_id", -1)))

    @property
    def width(self) -> int:
        """Components of a token embedding."""
        return self.token_embedding.embedding_dim

    @property
    def context_length(self) -> int:
        """The longest prompt, in tokens, SOS and EOT included."""
        return len(self.positional_embedding)

    @property
    def tokens_at_once(self) -> int:
        """How many tokens' activations fit until backward: on a CPU, in 2 GiB, 6,241 in ViT-B/16's text tower.

        All of ImageNet's names fit, at some 4.5 tokens each behind a shared context, so they are computed once.
        """
        room = activation_memory(self.token_embedding.weight.device)
        return max(1, room // (len(self.blocks) * self.width * _KEPT))

    def up_to_eot(self, rows: Tensor) -> list[list[int]]:
        """Cut tokenised rows (K, L) behind their EOT token."""
        ends = rows.argmax(dim=1) if self.eot_is_largest else (rows == self.eot_id).int().argmax(dim=1)
        return [row[: end + 1] for row, end in zip(rows.tolist(), ends.tolist(), strict=True)]

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Token embeddings (n, width), without positions."""
        device = self.token_embedding.weight.device
        embeddings: Tensor = self.token_embedding(torch.tensor(list(tokens), dtype=torch.long, device=device))
        return embeddings

    def encode(self, prefix: Tensor, *parts: Suffixes, vectors: Tensor | None = None) -> Tensor:
        """Text features of all classes, (K, D) unit rows, in the precision of ``prefix`` even under autocast.

        Of several parts, backward computes each one's activations anew, so that no more than one part's are held.

        Args:
            prefix: (P, width) embeddings of SOS and all that is shared, without positions. Gradients flow to it.
            parts: the classes' own tokens; together, the classes 0 to K − 1.
            vectors: what goes into the parts' learned places, without positions: (n, width) for all classes alike,
                or (K, n, width) for each class. Gradients flow to them.

        Raises:
            ConfigError: prefix and longest suffix together exceed the context length.
        """
        length = len(prefix) + max(part.longest for part in parts)
        if length > self.context_length:
            raise ConfigError(
                f"a prompt has {length} tokens, the model reads {self.context_length}",
                hint="shorten the context (--context-length) or the longest class name",
            )
        order = torch.cat([part.order for part in parts])
        shared = self._shared(prefix)
        pooled = []
        for part, own in zip(parts, _per_part(parts, order, vectors), strict=True):
            if len(parts) > 1 and torch.is_grad_enabled():
                pooled.append(
                    checkpoint(self._pooled, shared, part, own, use_reentrant=False, preserve_rng_state=False)
                )
            else:
                pooled.append(self._pooled(shared, part, own))
        return F.normalize(torch.cat(pooled)[order.argsort()], dim=-1)

    def _shared(self, prefix: Tensor) -> list[KeysValues]:
        """The prefix's keys and values in every layer, each (heads, P, width / heads)."""
        p = prefix + self.positional_embedding[: len(prefix)]
        out = []
        for i, block in enumerate(self.blocks):
            q, k, v = _project(block, block.ln_1(p))
            out.append((k, v))
            if i < len(self.blocks) - 1:
                p = _mix(block, p, _attend(q, k, v, [(1, len(p))]))
        return out

    def _pooled(self, shared: Sequence[KeysValues], part: Suffixes, vectors: Tensor | None) -> Tensor:
        """Features of one part's classes, in its order, before normalisation: (K, D)."""
        x = self.token_embedding(part.tokens)
        if vectors is not None and len(part.places):
            slots = part.slots if vectors.ndim == 2 else part.owners * vectors.shape[1] + part.slots
            x = x.index_copy(0, part.places, vectors.flatten(0, -2)[slots])
        x = x + self.positional_embedding[shared[0][0].shape[1] + part.positions]
        for block, front in zip(self.blocks[:-1], shared, strict=False):
            q, k, v = _project(block, block.ln_1(x))
            x = _mix(block, x, _attend(q, k, v, part.groups, front))
        # The last layer at the EOT tokens only; everything else would be thrown away.
        block = self.blocks[-1]
        q, k, v = _project(block, block.ln_1(x), part.ends)
        x = _mix(block, x[part.ends], _attend(q, k, v, part.groups, shared[-1], part.lasts))
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.ln_final(x)
            if isinstance(self.projection, nn.Linear):
                out = self.projection(out)
            elif self.projection is not None:
                out = out @ self.projection
            return out


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all rows share; every row keeps at least its EOT outside."""
    limit = min(len(row) for row in rows) - 1
    first = rows[0]
    for place in range(limit):
        if any(row[place] != first[place] for row in rows):
            return place
    return limit


def _by_length(rows: Sequence[Sequence[int]]) -> list[int]:
    return sorted(range(len(rows)), key=lambda i: len(rows[i]))


def _padding(device: torch.device) -> float:
    return 0.0 if device.type == "cpu" else _PADDING


def _padded(row: Sequence[int], length: int) -> list[int]:
    return [*row, *[0] * (length - len(row))]


def _widths(lengths: Sequence[int], padding: float) -> dict[int, int]:
    """To what each length is padded: the fewest groups whose tokens are at most 1 + ``padding`` times as many."""
    counts = Counter(lengths)
    sizes = sorted(counts)
    until = [0, *itertools.accumulate(counts[size] for size in sizes)]
    # The fewest tokens of the first j sizes in so many groups, and the last size of each group.
    cheapest: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    while padding > 0 and cheapest.get(len(sizes), (math.inf,))[0] > (1 + padding) * sum(lengths):
        cheapest = {
            j: min(
                (total + (until[j] - until[i]) * sizes[j - 1], (*tops, sizes[j - 1]))
                for i, (total, tops) in cheapest.items()
                if i < j
            )
            for j in range(min(cheapest) + 1, len(sizes) + 1)
        }
    tops = cheapest[len(sizes)][1] if padding > 0 else sizes
    return {size: next(top for top in tops if top >= size) for size in sizes}


def _per_part(parts: Sequence[Suffixes], order: Tensor, vectors: Tensor | None) -> Sequence[Tensor | None]:
    """The vectors for each part: all of them if classes share them, else those of its classes."""
    if vectors is None or vectors.ndim == 2:
        return [vectors] * len(parts)
    # One gather for all parts: backward of one in each part would fill K vectors anew every time.
    return torch.split(vectors[order], [len(part.order) for part in parts])


def _project(block: Any, x: Tensor, ends: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (heads, T, width / heads) of normed tokens (T, width); queries at ``ends`` only."""
    attention = block.attn
    weight, bias, width = attention.in_proj_weight, attention.in_proj_bias, x.shape[1]

    def split(rows: Tensor) -> Iterator[Tensor]:
        wide = rows.view(len(rows), -1, attention.num_heads, width // attention.num_heads)
        return iter(wide.permute(1, 2, 0, 3))

    if ends is None:
        q, k, v = split(F.linear(x, weight, bias))
        return q, k, v
    k, v = split(F.linear(x, weight[width:], None if bias is None else bias[width:]))
    (q,) = split(F.linear(x[ends], weight[:width], None if bias is None else bias[:width]))
    return q, k, v


def _mix(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of a block, behind attention: (T, width)."""
    x = x + block.ls_1(block.attn.out_proj(attended))
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    groups: Sequence[tuple[int, int]],
    front: KeysValues | None = None,
    lasts: Tensor | None = None,
) -> Tensor:
    """Causal attention of each class to ``front`` and to itself: (queries, width).

    Softmax runs over the scores of both side by side. Copying the front's keys and values to every class would move
    some five times the memory that the tokens themselves take.

    Args:
        q: (heads, T, d), or (heads, K, d) for the last token of each class alone.
        k, v: (heads, T, d).
        groups: number of classes and tokens per class.
        front: keys and values (heads, P, d) that stand before every class.
        lasts: (K,) places of those last tokens within their classes; None where nothing stands behind them.
    """
    heads, _, d = q.shape
    per_class = q.shape[1] == sum(count for count, _ in groups)
    longest = 1 if per_class else max(length for _, length in groups)
    later = torch.ones(longest, longest, dtype=torch.bool, device=q.device).triu(1)
    # Split rather than sliced: backward of every slice would fill a tensor of full size.
    own = [count * length for count, length in groups]
    sizes = [count for count, _ in groups]
    queries = torch.split(q * d**-0.5, sizes if per_class else own, dim=1)
    behind = [None] * len(groups) if lasts is None or not per_class else torch.split(lasts, sizes)
    out = []
    for (count, length), query, key, value, last in zip(
        groups, queries, torch.split(k, own, dim=1), torch.split(v, own, dim=1), behind, strict=True
    ):
        n = 1 if per_class else length
        keys, values = (t.reshape(heads, count, length, d) for t in (key, value))
        scores = query.reshape(heads, count, n, d) @ keys.transpose(-1, -2)
        if n > 1:
            scores = scores.masked_fill(later[:n, :n], -math.inf)
        elif last is not None:
            padded = torch.arange(length, device=q.device) > last.unsqueeze(1)
            scores = scores.masked_fill(padded.unsqueeze(1), -math.inf)
        if front is None:
            mixed = (scores.softmax(dim=-1) @ values).flatten(1, 2)
        else:
            before = (query @ front[0].transpose(-1, -2)).view(heads, count, n, -1)
            weights = torch.cat([before, scores], dim=-1).softmax(dim=-1)
            before, scores = torch.split(weights, [before.shape[-1], length], dim=-1)
            mixed = (scores @ values).flatten(1, 2) + before.flatten(1, 2) @ front[1]
        out.append(mixed)
    return torch.cat(out, dim=1).transpose(0, 1).flatten(1)
