"""Class folders that a protocol selects and names, written as a list file that is read like any other list."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from deltaoe.errors import DataError
from deltaoe.images.csv_cells import text_cell
from deltaoe.images.imagenet import imagenet_folders, synset_names
from deltaoe.images.inputs import find_files
from deltaoe.images.labels import tidy
from deltaoe.progress import Event, OnEvent
from deltaoe.store.atomic import replacing

# "imagenet": folders named by WordNet numbers get ImageNet's class names. A table: these folders only, folder → name.
Classes = Literal["imagenet"] | Mapping[str, str]


def select_class_folders(
    given: str, classes: Classes, path: Path, on: OnEvent, *, named_by_user: bool
) -> str:
    """The input to take images from instead of ``given``: a list with the classes' names, or ``given`` itself.

    Args:
        given: a folder of class folders, or any other input.
        classes: which of its folders are used, and the names of their classes.
        path: the list file, written only if folders are left out or get another name.
        on: called with progress.
        named_by_user: whether ``--id``, ``--ood`` or ``--shift`` named this folder. It is then used as it is if it has
            none of the folders in ``classes``.

    Raises:
        DataError: it has no images, or none of a table's classes.
        ModelError: ImageNet's names are not installed.
        StoreError: the list cannot be written.
    """
    if not os.path.isdir(given):
        return given
    files = find_files([given], on_found=lambda n: on(Event("Listing files", n)))
    folders = [relative.partition("/")[0] if "/" in relative else "" for relative in files.relative]
    class_of = _class_of(classes, set(folders))
    names = {folder: class_of(folder) for folder in set(folders)}
    if classes == "imagenet" and all(name in {None, tidy(folder)} for folder, name in names.items()):
        return given
    rows = [(files.path(i), name) for i, folder in enumerate(folders) if (name := names[folder]) is not None]
    if not rows:
        if named_by_user or classes == "imagenet":
            return given
        folder, word = next(iter(classes.items()))
        raise DataError(
            f"{given} has no folder of the protocol's classes",
            hint=f"they are named {folder}, or {word}, and so on; --id DIR or --ood NAME=DIR takes any folder as it is",
        )
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        table = csv.writer(out)
        table.writerow(("path", "class"))
        table.writerows((os.path.abspath(file), text_cell(name)) for file, name in rows)
    return os.fspath(path)


def _class_of(classes: Classes, folders: set[str]) -> Callable[[str], str | None]:
    """The function that maps a folder to the name of its class, or to None where the folder is left out."""
    if classes == "imagenet":
        ids, words = imagenet_folders(), synset_names()
        # ImageNet-V2 counts its folders in the order of the classes.
        counted = {str(i) for i in range(len(ids))} <= folders
        by_folder = {str(i) if counted else wordnet_id: words[wordnet_id] for i, wordnet_id in enumerate(ids)}
        return lambda folder: by_folder.get(folder, tidy(folder)) if folder else None
    by_name = {name.casefold(): name for name in classes.values()}
    return lambda folder: classes.get(folder, by_name.get(tidy(folder).casefold()))
