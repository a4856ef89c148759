"""What an environment weighs, and which packages weigh most: ``python benchmarks/installed_size.py FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MEGABYTE = 1_000_000
_SHOWN = 8
_OURS = ("deltaoe", "deltaoe_cli")


def folder_bytes(folder: Path) -> int:
    """Bytes of all regular files below a folder; links are not followed."""
    return sum(
        os.lstat(os.path.join(where, name)).st_size for where, _, names in os.walk(folder) for name in names
    )


def heaviest(environment: Path) -> list[tuple[str, int]]:
    """Package and bytes of the heaviest folders of an environment's site-packages and of ours, the heaviest first."""
    folders = [folder for site in environment.glob("lib/python3*/site-packages") for folder in site.iterdir()]
    sizes = [(folder.name, folder_bytes(folder)) for folder in folders if folder.is_dir()]
    sizes.sort(key=lambda one: -one[1])
    return sizes[:_SHOWN] + [one for one in sizes[_SHOWN:] if one[0] in _OURS]


def main(environment: Path) -> str:
    """The lines that are printed."""
    lines = [f"{folder_bytes(environment) / _MEGABYTE:,.0f} MB in {environment}, among them"]
    return "\n".join(lines + [f"{size / _MEGABYTE:8,.0f} MB {name}" for name, size in heaviest(environment)])


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
