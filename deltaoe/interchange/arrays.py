"""Arrays in NumPy and HDF5 files, listed by name and shape before any of them is read.

Nothing here runs what a file holds (no pickles) or follows it elsewhere (no HDF5 links to other files), no more than a
block of rows is in memory at a time, and what a file declares is compared with what it holds.
:mod:`~deltaoe.interchange.parquet` and :mod:`~deltaoe.interchange.clip_retrieval` list Parquet files and folders of
parts in the same form.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from deltaoe.errors import DataError, DeltaoeError, first_line, os_reason
from deltaoe.files import check_regular_file
from deltaoe.store.foreign_hdf5 import Dataset, ForeignHdf5

Kind = Literal["float", "integer", "text", "pickle", "other"]
Blocks = Callable[[], Iterator[npt.NDArray[Any]]]

_BLOCK_BYTES = 8 << 20
_BLOCK_ROWS = 4096
_MAX_ROW_BYTES = 1 << 20  # wider than any feature or name; a header may claim anything
_MAX_ARRAYS = 1000  # of a file; each is looked at
_MAX_HEADER = 1 << 16  # bytes of an array's header; NumPy itself takes no more than 10,000
_MAX_RATIO = 1100  # deflate packs at most 1032 bytes into one
_KINDS: dict[str, Kind] = {
    "f": "float",
    "b": "integer",  # false is 0, true is 1
    "i": "integer",
    "u": "integer",
    "U": "text",
    "S": "text",
    "O": "pickle",
}
_COMPLETE = "is it complete, and what its name says? copy it or make it again"


@dataclass(frozen=True)
class Column:
    """One array of a file, not read yet.

    Attributes:
        name: the array's name in the file.
        shape: its shape.
        kind: what its items are; ``pickle`` is of Python objects, which are never read, and ``other`` is nothing that
            features come with and has no blocks.
        dtype: its type in the file's own words, for messages.
        blocks: a function that yields the rows in order, a few thousand at a time, of any byte order; text as NumPy
            strings or as objects (``str`` or UTF-8 ``bytes``).
        why: why it must not be read, as the end of a sentence about it; empty if that is not so.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    dtype: str
    blocks: Blocks
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"{self.name} (which {self.why})"
        return f"{self.name} {self.shape} {self.dtype}"


def is_matrix(column: Column) -> bool:
    """Whether it can hold features: 2-D and floating."""
    return column.kind == "float" and len(column.shape) == 2


def is_list(column: Column) -> bool:
    """Whether it can hold names: 1-D text, or pickled objects, so that these are refused by name."""
    return column.kind in {"text", "pickle"} and len(column.shape) == 1


def block_rows(row_bytes: int) -> int:
    """The number of rows in a block, for rows of ``row_bytes`` bytes."""
    return max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(1, row_bytes)))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever readers raise on damaged content into a DataError that names the file."""
    try:
        if not path.is_dir():  # a folder of parts, or the reader's own error
            check_regular_file(path)
        yield
    except DeltaoeError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as cause:
        raise DataError(f"cannot read {path}: {os_reason(cause)}", hint="check the path") from cause
    except Exception as cause:  # zlib, HDF5, Arrow, and NumPy's header parser each have their own
        raise DataError(f"cannot read {path}: {first_line(cause)}", hint=_COMPLETE) from cause


def npy_column(path: Path) -> Column:
    """The array of an .npy file, by the file's name. Raises DataError."""
    with reading(path):
        return _array(path.name, path, lambda: path.open("rb"), path.stat().st_size)


def check_declared(path: Path, what: str, declared: int, stored: int) -> None:
    """Raise DataError for data of ``declared`` bytes, packed into ``stored`` bytes, if these cannot hold so much."""
    if declared > _MAX_RATIO * stored + (1 << 20):
        raise DataError(
            f"{path}: {what} would be {declared:,} bytes, packed into {stored:,}, which cannot be",
            hint="make the file again, with np.savez or without compression",
        )


def npz_columns(path: Path) -> list[Column]:
    """The arrays of an .npz file, compressed or not, in the file's order. Raises DataError."""
    found = []
    with reading(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MAX_ARRAYS:
            raise DataError(
                f"{path} holds {len(members):,} files",
                hint="features are one array (n, D), not one per image",
            )
        check_declared(path, "its files", sum(one.file_size for one in members), path.stat().st_size)
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name == member.filename:
                found.append(unusable(name, "no array"))
            else:
                found.append(_array(name, path, _opener(path, member.filename), member.file_size))
    return found


def hdf5_columns(path: Path) -> list[Column]:
    """The data sets at the root of an HDF5 file; what is not read is of kind ``other``, and says why. Raises DataError.

    The file is read in a child process, see :mod:`deltaoe.store.foreign_hdf5`.
    """
    file = ForeignHdf5(path)
    return [_hdf5_column(file, one) for one in file.datasets.values()]


def _hdf5_column(file: ForeignHdf5, one: Dataset) -> Column:
    if one.why:
        return Column(one.name, one.shape, "other", one.dtype, lambda: iter(()), one.why)
    kind = "text" if one.text else _kind(np.dtype(one.dtype), one.shape)
    dtype = "text" if one.text else str(np.dtype(one.dtype))
    return Column(one.name, one.shape, kind, dtype, lambda: file.blocks(one.name))


def _array(
    name: str, path: Path, opened: Callable[[], contextlib.AbstractContextManager[IO[bytes]]], size: int
) -> Column:
    """An array in NumPy's format, of ``size`` bytes with its header."""
    with opened() as file:
        if npy.read_magic(file) not in {(1, 0), (2, 0)}:  # 3.0 is for field names of structured arrays
            return unusable(name, "structured")
        shape, fortran, dtype = _header(file)
        start = file.tell()
    kind = _kind(dtype, shape)
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or (kind != "pickle" and wanted > size - start):
        raise DataError(
            f"{path} is cut off: {name!r} is said to be {shape} {dtype}, {wanted:,} bytes, "
            f"but there are {size - start:,}",
            hint="copy or save the file again",
        )

    def blocks() -> Iterator[npt.NDArray[Any]]:
        with reading(path), opened() as file:
            file.seek(start)
            yield from (
                _by_column(file, shape, dtype) if fortran and len(shape) > 1 else _by_row(file, shape, dtype)
            )

    return Column(name, shape, kind, str(dtype), blocks)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file.seek(0)
    major = npy.read_magic(file)[0]
    length = int.from_bytes(file.read({1: 2, 2: 4}[major]), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"an array's header cannot have {length:,} bytes")
    file.seek(0)
    read = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0}[npy.read_magic(file)[0]]
    with warnings.catch_warnings():  # of headers by Python 2, which are read all the same
        warnings.simplefilter("ignore")
        shape, fortran, dtype = read(file)
    return tuple(int(size) for size in shape), bool(fortran), dtype


def _by_row(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    step = block_rows(row_bytes)
    for start in range(0, shape[0], step):
        rows = min(step, shape[0] - start)
        data = file.read(rows * row_bytes)
        if len(data) < rows * row_bytes:
            raise EOFError(f"it ends in row {start + len(data) // row_bytes:,} of {shape[0]:,}")
        yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])
    file.read(1)  # at its end a zip member's checksum is compared


def _by_column(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    """Rows of an array that lies column after column (``np.save(file, array.T)``), by mapping it."""
    step = block_rows(math.prod(shape[1:]) * dtype.itemsize)
    with tempfile.TemporaryFile() as spool:
        source, start = file, file.tell()
        if isinstance(file, zipfile.ZipExtFile):  # can't be mapped: it may be compressed
            shutil.copyfileobj(file, spool, 1 << 20)
            spool.flush()
            source, start = spool, 0
        data = np.memmap(source, dtype, "r", start, shape, "F")
        for row in range(0, shape[0], step):
            yield np.array(data[row : row + step])


def _opener(path: Path, member: str) -> Callable[[], contextlib.AbstractContextManager[IO[bytes]]]:
    @contextlib.contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file

    return opened


def _kind(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Kind:
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    return _KINDS.get(dtype.kind, "other") if shape and 0 < row_bytes <= _MAX_ROW_BYTES else "other"


def unusable(name: str, what: str) -> Column:
    """A column of kind ``other``, for what is in a file but is no array; its name is shown to the user."""
    return Column(name, (), "other", what, lambda: iter(()))
