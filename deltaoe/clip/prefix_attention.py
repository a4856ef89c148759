"""One layer of CLIP's text transformer over packed suffixes that share a prefix's keys and values.

Tensors of tokens are (T, width); those of attention are (heads, T, d) with d = width / heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]


def project(block: Any, x: Tensor, queries_at: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (heads, T, d) of normalised tokens ``x`` (T, width).

    With ``queries_at`` (K,), indices of tokens, queries are computed at those tokens alone: (heads, K, d).
    """
    attention = block.attn
    weight, bias, width = attention.in_proj_weight, attention.in_proj_bias, x.shape[1]

    def split(rows: Tensor) -> Iterator[Tensor]:
        wide = rows.view(len(rows), -1, attention.num_heads, width // attention.num_heads)
        return iter(wide.permute(1, 2, 0, 3))

    if queries_at is None:
        q, k, v = split(F.linear(x, weight, bias))
        return q, k, v
    k, v = split(F.linear(x, weight[width:], None if bias is None else bias[width:]))
    (q,) = split(F.linear(x[queries_at], weight[:width], None if bias is None else bias[:width]))
    return q, k, v


def add_residuals(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    """A block's output (T, width): ``x`` plus the attention's output projection, then plus the MLP of that."""
    x = x + block.ls_1(block.attn.out_proj(attended))
    out: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return out


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    groups: Sequence[tuple[int, int]],
    prefix: KeysValues | None = None,
    eot_positions: Tensor | None = None,
) -> Tensor:
    """Causal attention of each class's tokens to the prefix and to the class's own tokens: (queries, width).

    One softmax runs over the scores of both. Copying the prefix's keys and values to every class instead would move
    some five times the memory that the tokens themselves take **[derived]**.

    Args:
        q: (heads, T, d), or (heads, K, d) for the EOT of each class alone.
        k: (heads, T, d); ``v``: likewise.
        groups: number of classes and tokens per class.
        prefix: keys and values (heads, P, d) of tokens that precede every class's.
        eot_positions: (K,) positions of EOT within their suffixes; None where no suffix is padded.
    """
    heads, _, d = q.shape
    eot_only = q.shape[1] == sum(count for count, _ in groups)
    longest = 1 if eot_only else max(length for _, length in groups)
    later = torch.ones(longest, longest, dtype=torch.bool, device=q.device).triu(1)
    # Split rather than sliced: backward of every slice would fill a tensor of full size.
    tokens = [count * length for count, length in groups]
    classes = [count for count, _ in groups]
    queries = torch.split(q * d**-0.5, classes if eot_only else tokens, dim=1)
    if eot_positions is None or not eot_only:
        eots: Sequence[Tensor | None] = [None] * len(groups)
    else:
        eots = torch.split(eot_positions, classes)
    out = []
    for (count, length), query, key, value, eot in zip(
        groups, queries, torch.split(k, tokens, dim=1), torch.split(v, tokens, dim=1), eots, strict=True
    ):
        n = 1 if eot_only else length
        keys, values = (t.reshape(heads, count, length, d) for t in (key, value))
        scores = query.reshape(heads, count, n, d) @ keys.transpose(-1, -2)
        if n > 1:
            scores = scores.masked_fill(later[:n, :n], -math.inf)
        elif eot is not None:
            padded = torch.arange(length, device=q.device) > eot.unsqueeze(1)
            scores = scores.masked_fill(padded.unsqueeze(1), -math.inf)
        if prefix is None:
            mixed = (scores.softmax(dim=-1) @ values).flatten(1, 2)
        else:
            prefix_scores = (query @ prefix[0].transpose(-1, -2)).view(heads, count, n, -1)
            weights = torch.cat([prefix_scores, scores], dim=-1).softmax(dim=-1)
            # The names are used again for the weights, so that the scores' memory is free for the products.
            prefix_scores, scores = torch.split(weights, [prefix_scores.shape[-1], length], dim=-1)
            mixed = (scores @ values).flatten(1, 2) + prefix_scores.flatten(1, 2) @ prefix[1]
        out.append(mixed)
    return torch.cat(out, dim=1).transpose(0, 1).flatten(1)
