"""Context vectors that are learned, in front of, behind or around the class's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from deltaoe.clip.text_tower import Suffixes, TextTower, learned
from deltaoe.errors import ConfigError

CONTEXT_STD = 0.02  # of random context vectors, as in CoOp

Position = Literal["end", "middle", "front"]
Precision = Literal["fp32", "bf16", "fp16"]
POSITIONS: tuple[Position, ...] = ("end", "middle", "front")
_AUTOCAST: dict[Precision, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class PromptLearner(nn.Module):
    """Prompts with learned context θ_1..θ_n; SOS comes first, "." and EOT last.

    ============  ===========================================  =======================
    ``position``  prompt                                       shared by all classes
    ============  ===========================================  =======================
    ``end``       [SOS][θ_1..θ_n][class][.][EOT]               [SOS][θ_1..θ_n]
    ``middle``    [SOS][θ_1..θ_h][class][θ_h+1..θ_n][.][EOT]   [SOS][θ_1..θ_h], h = ⌊n/2⌋
    ``front``     [SOS][class][θ_1..θ_n][.][EOT]               [SOS]
    ============  ===========================================  =======================

    With a context for each class, [SOS] alone is shared. What is shared runs once.

    Attributes:
        context: the only parameter, float32: (n, width) for all classes, or (K, n, width) for each class.
        position: where the class's name stands.
        class_specific: whether each class has a context of its own.
        precision: in which the tower computes.
    """

    def __init__(
        self,
        tower: TextTower,
        start: int,
        names: Sequence[Sequence[int]],
        close: Sequence[int],
        context: Tensor,
        *,
        position: Position = "end",
        chunk: int | None = None,
        precision: Precision = "fp32",
    ) -> None:
        """Put prompts together.

        Args:
            tower: encodes them.
            start: SOS.
            names: the tokens of each class's name.
            close: "." and EOT.
            context: where to start, on the tower's device: (n, width), or (K, n, width) for one per class.
            position: where the name stands.
            chunk: number of classes to encode at a time; None: all, or so many that the activations kept for
                backward take 2 GiB, on a GPU an eighth of its memory (:attr:`TextTower.tokens_at_once`).
            precision: ``bf16`` and ``fp16`` compute the tower under autocast. Context and features are float32
                all the same. Gradients of ``fp16`` may vanish: scale the loss (``torch.amp.GradScaler``).

        Raises:
            ConfigError: an unknown position or precision, or ``chunk`` < 1.
        """
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
        # How many of the vectors are in the prefix that all classes share.
        self._shared = 0 if self.class_specific else before
        head, tail = learned(range(self._shared, before)), learned(range(before, length))
        self._tower = tower
        self._suffixes = Suffixes.in_parts(
            [[*head, *name, *tail, *close] for name in names],
            context.device,
            classes=chunk,
            tokens=tower.tokens_at_once,
        )
        self._sos = tower.embed([start]).detach()

    def forward(self) -> Tensor:
        """Text features of all classes, (K, D) unit rows, float32; differentiable in :attr:`context`."""
        return self.encode(self.context)

    def encode(self, context: Tensor) -> Tensor:
        """The same with another context of the same shape."""
        dtype = _AUTOCAST[self.precision]
        # Nothing it could remember changes while prompts are learned but the context.
        with torch.autocast(context.device.type, dtype, enabled=dtype is not None, cache_enabled=False):
            prefix = torch.cat([self._sos, context[: self._shared]]) if self._shared else self._sos
            return self._tower.encode(prefix, *self._suffixes, vectors=context)

    def for_all(self) -> Tensor:
        """One context (n, width) for names of any class: the mean over classes where each has its own."""
        context = self.context.detach()
        return context.mean(dim=0) if self.class_specific else context


def random_context(*shape: int, generator: torch.Generator) -> Tensor:
    """Context vectors from N(0, 0.02), (n, width) or (K, n, width), on the CPU so that every device starts alike."""
    return torch.randn(*shape, generator=generator) * CONTEXT_STD
