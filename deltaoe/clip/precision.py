"""The arithmetic of the image tower: ``fp32``, ``bf16`` or ``fp16``."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from deltaoe.errors import ModelError
from deltaoe.runtime import PRECISIONS

DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))
# What a user can do where features are not finite, by precision.
NOT_FINITE_HINTS = {
    "fp32": "the weights are damaged, or not made for this architecture",
    "bf16": "use --precision fp32",
    "fp16": "use --precision fp32, or bf16, whose range is as wide",
}


def convert_image_tower(tower: nn.Module, dtype: torch.dtype) -> None:
    """Convert an image tower, in place, to channels-last layout and to the precision it computes in.

    Raises:
        ModelError: a finite weight is not finite in this precision.
    """
    # Convolutions run up to twice as fast on this layout; the numbers stay the same up to rounding.
    tower.to(memory_format=torch.channels_last)
    if dtype == torch.float32:
        return
    tensors = dict(itertools.chain(tower.named_parameters(), tower.named_buffers()))
    before = {name for name, tensor in tensors.items() if tensor.isfinite().all()}
    tower.to(dtype)
    # An infinite variance would not show in the features: its channel would only fall silent.
    tensors = dict(itertools.chain(tower.named_parameters(), tower.named_buffers()))
    for name in before:
        if not tensors[name].isfinite().all():
            raise ModelError(
                f"the weights {name} are out of this precision's range", hint=NOT_FINITE_HINTS["fp16"]
            )
