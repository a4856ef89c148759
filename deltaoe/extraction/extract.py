"""``deltaoe extract``: the features of images, and a data set that lists the images with their classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError
from deltaoe.extraction.changes import fingerprint_of, out_of_sight, remember_folders
from deltaoe.extraction.ingest import Ingested, ingest
from deltaoe.extraction.options import ExtractOptions
from deltaoe.images.inputs import FileList, Ignored, find_files
from deltaoe.images.labels import (
    Labelling,
    check_name,
    detect_layout,
    label_paths,
    label_table,
    read_classes_csv,
)
from deltaoe.images.layout import Layout
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.short_repr import number_of_notes, short_repr
from deltaoe.store.dataset import DataSet
from deltaoe.store.sentences import current_before, replaced_current
from deltaoe.store.workspace import Workspace


@dataclass(frozen=True)
class ExtractResult:
    """The data set, and what was done for it.

    Attributes:
        data: lists the usable images with their classes.
        encoded: number of images that went through the model in this run.
        reused: number of images whose files were not opened. Those neither encoded nor reused were known by content
            under another path.
        failed: path and reason of each file that is no usable image, and of each folder, with ``/`` at the end, that
            cannot be listed.
        ignored: numbers of files and folders that were passed over, by reason.
        images_per_class: number of images by class name, in class order.
        unlabelled: number of images without a class.
        views: number of augmented views that every image has.
        precision: arithmetic of the image tower, ``fp32``, ``bf16`` or ``fp16``.
        notes: sentences for the user.
    """

    data: DataSet
    encoded: int
    reused: int
    failed: list[tuple[str, str]]
    ignored: Ignored
    images_per_class: dict[str, int]
    unlabelled: int
    views: int
    precision: str
    notes: list[str]

    def __repr__(self) -> str:
        """The data set, and how many images were encoded, were there already, and failed."""
        return short_repr(
            self,
            repr(self.data),
            f"{self.encoded:,} encoded",
            f"{self.reused:,} reused",
            f"{len(self.failed):,} failed" if self.failed else "",
            number_of_notes(self.notes),
        )


def extract(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    workspace: Workspace,
    options: ExtractOptions | None = None,
    on: OnEvent = silent,
    stdin: BinaryIO | None = None,
    *,
    source: ModelSource | None = None,
    keep: bool = True,
) -> ExtractResult:
    """Extract the features of all images that the inputs name, and list the images with their classes.

    Args:
        inputs: folders, image files, globs, lists of paths (.txt, .csv), or ``-`` for a list on ``stdin``.
        workspace: will hold features and data set.
        options: None for the defaults.
        on: receives progress events.
        stdin: the stream that ``-`` stands for.
        source: the model, where it is shared with other inputs; the options' model, device, precision and dtype are
            then not looked at.
        keep: list the images as a data set of the workspace. Their features are kept in any case.

    Raises:
        DataError: there is no such input, there are no images, or none is usable.
        ConfigError: an option does not fit (unknown model, layout, classes file).
        ModelError, StoreError, MismatchError: the model or the workspace cannot be used.
    """
    options = options or ExtractOptions()
    options.check()
    check_name(options.name)
    given = [os.fspath(one) for one in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    renames = read_classes_csv(options.classes) if options.classes else {}
    source = source or ModelSource(options.model, workspace, on=on, dtype=options.dtype)
    folders = fingerprint_of(given)  # before the walk: what comes later shows
    files = find_files(given, stdin=stdin, on_found=lambda n: on(Event("Listing files", n)))
    layout = options.layout or ("table" if files.classes is not None else detect_layout(files.relative))
    labelling = _label(files, layout, renames)  # fails on a wrong CSV before the hours of work
    result = ingest(files, workspace, source, on, options.ingest)
    source.remember()  # also where all was cached, and only this note was lost
    usable = files
    if len(result.rows) < len(files):
        usable = files.part(result.rows)
        labelling = _label(usable, layout, _with_images(renames, files, usable, layout))
    data = _data_set(given, usable, labelling, result, str(source.ref), options.name)
    notes: list[str] = []
    if keep:
        before = current_before(workspace)
        notes = out_of_sight(data, workspace, files.unlisted)
        workspace.save_dataset(data)
        remember_folders(workspace, data, folders)
        notes += replaced_current(before, data, workspace)
        result.check_kept()
    counts = Counter(labelling.class_of.tolist())
    return ExtractResult(
        data=data,
        encoded=result.encoded,
        reused=result.reused,
        failed=[
            *((files.relative[i], reason) for i, reason in result.failed.items()),
            *((one.relative, one.reason) for one in files.unlisted),
        ],
        ignored=files.ignored,
        images_per_class={name: counts[i] for i, name in enumerate(labelling.class_names)},
        unlabelled=counts[-1],
        views=result.store.views(result.digests),
        precision=result.store.space.precision,
        notes=_notes(data, counts[-1], files.ignored) + notes,
    )


def _label(files: FileList, layout: Layout, renames: dict[str, str]) -> Labelling:
    """Each file's class and domain, from its folders or from a table's columns."""
    if layout != "table":
        return label_paths(files.relative, layout, renames)
    if files.classes is None:
        raise ConfigError(
            "--layout table needs classes from a table", hint="a .csv with columns path and class is one"
        )
    if renames:
        raise ConfigError(
            "--classes renames folders, but the classes come from a table", hint="leave one of them out"
        )
    return label_table(files.classes, files.domains)


def _data_set(
    given: Sequence[str], files: FileList, labelling: Labelling, result: Ingested, model: str, name: str
) -> DataSet:
    root, paths = _common_root(files)
    return DataSet(
        root=root,
        inputs=tuple("-" if one == "-" else os.path.abspath(one) for one in given),
        name=name,
        space_id=result.store.space.id,
        model=model,
        layout=labelling.layout,
        class_names=labelling.class_names,
        domain_names=labelling.domain_names,
        paths=paths,
        digests=result.digests,
        class_of=labelling.class_of,
        domain_of=labelling.domain_of,
    )


def _common_root(files: FileList) -> tuple[str, Sequence[str]]:
    """The folder that holds all files, and their paths relative to it."""
    roots = [os.path.abspath(root or os.curdir) for root in files.roots]
    if len(set(roots)) == 1:
        return roots[0], files.relative
    try:
        common = os.path.commonpath(roots)
    except ValueError:  # several drives
        common = ""
    starts = [os.path.relpath(root, common) + "/" if common else root + "/" for root in roots]
    starts = ["" if start == "./" else start for start in starts]
    return common, [starts[r] + relative for r, relative in zip(files.root_of, files.relative, strict=True)]


def _with_images(
    renames: dict[str, str], files: FileList, usable: FileList, layout: Layout
) -> dict[str, str]:
    """The renames of folders that still have an image; one whose files all failed is no mistake of the user's."""
    if len(files) == len(usable) or not renames:
        return renames
    level = 1 if layout == "domain/class" else 0
    left = {parts[level] for path in usable.relative if len(parts := path.split("/")) > level + 1}
    return {folder: name for folder, name in renames.items() if folder in left}


def _notes(data: DataSet, unlabelled: int, ignored: Ignored) -> list[str]:
    notes = []
    if ignored.repeated:
        notes.append(f"{ignored.repeated} files are named more than once; each counts once")
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
