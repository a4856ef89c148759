"""HDF5 files that lead elsewhere, harm the library that reads them, or claim what they do not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

SECRET = b"root:x:0:0:secret of another file:/root:/bin/sh\n"


def _external_storage(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (len(SECRET),), "S1", external=[(str(secret), 0, len(SECRET))])


def _virtual(file: h5py.File, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(f"{secret}.h5", "x", (3,))
    file.create_virtual_dataset(name, layout)


def _reference(file: h5py.File, name: str, secret: Path) -> None:
    file["target"] = h5py.ExternalLink(f"{secret}.h5", "x")
    file.create_dataset(name, data=np.array([file.ref], dtype=h5py.ref_dtype))


def _chunks_never_written(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (10**9, 8), "f4", chunks=(1000, 8), fillvalue=1)


def _never_written(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (10**9, 8), "f4", fillvalue=1)


def _partly_written(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (1000, 8), "f4", chunks=(10, 8), compression="gzip", fillvalue=1)[:900] = 2


# What stands at a name, and what is said of it.
LEADS_ELSEWHERE: dict[str, tuple[Callable[[h5py.File, str, Path], None], str]] = {
    "soft link": (lambda file, name, _: file.__setitem__(name, h5py.SoftLink("/target")), "is a link"),
    "external link": (
        lambda file, name, secret: file.__setitem__(name, h5py.ExternalLink(f"{secret}.h5", "x")),
        "is a link to another file",
    ),
    "external storage": (_external_storage, "external storage"),
    "virtual": (_virtual, "virtual"),
    "reference": (_reference, ""),
    "plugin": (
        lambda file, name, _: file.create_dataset(name, data=np.arange(99), compression="lzf"),
        "filter",
    ),
    "chunks never written": (_chunks_never_written, "but 0 are there"),
    "never written": (_never_written, "but 0 are there"),
    "partly written": (_partly_written, "never written"),
    "type": (lambda file, name, _: file.__setitem__(name, np.dtype("i4")), "is a named type"),
}


def make_secret(folder: Path) -> Path:
    """A file that must not be read, and an HDF5 file beside it."""
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    with h5py.File(f"{secret}.h5", "w") as file:
        file["x"] = np.array([11, 22, 33])
    return secret


def make_endless(path: Path) -> Path:
    """A file with features, at whose class names libhdf5 loops for ever: an object of size 0 in the heap of strings."""
    with h5py.File(path, "w") as file:
        file["features"] = np.eye(3, dtype=np.float32)
        file["class_names"] = ["ant", "bee", "cat"]
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 18 : heap + 26] = bytes(8)
    path.write_bytes(content)
    return path
