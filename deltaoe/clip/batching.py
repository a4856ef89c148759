"""Batches as large as memory lets them be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltaoe.errors import ConfigError, ModelError
from deltaoe.runtime import free_memory, is_out_of_memory
from deltaoe.store.feature_space import FeatureSpace

CPU_BATCH = 32  # larger ones only take memory there
ACCELERATOR_BATCH = 256


class PixelEncoder(Protocol):
    """What a batch is put through: :class:`deltaoe.clip.frozen.FrozenClip`, or its like."""

    space: FeatureSpace
    device: torch.device

    def encode_pixels(self, pixels: NDArray[np.uint8], /) -> Tensor:
        """Pixels (B, H, W, 3) to features (B, D)."""
        ...


class BatchEncoder:
    """Encodes any number of pictures, in batches that shrink for good when memory runs out.

    Args:
        clip: encodes a batch.
        batch_size: pictures per call of the model, to begin with; None takes 32 on a CPU, 256 elsewhere.
        notify: told in a sentence when batches become smaller.

    Attributes:
        batch_size: pictures per call of the model, from now on.

    Raises:
        ConfigError: the batch size is below 1.
    """

    def __init__(
        self,
        clip: PixelEncoder,
        batch_size: int | None = None,
        notify: Callable[[str], None] = lambda message: None,
    ) -> None:
        if batch_size is None:
            batch_size = CPU_BATCH if clip.device.type == "cpu" else ACCELERATOR_BATCH
        if batch_size < 1:
            raise ConfigError(f"the batch size must be at least 1, not {batch_size}")
        self.batch_size = batch_size
        self._clip = clip
        self._notify = notify

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels (n, H, W, 3), n from 0, to features (n, D) in the same order.

        Raises:
            ModelError: memory does not even hold the model's work on a single picture; or a feature is not finite.
        """
        done = 0
        features = [np.empty((0, self._clip.space.dim), dtype=np.float32)]
        while done < len(pixels):
            part = pixels[done : done + self.batch_size]
            found = self._try(part)
            if found is None:
                self._shrink(len(part))
            else:
                features.append(found)
                done += len(part)
        return np.concatenate(features)

    def _try(self, part: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        try:
            found: NDArray[np.float32] = self._clip.encode_pixels(part).numpy()
        except (RuntimeError, MemoryError) as cause:
            if not is_out_of_memory(cause):
                raise
            # The exception holds the frames that hold the activations: no memory is free before it is gone.
            return None
        return found

    def _shrink(self, failed: int) -> None:
        free_memory(self._clip.device)
        if failed == 1:
            elsewhere = "close other programs" if self._clip.device.type == "cpu" else "--device cpu"
            raise ModelError(
                "out of memory, even with a single image at a time",
                hint=f"use a smaller model, or {elsewhere}",
            )
        self.batch_size = failed // 2
        self._notify(f"out of memory: batches of {self.batch_size} from now on")
