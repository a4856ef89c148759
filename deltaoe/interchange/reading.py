"""Features that others made, from the files they keep them in."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltaoe.errors import ConfigError, DataError
from deltaoe.interchange.arrays import Column, hdf5_columns, npy_column, npz_columns, reading
from deltaoe.interchange.clip_retrieval import folder_columns
from deltaoe.interchange.name_lists import Labels, class_names, label_indices, read_list, values_of
from deltaoe.interchange.parquet import parquet_columns
from deltaoe.interchange.roles import (
    LABELS,
    NAMES,
    TEXTS,
    Arrays,
    Companions,
    image_features,
    is_list,
    is_matrix,
)
from deltaoe.interchange.vectors import Vectors, directed, oriented

SIDECARS = {"paths": "json", "classes": "json", "labels": "npy", "digests": "npy"}
_TENSORS = frozenset({".pt", ".pth", ".bin", ".ckpt"})


@dataclass
class Foreign:
    """Features from somebody else's file.

    ``blocks()`` yields the (count, dim) raw vectors as float32, in order, a few thousand rows at a time; each call
    reads the file anew. It raises DataError for a row that has no direction: not finite, zero, or of a length whose
    square float32 can't hold.

    ``labels`` (count,) are indices into ``class_names``, −1 for none. Where a file has integers but does not say what
    they are called, ``class_names`` is None and the labels are as found. ``text_features`` (K, dim) are raw too, one
    row per class. ``ignored`` names the arrays of the file that were not used.
    """

    count: int
    dim: int
    blocks: Callable[[], Iterator[Vectors]]
    paths: Sequence[str] | None
    labels: Labels | None
    class_names: tuple[str, ...] | None
    text_features: Vectors | None
    ignored: list[str]


def read_foreign(
    path: Path,
    *,
    paths: Path | None = None,
    labels: Path | str | None = None,
    features: str | None = None,
    classes: Path | None = None,
) -> Foreign:
    """Look into a file of image features; the vectors themselves are read when ``blocks()`` is called.

    ``.npz``, ``.h5``/``.hdf5`` and ``.parquet`` hold named arrays: ``features`` (or ``image_features``,
    ``embeddings``, ``x`` …), (n, D) floating; ``labels`` (``y``, ``targets`` …), (n,) integers or class names;
    ``class_names``, (K,); ``text_features``, (K, D) or, when only that fits, (D, K); ``paths`` (``filenames`` …),
    (n,). ``.npy`` is one array, beside which ``NAME.paths.json``, ``NAME.labels.npy`` and ``NAME.classes.json`` are
    looked for. A folder is clip-retrieval's output, or numbered .npy parts.

    Args:
        path: the file or folder.
        paths: a list of n names: .txt (one per line), .json or .npy.
        labels: an array's name, or a list like ``paths`` of n integers or class names (an empty one: no class).
        features: an array's name. Labels, paths and texts that do not fit it are then left aside, if not asked for.
        classes: a list of K class names, in the order of the integer labels.

    Raises:
        ConfigError: an option names nothing, a choice is not clear, the format is not known or needs pyarrow.
        DataError: the file is damaged, or its arrays do not fit each other.
    """
    arrays = Arrays(path, _columns(path, metadata=paths is None or isinstance(labels, str)))
    vectors = arrays.use(image_features(arrays, features))
    chosen = Companions(arrays, vectors, asked=features is not None)
    beside = _sidecars(path)
    names = chosen.class_names(classes or beside.get("classes"))
    found, names, paired = chosen.labels(labels or beside.get("labels"), names)
    rows = chosen.paths(paths or beside.get("paths"))
    texts = chosen.text_features(None if names is None else len(names)) if paired else None
    if texts is not None and names is None and found is not None:
        label_indices(path, found, [str(row) for row in range(len(texts))])
    return Foreign(
        count=vectors.shape[0],
        dim=vectors.shape[1],
        blocks=lambda: directed(path, vectors, rows),
        paths=rows,
        labels=found,
        class_names=names,
        text_features=texts,
        ignored=arrays.unused(),
    )


def read_texts(path: Path) -> tuple[tuple[str, ...], Vectors]:
    """The K class names of a file and their raw text features, (K, D), from the formats of :func:`read_foreign`.

    They are ``class_names`` (or ``names`` …) and ``text_features`` (or ``classifier`` …, or else the only 2-D
    floating array); of .npy, ``NAME.classes.json`` beside it.

    Raises:
        ConfigError: the format is not known, or needs pyarrow.
        DataError: one of the two is missing, they do not fit each other, or a row cannot be normalised.
    """
    arrays = Arrays(path, _columns(path, metadata=False))
    beside = _sidecars(path).get("classes")
    # A row of a table is one class here, so any of its text columns may be the names.
    tables = (*LABELS, "name", "text", "caption") if arrays.is_table else ()
    held = arrays.fitting((*NAMES, *tables), is_list)
    matrices = arrays.fitting(TEXTS, is_matrix) or [c for c in arrays.columns if is_matrix(c)]
    if len(matrices) != 1 and not (matrices and matrices[0].name.lower() in TEXTS):
        raise DataError(
            f"{path} has no text features; it holds {arrays}", hint="a (K, D) floating array text_features"
        )
    if not held and beside is None:
        raise DataError(
            f"{path} does not say which classes its text features are of; it holds {arrays}",
            hint="add an array class_names of K strings",
        )
    names = class_names(beside or path, read_list(beside) if beside else values_of(path, held[0]))
    texts = oriented(path, matrices[0], len(names), None)
    if texts is None:
        raise DataError(
            f"{path}: {matrices[0]} does not fit {len(names):,} class names", hint="one row per name"
        )
    return names, texts


def _columns(path: Path, *, metadata: bool) -> list[Column]:
    with reading(path):
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return folder_columns(path, metadata=metadata)
    if not stat.S_ISREG(mode):  # reading a pipe or a device may never end
        raise DataError(f"cannot read {path}: not a regular file", hint="save it as a file first")
    suffix = path.suffix.lower()
    match suffix:
        case ".npz":
            return npz_columns(path)
        case ".npy":
            return [npy_column(path)]
        case ".h5" | ".hdf5":
            return hdf5_columns(path)
        case ".parquet":
            return parquet_columns(path)
    if suffix in _TENSORS:
        code = "import sys, torch, numpy; numpy.save(sys.argv[2], torch.load(sys.argv[1], map_location='cpu').numpy())"
        files = shlex.join([str(path), str(path.with_suffix(".npy"))])
        raise ConfigError(
            f"{path} is PyTorch's own format, which can run programs",
            hint=f'convert a tensor once: python -c "{code}" {files} (keys that are (D, n) need .T before .numpy())',
        )
    raise ConfigError(
        f"cannot tell what {path} is",
        hint="features are read from .npz, .npy, .h5, .hdf5 and .parquet files, and from folders of .npy parts",
    )


def _sidecars(path: Path) -> dict[str, Path]:
    """Files beside an .npy file that the export puts there."""
    if path.suffix.lower() != ".npy":
        return {}
    named = {part: sidecar(path, part) for part in SIDECARS}
    return {part: file for part, file in named.items() if file.is_file()}


def sidecar(path: Path, part: str) -> Path:
    """Where an .npy file's ``paths``, ``classes``, ``labels`` or ``digests`` are kept, beside it."""
    return path.with_name(f"{path.stem}.{part}.{SIDECARS[part]}")
