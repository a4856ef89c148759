"""The workspace that a command uses, and a line that names it where it is not the one of this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltaoe.store.workspace import Workspace

    from .output import Screen


def located(folder: Path | None, screen: Screen) -> Workspace:
    """The workspace to use; one that was found in a folder above is named in a line. Raises StoreError."""
    from deltaoe.store.workspace import Workspace

    place = Workspace.locate(folder)
    if folder is None and place.folder.parent != Path.cwd():
        screen.note(f"workspace: {os.path.relpath(place.folder)}")
    return place
