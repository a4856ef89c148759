"""Image features and text features from files of other programs."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

from deltaoe.errors import ConfigError, DataError
from deltaoe.interchange.arrays import (
    Column,
    hdf5_columns,
    is_list,
    is_matrix,
    npy_column,
    npz_columns,
    reading,
)
from deltaoe.interchange.clip_retrieval import folder_columns
from deltaoe.interchange.feature_table import FeatureTable
from deltaoe.interchange.name_lists import class_names, label_indices, read_list, values_of
from deltaoe.interchange.parquet import parquet_columns
from deltaoe.interchange.roles import (
    LABELS,
    NAMES,
    TEXTS,
    Annotations,
    Arrays,
    check_class_list,
    image_features,
)
from deltaoe.interchange.vectors import Vectors, matrix_of_shape, vector_blocks

SIDECARS = {"paths": "json", "classes": "json", "labels": "npy", "digests": "npy", "splits": "json"}
_TENSORS = frozenset({".pt", ".pth", ".bin", ".ckpt"})


def read_features(
    path: Path,
    *,
    paths: Path | None = None,
    labels: Path | str | None = None,
    features: str | None = None,
    classes: Path | None = None,
) -> FeatureTable:
    """The image features of a file, and their labels, paths and text features; they are read as ``blocks()`` is called.

    ``.npz``, ``.h5``/``.hdf5`` and ``.parquet`` hold named arrays: ``features`` (or ``image_features``,
    ``embeddings``, ``x`` …), (n, D) floating; ``labels`` (``y``, ``targets`` …), (n,) integers or class names;
    ``class_names``, (K,); ``text_features``, (K, D) or, when only that fits, (D, K); ``paths`` (``filenames`` …),
    (n,). ``.npy`` is one array, beside which ``NAME.paths.json``, ``NAME.labels.npy`` and ``NAME.classes.json`` are
    looked for. A folder is clip-retrieval's output, or numbered .npy parts.

    Args:
        path: the file or folder.
        paths: a list of n names: .txt (one per line), .json or .npy.
        labels: an array's name, or a list like ``paths`` of n integers or class names (an empty one: no class).
        features: an array's name. Labels, paths and text features that do not fit it are then ignored, unless named.
        classes: a list of K class names, in the order of the integer labels.

    Raises:
        ConfigError: an argument names nothing, several arrays could be the features, the format is not known, or it
            needs pyarrow, which is not installed.
        DataError: the file is damaged, or its arrays do not fit each other.
    """
    arrays = Arrays(path, _columns(path, metadata=paths is None or isinstance(labels, str)))
    vectors = arrays.assign(image_features(arrays, features))
    annotations = Annotations(arrays, vectors, named=features is not None)
    beside = _sidecars(path)
    names = annotations.class_names(classes or beside.get("classes"))
    indices, names, ordered = annotations.labels(labels or beside.get("labels"), names)
    rows = annotations.paths(paths or beside.get("paths"))
    texts = annotations.text_features(None if names is None else len(names)) if ordered else None
    if texts is not None and names is None and indices is not None:
        label_indices(path, indices, [str(row) for row in range(len(texts))])
    return FeatureTable(
        count=vectors.shape[0],
        dim=vectors.shape[1],
        blocks=lambda: vector_blocks(path, vectors, rows),
        paths=rows,
        labels=indices,
        class_names=names,
        text_features=texts,
        splits=annotations.splits(beside.get("splits")),
        ignored=arrays.unassigned(),
    )


def read_text_features(path: Path) -> tuple[tuple[str, ...], Vectors]:
    """The K class names of a file and their text features (K, D), of any length.

    The formats are those of :func:`read_features`. The arrays are ``class_names`` (or ``names`` …) and
    ``text_features`` (or ``classifier`` …, or else the only 2-D floating array); the class names of an .npy file lie
    beside it in ``NAME.classes.json``.

    Raises:
        ConfigError: the format is not known, or needs pyarrow.
        DataError: one of the two is missing, they do not fit each other, or a row has no direction.
    """
    arrays = Arrays(path, _columns(path, metadata=False))
    beside = _sidecars(path).get("classes")
    # A row of a table is one class here, so any of its text columns may be the names.
    tables = (*LABELS, "name", "text", "caption") if arrays.is_table else ()
    listed = arrays.candidates((*NAMES, *tables), is_list)
    matrices = arrays.candidates(TEXTS, is_matrix) or [c for c in arrays.columns if is_matrix(c)]
    if len(matrices) != 1 and not (matrices and matrices[0].name.lower() in TEXTS):
        raise DataError(
            f"{path} has no text features; it holds {arrays}", hint="a (K, D) floating array text_features"
        )
    if not listed and beside is None:
        raise DataError(
            f"{path} does not say which classes its text features are of; it holds {arrays}",
            hint="add an array class_names of K strings",
        )
    if not beside:
        check_class_list(path, listed[0])
    names = class_names(beside or path, read_list(beside, "names") if beside else values_of(path, listed[0]))
    texts = matrix_of_shape(path, matrices[0], len(names), None)
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
        code = (
            "import sys, torch, numpy; "
            "held = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
            "numpy.save(sys.argv[2], held.numpy())"
        )
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
    """The files that ``write_npy`` puts beside an .npy file, as far as they are there, by what they hold."""
    if path.suffix.lower() != ".npy":
        return {}
    named = {part: sidecar(path, part) for part in SIDECARS}
    return {part: file for part, file in named.items() if file.is_file()}


def sidecar(path: Path, part: str) -> Path:
    """The file beside an .npy file that holds its ``paths``, ``classes``, ``labels``, ``digests`` or ``splits``."""
    return path.with_name(f"{path.stem}.{part}.{SIDECARS[part]}")
