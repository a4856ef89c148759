"""Prompts through CLIP's text tower: exact, with all that classes share computed once.

A prompt is [SOS][shared part][class tokens][.][EOT]. CLIP's text attention is causal, so (a) what follows EOT
can't reach it and is cut off, and (b) hidden states of the shared part are the same for every class: they run
once, and each class's few own tokens attend to its keys and values. Classes are grouped by the number of their
own tokens, so nothing is padded, and the last layer is computed at EOT only. All of this is exact: equal to the
full 77-token forward up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from deltaoe.errors import ConfigError, ModelError

CONTEXT_STD = 0.02  # of random context vectors, as in CoOp


@dataclass(frozen=True)
class Suffixes:
    """The classes' own tokens, from the first one that differs to EOT.

    Attributes:
        tokens: (T,) token ids of all classes, concatenated in the order of ``order``.
        positions: (T,) each token's place within its suffix, from 0.
        groups: (number of classes, tokens per class), for runs of ``order`` with equal length.
        order: (K,) class indices, sorted by length.
    """

    tokens: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    order: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], device: torch.device) -> Suffixes:
        """Build from one list of token ids per class; each ends with EOT."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        lengths = [len(rows[i]) for i in order]
        groups = tuple((lengths.count(length), length) for length in sorted(set(lengths)))
        return cls(
            tokens=torch.tensor([token for i in order for token in rows[i]], device=device),
            positions=torch.tensor([p for length in lengths for p in range(length)], device=device),
            groups=groups,
            order=torch.tensor(order, device=device),
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

    def up_to_eot(self, rows: Tensor) -> list[list[int]]:
        """Cut tokenised rows (K, L) behind their EOT token."""
        ends = rows.argmax(dim=1) if self.eot_is_largest else (rows == self.eot_id).int().argmax(dim=1)
        return [row[: end + 1] for row, end in zip(rows.tolist(), ends.tolist(), strict=True)]

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Token embeddings (n, width), without positions."""
        device = self.token_embedding.weight.device
        embeddings: Tensor = self.token_embedding(torch.tensor(list(tokens), dtype=torch.long, device=device))
        return embeddings

    def encode(self, prefix: Tensor, suffixes: Suffixes) -> Tensor:
        """Text features of all classes, (K, D) unit rows.

        Args:
            prefix: (P, width) embeddings of SOS and all that is shared, without positions. Gradients flow to it.
            suffixes: the classes' own tokens.

        Raises:
            ConfigError: prefix and longest suffix together exceed the context length.
        """
        shared = len(prefix)
        if shared + suffixes.longest > self.context_length:
            raise ConfigError(
                f"a prompt has {shared + suffixes.longest} tokens, the model reads {self.context_length}",
                hint="shorten the context (--context-length) or the longest class name",
            )
        p = prefix + self.positional_embedding[:shared]
        x = self.token_embedding(suffixes.tokens) + self.positional_embedding[shared + suffixes.positions]
        ends = _ends(suffixes.groups, x.device)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            if i < last:
                p, x = _layer(block, p, x, suffixes.groups)
            else:
                x = _last_layer(block, p, x, suffixes.groups, ends)
        pooled = self.ln_final(x)
        if self.projection is not None:
            linear = isinstance(self.projection, nn.Linear)
            pooled = self.projection(pooled) if linear else pooled @ self.projection
        back = torch.empty_like(suffixes.order)
        back[suffixes.order] = torch.arange(len(back), device=back.device)
        return F.normalize(pooled[back], dim=-1)


class PromptLearner(nn.Module):
    """Context vectors shared by all classes, in front of the class name: [SOS][θ_1..θ_n][class][.][EOT].

    Only ``context`` (n, width) is a parameter; ``forward()`` gives the text features (K, D), unit rows.
    """

    def __init__(self, tower: TextTower, start: int, suffixes: Suffixes, context: Tensor) -> None:
        super().__init__()
        self._tower = tower
        self._suffixes = suffixes
        self._sos = tower.embed([start]).detach()
        self.context = nn.Parameter(context.detach().clone())

    def forward(self) -> Tensor:
        """Text features of all classes, (K, D) unit rows; differentiable in ``context``."""
        return self._tower.encode(torch.cat([self._sos, self.context]), self._suffixes)


def random_context(length: int, width: int, generator: torch.Generator) -> Tensor:
    """Context vectors from N(0, 0.02), (length, width), drawn on the CPU so that every device starts alike."""
    return torch.randn(length, width, generator=generator) * CONTEXT_STD


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all rows share; every row keeps at least its EOT outside."""
    limit = min(len(row) for row in rows) - 1
    first = rows[0]
    for place in range(limit):
        if any(row[place] != first[place] for row in rows):
            return place
    return limit


def _ends(groups: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Where each class's EOT lies among the concatenated suffix tokens."""
    lengths = torch.tensor([length for count, length in groups for _ in range(count)], device=device)
    return lengths.cumsum(0) - 1


def _layer(block: Any, p: Tensor, x: Tensor, groups: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """One transformer block on the shared prefix p (P, W) and all suffix tokens x (T, W)."""
    attention = block.attn
    both = torch.cat([p, x])  # one matrix product for prefix and suffixes alike
    q, k, v = F.linear(block.ln_1(both), attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    mixed = _attend(attention.num_heads, len(p), q, k, v, groups)
    both = both + block.ls_1(attention.out_proj(mixed))
    both = both + block.ls_2(block.mlp(block.ln_2(both)))
    return both[: len(p)], both[len(p) :]


def _last_layer(block: Any, p: Tensor, x: Tensor, groups: Sequence[tuple[int, int]], ends: Tensor) -> Tensor:
    """The last block, at the EOT tokens only: (K, W). Everything else would be thrown away."""
    attention = block.attn
    width = p.shape[1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    normed = block.ln_1(torch.cat([p, x]))
    kv_bias = None if bias is None else bias[width:]
    k, v = F.linear(normed, weight[width:], kv_bias).chunk(2, dim=-1)
    q_bias = None if bias is None else bias[:width]
    q = F.linear(normed[len(p) + ends], weight[:width], q_bias)
    out, at, row = [], len(p), 0
    for count, length in groups:
        keys, values = (_with_prefix(t, len(p), at, count, length, attention.num_heads) for t in (k, v))
        queries = q[row : row + count].view(count, 1, attention.num_heads, -1).transpose(1, 2)
        out.append(
            F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).reshape(count, width)
        )
        at, row = at + count * length, row + count
    y = x[ends] + block.ls_1(attention.out_proj(torch.cat(out)))
    result: Tensor = y + block.ls_2(block.mlp(block.ln_2(y)))
    return result


def _attend(
    heads: int, shared: int, q: Tensor, k: Tensor, v: Tensor, groups: Sequence[tuple[int, int]]
) -> Tensor:
    """Causal attention: the prefix within itself, each suffix to the prefix and itself. All (P + T, W)."""
    width = q.shape[1]
    pq, pk, pv = (t[:shared].view(1, shared, heads, -1).transpose(1, 2) for t in (q, k, v))
    out = [F.scaled_dot_product_attention(pq, pk, pv, is_causal=True).transpose(1, 2).reshape(shared, width)]
    at = shared
    for count, length in groups:
        queries = q[at : at + count * length].view(count, length, heads, -1).transpose(1, 2)
        keys, values = (_with_prefix(t, shared, at, count, length, heads) for t in (k, v))
        mask = torch.ones(length, shared + length, dtype=torch.bool, device=q.device).tril(diagonal=shared)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        out.append(mixed.transpose(1, 2).reshape(count * length, width))
        at += count * length
    return torch.cat(out)


def _with_prefix(t: Tensor, shared: int, at: int, count: int, length: int, heads: int) -> Tensor:
    """Keys or values (count, heads, P + length, W/heads) of one group, the shared ones in front."""
    own = t[at : at + count * length].view(count, length, heads, -1).transpose(1, 2)
    front = t[:shared].view(1, shared, heads, -1).transpose(1, 2).expand(count, -1, -1, -1)
    return torch.cat([front, own], dim=2)
