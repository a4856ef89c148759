"""Folders of numbered .npy parts, such as clip-retrieval writes, as one array."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from deltaoe.errors import ConfigError, DataError
from deltaoe.interchange.arrays import Blocks, Column, is_matrix, npy_column, reading, unusable
from deltaoe.interchange.parquet import parquet_columns


def folder_columns(path: Path, *, metadata: bool = True) -> list[Column]:
    """A folder of parts as one array: clip-retrieval's layout, or a flat folder of numbered .npy files.

    clip-retrieval (rom1504/clip-retrieval, ``clip_inference/writer.py``) writes ``img_emb/img_emb_<n>.npy`` and, row
    for row, ``metadata/metadata_<n>.parquet``, whose columns are given too if ``metadata``. Empty parts are not
    written, so numbers may be missing; they are ordered as numbers, for padding runs out.

    Raises:
        ConfigError: which files are the parts is not clear, or the metadata need pyarrow, which is not installed.
        DataError: parts do not fit each other.
    """
    if path.name == "img_emb" and (path.parent / "metadata").is_dir():
        path = path.parent
    nested = path / "img_emb"
    with reading(path):
        entries = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
        parts, others = _parts(nested if nested.is_dir() else path)
    columns = [_chain(path, "img_emb", [npy_column(part) for part in parts.values()])]
    if not nested.is_dir():
        return [*columns, *(unusable(name, "no part") for name in others)]
    if "metadata" in entries and metadata:
        columns += _metadata(path / "metadata", parts, columns[0])
    rest = [name for name in entries if name != "img_emb" and not (name == "metadata" and metadata)]
    return [*columns, *(unusable(name, "no part") for name in [*rest, *(f"img_emb/{o}" for o in others)])]


def _parts(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """Numbered .npy files in numeric order, and the names of the folder's other files."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    arrays = [name for name in names if name.lower().endswith(".npy")]
    matches = [re.fullmatch(r"(.*?)([0-9]{1,18})\.npy", name, re.IGNORECASE | re.DOTALL) for name in arrays]
    numbered = {int(match[2]): folder / match[0] for match in matches if match}
    prefixes = {match[1] for match in matches if match}
    if not arrays or len(numbered) < len(arrays) or len(prefixes) > 1:
        found = ", ".join(map(repr, arrays[:5])) + (" …" if len(arrays) > 5 else "") or "none"
        raise ConfigError(
            f"the .npy files in {folder} are no one series of numbered parts: {found}",
            hint="give one .npy or .npz file, or a folder with features_0.npy, features_1.npy … and no other .npy",
        )
    return dict(sorted(numbered.items())), [name for name in names if name not in arrays]


def _metadata(folder: Path, parts: dict[int, Path], features: Column) -> list[Column]:
    files = {
        int(m[1]): f for f in folder.iterdir() if (m := re.fullmatch(r"metadata_(\d{1,18})\.parquet", f.name))
    }
    tables = []
    for number, part in parts.items():
        if number not in files:
            raise DataError(
                f"{part} has no metadata_{number}.parquet in {folder}",
                hint="copy it there, or give the file names with --paths FILE",
            )
        table = {column.name: column for column in parquet_columns(files[number])}
        rows = npy_column(part).shape[0]
        if any(column.shape[:1] != (rows,) for column in table.values()):
            found = next(column.shape[0] for column in table.values())
            raise DataError(
                f"{part} has {rows:,} rows, but {files[number]} has {found:,}",
                hint="both parts must come from one run",
            )
        tables.append(table)
    columns = []
    for name, first in tables[0].items():
        same = [table[name] for table in tables if name in table and table[name].kind == first.kind]
        # A column that a part lacks does not have a value for every row.
        complete = len(same) == len(tables) and first.kind != "other" and len(first.shape) == 1
        shape = features.shape[:1]
        blocks = _chained(same)
        columns.append(Column(name, shape, first.kind if complete else "other", first.dtype, blocks))
    return columns


def _chain(path: Path, name: str, parts: Sequence[Column]) -> Column:
    first = parts[0]
    for part in parts:
        if not is_matrix(part) or part.shape[1:] != first.shape[1:]:
            raise DataError(
                f"{path}: the part {part} does not fit the first, {first}",
                hint="all parts must be 2-D floating arrays of one width",
            )
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    return Column(name, shape, "float", first.dtype, _chained([part for part in parts if part.shape[0]]))


def _chained(parts: Sequence[Column]) -> Blocks:
    return lambda: (block for part in parts for block in part.blocks())
