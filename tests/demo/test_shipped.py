"""The model in the package: small, of the recipe's shape, and aligned."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from deltaoe.demo import shipped, world
from deltaoe.demo.captions import vocabulary
from deltaoe.demo.contrastive import Vocabulary
from deltaoe.demo.packed_clip import unpack
from deltaoe.demo.picture import draw
from deltaoe.demo.pretrain import CONFIG

WORKSHOP = (sys.executable, "-m", "deltaoe_cli.workshop")


def test_it_is_small_and_made_by_this_recipe() -> None:
    with resources.as_file(resources.files("deltaoe.demo") / shipped.FILE) as path:
        assert path.stat().st_size <= 8_000_000
        with safe_open(path, "numpy") as file:
            assert json.loads(file.metadata()["open_clip_config"]) == CONFIG
            tokens = file.get_tensor("deltaoe.tokens")
    words = vocabulary((*world.PRETRAINED, *world.UNSEEN, *world.SEEN_PATTERNS))
    assert tokens.tolist() == Vocabulary(words).tokens


def test_plain_open_clip_names_what_it_sees(small_clip: Path) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{small_clip}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{small_clip}")
    names = world.PRETRAINED
    drawn = [draw(name, style, 96, "shipped") for name in names for style in ("photo", "painting")]
    with torch.no_grad():
        texts = model.eval().encode_text(tokenizer([f"a photo of a {n}." for n in names]), normalize=True)
        images = model.encode_image(torch.stack([preprocess(image) for image, _ in drawn]), normalize=True)
    told = (images @ texts.T).argmax(dim=1).tolist()
    right = [names[i] == subject.kind for i, (_, subject) in zip(told, drawn, strict=True)]
    assert np.mean(right) > 0.7  # chance is 1 in 43


def test_the_workshop_trains_one(tmp_path: Path) -> None:
    packed = tmp_path / "clip.safetensors"
    command = [*WORKSHOP, "pretrain", str(packed), "--pictures", "70", "--steps", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "70 pictures drawn" in done.stderr and "Training 2/2" in done.stderr
    unpack(packed, tmp_path / "model")
    open_clip.create_model(f"local-dir:{tmp_path / 'model'}")
    subprocess.run([*WORKSHOP, "sheet", str(tmp_path / "sheet.png"), "key"], check=True)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height == 96


@pytest.mark.slow
def test_the_workshop_compares(tmp_path: Path) -> None:
    with resources.as_file(resources.files("deltaoe.demo") / shipped.FILE) as path:
        done = subprocess.run([*WORKSHOP, "compare", str(path)], capture_output=True, text=True, check=True)
    assert "the same, to the bit" in done.stderr
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[2:])
    for style, numbers in rows.items():
        given, ours = map(float, numbers.split())
        assert given == ours > 0.6, style
