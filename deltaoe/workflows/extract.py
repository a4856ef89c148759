"""Extract: a folder of images to features, and a listing of what is in it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deltaoe.data.dataset import DataSet
from deltaoe.data.images import SUFFIXES, Ignored, ImageFile, find_images
from deltaoe.data.labels import Layout, detect_layout, label_paths, read_classes_csv
from deltaoe.data.workspace import Workspace
from deltaoe.errors import ConfigError, DataError
from deltaoe.models.reference import DEFAULT_MODEL, ModelRef
from deltaoe.workflows.ingest import ingest
from deltaoe.workflows.progress import Event, OnEvent, silent
from deltaoe.workflows.source import ModelSource


@dataclass(frozen=True)
class ExtractOptions:
    """How to extract; see ``deltaoe extract --help``."""

    model: str = DEFAULT_MODEL
    pretrained: str | None = None
    layout: Layout | None = None
    classes: Path | None = None
    retry_failed: bool = False
    batch_size: int | None = None
    device: str = "auto"
    offline: bool = False


@dataclass(frozen=True)
class ExtractResult:
    """The listing, and what was done for it.

    ``encoded`` images went through the model, ``reused`` ones were not even opened; the rest was known by content
    under another name. ``failed`` holds (path, reason). ``images_per_class`` is in class order.
    """

    data: DataSet
    encoded: int
    reused: int
    failed: list[tuple[str, str]]
    ignored: Ignored
    images_per_class: dict[str, int]
    unlabelled: int
    notes: list[str]


def extract(
    folder: Path, workspace: Workspace, options: ExtractOptions | None = None, on: OnEvent = silent
) -> ExtractResult:
    """Extract the features of all images under ``folder`` and list them with their classes.

    Raises:
        DataError: no such folder, no images, none usable.
        ConfigError: an option does not fit (unknown model, layout, classes file).
        ModelError, StoreError, MismatchError: the model or the workspace cannot be used.
    """
    options = options or ExtractOptions()
    check_batch_size(options.batch_size)
    renames = read_classes_csv(options.classes) if options.classes else {}
    ref = ModelRef.parse(options.model, options.pretrained)
    files, ignored = list_folder(folder, on)
    layout = options.layout or detect_layout([file.relative for file in files])
    label_paths(
        [file.relative for file in files], layout, renames
    )  # fail on a wrong CSV before the hours of work
    source = ModelSource(ref, workspace, device=options.device, offline=options.offline, on=on)
    result = ingest(
        files, workspace, source, on, batch_size=options.batch_size, retry_failed=options.retry_failed
    )
    source.remember()  # also where all was cached, and only this note was lost
    failed = [(file.relative, reason) for file, reason in result.failed]
    paths = tuple(file.relative for file in result.files)
    present = _with_images(renames, files, paths, layout)
    labelling = label_paths(paths, layout, present)
    data = DataSet(
        root=os.path.abspath(folder),
        space_id=result.store.space.id,
        model=str(ref),
        layout=labelling.layout,
        class_names=labelling.class_names,
        domain_names=labelling.domain_names,
        paths=paths,
        digests=tuple(result.digests),
        class_of=np.asarray(labelling.class_of, dtype=np.int64),
        domain_of=np.asarray(labelling.domain_of, dtype=np.int64),
    )
    workspace.save_dataset(data)
    counts = Counter(labelling.class_of)
    return ExtractResult(
        data=data,
        encoded=result.encoded,
        reused=result.reused,
        failed=failed,
        ignored=ignored,
        images_per_class={name: counts[i] for i, name in enumerate(labelling.class_names)},
        unlabelled=counts[-1],
        notes=_notes(data, counts[-1]),
    )


def list_folder(folder: Path, on: OnEvent) -> tuple[list[ImageFile], Ignored]:
    """All image files under a folder.

    Raises:
        DataError: it is no folder, cannot be listed, or holds no images.
    """
    if folder.is_file():
        raise DataError(
            f"{folder} is a file, not a folder",
            hint="extract takes a folder of images; score also takes single files",
        )
    ignored = Ignored()
    files: list[ImageFile] = []
    for file in find_images(folder, ignored):
        files.append(file)
        if len(files) % 1000 == 0:
            on(Event("Listing files", len(files)))
    if not files:
        beside = [
            f"{count} {what}"
            for count, what in ((ignored.other_files, "other files"), (ignored.hidden, "hidden entries"))
            if count
        ]
        raise DataError(
            f"no images in {folder}" + (f" ({', '.join(beside)})" if beside else ": it is empty"),
            hint=f"images are files ending in {', '.join(sorted(SUFFIXES))}",
        )
    return files, ignored


def check_batch_size(batch_size: int | None) -> None:
    """Raise ConfigError unless ``batch_size`` is None or ≥ 1."""
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"the batch size must be at least 1, not {batch_size}")


def _with_images(
    renames: dict[str, str], files: list[ImageFile], paths: tuple[str, ...], layout: Layout
) -> dict[str, str]:
    # A class folder all of whose files are broken was named rightly, and has nothing left to rename.
    gone = {file.relative for file in files} - set(paths)
    if not gone or not renames:
        return renames
    level = 1 if layout == "domain/class" else 0
    left = {parts[level] for path in paths if len(parts := path.split("/")) > level + 1}
    return {folder: name for folder, name in renames.items() if folder in left}


def _notes(data: DataSet, unlabelled: int) -> list[str]:
    notes = []
    if data.labelled and unlabelled:
        notes.append(
            f"{unlabelled} images lie outside the class folders: stored, but they belong to no class"
        )
    if not data.labelled:
        notes.append(
            "no class folders found: the images are stored, but tune and score need classes from somewhere"
        )
    folded = Counter(name.casefold() for name in data.class_names)
    twins = sorted(name for name in data.class_names if folded[name.casefold()] > 1)
    if twins:
        notes.append(
            f"classes that differ in case only, and have the same prompt: {', '.join(twins)} "
            "(--classes FILE can join them)"
        )
    return notes
