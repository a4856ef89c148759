"""From pixels in bytes to an image tower's input: torchvision's ToTensor and Normalize, in batches."""

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
    """(x / 255 − mean) / deviation per channel, in float32 and in this order: bit for bit as in torchvision.

    Mean and deviation are repeated for a row of pixels. That makes long loops: on a CPU, three values at a time would
    take four times as long.

    Attributes:
        full: 255, as a tensor: a GPU multiplies by the reciprocal of a plain number, which rounds differently.
        mean: (3 W,), the channels' means for a row of W pixels, on the scale 0 to 1.
        deviation: (3 W,), likewise the standard deviations.

    Example:
        >>> scaling = Scaling.of({"size": 2, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]})
        >>> scaling(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))[0, 0].tolist()
        [[2.0, 2.0], [2.0, 2.0]]
    """

    full: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Scaling:
        """The scaling of an open_clip ``preprocess_cfg``, on the CPU.

        Raises:
            ModelError: its mean or standard deviation has no usable value.
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
        """The same scaling, for pixels on another device."""
        return Scaling(self.full.to(device), self.mean.to(device), self.deviation.to(device))

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) float32, channels last in memory, of contiguous pixels (B, H, W, 3) uint8."""
        rows = pixels.flatten(start_dim=2).float()
        rows.div_(self.full).sub_(self.mean).div_(self.deviation)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)
