"""Safetensors files of JSON values and arrays with a digest of both, which is compared when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.files import check_regular_file
from deltaoe.store.feature_space import canonical_json
from deltaoe.store.safetensors_file import read_safetensors

SEAL = "sha256"  # the entry of the JSON values that holds the digest
CHANGED = "its content has changed since it was written"

Arrays = Mapping[str, npt.NDArray[Any]]


class Unsealed(NamedTuple):
    """What a file holds.

    Attributes:
        head: the JSON values, without the digest.
        arrays: name → array.
        checked: whether there was a digest; files of earlier versions have none.
    """

    head: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    checked: bool


def content_digest(head: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256, hexadecimal, of JSON values in canonical form and of names, types, shapes and bytes of arrays."""
    digest = hashlib.sha256(canonical_json(head).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def with_seal(head: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """The JSON values of a file, and the digest among them."""
    plain: dict[str, Any] = json.loads(canonical_json(head))  # as a reader will see them
    return {**plain, SEAL: content_digest(plain, arrays)}


def to_bytes(key: str, head: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Content of a file.

    Args:
        key: the name of its one metadata entry: safetensors does not keep the order of several.
        head: JSON values.
        arrays: name → array.
    """
    from safetensors.numpy import save  # what is only read needs no such package

    tensors = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content: bytes = save(tensors, metadata={key: canonical_json(head)})
    return content


def unseal(path: Path, key: str, *, bare: bool = False) -> Unsealed:
    """Read a file, and compare its digest if it has one. A damaged file may raise any exception here.

    Args:
        path: the file.
        key: the name of its metadata entry.
        bare: whether a file without this entry is read, too, as one of an earlier version.

    Raises:
        StoreError: the content is not the one that the digest was made of; the file is a pipe, a device or a folder.
        KeyError: there is no metadata entry ``key``.
    """
    check_regular_file(path, error=StoreError)
    metadata, arrays = read_safetensors(path)
    head = json.loads((metadata or ({key: "{}"} if bare else {}))[key])
    if not isinstance(head, dict):
        raise StoreError("it has no description")
    sealed = head.pop(SEAL, None)
    if sealed is not None and sealed != content_digest(head, arrays):
        raise StoreError(CHANGED)
    return Unsealed(head, arrays, sealed is not None)
