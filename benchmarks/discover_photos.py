"""The photographs that grouping is measured on: their features, and those of copies that were changed a little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from deltaoe.clip.options import ModelOptions
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions
from deltaoe.store.workspace import Workspace

Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def unit(rows: npt.ArrayLike) -> Rows:
    """Rows of unit length."""
    made = np.asarray(rows, dtype=np.float64)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


class Photos(NamedTuple):
    """Features of the photographs: PACS with classes and domains, others with classes, and changed copies."""

    features: Rows
    classes: Labels
    domains: npt.NDArray[np.str_]
    others: Rows
    other_classes: Labels
    copies: dict[str, Rows]


def extract_photos(shared: Path, folder: Path) -> Photos:
    """Encode the photographs, and copies of some of them that were changed in ways that keep what they show."""
    workspace = Workspace(folder / ".deltaoe")
    model = ModelOptions(model=f"local-dir:{shared / 'models' / 'photo-clip'}")
    options = ExtractOptions(model=model)
    photos = shared / "data" / "photos"
    changes: dict[str, Callable[[Image.Image], Image.Image]] = {
        "original": lambda image: image,
        "brighter by 15 %": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
        "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "5 % cut off each side": lambda image: image.crop(
            (image.width // 20, image.height // 20, image.width * 19 // 20, image.height * 19 // 20)
        ),
        "JPEG of quality 30": lambda image: image,
        "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    }
    sources = [
        *sorted((photos / "pacs-mini" / "photo").glob("*/*.jpg"))[::4],
        *sorted((photos / "ood-mini").glob("*/*.jpg"))[::6],
    ]
    for name, change in changes.items():
        (folder / "copies" / name).mkdir(parents=True, exist_ok=True)
        for number, source in enumerate(sources):
            with Image.open(source) as opened:
                changed = change(opened.convert("RGB"))
            target = folder / "copies" / name / f"{number:03}"
            if name == "original":
                changed.save(target.with_suffix(".png"))
            else:
                changed.save(target.with_suffix(".jpg"), quality=30 if name.startswith("JPEG") else 88)
    found = [
        extract(str(one), workspace, options).data
        for one in (photos / "pacs-mini", photos / "ood-mini", folder / "copies")
    ]
    pacs, others, copies = ((data, workspace.features_of(data).features(data.digests)) for data in found)
    stems = ["_".join(path.split("_")[:-1]).removesuffix("_image") for path in others[0].paths]
    where = np.array([path.split("/")[0] for path in copies[0].paths])
    return Photos(
        features=unit(pacs[1]),
        classes=pacs[0].class_of,
        domains=np.array([path.split("/")[0] for path in pacs[0].paths]),
        others=unit(others[1]),
        other_classes=np.unique(stems, return_inverse=True)[1] + 100,
        copies={name: unit(copies[1][where == name]) for name in changes},
    )
