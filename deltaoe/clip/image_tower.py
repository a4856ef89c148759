"""The image side of a CLIP model as one module in single precision: from pixels in bytes to unit features."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from deltaoe.clip.preprocessing import Scaling


class ImageTower(nn.Module):
    """What :meth:`deltaoe.clip.frozen.FrozenClip.encode_pixels` computes, in float32, on the CPU.

    Args:
        model: the open_clip model. It is moved and converted in place: weights in half precision become float32 with
            the values that they have.
        scaling: its scaling of pixels, on the CPU.
    """

    def __init__(self, model: Any, scaling: Scaling) -> None:
        super().__init__()
        self._model = model
        self._scaling = scaling
        model.visual.to(device=torch.device("cpu"), dtype=torch.float32).to(
            memory_format=torch.contiguous_format
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Image features (B, D) of pixels (B, H, W, 3) uint8: unit rows, float32."""
        features: Tensor = F.normalize(self._model.encode_image(self._scaling(pixels)), dim=-1)
        return features
