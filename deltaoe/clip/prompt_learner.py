"""Prompts with learned context vectors before, after or around the class's name (CoOp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from deltaoe.clip.prompt_suffixes import Suffixes, learned_vector_ids
from deltaoe.clip.prompt_tokens import PromptTokens, Tokenizer, prompt_of
from deltaoe.clip.text_tower import TextTower
from deltaoe.errors import ConfigError

CONTEXT_STD = 0.02  # of random context vectors, as in CoOp
CONTEXT_LENGTH = 16  # of random contexts, as in CoOp

Position = Literal["end", "middle", "front"]
Precision = Literal["fp32", "bf16", "fp16"]
POSITIONS: tuple[Position, ...] = ("end", "middle", "front")
_AUTOCAST: dict[Precision, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class PromptLearner(nn.Module):
    """K prompts with learned context vectors θ_1..θ_n, as in CoOp (Zhou et al., IJCV 2022) **[source]**.

    ============  ===========================================  =======================
    ``position``  prompt                                       shared by all classes
    ============  ===========================================  =======================
    ``end``       [SOS][θ_1..θ_n][class][.][EOT]               [SOS][θ_1..θ_n]
    ``middle``    [SOS][θ_1..θ_h][class][θ_h+1..θ_n][.][EOT]   [SOS][θ_1..θ_h], h = ⌊n/2⌋
    ``front``     [SOS][class][θ_1..θ_n][.][EOT]               [SOS]
    ============  ===========================================  =======================

    With a context for each class, [SOS] alone is shared. The shared part is computed once.

    Args:
        tower: the text tower that encodes the prompts.
        sos: token id of SOS.
        names: K lists of token ids, of the classes' names.
        ending: token ids of "." and EOT.
        context: initial context vectors, on the tower's device: (n, width), or (K, n, width) for one context per class.
        position: where the name stands relative to the context vectors.
        chunk: number of classes to encode at a time; None: all, or as many as :attr:`TextTower.tokens_at_once` allows.
        precision: arithmetic of the tower; ``bf16`` and ``fp16`` run it under autocast. Context and features are
            float32 in any case. Gradients of ``fp16`` may vanish: scale the loss (``torch.amp.GradScaler``).

    Attributes:
        context: the only parameter, float32: (n, width) for all classes, or (K, n, width) for each class.
        position: where the class's name stands.
        class_specific: whether each class has its own context.
        precision: arithmetic of the tower.
        tokens: what the tower reads of the K prompts; None unless they were made of names.

    Raises:
        ConfigError: an unknown position or precision, or ``chunk`` < 1.
    """

    def __init__(
        self,
        tower: TextTower,
        sos: int,
        names: Sequence[Sequence[int]],
        ending: Sequence[int],
        context: Tensor,
        *,
        position: Position = "end",
        chunk: int | None = None,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        if position not in POSITIONS:
            raise ConfigError(
                f"unknown class token position {position!r}", hint=f"use {', '.join(POSITIONS)}"
            )
        if precision not in _AUTOCAST:
            raise ConfigError(f"unknown precision {precision!r}", hint=f"use {', '.join(_AUTOCAST)}")
        if chunk is not None and chunk < 1:
            raise ConfigError(f"classes at a time must be at least 1, not {chunk}")
        self.position = position
        self.precision = precision
        self.class_specific = context.ndim == 3
        self.context = nn.Parameter(context.detach().clone())
        length = context.shape[-2]
        before = {"end": length, "middle": length // 2, "front": 0}[position]
        # Number of context vectors in the prefix that all classes share.
        self._in_prefix = 0 if self.class_specific else before
        left = learned_vector_ids(range(self._in_prefix, before))
        right = learned_vector_ids(range(before, length))
        self._tower = tower
        self._suffixes = Suffixes.batches(
            [[*left, *name, *right, *ending] for name in names],
            context.device,
            max_classes=chunk,
            max_tokens=tower.tokens_at_once,
        )
        self._sos = tower.embed([sos]).detach()
        self.tokens: PromptTokens | None = None

    @classmethod
    def for_names(
        cls,
        tower: TextTower,
        tokenizer: Tokenizer,
        class_names: Sequence[str],
        context: Tensor,
        *,
        position: Position,
        chunk: int | None,
        precision: Precision,
    ) -> PromptLearner:
        """A learner whose prompts are the tokenised ``class_names`` with the given context.

        A prompt that is longer than the tower reads is cut at the end of the class's name, as zero-shot prompts are
        cut. :attr:`tokens` says which.

        Raises:
            ConfigError: a prompt is longer than the tower reads, and the context is more than half of that; or as for
                the class itself.
        """
        if position == "end":
            # With the full stop, as one text: "!" and "." are one token.
            texts, stop = [prompt_of("{}.", name) for name in class_names], []
        else:
            texts = [prompt_of("{}", name) for name in class_names]
            stop = tower.up_to_eot(tokenizer(["."]))[0][1:-1]
        read = PromptTokens.of(texts, tokenizer)
        rows = tower.up_to_eot(tokenizer(texts))
        length = context.shape[-2]
        lengths = np.where(read.lengths > 0, read.lengths, list(map(len, rows))) + length + len(stop)
        longest = int(lengths.argmax())
        if lengths[longest] > tower.context_length and 2 * length > tower.context_length:
            raise ConfigError(
                f"the prompt for class {class_names[longest]!r} has {lengths[longest]} tokens, "
                f"the model reads {tower.context_length}",
                hint="shorten --context-length, or rename the class with deltaoe extract --classes FILE",
            )
        names = [row[1:-1][: tower.context_length - length - len(stop) - 2] for row in rows]
        learner = cls(
            tower,
            rows[0][0],
            names,
            [*stop, rows[0][-1]],
            context,
            position=position,
            chunk=chunk,
            precision=precision,
        )
        first: dict[tuple[int, ...], int] = {}
        learner.tokens = PromptTokens(
            first=np.array(
                [first.setdefault(tuple(name), i) for i, name in enumerate(names)], dtype=np.int64
            ),
            lengths=np.where(lengths > tower.context_length, lengths, 0),
            limit=tower.context_length,
        )
        return learner

    def forward(self) -> Tensor:
        """Text features of all classes, (K, D) unit rows, float32; differentiable in :attr:`context`."""
        return self.encode(self.context)

    def encode(self, context: Tensor) -> Tensor:
        """The same features for another ``context`` of the same shape; differentiable in it."""
        dtype = _AUTOCAST[self.precision]
        # Autocast's cache holds casts of leaves with a gradient: the context alone, which every step changes.
        with torch.autocast(context.device.type, dtype, enabled=dtype is not None, cache_enabled=False):
            prefix = torch.cat([self._sos, context[: self._in_prefix]]) if self._in_prefix else self._sos
            return self._tower.encode(prefix, *self._suffixes, vectors=context)

    def class_independent_context(self) -> Tensor:
        """One context (n, width) for names of any class: the mean over classes where each has its own **[reading]**."""
        context = self.context.detach()
        return context.mean(dim=0) if self.class_specific else context


def random_context(*shape: int, generator: torch.Generator) -> Tensor:
    """Random context vectors from N(0, 0.02²), (n, width) or (K, n, width), as CoOp starts **[source]**.

    They are drawn on the CPU, so that every device starts from the same ones.

    Example:
        >>> random_context(16, 512, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([16, 512])
    """
    return torch.randn(*shape, generator=generator) * CONTEXT_STD


def phrase_context(tower: TextTower, tokenizer: Tokenizer, phrase: str, length: int | None) -> Tensor:
    """Context vectors (n, width) from the token embeddings of a phrase, such as "a photo of a".

    They are repeated or cut to ``length``; None means the phrase's own number of tokens.

    Raises:
        ConfigError: the phrase holds no words.
    """
    words = tower.up_to_eot(tokenizer([phrase]))[0][1:-1]
    if not words:
        raise ConfigError("the context phrase holds no words", hint='for example "a photo of a"')
    return tower.embed([words[i % len(words)] for i in range(length or len(words))]).detach()
