"""Encoding pictures in batches that shrink when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltaoe.errors import ConfigError, ModelError
from deltaoe.runtime import copy_to, free_memory, is_out_of_memory
from deltaoe.store.feature_space import FeatureSpace

CPU_BATCH = 32  # pictures; larger batches only take memory there
ACCELERATOR_BATCH = 256  # pictures


class PixelEncoder(Protocol):
    """An encoder of batches, such as :class:`deltaoe.clip.frozen.FrozenClip`.

    Attributes:
        space: identity of the features' space; ``space.dim`` is D.
        device: the device of the computation.
    """

    space: FeatureSpace
    device: torch.device

    def encode_pixels(self, pixels: Pixels, /) -> Tensor:
        """Features (B, D) float32, on the CPU, of pixels (B, H, W, 3) uint8, an array or a tensor on the device."""
        ...


Pixels: TypeAlias = NDArray[np.uint8] | Tensor  # (n, H, W, 3) uint8


def joined(parts: Sequence[Pixels], device: torch.device) -> Pixels:
    """Pixels (n, H, W, 3) uint8 of several parts: an array, or a tensor on the device if a part is there already.

    What was made on the device is to be kept until the pixels have been encoded.
    """
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts):
        return np.concatenate(arrays)
    return torch.cat(
        [
            copy_to(torch.from_numpy(np.require(part, requirements=["C", "W"])), device)
            if isinstance(part, np.ndarray)
            else part
            for part in parts
        ]
    )


class BatchEncoder:
    """Encodes any number of pictures, in batches whose size is halved for good when memory runs out.

    Args:
        clip: the encoder of one batch.
        batch_size: pictures per call of the encoder at first; None means 32 on a CPU, 256 elsewhere.
        notify: called with a sentence when batches become smaller.

    Attributes:
        batch_size: pictures per call of the encoder at present.

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

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Features (n, D) float32 of pixels (n, H, W, 3) uint8, in the same order; n may be 0.

        Raises:
            ModelError: memory runs out even with a single picture, or a feature is not finite.
        """
        done = 0
        features = [np.empty((0, self._clip.space.dim), dtype=np.float32)]
        while done < len(pixels):
            batch = pixels[done : done + self.batch_size]
            encoded = self._encode_if_it_fits(batch)
            if encoded is None:
                self._shrink(len(batch))
            else:
                features.append(encoded)
                done += len(batch)
        return np.concatenate(features)

    def _encode_if_it_fits(self, batch: Pixels) -> NDArray[np.float32] | None:
        """Features of a batch, or None where memory ran out."""
        try:
            features: NDArray[np.float32] = self._clip.encode_pixels(batch).numpy()
        except (RuntimeError, MemoryError) as cause:
            if not is_out_of_memory(cause):
                raise
            # The exception holds the frames that hold the activations: no memory is free before it is gone.
            return None
        return features

    def _shrink(self, failed: int) -> None:
        """Halve the batch size, after a batch of ``failed`` pictures. Raises ModelError where that was one."""
        free_memory(self._clip.device)
        if failed == 1:
            elsewhere = "close other programs" if self._clip.device.type == "cpu" else "--device cpu"
            raise ModelError(
                "out of memory, even with a single image at a time",
                hint=f"use a smaller model, or {elsewhere}",
            )
        self.batch_size = failed // 2
        self._notify(f"out of memory: batches of {self.batch_size} from now on")
