"""CLIP's text tower for many prompts that share a prefix: exact, with the prefix computed once.

CLIP's text attention is causal. So (a) tokens after EOT cannot influence it and are left out, and (b) the hidden
states of the prefix are the same for every class: they are computed once, and every class's suffix attends to the
prefix's keys and values. The last layer is computed at EOT alone. All of this is exact: equal to the full forward of
77 tokens per prompt, up to rounding **[derived]**.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deltaoe.clip.prefix_attention import KeysValues, add_residuals, attend, project
from deltaoe.clip.prompt_suffixes import Suffixes
from deltaoe.errors import ConfigError, ModelError
from deltaoe.runtime import activation_memory

# Bytes that backward holds of a token in a layer, per component of its width, at 4 bytes each: the inputs of both
# norms (2), queries, keys and values (3), QuickGELU's input and its sigmoid (8), attention weights (1). A test counts.
_ACTIVATION_BYTES = 14 * 4


class TextTower:
    """The text transformer of an open_clip model, for which computing a shared prefix once is exact.

    Args:
        model: an open_clip model.

    Attributes:
        blocks: the transformer's layers.
        token_embedding: token ids to vectors of :attr:`width` components.
        positional_embedding: (:attr:`context_length`, width).
        ln_final: normalises the last layer's output at EOT.
        projection: of that to features of D components; a matrix (width, D), a linear layer or None.

    Raises:
        ModelError: the text tower is of another kind (not causal, or not open_clip's own transformer).
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
                "prompts cannot be tuned: this model's text tower is not the causal transformer of CLIP",
                hint="deltaoe tune --evidence images learns from images alone, and deltaoe score works without tuning; "
                "to tune prompts, use a CLIP model such as ViT-B-16/openai",
            )
        self.blocks: Any = blocks
        self.token_embedding: nn.Embedding = text.token_embedding
        self.positional_embedding: Tensor = text.positional_embedding
        self.ln_final: nn.Module = text.ln_final
        self.projection: Any = text.text_projection
        self._eot_is_largest = pool == "argmax"
        self._eot_id = int(getattr(text, "text_eos_id", getattr(text, "eos_id", -1)))

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
        """Number of tokens whose activations fit into :func:`deltaoe.runtime.activation_memory` until backward.

        On a CPU that is 2 GiB: 6,241 tokens in the text tower of ViT-B/16. ImageNet's 1,000 names have some 4.5
        tokens each after a shared context, so they are computed in one batch.
        """
        memory = activation_memory(self.token_embedding.weight.device)
        return max(1, memory // (len(self.blocks) * self.width * _ACTIVATION_BYTES))

    def up_to_eot(self, rows: Tensor) -> list[list[int]]:
        """Lists of token ids from tokenised prompts (K, L), each cut off after its EOT token."""
        ends = rows.argmax(dim=1) if self._eot_is_largest else (rows == self._eot_id).int().argmax(dim=1)
        return [row[: end + 1] for row, end in zip(rows.tolist(), ends.tolist(), strict=True)]

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Token embeddings (n, width) of n token ids, positions not added."""
        device = self.token_embedding.weight.device
        embeddings: Tensor = self.token_embedding(torch.tensor(list(tokens), dtype=torch.long, device=device))
        return embeddings

    def encode(self, prefix: Tensor, *batches: Suffixes, vectors: Tensor | None = None) -> Tensor:
        """Text features of all classes, (K, D) unit rows, in the precision of ``prefix`` even under autocast.

        With several batches, backward computes each one's activations again, so that no more than one batch's are
        held at a time.

        Args:
            prefix: (P, width) embeddings of SOS and all else that is shared, positions not added. Gradients flow to
                it.
            batches: the suffixes; together, of the classes 0 to K − 1.
            vectors: learned vectors in the suffixes, positions not added: (n, width) for all classes alike, or
                (K, n, width) for each class. Gradients flow to them.

        Raises:
            ConfigError: prefix and longest suffix together exceed the context length.
        """
        length = len(prefix) + max(batch.longest for batch in batches)
        if length > self.context_length:
            raise ConfigError(
                f"a prompt has {length} tokens, the model reads {self.context_length}",
                hint="shorten the context (--context-length) or the longest class name",
            )
        order = torch.cat([batch.order for batch in batches])
        prefix_layers = self._prefix_layers(prefix)
        features = []
        for batch, learned in zip(batches, _vectors_of(batches, order, vectors), strict=True):
            if len(batches) > 1 and torch.is_grad_enabled():
                features.append(
                    checkpoint(
                        self._encode_batch,
                        prefix_layers,
                        batch,
                        learned,
                        use_reentrant=False,
                        preserve_rng_state=False,
                    )
                )
            else:
                features.append(self._encode_batch(prefix_layers, batch, learned))
        return F.normalize(torch.cat(features)[order.argsort()], dim=-1)

    def _prefix_layers(self, prefix: Tensor) -> list[KeysValues]:
        """The prefix's keys and values in every layer, each (heads, P, width / heads)."""
        p = prefix + self.positional_embedding[: len(prefix)]
        out = []
        for i, block in enumerate(self.blocks):
            q, k, v = project(block, block.ln_1(p))
            out.append((k, v))
            if i < len(self.blocks) - 1:
                p = add_residuals(block, p, attend(q, k, v, [(1, len(p))]))
        return out

    def _encode_batch(
        self, prefix_layers: Sequence[KeysValues], batch: Suffixes, vectors: Tensor | None
    ) -> Tensor:
        """Features of one batch's classes, in its order, before normalisation: (K, D)."""
        x = self.token_embedding(batch.tokens)
        if vectors is not None and len(batch.learned_indices):
            row = batch.learned_vectors
            if vectors.ndim == 3:
                row = batch.learned_classes * vectors.shape[1] + row
            x = x.index_copy(0, batch.learned_indices, vectors.flatten(0, -2)[row])
        x = x + self.positional_embedding[prefix_layers[0][0].shape[1] + batch.positions]
        for block, prefix in zip(self.blocks[:-1], prefix_layers, strict=False):
            q, k, v = project(block, block.ln_1(x))
            x = add_residuals(block, x, attend(q, k, v, batch.groups, prefix))
        # The last layer at the EOT tokens only; everything else would be thrown away.
        block, eot = self.blocks[-1], batch.eot_indices
        q, k, v = project(block, block.ln_1(x), eot)
        attended = attend(q, k, v, batch.groups, prefix_layers[-1], batch.eot_positions)
        x = add_residuals(block, x[eot], attended)
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.ln_final(x)
            if isinstance(self.projection, nn.Linear):
                out = self.projection(out)
            elif self.projection is not None:
                out = out @ self.projection
            return out


def _vectors_of(
    batches: Sequence[Suffixes], order: Tensor, vectors: Tensor | None
) -> Sequence[Tensor | None]:
    """The learned vectors for each batch: all of them if classes share them, else those of its classes."""
    if vectors is None or vectors.ndim == 2:
        return [vectors] * len(batches)
    # One gather for all batches: backward of one in each batch would fill K vectors anew every time.
    return torch.split(vectors[order], [len(batch.order) for batch in batches])
