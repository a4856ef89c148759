"""The folder that a page's commands find: what its sentences presuppose, made of drawn pictures.

Every page finds ``images`` (four classes of 24 pictures), ``unknown``, ``textures`` and ``inbox`` with pictures of none
of them, ``sketches`` with other pictures of the classes, and ``photo.jpg``. Pages that begin where nothing is yet find
no workspace; all others one in which ``images`` was extracted and a detector tuned, named ``shop-v1``.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tiny import HUES, make_noise, make_pictures

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
    for file in sorted((folder / "images").rglob("0[0-3].png")):
        shutil.copy(file, folder / "inbox" / f"{file.parent.name}-{file.name}")
    with Image.open(folder / "inbox" / "0.png") as image:
        image.convert("RGB").save(folder / "photo.jpg")
        image.convert("RGB").save(folder / "inbox" / "0.jpg")


PREPARED: dict[str, Callable[[Path, Path], None]] = {}


def prepares(page: str) -> Callable[[Callable[[Path, Path], None]], None]:
    """Mark a function that adds to the folder of a page; it gets the folder, and that of the small model."""

    def add(function: Callable[[Path, Path], None]) -> None:
        PREPARED[page] = function

    return add


@prepares("docs/how-to/own-data.md")
def own_data(folder: Path, model: Path) -> None:
    """Globs, a table, names of folders, tars, and 20 images of three classes."""


del csv, np
