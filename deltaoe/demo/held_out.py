"""Zero-shot accuracy of a pretrained model on pictures that were not drawn for its training."""

from __future__ import annotations

from pathlib import Path

import torch

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import LOCAL_DIR, ModelRef
from deltaoe.demo import world
from deltaoe.demo.packed_clip import unpack
from deltaoe.demo.picture import draw
from deltaoe.progress import Event, OnEvent, silent

_SIZE, _EACH = 160, 8  # pixels of a side; pictures of each class in each style


def accuracy(packed: Path, folder: Path, on: OnEvent = silent) -> dict[str, float]:
    """Zero-shot top-1 accuracy, 0 to 1, by style, over all classes of pretraining.

    Args:
        packed: the packed model's file.
        folder: where the model is unpacked.
        on: receives progress events.

    Raises:
        ModelError, StoreError: the file is no packed model, the folder cannot be written.
    """
    unpack(packed, folder)
    clip = FrozenClip.load(ModelRef(f"{LOCAL_DIR}{folder}"), torch.device("cpu"), offline=True)
    texts = clip.encode_text([f"a photo of a {name}." for name in world.PRETRAINED])
    right: dict[str, float] = {}
    for style in world.STYLE_SHARES:
        hits = 0
        for place, name in enumerate(world.PRETRAINED):
            drawn = [draw(name, style, _SIZE, "held-out", number)[0] for number in range(_EACH)]
            features = clip.encode_images(torch.stack([clip.preprocess(image) for image in drawn]))
            hits += int(((features @ texts.T).argmax(dim=1) == place).sum())
            on(Event(f"Reading {style}", place + 1, len(world.PRETRAINED)))
        right[style] = hits / (len(world.PRETRAINED) * _EACH)
    return right
