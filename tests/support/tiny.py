"""A model and pictures small enough to be made anew for every test run."""

from __future__ import annotations

import colorsys
import json
from pathlib import Path

import numpy as np
from PIL import Image

HUES = {"blue_waves": 0.62, "green_checks": 0.36, "red_stripes": 0.0, "yellow_dots": 0.14}


def make_model(folder: Path, seed: int) -> Path:
    """Write such a model folder; another seed gives other weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text).state_dict()
    preprocess = {"size": 32, "mode": "RGB", "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    folder.mkdir(parents=True)
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}), encoding="utf-8"
    )
    return folder


def make_pictures(folder: Path, count: int, seed: int) -> None:
    """Draw ``count`` different pictures into a folder; its name, one of ``HUES``, says what they look like."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48]
    for i in range(count):
        step, shift = rng.uniform(4, 9), rng.uniform(0, 9)
        across = np.sin((x + shift) * np.pi / step), np.sin((y + shift) * np.pi / step)
        light = {
            "blue_waves": np.sin((x + 8 * np.sin(y / step)) / step),
            "green_checks": np.sign(across[0] * across[1]),
            "red_stripes": np.sign(across[1]),
            "yellow_dots": np.sign(across[0] + across[1] - 1),
        }[folder.name]
        colour = np.array(colorsys.hsv_to_rgb(HUES[folder.name] + rng.uniform(0, 0.04), 0.85, 1.0))
        pixels = colour * (0.65 + 0.35 * light[..., None]) + rng.normal(0, 0.03, (48, 48, 3))
        Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8)).save(folder / f"{i:02d}.png")


def make_noise(folder: Path, count: int) -> None:
    """Pictures unlike all classes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def make_unknown(folder: Path) -> None:
    """Three new pictures of a class in ``red_stripes``, and three unlike all classes in ``noise``."""
    make_pictures(folder / "red_stripes", 3, seed=10)
    make_noise(folder / "noise", 3)
