"""Where the workspace is, and names of environment variables; apart from what takes long to import."""

from __future__ import annotations

import os
from pathlib import Path

from deltaoe.errors import StoreError

NAME = ".deltaoe"
VARIABLE = "DELTAOE_WORKSPACE"
LOCKS = "DELTAOE_LOCKS"  # which locks writers take; see deltaoe.store.lock


def workspace_folder(override: Path | None = None) -> Path:
    """The workspace's folder: ``override``, else $DELTAOE_WORKSPACE, else ``.deltaoe`` here or above, else a new one.

    Nothing is created.

    Raises:
        StoreError: a file is in the way.
    """
    given = override or (Path(value) if (value := os.environ.get(VARIABLE)) else None)
    if given is not None:
        folder = given
    else:
        here = Path.cwd()
        folder = next((p / NAME for p in (here, *here.parents) if (p / NAME).is_dir()), here / NAME)
    if folder.exists() and not folder.is_dir():
        raise StoreError(
            f"{folder} is a file, not a workspace folder", hint="move it away or pass --workspace DIR"
        )
    return folder
