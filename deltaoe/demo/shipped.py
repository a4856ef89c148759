"""The small CLIP that comes with the package; ``deltaoe.demo.pretrain`` is how it was made."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from deltaoe.demo.packed_clip import unpack

FILE = "small-clip.safetensors"


def unpack_model(folder: Path) -> None:
    """Write the model as a ``local-dir:`` folder, unless it is there already.

    Raises:
        ModelError: the package's file is damaged.
        StoreError: the folder cannot be written.
    """
    with resources.as_file(resources.files("deltaoe.demo") / FILE) as packed:
        unpack(packed, folder)
