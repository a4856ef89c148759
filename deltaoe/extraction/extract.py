"""``deltaoe extract``: the features of images, and a data set that lists the images with their classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from deltaoe.clip.class_notes import class_notes, tokens_are_kept
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError
from deltaoe.extraction.changes import fingerprint_of, out_of_sight, remember_folders
from deltaoe.extraction.extract_result import ExtractResult
from deltaoe.extraction.layout_words import (
    about_lost_classes,
    about_splits,
    layout_taken,
    odd_classes,
    readings,
)
from deltaoe.extraction.options import ExtractOptions
from deltaoe.extraction.picture_notes import picture_notes
from deltaoe.extraction.same_run import Kept, Listener, SameRun
from deltaoe.images.class_names import in_words, relabelled, unreadable_names
from deltaoe.images.classes_file import ClassesFile
from deltaoe.images.inputs import FileList, Ignored, find_files
from deltaoe.images.labels import (
    Labelling,
    check_name,
    label_paths,
    label_table,
)
from deltaoe.images.layout import TABLE, Layout, levels_of
from deltaoe.images.layout_detection import detect_layout
from deltaoe.images.lists import Wanted
from deltaoe.images.location_text import absolute, common_folder, is_url, without_secrets
from deltaoe.images.remote_inputs import as_read
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.short_repr import counted
from deltaoe.store.atomic import gone
from deltaoe.store.dataset import DataSet
from deltaoe.store.sentences import current_before, replaced_current
from deltaoe.store.workspace import Workspace


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
        inputs: folders, image files, tar and Parquet files, URLs, globs, lists of paths (.txt, .csv), or ``-`` for a
            list on ``stdin``.
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
    options.ingest.cluster.check_reachable()  # before a walk that may take minutes
    check_name(options.name)
    given = [os.fspath(one) for one in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    renames = ClassesFile.read(options.classes) if options.classes else None
    own, said = source is None, Listener(on)
    source = source or ModelSource(options.model, workspace, on=on, dtype=options.dtype)
    files = find_files(
        given,
        stdin=stdin,
        on_found=lambda n: on(Event("Listing files", n)),
        wanted=Wanted(labels=options.layout in (None, "table"), label_column=options.label_column),
    )
    same = SameRun(given, files, workspace, source, options) if own and keep else None
    kept = same and same.result()
    if kept:
        return _repeated(kept, given, files, options.name)
    from deltaoe.extraction.ingest import ingest  # after this: it loads h5py and what decodes

    prefixes = _prefixes(files)
    paths = as_read(files, _prefixed(files, prefixes))
    layout = options.layout or (TABLE if files.classes is not None else detect_layout(paths))
    found = labelling = _label(files, paths, layout, renames)
    _check_fits(found, paths)  # like a wrong table, before the hours of work
    result = ingest(files, workspace, source, said, options.ingest)
    source.remember(default=own and keep)  # also where all was cached, and only this note was lost
    usable = files
    if len(result.rows) < len(files):
        usable, paths = files.part(result.rows), [paths[row] for row in result.rows]
        labelling = _label(usable, paths, layout, found.renames)
    names, names_said = in_words(
        labelling.class_names,
        keep=set(labelling.renames.values()),
        keep_ids=options.keep_ids,
        otherwise=("" if layout == TABLE else "--classes FILE names them otherwise, ")
        + "--keep-ids keeps the ids",
    )
    in_ids, labelling = labelling, relabelled(labelling, names)
    space = result.store.space
    data = _data_set(given, usable, labelling, result.digests, space.id, str(source.ref), options.name)
    notes: list[str] = []
    replaced: list[str] = []
    if keep:
        before = current_before(workspace)
        notes = out_of_sight(data, workspace, files.unlisted)
        workspace.save_dataset(data)
        remember_folders(workspace, data, fingerprint_of(given, files))
        replaced = replaced_current(before, data, workspace)
        notes += _about_names(data, source) + replaced
        if not workspace.listing(data).exists():
            raise gone(workspace.listing(data))
    result.store.check_there(result.digests)
    counts = Counter(labelling.class_of.tolist())
    extracted = ExtractResult(
        data=data,
        encoded=result.encoded,
        reused=result.reused,
        failed=[
            *((files.title(i), reason) for i, reason in result.failed.items()),
            *((one.relative, one.reason) for one in files.unlisted),
        ],
        ignored=files.ignored,
        images_per_class={name: counts[i] for i, name in enumerate(labelling.class_names)},
        unlabelled=counts[-1],
        views=result.store.views(result.digests),
        precision=space.precision,
        decode=space.decode,
        assumed=[
            *files.assumed,
            *(() if options.layout else layout_taken(paths, layout)),
            *about_splits(data),
        ],
        notes=[
            *files.notes,
            *found.notes,
            *odd_classes(paths, in_ids, _contradicted(usable, paths)),
            *about_lost_classes(files, prefixes, found, in_ids),
            *_notes(data, files.ignored),
            *names_said,
            *picture_notes(usable.relative, result.notes),
            *notes,
        ],
        names_said=names_said,
    )
    unchanged = extracted.reused == len(data) == len(files)
    only_once = [*said.sentences, *names_said, *replaced]
    if same and unchanged and not only_once and tokens_are_kept(data.class_names, source):
        same.keep(Kept.of(labelling, extracted))
    return extracted


def _repeated(kept: Kept, given: Sequence[str], files: FileList, name: str) -> ExtractResult:
    """The result of a run that was kept, for the same files."""
    data = _data_set(given, files, kept.labelling, kept.digests, kept.space, kept.model, name)
    counts = Counter(data.class_of.tolist())
    return ExtractResult(
        data=data,
        encoded=0,
        reused=len(data),
        failed=[],
        ignored=files.ignored,
        images_per_class={name: counts[i] for i, name in enumerate(data.class_names)},
        unlabelled=counts[-1],
        views=kept.views,
        precision=kept.precision,
        decode=kept.decode,
        notes=kept.notes,
        assumed=kept.assumed,
    )


def _prefixes(files: FileList) -> list[str]:
    """What stands before the paths below each root, as folders are read: nothing, or where roots are splits, these."""
    none = [files.containers.get(root, ("", ""))[1] for root in range(len(files.roots))]
    if len(files.roots) < 2 or files.classes is not None:
        return none
    named = [files.containers.get(root, (path, ""))[0] for root, path in enumerate(files.roots)]
    _, starts = _common_starts(named)
    starts = [start + prefix for start, prefix in zip(starts, none, strict=True)]
    below = "split" in levels_of(detect_layout(_prefixed(files, none)))
    return starts if not below and "split" in levels_of(detect_layout(_prefixed(files, starts))) else none


def _prefixed(files: FileList, starts: Sequence[str]) -> Sequence[str]:
    """The files' paths below their roots, each with its root's prefix."""
    if not any(starts):
        return files.relative
    return [starts[root] + path for root, path in zip(files.root_of, files.relative, strict=True)]


def _label(
    files: FileList,
    paths: Sequence[str],
    layout: Layout,
    renames: ClassesFile | Mapping[str, str] | None,
) -> Labelling:
    """Each file's class, domain and split, from its folders or from a table's columns."""
    if layout != TABLE:
        return _with_columns(label_paths(paths, layout, renames), files)
    if files.classes is None:
        raise ConfigError(
            "--layout table needs classes from a table", hint="a .csv with columns path and class is one"
        )
    if renames:
        raise ConfigError(
            "--classes renames folders, but the classes come from a table", hint="leave one of them out"
        )
    return label_table(files.classes, files.domains, files.splits)


def _with_columns(labelling: Labelling, files: FileList) -> Labelling:
    """The labelling by folders, with the domains and splits that lists say."""
    if files.domains is None and files.splits is None:
        return labelling
    listed = label_table([""] * len(files), files.domains, files.splits)
    if files.domains is not None:
        labelling = replace(labelling, domain_names=listed.domain_names, domain_of=listed.domain_of)
    if files.splits is not None:
        labelling = replace(labelling, split_names=listed.split_names, split_of=listed.split_of)
    return labelling


def _data_set(
    given: Sequence[str],
    files: FileList,
    labelling: Labelling,
    digests: npt.NDArray[np.uint8],
    space: str,
    model: str,
    name: str,
) -> DataSet:
    root, paths = _common_root(files)
    return DataSet(
        root=root,
        inputs=tuple("-" if one == "-" else absolute(without_secrets(one)) for one in given),
        name=name,
        space_id=space,
        model=model,
        layout=labelling.layout,
        class_names=labelling.class_names,
        domain_names=labelling.domain_names,
        paths=paths,
        digests=digests,
        class_of=labelling.class_of,
        domain_of=labelling.domain_of,
        split_names=labelling.split_names,
        split_of=labelling.split_of,
    )


def _common_root(files: FileList) -> tuple[str, Sequence[str]]:
    """The folder that holds all files, and their paths relative to it."""
    common, starts = _common_starts(files.roots)
    return common, _prefixed(files, starts)


def _common_starts(roots: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that holds all roots, and what leads from there to the files of each: empty, or with a slash."""
    roots = list(map(absolute, roots))
    common = common_folder(roots)
    cut = len(common.rstrip("/" + os.sep)) + 1
    starts = [root if is_url(root) > is_url(common) else root[cut:] for root in roots]
    starts = [start.replace(os.sep, "/").rstrip("/") for start in starts]
    return common, [f"{start}/" if start else "" for start in starts]


def _contradicted(files: FileList, paths: Sequence[str]) -> set[str]:
    """The paths, as the layout reads them, of files that a list names under several classes."""
    known = files.ignored.contradicted
    return {path for row, path in enumerate(paths) if files.shown(row) in known} if known else set()


def _check_fits(labelling: Labelling, paths: Sequence[str]) -> None:
    """Raise ConfigError if the layout names classes and the images have none."""
    if "class" not in levels_of(labelling.layout) or labelling.class_names:
        return
    others = "; ".join(one.sentence() for one in readings(paths, detect_layout(paths)) if one.class_folders)
    raise ConfigError(
        f"no image has a class by the layout {labelling.layout}",
        hint=f"what the folders could mean: {others}"
        if others
        else "the images lie in no folders: --layout flat",
    )


def _notes(data: DataSet, ignored: Ignored) -> list[str]:
    notes = []
    if ignored.repeated:
        files = counted(ignored.repeated, "file is", "files are")
        notes.append(f"{files} named more than once, but counted once")
    if not data.labelled:
        notes.append(
            "no class folders found: the images are stored, but tune and score need classes from somewhere"
        )
    return notes


def _about_names(data: DataSet, source: ModelSource) -> list[str]:
    """Sentences about class names that the model cannot read as words, or cannot tell apart."""
    if not data.labelled:
        return []
    table = data.layout == "table"
    remedy = (
        "Change the names in the list."
        if table
        else "--classes FILE (rows folder,name) renames or joins them."
    )
    # That all classes are dates is said of the layout.
    dates = set(unreadable_names(data.class_names).values()) == {"dates"}
    unread = (
        "Where there are enough images, tune and score rely on images alone (--evidence text asks the names)."
    )
    return class_notes(data.class_names, source, remedy=remedy, unread=None if dates else unread)
