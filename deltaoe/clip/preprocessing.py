"""From bytes to the numbers that an image tower takes: torchvision's ToTensor and Normalize, in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deltaoe.errors import ModelError
from deltaoe.images.geometry import Geometry


@dataclass(frozen=True)
class Scaling:
    """(x / 255 − mean) / deviation, in float32 and in this order, so that every bit is as of torchvision.

    Attributes:
        full: 255, as a tensor: a GPU multiplies by the reciprocal of a plain number, which rounds otherwise.
        mean: (3 W,), a row of pixels; ``deviation``: likewise. Whole rows make long loops: on a CPU, three values
            at a time would take four times as long.
    """

    full: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Scaling:
        """What an open_clip ``preprocess_cfg`` says, on the CPU.

        Raises:
            ModelError: its mean or deviation has no usable value.
        """
        rows = []
        for name in ("mean", "std"):
            value = settings[name]
            channels = list(value) if isinstance(value, list | tuple) else [value] * 3
            try:
                row = torch.tensor(channels, dtype=torch.float32)
            except (TypeError, ValueError, RuntimeError):
                row = torch.tensor([])
            if len(row) != 3 or not row.isfinite().all() or (name == "std" and (row == 0).any()):
                raise ModelError(
                    f"the model's preprocessing has {name} {value!r}, which cannot be used",
                    hint="check preprocess_cfg in the model's open_clip_config.json",
                )
            rows.append(row.repeat(Geometry.of(settings).width))
        return cls(torch.tensor(255.0), *rows)

    def to(self, device: torch.device) -> Scaling:
        """The same for pixels on a device."""
        return Scaling(self.full.to(device), self.mean.to(device), self.deviation.to(device))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels (B, H, W, 3) uint8, contiguous, to (B, 3, H, W) float32, channels last in memory."""
        rows = pixels.flatten(start_dim=2).float()
        rows.div_(self.full).sub_(self.mean).div_(self.deviation)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)
