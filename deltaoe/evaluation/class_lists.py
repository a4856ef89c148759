"""Class folders that a recipe chooses and names: written as a list, which is read like any other list."""

from __future__ import annotations

import csv
import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from deltaoe.clip.imagenet import imagenet_names
from deltaoe.errors import DataError, ModelError
from deltaoe.images.inputs import find_files
from deltaoe.images.labels import tidy
from deltaoe.progress import Event, OnEvent
from deltaoe.store.atomic import replacing

# "imagenet": folders named by WordNet numbers get ImageNet's class names. A table: these folders only, folder → name.
Classes = Literal["imagenet"] | Mapping[str, str]


def choose_folders(given: str, classes: Classes, path: Path, on: OnEvent, *, own: bool) -> str:
    """The place to take images from instead of ``given``: a list with the classes' names, or ``given`` itself.

    Args:
        given: a folder of class folders, or any other input.
        classes: which of its folders, and their names.
        path: where the list is written, if there is anything to choose or to name.
        on: told what happens.
        own: the user named ``given`` for this very part: it stays as it is where none of its folders is meant.

    Raises:
        DataError: it has no images, or a table's classes are not there.
        ModelError: ImageNet's names are not installed.
        StoreError: the list cannot be written.
    """
    if not os.path.isdir(given):
        return given
    files = find_files([given], on_found=lambda n: on(Event("Listing files", n)))
    homes = [relative.partition("/")[0] if "/" in relative else "" for relative in files.relative]
    namer = _namer(classes, set(homes))
    named = {home: namer(home) for home in set(homes)}
    if classes == "imagenet" and all(found in {None, tidy(home)} for home, found in named.items()):
        return given
    rows = [(files.path(i), found) for i, home in enumerate(homes) if (found := named[home]) is not None]
    if not rows:
        if own or classes == "imagenet":
            return given
        folder, word = next(iter(classes.items()))
        raise DataError(
            f"{given} has no folder of the recipe's classes",
            hint=f"they are named {folder}, or {word}, and so on; --id DIR or --ood NAME=DIR takes any folder as it is",
        )
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        table = csv.writer(out)
        table.writerow(("path", "class"))
        table.writerows((os.path.abspath(file), found) for file, found in rows)
    return os.fspath(path)


def _namer(classes: Classes, folders: set[str]) -> Callable[[str], str | None]:
    """Folder → the name of its class, None where it is left out."""
    if classes == "imagenet":
        numbers, names = imagenet_folders(), imagenet_names()
        # ImageNet-V2 counts its folders in the order of the classes.
        counted = {str(i) for i in range(len(names))} <= folders
        known = dict(zip(map(str, range(len(names))) if counted else numbers, names, strict=True))
        return lambda folder: known.get(folder, tidy(folder)) if folder else None
    words = {name.casefold(): name for name in classes.values()}
    return lambda folder: classes.get(folder, words.get(tidy(folder).casefold()))


def imagenet_folders() -> tuple[str, ...]:
    """The 1,000 WordNet numbers that ImageNet's folders are named by, in the order of the classes.

    Raises:
        ModelError: this timm, which open_clip needs, does not have them where they are looked for.
    """
    package = importlib.util.find_spec("timm")
    try:
        folder = Path((package.submodule_search_locations or [])[0]) if package else Path()
        text = (folder / "data" / "_info" / "imagenet_synsets.txt").read_text("ascii")
    except (OSError, IndexError) as cause:
        raise ModelError(
            "this version of timm has no list of ImageNet's folders",
            hint="name the class folders in words, or a list with a column class: --id LIST.csv",
        ) from cause
    return tuple(text.split())
