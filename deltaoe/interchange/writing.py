"""Image features as .npz, .npy and .parquet files, which other programs can read without this package.

:func:`~deltaoe.interchange.reading.read_features` reads whatever is written here. The functions take a block of
vectors at a time and replace the target only when all is written.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from deltaoe.errors import DataError, StoreError
from deltaoe.images.parquet_file import arrow
from deltaoe.interchange.feature_table import FeatureTable
from deltaoe.interchange.name_lists import check_names, class_names
from deltaoe.interchange.parquet import CLASS_NAMES
from deltaoe.interchange.reading import SIDECARS, sidecar
from deltaoe.store.atomic import cannot_write, replacing

_NAMES_PER_BLOCK = 8192
_AGAIN = "has the store changed meanwhile? run it again"


def write_npz(target: Path, table: FeatureTable, dtype: npt.DTypeLike) -> None:
    """Write ``features`` (n, D), ``paths`` (n,), ``labels`` (n,), ``class_names`` (K,), ``digests`` (n, 32)
    and ``splits`` (n,).

    ``np.load(target)`` reads it. Paths are compressed, for NumPy gives each the length of the longest; bytes of a
    name that are no UTF-8 are lone surrogates, as in ``os.fsdecode``. Labels are −1 for no class. What the table does
    not have is left out; its text features are not written.

    Args:
        target: the file.
        table: what to write.
        dtype: of the features, float16 or float32.

    Raises:
        StoreError: the folder cannot be written, the disk is full, the parts of the table do not fit each other, or a
            feature is not finite as ``dtype``.
        DataError: the table's own file cannot be read.
    """
    _check(target, table)
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        with _member(archive, "features") as out:
            _write_vectors(target, out, table, np.dtype(dtype))
        if table.paths is not None:
            with _member(archive, "paths", compressed=True) as out:
                _write_strings(out, table.paths)
        if table.labels is not None:
            with _member(archive, "labels") as out:
                _write_array(out, table.labels)
        if table.class_names:
            with _member(archive, "class_names") as out:
                _write_strings(out, table.class_names)
        if table.digests is not None:
            with _member(archive, "digests") as out:
                _write_array(out, table.digests)
        if table.splits is not None:
            with _member(archive, "splits", compressed=True) as out:
                _write_strings(out, table.splits)


def write_npy(target: Path, table: FeatureTable, dtype: npt.DTypeLike) -> None:
    """Write the features (n, D) as ``NAME.npy`` and the rest beside it.

    ``NAME.paths.json``, ``NAME.classes.json`` and ``NAME.splits.json`` are JSON lists in ASCII, one string per line: a
    name may hold line feeds, and lone surrogates stand for bytes that are no UTF-8. ``NAME.labels.npy`` is (n,) and
    ``NAME.digests.npy`` (n, 32). What the table does not have is left out, and removed where an earlier export left
    it. The features are replaced last.

    Args and errors are those of :func:`write_npz`.
    """
    _check(target, table)
    arrays = {"labels": table.labels, "digests": table.digests}
    lists = {"paths": table.paths, "classes": table.class_names or None, "splits": table.splits}
    absent = [part for part, value in (arrays | lists).items() if value is None]
    # The stack is left in reverse order, so that all is written before anything is replaced.
    with contextlib.ExitStack() as stack:
        files = {"features": stack.enter_context(replacing(target))}
        for part in SIDECARS:
            if part not in absent:
                files[part] = stack.enter_context(replacing(sidecar(target, part)))
        with files["features"].open("wb") as out:
            _write_vectors(target, out, table, np.dtype(dtype))
        for part, array in arrays.items():
            if array is not None:
                with files[part].open("wb") as out:
                    _write_array(out, array)
        for part, names in lists.items():
            if names is not None:
                with files[part].open("w", encoding="ascii") as text:
                    text.writelines(_json_lines(names))
        for part in absent:
            try:
                sidecar(target, part).unlink(missing_ok=True)
            except OSError as cause:
                raise cannot_write(sidecar(target, part), cause) from cause


def write_parquet(target: Path, table: FeatureTable, dtype: npt.DTypeLike) -> None:
    """Write columns ``path``, ``class``, ``label``, ``split``, ``digest`` (hexadecimal) and ``feature``
    (a list of D floats).

    Numbers are rounded to ``dtype`` and kept as 32-bit floats, which every reader of Parquet knows. Parquet's text
    is UTF-8: where a name is not, ``path`` shows a replacement character, and a column ``path_bytes`` holds all
    names' bytes. ``class``, ``label`` and ``split`` are null where there is none. All class names are in the file's
    metadata, under ``deltaoe.class_names``, as JSON. What the table does not have is left out.

    Args and errors are those of :func:`write_npz`, and:

    Raises:
        ConfigError: pyarrow is not installed.
    """
    _check(target, table)
    pa, parquet = arrow(), arrow("parquet")
    schema = _schema(pa, table)
    shown = [_shown(name) for name in table.class_names or ()]
    packed = {name: "none" if name == "feature" else "zstd" for name in schema.names}
    start = 0
    with (
        replacing(target) as temporary,
        temporary.open("wb") as out,
        parquet.ParquetWriter(out, schema, compression=packed, use_dictionary=["class"]) as writer,
    ):
        for block in _rounded_blocks(target, table, np.dtype(dtype)):
            rows = slice(start, start + len(block))
            start += len(block)
            columns: dict[str, Any] = {}
            if table.paths is not None:
                columns["path"] = [_shown(path) for path in table.paths[rows]]
                if "path_bytes" in schema.names:
                    columns["path_bytes"] = [_encoded(path) for path in table.paths[rows]]
            if table.labels is not None:
                columns["label"] = [None if label < 0 else label for label in table.labels[rows].tolist()]
                columns["class"] = [None if i is None or not shown else shown[i] for i in columns["label"]]
            if table.splits is not None:
                columns["split"] = [split or None for split in table.splits[rows]]
            if table.digests is not None:
                columns["digest"] = [bytes(digest).hex() for digest in table.digests[rows]]
            flat = pa.array(block.astype(np.float32).ravel())
            columns["feature"] = pa.FixedSizeListArray.from_arrays(flat, table.dim)
            writer.write_table(pa.table({name: columns[name] for name in schema.names}, schema=schema))


def _schema(pa: Any, table: FeatureTable) -> Any:
    """The columns that a Parquet file of this table has."""
    fields = {}
    if table.paths is not None:
        fields["path"] = pa.string()
        if any(not path.isascii() and _shown(path) != path for path in table.paths):
            fields["path_bytes"] = pa.binary()
    if table.labels is not None:
        fields |= ({"class": pa.string()} if table.class_names else {}) | {"label": pa.int64()}
    if table.splits is not None:
        fields["split"] = pa.string()
    if table.digests is not None:
        fields["digest"] = pa.string()
    fields["feature"] = pa.list_(pa.float32(), table.dim)
    metadata = {CLASS_NAMES: json.dumps(list(table.class_names))} if table.class_names else None
    return pa.schema([pa.field(name, kind) for name, kind in fields.items()], metadata=metadata)


def _check(target: Path, table: FeatureTable) -> None:
    """Raise StoreError unless the parts fit each other, so that nothing is written that could not be read."""
    parts = {"paths": table.paths, "digests": table.digests, "labels": table.labels, "splits": table.splits}
    for what, values in parts.items():
        if values is not None and len(values) != table.count:
            raise StoreError(
                f"cannot write {target}: {len(values):,} {what} for {table.count:,} features", hint=_AGAIN
            )
    try:
        check_names(target, "path", table.paths or ())
        if table.class_names:
            class_names(target, list(table.class_names))
    except DataError as cause:
        raise StoreError(f"cannot write {cause}", hint=cause.hint) from cause
    largest = -1 if table.labels is None else int(table.labels.max(initial=-1))
    if table.class_names and largest >= len(table.class_names):
        raise StoreError(
            f"cannot write {target}: label {largest} is none of {len(table.class_names):,} classes",
            hint=_AGAIN,
        )


def _rounded_blocks(target: Path, table: FeatureTable, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    """The table's blocks in this type. Raises StoreError where they are not (count, dim), or not finite in it."""
    written = 0
    for block in table.blocks():
        written += len(block)
        if block.shape[1:] != (table.dim,) or written > table.count:
            raise StoreError(
                f"cannot write {target}: features {block.shape} beyond the ({table.count:,}, {table.dim:,}) promised",
                hint=_AGAIN,
            )
        with np.errstate(over="ignore"):
            rounded = np.ascontiguousarray(block, dtype=dtype)
        if not np.isfinite(rounded).all():
            raise StoreError(
                f"cannot write {target}: a feature is not finite as {dtype}", hint="export it as float32"
            )
        yield rounded
    if written != table.count:
        raise StoreError(
            f"cannot write {target}: {written:,} features of {table.count:,}",
            hint=_AGAIN,
        )


def _write_vectors(target: Path, out: IO[bytes], table: FeatureTable, dtype: np.dtype[Any]) -> None:
    _write_header(out, (table.count, table.dim), dtype)
    for block in _rounded_blocks(target, table, dtype):
        out.write(block.data)


def _write_strings(out: IO[bytes], names: Sequence[str]) -> None:
    dtype = np.dtype(f"<U{max(map(len, names), default=1)}")
    _write_header(out, (len(names),), dtype)
    for start in range(0, len(names), _NAMES_PER_BLOCK):
        out.write(np.array(names[start : start + _NAMES_PER_BLOCK], dtype=dtype).tobytes())


def _write_array(out: IO[bytes], array: npt.NDArray[Any]) -> None:
    _write_header(out, array.shape, array.dtype)
    out.write(np.ascontiguousarray(array).tobytes())


def _write_header(out: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(out, header)


def _member(archive: zipfile.ZipFile, name: str, *, compressed: bool = False) -> IO[bytes]:
    info = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, so that equal content is an equal file
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    return archive.open(info, "w", force_zip64=True)


def _json_lines(names: Sequence[str]) -> Iterator[str]:
    yield "["
    for number, name in enumerate(names):
        yield ("," if number else "") + "\n" + json.dumps(name)
    yield "\n]\n"


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _shown(name: str) -> str:
    return _encoded(name).decode("utf-8", "replace")
