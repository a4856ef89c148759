"""Parquet by pyarrow, which is optional: columns of a file as arrays, and features as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.images.parquet_file import arrow
from deltaoe.interchange.arrays import Blocks, Column, Kind, block_rows, check_declared, reading

CLASS_NAMES = "deltaoe.class_names"  # in the file's own metadata: a JSON list
_STREAM_BYTES = 1 << 20  # and no buffering ahead, which takes the whole file into memory
_MAX_DIM = 1 << 16


def parquet_columns(path: Path) -> list[Column]:
    """The columns of a Parquet file, (n,) or, of lists of numbers, (n, D); text is without nulls: they are empty.

    Class names that deltaoe wrote into the file's metadata follow as a column of that name, (K,).

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: the file cannot be read.
    """
    parquet = arrow("parquet")
    with reading(path), path.open("rb") as raw:
        file = parquet.ParquetFile(raw, buffer_size=_STREAM_BYTES, pre_buffer=False)
        schema, rows = file.schema_arrow, file.metadata.num_rows
        names = list(schema.names)
        found = [
            _column(path, file, schema.field(i), rows, names.count(name)) for i, name in enumerate(names)
        ]
        held = (schema.metadata or {}).get(CLASS_NAMES.encode())
        if held is not None:
            classes = np.array([str(name) for name in json.loads(held)], dtype=object)
            found.append(Column(CLASS_NAMES, (len(classes),), "text", "text", lambda: iter([classes])))
    return found


def _column(path: Path, file: Any, field: Any, rows: int, times: int) -> Column:
    kind, width = _meaning(file, field) if times == 1 else ("other", None)
    shape = (rows,) if width is None else (rows, width)
    if width is not None:
        check_declared(path, f"the column {field.name!r}", 4 * rows * width, path.stat().st_size)
    return Column(field.name, shape, kind, str(field.type), _blocks(path, field.name, kind, width))


def _meaning(file: Any, field: Any) -> tuple[Kind, int | None]:
    """What a column holds, and how many numbers each row has if these are lists."""
    types, type_ = arrow().types, field.type
    if types.is_dictionary(type_):
        type_ = type_.value_type
    if types.is_floating(type_):
        return "float", None
    if types.is_integer(type_) or types.is_boolean(type_):
        return "integer", None
    if types.is_string(type_) or types.is_large_string(type_) or types.is_binary(type_):
        return "text", None
    if types.is_fixed_size_list(type_) and types.is_floating(type_.value_type):
        return ("float", type_.list_size) if 0 < type_.list_size <= _MAX_DIM else ("other", None)
    if (types.is_list(type_) or types.is_large_list(type_)) and types.is_floating(type_.value_type):
        width = _first_width(file, field.name)
        return ("float", width) if 0 < width <= _MAX_DIM else ("other", None)
    return "other", None


def _first_width(file: Any, name: str) -> int:
    for batch in file.iter_batches(batch_size=1, columns=[name]):
        first = batch.column(name)[0]
        return len(first) if first.is_valid else 0
    return 0


def _blocks(path: Path, name: str, kind: Kind, width: int | None) -> Blocks:
    def blocks() -> Iterator[npt.NDArray[Any]]:
        parquet = arrow("parquet")
        start = 0
        with reading(path), path.open("rb") as raw:
            file = parquet.ParquetFile(raw, buffer_size=_STREAM_BYTES, pre_buffer=False)
            for batch in file.iter_batches(batch_size=block_rows(4 * (width or 1)), columns=[name]):
                values = batch.column(name)
                if width is not None:
                    yield _vectors(path, name, values, width, start)
                else:
                    yield _scalars(values, kind)
                start += len(values)

    return blocks


def _vectors(path: Path, name: str, lists: Any, width: int, start: int) -> npt.NDArray[Any]:
    lengths = lists.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != width)
    if len(wrong):
        row, found = start + int(wrong[0]), int(lengths[wrong[0]])
        raise DataError(
            f"{path}: row {row:,} of the column {name!r} has "
            + (f"{found:,} numbers, not {width:,}" if found >= 0 else "no vector"),
            hint="leave such rows out; rows count from 0",
        )
    flat: npt.NDArray[Any] = lists.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(lists), width)


def _scalars(values: Any, kind: Kind) -> npt.NDArray[Any]:
    pa = arrow()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if kind == "text":
        out = np.empty(len(values), dtype=object)
        out[:] = ["" if value is None else value for value in values.to_pylist()]
        return out
    if kind == "integer":
        values = values.cast(pa.int64()).fill_null(-1)
    numbers: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return numbers
