"""Features for other programs, and from them: .npz, .npy and .parquet, readable without this package.

Reading is in :mod:`deltaoe.interchange.reading`; whatever is written here can be read there. Writing takes a block of
vectors at a time and replaces the target only when all is there.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from deltaoe.errors import DataError, StoreError
from deltaoe.interchange.name_lists import check_names
from deltaoe.interchange.name_lists import class_names as check_class_names
from deltaoe.interchange.parquet import CLASS_NAMES, arrow
from deltaoe.interchange.reading import SIDECARS, Foreign, read_foreign, read_texts, sidecar
from deltaoe.store.atomic import cannot_write, replacing

__all__ = ["Foreign", "read_foreign", "read_texts", "write_npy", "write_npz", "write_parquet"]

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint8]

_NAMES_PER_BLOCK = 8192
_AGAIN = "has the store changed meanwhile? run it again"


def write_npz(
    target: Path,
    blocks: Iterable[Vectors],
    *,
    count: int,
    dim: int,
    dtype: npt.DTypeLike,
    paths: Sequence[str],
    labels: Labels | None,
    class_names: Sequence[str] | None,
    digests: Digests,
) -> None:
    """Write ``features`` (n, D), ``paths`` (n,), ``labels`` (n,), ``class_names`` (K,) and ``digests`` (n, 32).

    ``np.load(target)`` reads it. Paths are compressed, for NumPy gives each the length of the longest; bytes of a
    name that are no UTF-8 are lone surrogates, as in ``os.fsdecode``. ``dtype`` is float16 or float32; labels are
    −1 for none; what is None, or no class names at all, is left out.

    Raises:
        StoreError: the folder cannot be written, the disk is full, or the parts do not fit each other.
    """
    _check(target, count, paths, labels, class_names, digests)
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        with _member(archive, "features") as out:
            _write_vectors(target, out, blocks, (count, dim), np.dtype(dtype))
        with _member(archive, "paths", compressed=True) as out:
            _write_strings(out, paths)
        if labels is not None:
            with _member(archive, "labels") as out:
                _write_array(out, labels.astype(np.int64))
        if class_names:
            with _member(archive, "class_names") as out:
                _write_strings(out, class_names)
        with _member(archive, "digests") as out:
            _write_array(out, digests)


def write_npy(
    target: Path,
    blocks: Iterable[Vectors],
    *,
    count: int,
    dim: int,
    dtype: npt.DTypeLike,
    paths: Sequence[str],
    labels: Labels | None,
    class_names: Sequence[str] | None,
    digests: Digests,
) -> None:
    """Write the features (n, D) as ``NAME.npy`` and the rest beside it.

    ``NAME.paths.json`` and ``NAME.classes.json`` are JSON lists in ASCII, one string per line: a name may hold line
    feeds, and lone surrogates stand for bytes that are no UTF-8. ``NAME.labels.npy`` is (n,) and
    ``NAME.digests.npy`` (n, 32). What is None is left out, and removed where an earlier export left it. The features
    are replaced last.

    Raises:
        StoreError: like :func:`write_npz`.
    """
    _check(target, count, paths, labels, class_names, digests)
    stale = [part for part, value in (("labels", labels), ("classes", class_names or None)) if value is None]
    with (
        contextlib.ExitStack() as stack
    ):  # which is left in reverse: all is written before anything is replaced
        files = {"features": stack.enter_context(replacing(target))}
        for part in SIDECARS:
            if part not in stale:
                files[part] = stack.enter_context(replacing(sidecar(target, part)))
        with files["features"].open("wb") as out:
            _write_vectors(target, out, blocks, (count, dim), np.dtype(dtype))
        for part, table in (("labels", labels), ("digests", digests)):
            if table is not None:
                with files[part].open("wb") as out:
                    _write_array(out, table)
        for part, names in (("paths", paths), ("classes", class_names)):
            if part in files and names is not None:
                with files[part].open("w", encoding="ascii") as text:
                    text.writelines(_json_lines(names))
        for part in stale:
            try:
                sidecar(target, part).unlink(missing_ok=True)
            except OSError as cause:
                raise cannot_write(sidecar(target, part), cause) from cause


def write_parquet(
    target: Path,
    blocks: Iterable[Vectors],
    *,
    count: int,
    dim: int,
    dtype: npt.DTypeLike,
    paths: Sequence[str],
    labels: Labels | None,
    class_names: Sequence[str] | None,
    digests: Digests,
) -> None:
    """Write columns ``path``, ``class``, ``label``, ``digest`` (hexadecimal) and ``feature`` (a list of D floats).

    Numbers are rounded to ``dtype`` and kept as 32-bit floats, which every reader of Parquet knows. Parquet's text
    is UTF-8: where a name is not, ``path`` shows a replacement character, and a column ``path_bytes`` holds all
    names' bytes. ``class`` and ``label`` are null where there is none. All class names are in the file's metadata,
    under ``deltaoe.class_names``, as JSON.

    Raises:
        ConfigError: pyarrow is not installed.
        StoreError: like :func:`write_npz`.
    """
    _check(target, count, paths, labels, class_names, digests)
    pa, parquet = arrow(), arrow("parquet")
    exact = any(not path.isascii() and _shown(path) != path for path in paths)
    fields = {"path": pa.string()} | ({"path_bytes": pa.binary()} if exact else {})
    if labels is not None:
        fields |= ({"class": pa.string()} if class_names else {}) | {"label": pa.int64()}
    fields |= {"digest": pa.string(), "feature": pa.list_(pa.float32(), dim)}
    metadata = {CLASS_NAMES: json.dumps(list(class_names))} if class_names else None
    schema = pa.schema([pa.field(name, kind) for name, kind in fields.items()], metadata=metadata)
    shown = [_shown(name) for name in class_names or ()]
    packed = {name: "zstd" if kind != fields["feature"] else "none" for name, kind in fields.items()}
    start = 0
    with (
        replacing(target) as temporary,
        temporary.open("wb") as out,
        parquet.ParquetWriter(out, schema, compression=packed, use_dictionary=["class"]) as writer,
    ):
        for block in _fitting(target, blocks, (count, dim), np.dtype(dtype)):
            rows = slice(start, start + len(block))
            start += len(block)
            columns: dict[str, Any] = {"path": [_shown(path) for path in paths[rows]]}
            columns["path_bytes"] = [_encoded(path) for path in paths[rows]] if exact else None
            if labels is not None:
                columns["label"] = [None if label < 0 else label for label in labels[rows].tolist()]
                columns["class"] = [None if i is None or not shown else shown[i] for i in columns["label"]]
            columns["digest"] = [bytes(digest).hex() for digest in digests[rows]]
            flat = pa.array(block.astype(np.float32).ravel())
            columns["feature"] = pa.FixedSizeListArray.from_arrays(flat, dim)
            writer.write_table(pa.table({name: columns[name] for name in schema.names}, schema=schema))


def _check(
    target: Path,
    count: int,
    paths: Sequence[str],
    labels: Labels | None,
    class_names: Sequence[str] | None,
    digests: Digests,
) -> None:
    """Raise StoreError unless everything fits, so that nothing is written that could not be read."""
    found = {"paths": len(paths), "digests": len(digests)} | (
        {} if labels is None else {"labels": len(labels)}
    )
    for what, number in found.items():
        if number != count:
            raise StoreError(f"cannot write {target}: {number:,} {what} for {count:,} features", hint=_AGAIN)
    try:
        check_names(target, "path", paths)
        if class_names:
            check_class_names(target, list(class_names))
    except DataError as cause:
        raise StoreError(f"cannot write {cause}", hint=cause.hint) from cause
    top = -1 if labels is None or not len(labels) else int(labels.max())
    if class_names and top >= len(class_names):
        raise StoreError(
            f"cannot write {target}: label {top} is none of {len(class_names):,} classes", hint=_AGAIN
        )


def _fitting(
    target: Path, blocks: Iterable[Vectors], shape: tuple[int, int], dtype: np.dtype[Any]
) -> Iterator[npt.NDArray[Any]]:
    """The blocks in this type, if they are of the shape promised."""
    count, dim = shape
    found = 0
    for block in blocks:
        found += len(block)
        if block.shape[1:] != (dim,) or found > count:
            raise StoreError(
                f"cannot write {target}: features {block.shape} beyond the ({count:,}, {dim:,}) promised",
                hint=_AGAIN,
            )
        with np.errstate(over="ignore"):
            out = np.ascontiguousarray(block, dtype=dtype)
        if not np.isfinite(out).all():
            raise StoreError(
                f"cannot write {target}: a feature is not finite as {dtype}", hint="export it as float32"
            )
        yield out
    if found != count:
        raise StoreError(
            f"cannot write {target}: {found:,} features of {count:,}",
            hint=_AGAIN,
        )


def _write_vectors(
    target: Path, out: IO[bytes], blocks: Iterable[Vectors], shape: tuple[int, int], dtype: np.dtype[Any]
) -> None:
    _write_header(out, shape, dtype)
    for block in _fitting(target, blocks, shape, dtype):
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
