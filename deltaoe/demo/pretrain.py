"""Pretraining of the demo's CLIP: captioned pictures are drawn and learned within an hour on two CPU cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.demo import world
from deltaoe.demo.captions import caption, vocabulary
from deltaoe.demo.contrastive import Schedule, Vocabulary, train
from deltaoe.demo.packed_clip import pack
from deltaoe.demo.patterns import PATTERNS
from deltaoe.demo.picture import Subject, draw, generators
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.runtime import process_pool

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 192,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 2, 1], "width": 16, "head_width": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
    },
    "preprocess_cfg": {
        "size": 64,
        "mode": "RGB",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    },
}
_DRAWN = 72  # pixels of a side; larger than the model's input, so that there is something to crop
_CHUNK = 64


@dataclass(frozen=True)
class Pretraining:
    """Settings of pretraining.

    Attributes:
        pictures: number of pictures drawn.
        vague: share of captions that name no object.
        schedule: of the optimiser.
    """

    pictures: int = 40_000
    vague: float = 0.15
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=2400, batch=256, rate=2e-3, weight_decay=0.1, warmup=150, seed=0
        )
    )


@dataclass(frozen=True)
class Renders:
    """Drawn pictures.

    Attributes:
        pixels: (n, S, S, 3) uint8.
        subjects: what each of the n pictures shows.
    """

    pixels: npt.NDArray[np.uint8]
    subjects: Sequence[Subject]


def render(count: int, seed: int, on: OnEvent = silent) -> Renders:
    """Draw ``count`` pictures for pretraining, in as many processes as there are CPUs."""
    chunks = [(seed, start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    pixels = np.empty((count, _DRAWN, _DRAWN, 3), dtype=np.uint8)
    subjects: list[Subject] = []
    with process_pool() as pool:
        for part, shown in pool.map(_render_chunk, chunks):
            pixels[len(subjects) : len(subjects) + len(shown)] = part
            subjects += shown
            on(Event("Drawing", len(subjects), count))
    return Renders(pixels, subjects)


def _render_chunk(chunk: tuple[int, int, int]) -> tuple[npt.NDArray[np.uint8], list[Subject]]:
    seed, start, end = chunk
    pixels, subjects = [], []
    for number in range(start, end):
        r, noises = generators("pretraining", seed, number)
        if r.random() < world.PATTERN_SHARE:
            subject = Subject(r.choice(world.SEEN_PATTERNS))
            image = PATTERNS[subject.kind](_DRAWN, r, noises)
        else:
            kind = r.choice(world.PRETRAINED)
            style = r.choices(list(world.STYLE_SHARES), list(world.STYLE_SHARES.values()))[0]
            image, subject = draw(kind, style, _DRAWN, "pretraining", seed, number)
        pixels.append(np.asarray(image))
        subjects.append(subject)
    return np.stack(pixels), subjects


def pretrain(renders: Renders, recipe: Pretraining, on: OnEvent = silent) -> bytes:
    """Train on the pictures and return the packed model, the bytes of :func:`deltaoe.demo.packed_clip.pack`."""
    words, _ = generators("captions", recipe.schedule.seed)
    steps = recipe.schedule.steps
    trained = train(
        renders.pixels,
        lambda i: caption(renders.subjects[i], words, recipe.vague),
        Vocabulary(vocabulary((*world.PRETRAINED, *world.UNSEEN, *world.SEEN_PATTERNS))),
        CONFIG,
        recipe.schedule,
        lambda step, loss, scale: on(Event("Training", step, steps, {"loss": loss, "scale": scale})),
    )
    assert trained.vocabulary == CONFIG["model_cfg"]["text_cfg"]["vocab_size"]  # noqa: S101 - of open_clip
    return pack(CONFIG, trained.weights, trained.tokens)
