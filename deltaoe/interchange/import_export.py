"""Image features of another program into a workspace, and a data set's features out of it as one file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.sampling import feature_keys
from deltaoe.functional.unit_rows import imported_rows, unit_rows
from deltaoe.images.class_names import in_words, look_alike_note, unreadable_note
from deltaoe.images.labels import check_name, label_table
from deltaoe.interchange.feature_table import FeatureTable
from deltaoe.interchange.name_lists import Labels
from deltaoe.interchange.options import ImportOptions
from deltaoe.interchange.reading import read_features
from deltaoe.interchange.roles import LABELS
from deltaoe.interchange.vectors import Vectors
from deltaoe.interchange.writing import write_npy, write_npz, write_parquet
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.store.archive import write_archive
from deltaoe.store.archive_reading import Archive, Rows, open_archive
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import UNNAMED, FeatureSpace
from deltaoe.store.feature_store import BLOCK_ROWS, Digests, FeatureStore
from deltaoe.store.key_table import KeyTable
from deltaoe.store.sentences import current_before, replaced_current
from deltaoe.store.shards import IMPORTED
from deltaoe.store.workspace import Workspace

_WRITERS = {".npz": write_npz, ".npy": write_npy, ".parquet": write_parquet}
_ARCHIVES = (".h5", ".hdf5")
_FEW_CLASSES = 50_000  # more than any data set has; so many class numbers are fine for any number of images


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        data: the data set.
        space: the feature space that its features belong to.
        new: how many of its features the workspace did not have.
        notes: sentences that the user should read, such as which arrays of the file were ignored.
    """

    data: DataSet
    space: FeatureSpace
    new: int
    notes: list[str]


def import_features(
    path: Path, workspace: Workspace, options: ImportOptions | None = None, on: OnEvent = silent
) -> Imported:
    """Store the image features of a file in a workspace, as a data set.

    The file is read twice: nothing is written before all of it was found to be sound. Its features are stored as
    imported ones, apart from those that were computed here, and make no image known by content.

    Args:
        path: ``.npz``, ``.npy``, ``.parquet``, ``.h5``, a folder in clip-retrieval's layout, or what
            :func:`export_features` wrote.
        workspace: the workspace that receives them.
        options: how to read the file.
        on: called with the progress.

    Raises:
        DataError, ConfigError: the file cannot be read as features.
        StoreError: the workspace cannot be written.
    """
    options = options or ImportOptions()
    check_name(options.name)
    options.check()
    if path.suffix.lower() in _ARCHIVES and not path.is_dir():
        archive = open_archive(path)
        if archive is not None:
            return _import_archive(archive, workspace, options, on)
    table = read_features(
        path, paths=options.paths, labels=options.labels, features=options.features, classes=options.classes
    )
    space = FeatureSpace.imported(options.model, table.dim, options.dtype)
    digests = np.zeros((table.count, 32), dtype=np.uint8)
    for start, _, keys in _keyed(table, space, "Checking", on):
        digests[start : start + len(keys)] = keys
    data = _data_set(path, table, digests, space, options)
    workspace.check_writable()
    store = workspace.store(space)
    before = store.feature_rows
    with store.writer(origin=IMPORTED) as writer:
        for start, block, keys in _keyed(table, space, "Importing", on):
            if not np.array_equal(keys, digests[start : start + len(keys)]):
                raise DataError(f"{path} changed while it was read", hint="import it again")
            for digest, feature in zip(keys, block, strict=True):
                writer.add_features(digest.tobytes(), feature[None], (0,))
            if writer.pending >= BLOCK_ROWS:
                writer.flush()
    _note_model(workspace, options)
    notes = _notes(table, digests, options) + _saved(data, workspace)
    return Imported(data, space, store.feature_rows - before, notes)


def _keyed(
    table: FeatureTable, space: FeatureSpace, stage: str, on: OnEvent
) -> Iterator[tuple[int, Vectors, Digests]]:
    """First row, unit rows (m, D) and digests (m, 32) of each block of a table, as they are stored."""
    start = 0
    for raw in table.blocks():
        block = imported_rows(raw)
        keys = feature_keys(np.ascontiguousarray(block.astype(space.dtype)))
        yield start, block, np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(block), 32)
        start += len(block)
        on(Event(stage, start, table.count))


def _note_model(workspace: Workspace, options: ImportOptions) -> None:
    """A model that the user names here may be loaded though only the imported file names it again."""
    if options.model != UNNAMED:
        workspace.note_named_model(options.model)


def _saved(data: DataSet, workspace: Workspace) -> list[str]:
    """Save a data set; a sentence if it takes the place of another one."""
    last = current_before(workspace)
    workspace.save_dataset(data)
    return replaced_current(last, data, workspace)


def _data_set(
    path: Path, table: FeatureTable, digests: Digests, space: FeatureSpace, options: ImportOptions
) -> DataSet:
    """The data set of a table; its classes are sorted by name, and unnamed ones are called by their number."""
    labels = table.labels if table.labels is not None else np.full(table.count, -1, dtype=np.int64)
    if table.class_names is None:
        _check_class_count(path, labels)
    names = _class_names(table, options)[0]
    order = np.argsort(np.asarray(names, dtype=object), kind="stable") if names else np.zeros(0, np.int64)
    place = np.empty(len(names) + 1, dtype=np.int64)
    place[order] = np.arange(len(names))
    place[-1] = -1
    texts, splits = table.text_features, label_table([""] * table.count, None, table.splits)
    width = len(str(table.count))
    return DataSet(
        root="",
        inputs=() if options.name else (os.path.abspath(path),),
        name=options.name,
        space_id=space.id,
        model=space.model,
        layout="table",
        class_names=tuple(names[i] for i in order),
        domain_names=(),
        paths=table.paths or [f"row {i:0{width}d}" for i in range(table.count)],
        digests=digests,
        class_of=place[labels],
        domain_of=np.full(table.count, -1, dtype=np.int64),
        split_names=splits.split_names,
        split_of=splits.split_of,
        text_features=None if texts is None or not names else unit_rows(texts)[order],
    )


def _check_class_count(path: Path, labels: Labels) -> None:
    """Refuse numbers as labels that are no class numbers: of far more classes than there are images."""
    row = int(labels.argmax()) if len(labels) else 0
    if len(labels) and labels[row] >= max(_FEW_CLASSES, len(labels)):
        raise DataError(
            f"{path}: the label in row {row:,} is {labels[row]:,}, of {len(labels):,} images: that would be "
            f"{int(labels[row]) + 1:,} classes",
            hint="class numbers count from 0; for other numbers, such as identifiers, give the labels as text",
        )


def _class_names(table: FeatureTable, options: ImportOptions) -> tuple[tuple[str, ...], list[str]]:
    """Names of the K classes, WordNet ids in words and unnamed classes by their number; and sentences about them."""
    if table.class_names is None:
        count = 0 if table.labels is None else int(table.labels.max(initial=-1)) + 1
        numbers = f"class 0 to class {count - 1}" if count > 1 else "class 0"
        return tuple(f"class {i}" for i in range(count)), [
            f"the labels are numbers without names: the classes are called {numbers}, which CLIP cannot read, so "
            "only images and text features that came with them tell the classes apart (--classes FILE names them, "
            "one name per line)"
        ] * bool(count)
    names, notes = in_words(
        table.class_names, keep_ids=options.keep_ids, otherwise="--keep-ids keeps the ids"
    )
    if table.text_features is not None:  # no prompt is made of the names
        return names, notes
    remedy = "--classes FILE (one name per line) gives other names to labels that are numbers."
    return names, [*notes, *unreadable_note(names, remedy), *look_alike_note(names, remedy)]


def _notes(table: FeatureTable, digests: Digests, options: ImportOptions) -> list[str]:
    notes = _class_names(table, options)[1]
    exported = {"digests", "digest", "class", "view"}  # what an export of ours says beside the features
    ignored = [name for name in table.ignored if name not in exported]
    if ignored:
        notes.append(f"not used: {', '.join(ignored)}")
    unusable = [name for name in ignored if name.partition(" (which ")[0].lower() in LABELS]
    if unusable and table.labels is None:
        notes.append(f"{unusable[0]} holds neither integers nor names, so the images have no classes")
    distinct = len(np.unique(digests, axis=0))
    if distinct < len(digests):
        notes.append(f"{len(digests) - distinct} features equal another one and count as the same image")
    return notes


def _import_archive(archive: Archive, workspace: Workspace, options: ImportOptions, on: OnEvent) -> Imported:
    name = options.name or archive.data.name
    check_name(name)
    for _ in _reported(archive, "Checking", on):
        pass
    workspace.check_writable()
    store = workspace.store(archive.space)
    before = store.feature_rows
    with store.writer(origin=IMPORTED) as writer:
        for digests, views, features in _reported(archive, "Importing", on):
            for digest, view, feature in zip(digests, views.tolist(), features, strict=True):
                writer.add_features(digest.tobytes(), feature[None], (view,))
            if writer.pending >= BLOCK_ROWS:
                writer.flush()
    _note_model(workspace, options)
    data = dataclasses.replace(
        archive.data, name=name, inputs=() if name else (os.path.abspath(archive.path),)
    )
    notes = _archive_notes(archive, options) + _saved(data, workspace)
    return Imported(data, archive.space, store.feature_rows - before, notes)


def _reported(archive: Archive, stage: str, on: OnEvent) -> Iterator[Rows]:
    done = 0
    for block in archive.blocks():
        yield block
        done += len(block[0])
        on(Event(stage, done, int(np.count_nonzero(archive.used))))


def _archive_notes(archive: Archive, options: ImportOptions) -> list[str]:
    notes = []
    if not archive.sealed:
        notes.append(
            "an earlier version of deltaoe wrote this file, without a digest of its content: "
            "damage to it cannot be seen"
        )
    given = [f"--{what}" for what in ("paths", "labels", "features", "classes") if getattr(options, what)]
    given += ["--model"] if options.model not in (UNNAMED, archive.space.model) else []
    if given:
        notes.append(f"{', '.join(given)} not used: an export of deltaoe says all that itself")
    return notes


def export_features(
    target: Path, workspace: Workspace, wanted: str | None = None, on: OnEvent = silent
) -> DataSet:
    """Write a data set's features to one file; the end of its name says which kind.

    Args:
        target: ``.h5`` keeps everything (views, domains, text features) and can be imported without loss; ``.npz``,
            ``.npy`` and ``.parquet`` are for other programs.
        workspace: the workspace that holds the features.
        wanted: the data set: an extracted input or ``data:NAME``; the last one with classes by default.
        on: called with the progress.

    Returns:
        The data set.

    Raises:
        ConfigError: the target's name ends in nothing that can be written, or pyarrow is not installed.
        DataError: no such data set.
        MismatchError: its features are no longer in the workspace.
        StoreError: the file cannot be written.
    """
    kind = target.suffix.lower()
    if kind not in (*_WRITERS, *_ARCHIVES):
        raise ConfigError(
            f"cannot tell what kind of file {target} shall be",
            hint=f"let its name end in {', '.join((*_ARCHIVES[:1], *_WRITERS))}",
        )
    data = workspace.dataset(wanted)
    if data is None:
        raise DataError(
            f"there is no data set with classes in {workspace.folder}",
            hint="name one: --data ./images, or run deltaoe extract first",
        )
    store = workspace.features_of(data)
    if kind in _ARCHIVES:
        _export_archive(target, data, store, on)
    else:
        table = FeatureTable(
            count=len(data),
            dim=store.space.dim,
            blocks=lambda: _blocks(store, data.digests, 0, on),
            paths=data.paths,
            labels=data.class_of if data.labelled else None,
            class_names=data.class_names if data.labelled else None,
            digests=data.digests,
            splits=_splits(data),
        )
        _WRITERS[kind](target, table, store.space.dtype)
    return data


def _splits(data: DataSet) -> list[str] | None:
    """The split of each image, empty for none; None without splits."""
    names = (*data.split_names, "")
    return [names[index] for index in data.split_of.tolist()] if data.split_names else None


def _export_archive(target: Path, data: DataSet, store: FeatureStore, on: OnEvent) -> None:
    distinct = KeyTable(data.digests, {}).keys
    parts = [distinct]
    while len(parts[-1]):
        view = len(parts)
        parts.append(distinct[store.has(distinct, view)])
    # In any other order, each block would be of rows from all shards.
    parts = [part[store.order_on_disk(part, view)] for view, part in enumerate(parts)]
    digests = np.concatenate(parts)
    views = np.concatenate([np.full(len(part), view, np.uint16) for view, part in enumerate(parts)])

    def blocks() -> Iterator[Vectors]:
        for view, part in enumerate(parts):
            yield from _blocks(store, part, view, on)

    write_archive(target, data, store.space, digests, views, blocks())


def _blocks(store: FeatureStore, digests: Digests, view: int, on: OnEvent) -> Iterator[Vectors]:
    for start in range(0, len(digests), BLOCK_ROWS):
        yield store.features(digests[start : start + BLOCK_ROWS], view)
        on(Event("Exporting", min(start + BLOCK_ROWS, len(digests)), len(digests)))
