"""Contrastive training of the demo's small CLIP, from random weights.

The loss is CLIP's (Radford et al., ICML 2021) **[source]**, at a size that two CPU cores train within an hour. The
vocabulary holds only tokens that captions can hold, so that no time goes into 49,000 embeddings that never change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from deltaoe.clip.prompt_suffixes import Suffixes
from deltaoe.clip.text_tower import TextTower
from deltaoe.runtime import generator, keep_freed_memory

BETAS = (0.9, 0.98)  # AdamW's
LARGEST_SCALE = 100.0  # CLIP's own bound of its logit scale, the factor on cosines
_BRIGHTNESS = 0.2  # pictures are made darker or lighter by up to this share


@dataclass(frozen=True)
class Schedule:
    """AdamW with a learning rate that rises linearly, then falls to 0 along a cosine.

    Attributes:
        steps: optimiser steps, one batch each.
        batch: pictures per batch.
        rate: the largest learning rate, after the warm-up.
        weight_decay: of weights with two or more dimensions; others have none.
        warmup: steps in which the learning rate rises.
        seed: of initial weights, batches and crops.
    """

    steps: int
    batch: int
    rate: float
    weight_decay: float
    warmup: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """A trained model, with embeddings of the vocabulary's tokens alone.

    Attributes:
        weights: float32 arrays by their names in open_clip's state dictionary.
        tokens: (n,) ids, in CLIP's vocabulary, of the n rows of the token embedding.
        vocabulary: number of tokens in CLIP's vocabulary.
    """

    weights: Mapping[str, npt.NDArray[Any]]
    tokens: npt.NDArray[np.int32]
    vocabulary: int


class Vocabulary:
    """CLIP's byte-pair tokens, as far as the given texts hold them, renumbered from 0. EOT stays the largest.

    Attributes:
        size: number of tokens in CLIP's vocabulary.
        tokens: ids of this vocabulary's tokens in CLIP's, ascending.
        start: SOS, renumbered.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self._tokenizer = SimpleTokenizer()
        self.size = int(self._tokenizer.vocab_size)
        self.tokens: list[int] = self._tokenizer(list(texts)).unique().tolist()
        self._place = {token: place for place, token in enumerate(self.tokens)}
        self._rows: dict[str, list[int]] = {}
        self.start = self._place[self._tokenizer.sot_token_id]

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Renumbered tokens of each text, without SOS, up to and including EOT."""
        missing = [text for text in texts if text not in self._rows]
        if missing:
            end = self._tokenizer.eot_token_id
            for text, row in zip(missing, self._tokenizer(missing).tolist(), strict=True):
                self._rows[text] = [self._place[token] for token in row[1 : row.index(end) + 1]]
        return [self._rows[text] for text in texts]


def train(
    pixels: npt.NDArray[np.uint8],
    caption: Callable[[int], str],
    vocabulary: Vocabulary,
    config: Mapping[str, Any],
    schedule: Schedule,
    on_step: Callable[[int, float, float], None],
) -> Trained:
    """Train both towers on pictures and their captions.

    Args:
        pixels: (n, S, S, 3) uint8 pictures, S at least the model's image size; crops are taken from them.
        caption: from a picture's index to a caption, a different one at each call.
        vocabulary: holds every token of every caption.
        config: open_clip's configuration, with ``model_cfg`` and ``preprocess_cfg``.
        schedule: the optimiser's settings.
        on_step: called with the number of steps done, the loss, and the logit scale.
    """
    import open_clip

    torch.manual_seed(schedule.seed)
    torch.use_deterministic_algorithms(True)
    # Filling memory that is about to be written costs a third of the time, and changes nothing here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    keep_freed_memory()
    shape = config["model_cfg"]
    model = open_clip.CLIP(
        embed_dim=shape["embed_dim"],
        vision_cfg=shape["vision_cfg"],
        text_cfg={**shape["text_cfg"], "vocab_size": len(vocabulary.tokens)},
    ).train()
    model.visual.to(memory_format=torch.channels_last)
    tower = TextTower(model)
    optimiser = _optimiser(model, schedule)
    shuffle, crops = generator(schedule.seed), generator(schedule.seed + 1)
    for step, rows in zip(
        range(schedule.steps), _batches(len(pixels), schedule.batch, shuffle), strict=False
    ):
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, schedule)
        batch = _augmented(pixels[rows], config["preprocess_cfg"], crops)
        images = F.normalize(model.encode_image(batch), dim=-1)
        captions = [caption(int(row)) for row in rows]
        distinct = {text: place for place, text in enumerate(dict.fromkeys(captions))}
        suffixes = Suffixes.of(vocabulary.rows(list(distinct)), images.device)
        texts = tower.encode(tower.embed([vocabulary.start]), suffixes)
        scale = model.logit_scale.exp()
        loss = _loss(scale * images @ texts.T, torch.tensor([distinct[text] for text in captions]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(LARGEST_SCALE))
        on_step(step + 1, loss.item(), scale.item())
    state = model.state_dict()
    return Trained(
        {name: tensor.contiguous().numpy() for name, tensor in state.items() if name != "attn_mask"},
        np.array(vocabulary.tokens, dtype=np.int32),
        vocabulary.size,
    )


def _optimiser(model: torch.nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW, with weight decay on matrices and kernels alone."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.rate, betas=BETAS, fused=True)


def _rate(step: int, schedule: Schedule) -> float:
    """The learning rate of a step, counted from 0."""
    if step < schedule.warmup:
        return schedule.rate * (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.rate * 0.5 * (1 + math.cos(math.pi * done))


def _batches(count: int, batch: int, shuffle: torch.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of pictures, batch after batch without end; in each epoch no picture comes twice."""
    batch = min(batch, count)
    while True:
        order = torch.randperm(count, generator=shuffle).numpy()
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]


def _augmented(pixels: npt.NDArray[np.uint8], settings: Mapping[str, Any], crops: torch.Generator) -> Tensor:
    """The model's input (B, 3, H, W): random crops of pictures (B, S, S, 3), mirrored and lit at random."""
    n, size = len(pixels), int(settings["size"])
    whole = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    least = size / pixels.shape[1]
    side = least + (1 - least) * torch.rand(n, generator=crops)
    shift = (1 - side)[:, None] * (2 * torch.rand(n, 2, generator=crops) - 1)
    mirror = 1 - 2 * (torch.rand(n, generator=crops) < 0.5).float()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = side * mirror, side, shift
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    light = 1 + _BRIGHTNESS * (2 * torch.rand(n, 1, 1, 1, generator=crops) - 1)
    mean, std = (torch.tensor(settings[name]).view(3, 1, 1) for name in ("mean", "std"))
    out = (F.grid_sample(whole, grid, align_corners=False) * light - mean) / std
    return out.contiguous(memory_format=torch.channels_last)


def _loss(logits: Tensor, column: Tensor) -> Tensor:
    """CLIP's contrastive loss in both directions, a scalar.

    Args:
        logits: (B, T) scaled cosines of B images with T distinct texts.
        column: (B,) each image's text. Several images may share one; then each is an equally right answer to it.
    """
    of_images = F.cross_entropy(logits, column)
    share = F.one_hot(column, logits.shape[1]).to(logits.dtype)
    share = share / share.sum(dim=0)
    of_texts = -(share * F.log_softmax(logits, dim=0)).sum(dim=0).mean()
    return (of_images + of_texts) / 2
