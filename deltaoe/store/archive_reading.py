"""Reading a file that ``deltaoe store export`` wrote, of which nothing is trusted."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError, DeltaoeError, first_line
from deltaoe.files import check_regular_file
from deltaoe.functional.unit_rows import are_unit_rows
from deltaoe.images.views import VIEW_POLICY
from deltaoe.store.archive_seal import is_sealed
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.file_text import names_problem, text_problem
from deltaoe.store.foreign_hdf5 import ForeignHdf5
from deltaoe.store.hdf5 import FORMAT_VERSION, Digests, get_digests, get_strings
from deltaoe.store.key_table import KeyTable
from deltaoe.store.sealed import CHANGED
from deltaoe.store.shards import FOREIGN_VIEW, content_keys

_FORMAT = "deltaoe.archive"
_SEALED_SINCE = 3  # version of the store's format
_AGAIN = "copy it again, or export it again: deltaoe store export FILE.h5"

Rows = tuple[Digests, npt.NDArray[np.uint16], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Archive:
    """An exported file, all of it checked but its features.

    Attributes:
        path: the file.
        data: the data set.
        space: the space of its features.
        digests: (n, 32), content digest of each feature.
        views: (n,), view of each feature.
        used: (n,), False for augmented views that were drawn under another ``VIEW_POLICY``.
        sealed: whether the file carries a digest of its content, which has been compared then.
        file: the file, open in a child process.
    """

    path: Path
    data: DataSet
    space: FeatureSpace
    digests: Digests
    views: npt.NDArray[np.uint16]
    used: npt.NDArray[np.bool_]
    sealed: bool
    file: ForeignHdf5

    def blocks(self) -> Iterator[Rows]:
        """Digests (b, 32), views (b,) and features (b, D) float32 of the rows in use, some thousand at a time.

        Raises:
            DataError: a feature is not finite, or not of unit length within the rounding of its type.
        """
        start = 0
        for block in self.file.blocks("features"):
            part = slice(start, start + len(block))
            rows = block.astype(np.float32)
            with np.errstate(over="ignore", invalid="ignore"):
                length = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
                wrong = np.flatnonzero(
                    ~(np.abs(length - 1) <= 2 * np.finfo(block.dtype).eps + 1e-5)
                )  # or NaN
            if len(wrong):
                first = int(wrong[0])
                what = (
                    f"length {length[first]:g}, not 1" if np.isfinite(length[first]) else "no finite length"
                )
                raise _unusable(self.path, f"its feature {start + first:,} has {what}")
            used = self.used[part]
            yield self.digests[part][used], self.views[part][used], rows[used]
            start += len(block)


def open_archive(path: Path) -> Archive | None:
    """An exported file, with everything but its features checked; None if it is an HDF5 file of another kind.

    The digest of the whole file is compared before any HDF5 library sees it; versions 1 and 2 have none. It is read in
    a child process.

    Raises:
        DataError: the file cannot be read, is damaged, or is of a newer version.
    """
    try:
        check_regular_file(path)
    except OSError as cause:
        raise DataError(f"cannot read {path}: {first_line(cause)}", hint="check the path") from cause
    sealed = is_sealed(path)
    file = ForeignHdf5(path)
    if not sealed and file.attributes.get("format") != _FORMAT:
        return None
    try:
        return _archive(path, file, sealed)
    except DataError:
        raise
    except DeltaoeError as cause:
        raise _unusable(path, str(cause)) from cause
    except Exception as cause:  # what a made-up content can cause is of any kind
        why = f"it has no {cause}" if isinstance(cause, KeyError) else first_line(cause)
        raise _unusable(path, why) from cause


def _archive(path: Path, file: ForeignHdf5, sealed: bool) -> Archive:
    version = file.attributes.get("version")
    if file.attributes.get("format") != _FORMAT or not isinstance(version, int) or version < 1:
        raise _unusable(path, "it does not say what it is")
    if version > FORMAT_VERSION:
        raise DataError(f"{path} was written by a newer deltaoe", hint="upgrade deltaoe to read it")
    if version >= _SEALED_SINCE and not sealed:
        raise _unusable(path, CHANGED)
    space = FeatureSpace.from_dict(_json(path, file, "space"))
    columns = _columns(path, file, space)
    data = _data_set(path, _json(path, file, "head"), columns, space)
    digests, views = get_digests(columns, "digest"), columns["view"]
    if views.dtype != np.uint16 or views.shape != (len(digests),) or (views >= FOREIGN_VIEW).any():
        raise _unusable(path, "its views do not fit its digests")
    if len(KeyTable(content_keys(digests, views), {})) < len(digests):
        raise _unusable(path, "it holds several features of one image")
    pictures = KeyTable(digests[views == 0], {})
    if not (pictures.find(data.digests) >= 0).all():
        raise _unusable(path, "it lists images whose features are not in it")
    same_views = file.attributes.get("view_policy") == VIEW_POLICY
    used = np.ones(len(views), dtype=bool) if same_views else views == 0
    return Archive(path, data, space, digests, views, used, sealed, file)


class _Columns(dict[str, npt.NDArray[Any]]):
    """Arrays by name, in place of a group of an open file."""

    name = ""


def _columns(path: Path, file: ForeignHdf5, space: FeatureSpace) -> _Columns:
    """All datasets but the features, read whole; the features' shape and type are compared with the space's."""
    declared = 0
    for one in file.datasets.values():
        if one.why or one.text:
            raise _unusable(path, f"its {one.name!r} {one.why or 'is of text'}")
        declared += math.prod(one.shape) * np.dtype(one.dtype).itemsize
    if declared > os.path.getsize(path):  # an export is not packed
        raise _unusable(path, f"it declares {declared:,} bytes of arrays, more than there are")
    vectors, count = file.datasets["features"], file.datasets["digest"].shape[0]
    if vectors.shape != (count, space.dim) or np.dtype(vectors.dtype) != np.dtype(space.dtype):
        raise _unusable(path, "its features do not fit its digests or its feature space")
    return _Columns((name, file.read(name)) for name in file.datasets if name != "features")


def _data_set(path: Path, head: dict[str, Any], columns: _Columns, space: FeatureSpace) -> DataSet:
    texts = columns.get("text_features")
    names = {what: head.get(what, []) for what in ("class_names", "domain_names", "split_names")}
    for what, given in names.items():
        problem = names_problem(given) if isinstance(given, list) else "they are no list"
        if problem:
            raise _unusable(path, f"its {what.replace('_', ' ')}: {problem}")
    for what in ("model", "name"):
        if problem := text_problem(head[what]):
            raise _unusable(path, f"its {what} is {problem}")
    paths = [os.fsdecode(one) for one in get_strings(columns, "path")]
    if problem := next(filter(None, map(text_problem, paths)), "" if all(paths) else "empty"):
        raise _unusable(path, f"a path is {problem}")
    if texts is not None and not (texts.shape == (len(texts), space.dim) and are_unit_rows(texts)):
        raise _unusable(path, "its text features are not of unit length, or do not fit its features")
    data = DataSet(
        root="",
        space_id=space.id,
        model=head["model"],
        layout=head["layout"],
        class_names=tuple(names["class_names"]),
        domain_names=tuple(names["domain_names"]),
        paths=paths,
        digests=get_digests(columns, "path_digest"),
        class_of=columns["class_of"],
        domain_of=columns["domain_of"],
        split_names=tuple(names["split_names"]),
        split_of=columns.get("split_of", np.zeros(0, dtype=np.int64)),
        name=head["name"],
        text_features=texts,
    )
    data.check()
    return data


def _json(path: Path, file: ForeignHdf5, name: str) -> dict[str, Any]:
    text = file.attributes.get(name)
    value = json.loads(text) if isinstance(text, str) else None
    if not isinstance(value, dict):
        raise _unusable(path, f"its attribute {name!r} is no table")
    return value


def _unusable(path: Path, why: str) -> DataError:
    return DataError(f"cannot read {path} as an export of deltaoe: {why}", hint=_AGAIN)
