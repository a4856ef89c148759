"""The demo's vocabulary: names of all that its world can draw and the user has no images of."""

from __future__ import annotations

from pathlib import Path

from deltaoe.demo.patterns import PATTERNS
from deltaoe.demo.world import OTHERS
from deltaoe.errors import DataError, StoreError, os_reason
from deltaoe.store.atomic import write_bytes

NAMES = "names.txt"
DEFAULTS_FILE = "deltaoe.toml"
_DEFAULTS = f"""\
# Defaults of the deltaoe commands in this folder.
# The demo's small CLIP knows only the things of its own world, so unknown pictures get their names.
vocabulary = "{NAMES}"
"""


def write_vocabulary(folder: Path) -> None:
    """Write the names, and a defaults file by which every command in the folder uses them.

    Raises:
        DataError: a file of one of these names is there, with other content.
        StoreError: the folder cannot be read or written.
    """
    contents = {NAMES: "\n".join([*OTHERS, *sorted(PATTERNS), ""]), DEFAULTS_FILE: _DEFAULTS}
    for name, content in contents.items():
        path = folder / name
        try:
            there = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        except OSError as cause:
            raise StoreError(f"cannot read {path}: {os_reason(cause)}", hint="move it away") from cause
        if there and there != content:
            raise DataError(
                f"{path} exists and is not the demo's",
                hint="move it away, or choose another folder with --out",
            )
        if not there:
            write_bytes(path, content.encode())
