"""A Parquet file by pyarrow, which is optional: which of its columns holds images, and which say something of them.

The file is untrusted. It is read in small batches, and what it declares is compared with what it can hold.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from deltaoe.errors import ConfigError, first_line
from deltaoe.images.first_bytes import starts_like_image
from deltaoe.images.tars import ContainerError
from deltaoe.images.walk import observed

_STREAM_BYTES = 1 << 20  # and no buffering ahead, which takes the whole file into memory
_LOOKED_AT = 20  # rows by which it is found which column holds images
_UNPACKS_TO = 200  # times a file's own size; pictures pack hardly at all


def arrow(module: str = "") -> Any:
    """pyarrow, or one of its modules. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError as cause:
        raise ConfigError(
            "Parquet files need pyarrow, which is not installed", hint='pip install "deltaoe[parquet]"'
        ) from cause


class OpenedParquet:
    """A Parquet file whose image column is known.

    Attributes:
        observed: the file when it was opened.
        rows: their number.
        bytes_leaf: the path of the column of images' bytes; empty if there is none.
        name_leaf: that of the images' names beside them; empty if there is none.
        path_leaf: that of paths or URLs of images, where there are no bytes; empty if there is none.
        other_images: names of further columns of images.

    Raises:
        ContainerError: it cannot be read as such a file.
        ConfigError: pyarrow is not installed.
        OSError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        parquet = arrow("parquet")
        self._raw = open(path, "rb")  # noqa: SIM115 - closed by close(), or when nobody has a use for it any more
        self.close = weakref.finalize(self, self._raw.close)
        try:
            self.observed = observed(os.fstat(self._raw.fileno()))
            self.file = parquet.ParquetFile(self._raw, buffer_size=_STREAM_BYTES, pre_buffer=False)
            metadata = self.file.metadata
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > _UNPACKS_TO * self.observed[0] + (1 << 26):
                raise ContainerError("a Parquet file that declares more than it can hold")
            self.starts = list(itertools.accumulate((group.num_rows for group in groups), initial=0))
            self.rows = self.starts.pop() if groups else 0
            self.schema = self.file.schema_arrow
            self.bytes_leaf, self.name_leaf, self.path_leaf, self.other_images = self._leaves()
        except (ContainerError, ConfigError, OSError):
            self.close()
            raise
        except Exception as cause:  # pyarrow raises kinds of its own
            self.close()
            raise ContainerError(f"not a Parquet file that can be read ({first_line(cause, 80)})") from cause

    def _leaves(self) -> tuple[str, str, str, list[str]]:
        types = arrow().types
        found: list[tuple[str, str]] = []
        path = ""
        for field in self.schema:
            kind = field.type
            if types.is_struct(kind) and any(_is_bytes(kind.field(i)) for i in range(kind.num_fields)):
                inner = {kind.field(i).name: kind.field(i) for i in range(kind.num_fields)}
                leaf = next(name for name, one in inner.items() if _is_bytes(one))
                name = f"{field.name}.path" if "path" in inner else ""
                if any(map(starts_like_image, self._first(f"{field.name}.{leaf}", field.name))):
                    found.append((f"{field.name}.{leaf}", name))
                elif name and any(self._first(name, field.name)):
                    path = path or name
            elif _is_bytes(field) and any(map(starts_like_image, self._first(field.name, field.name))):
                found.append((field.name, ""))
        if not found:
            return "", "", path, []
        return *found[0], "", [leaf.partition(".")[0] for leaf, _ in found[1:]]

    def _first(self, leaf: str, column: str) -> list[Any]:
        batch = next(self.batches([leaf], _LOOKED_AT), None)
        return [] if batch is None else [one for one in self.values(batch, leaf) if one]

    def batches(self, leaves: Sequence[str], size: int, group: int | None = None) -> Iterator[Any]:
        """Batches of these leaves, of all rows or those of one row group."""
        groups = None if group is None else [group]
        iterator = self.file.iter_batches(
            batch_size=size, columns=list(leaves), row_groups=groups, use_threads=False
        )
        yield from iterator

    def values(self, batch: Any, leaf: str) -> list[Any]:
        """The values of a leaf in a batch; None where there is none."""
        name, _, inner = leaf.partition(".") if leaf not in self.schema.names else (leaf, "", "")
        column = batch.column(batch.schema.get_field_index(name))
        if inner:
            return [None if one is None else one.get(inner) for one in column.to_pylist()]
        found: list[Any] = column.to_pylist()
        return found


def _is_bytes(field: Any) -> bool:
    types = arrow().types
    return bool(types.is_binary(field.type) or types.is_large_binary(field.type))


def scalar_columns(opened: OpenedParquet) -> dict[str, list[str]]:
    """Title → names of classes by number, empty without, of the columns of texts and numbers."""
    types = arrow().types
    features = _described(opened.schema.metadata or {})
    found: dict[str, list[str]] = {}
    for field in opened.schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        plain = types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind)
        if (plain or types.is_boolean(kind) or types.is_floating(kind)) and field.name not in found:
            found[field.name] = features.get(field.name, [])
    return found


def _described(metadata: Any) -> dict[str, list[str]]:
    """Names of the classes of each column that Hugging Face's metadata calls a ``ClassLabel``."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            str(title): [str(name) for name in one["names"]]
            for title, one in features.items()
            if isinstance(one, dict)
            and one.get("_type") == "ClassLabel"
            and isinstance(one.get("names"), list)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
