"""The folder that a page's commands find: what its sentences presuppose, made of drawn pictures.

Every page finds ``images`` (four classes of 24 pictures), ``unknown``, ``textures`` and ``inbox`` with pictures of none
of them, ``sketches`` with other pictures of the classes, and ``photo.jpg``. Pages that begin where nothing is yet find
no workspace; all others one in which ``images`` was extracted and a detector tuned, named ``shop-v1``.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tiny import HUES, make_noise, make_pictures

COLOURS = ("red", "green", "blue", "white", "black", "grey", "golden", "brown", "orange", "violet")
THINGS = ("cat", "dog", "horse", "house", "car", "boat", "tree", "chair", "bottle", "guitar", "bird", "fish")
# Pages whose reader has images and nothing else.
FRESH = {"README.md", "docs/index.md", "docs/tutorial.md"}


def make_folder(folder: Path, pictures: Path) -> None:
    """What every page finds."""
    shutil.copytree(pictures, folder / "images")
    make_noise(folder / "unknown", 6)
    for place in ("textures", "scenes"):
        make_noise(folder / place, 8)
    for number, name in enumerate(HUES):
        make_pictures(folder / "sketches" / name, 3, seed=50 + number)
    shutil.copytree(folder / "unknown", folder / "inbox")
    for file in sorted((folder / "sketches").rglob("*.png")):
        shutil.copy(file, folder / "inbox" / f"{file.parent.name}-{file.name}")
    with Image.open(folder / "inbox" / "0.png") as image:
        image.convert("RGB").save(folder / "photo.jpg")
        image.convert("RGB").save(folder / "inbox" / "0.jpg")


# The features of the small model, which nobody trained, lie closer together than those of a trained one.
VARIABLES = {"docs/how-to/discover.md": {"DELTAOE_DISTANCE": "0.1", "DELTAOE_DUPLICATES": "0.99999"}}
Prepare = Callable[[Path, Path], None]
PREPARED: dict[str, Prepare] = {}


def prepares(page: str) -> Callable[[Prepare], Prepare]:
    """Mark a function that adds to the folder of a page; it gets the folder, and that of the small model."""

    def add(function: Prepare) -> Prepare:
        PREPARED[page] = function
        return function

    return add


@prepares("docs/explanation/pixels.md")
def deep_images(folder: Path, model: Path) -> None:
    """Images of 14 bits in files of 16, and temperatures in kelvin."""
    del model
    rng = np.random.default_rng(0)
    for kind in ("microscope", "thermal"):
        for number in range(4):
            place = folder / kind / ("cell", "yeast")[number % 2] / f"{number}.tif"
            place.parent.mkdir(parents=True, exist_ok=True)
            if kind == "microscope":
                Image.fromarray(rng.integers(0, 1 << 14, (40, 40)).astype(np.uint16)).save(place)
            else:
                Image.fromarray(rng.uniform(285, 315, (40, 40)).astype(np.float32)).save(place)


@prepares("docs/explanation/scale.md")
def many_labels(folder: Path, model: Path) -> None:
    """A list of labels."""
    del model
    (folder / "names.txt").write_text(
        "".join(f"{first} {second}\n" for first in COLOURS for second in THINGS), encoding="utf-8"
    )


@prepares("docs/how-to/configuration.md")
def model_beside(folder: Path, model: Path) -> None:
    """The model that the defaults file names."""
    shutil.copytree(model, folder / "clip")


@prepares("docs/how-to/offline.md")
def own_model(folder: Path, model: Path) -> None:
    """A model folder of one's own."""
    shutil.copytree(model, folder / "my-clip")


@prepares("docs/how-to/detectors.md")
def earlier_detectors(folder: Path, model: Path) -> None:
    """A detector of earlier, and one that was not given a name."""
    del model
    detectors = folder / ".deltaoe" / "detectors"
    for name in ("shop-v0", "16-shots-843b0c5d9e21"):
        shutil.copy(detectors / "shop-v1.safetensors", detectors / f"{name}.safetensors")


@prepares("docs/how-to/discover.md")
def kinds_of_unknown(folder: Path, model: Path) -> None:
    """Unknown images of six kinds."""
    del model
    shutil.rmtree(folder / "unknown")
    (folder / "unknown").mkdir()
    rng = np.random.default_rng(1)
    for kind in range(6):
        base = np.kron(rng.integers(0, 2, (3, 3, 3)) * 255, np.ones((16, 16, 1)))
        for number in range(18):
            light = np.kron(rng.normal(0, 60, (3, 3, 3)), np.ones((16, 16, 1)))
            noise = rng.normal(0, 20, base.shape)
            pixels = np.clip(base + light + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "unknown" / f"{kind}-{number:02d}.png")


@prepares("docs/how-to/features.md")
def features_of_others(folder: Path, model: Path) -> None:
    """Files of features, the first with labels and text features, and no detector."""
    del model
    rng = np.random.default_rng(4)
    names = ["cat", "dog", "horse"]
    text = rng.normal(size=(3, 16))
    labels = np.repeat([0, 1, 2], 30)
    shutil.rmtree(folder / ".deltaoe" / "detectors")
    mine = text[labels] + rng.normal(0, 0.6, (90, 16))
    np.savez(folder / "mine.npz", features=mine, labels=labels, class_names=names, text_features=text)
    np.savez(folder / "others.npz", features=rng.normal(size=(12, 16)))


@prepares("docs/how-to/report.md")
def selected_paths(folder: Path, model: Path) -> None:
    """The list that the report's page saves, and a folder to copy to."""
    del model
    found = sorted((folder / "unknown").iterdir())
    lines = "".join(f"{file.relative_to(folder)}\n" for file in found)
    (folder / "paths.txt").write_text(lines, encoding="utf-8")
    (folder / "to-look-at").mkdir()


@prepares("docs/how-to/own-data.md")
def own_data(folder: Path, model: Path) -> None:
    """Globs, a table, class folders of WordNet's numbers, tars of images, and three classes with 20 images each."""
    del model
    for file in folder.rglob("*.jpg"):
        file.unlink()
    pictures = sorted((folder / "images").rglob("*.png"))
    for number, picture in enumerate(pictures[::4]):
        with Image.open(picture) as image:
            for place in ("photos", "more", "archive/2024"):
                target = folder / place / picture.parent.name / f"{place[0]}{number}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                image.resize((40 + len(place), 40)).save(target)
    rows = [(str(file.relative_to(folder)), file.parent.name) for file in pictures]
    lines = "".join(f"{path},{name}\n" for path, name in rows)
    (folder / "images.csv").write_text("path,class\n" + lines, encoding="utf-8")
    for name in ("n02123045", "n02123159"):
        make_noise(folder / "images" / name, 20)
    (folder / "shards").mkdir()
    for number in range(2):
        with tarfile.open(folder / "shards" / f"{number:05d}.tar", "w") as tar:
            for picture in pictures[number::2]:
                tar.add(picture, f"{picture.parent.name}/{picture.name}")
    with tarfile.open(folder / "new.tar", "w") as tar:
        for picture in sorted((folder / "unknown").iterdir()):
            tar.add(picture, picture.name)
    for name in [*HUES][:3]:
        target = folder / "few" / "images" / name
        target.mkdir(parents=True)
        for picture in sorted((folder / "images" / name).iterdir())[:20]:
            shutil.copy(picture, target)
