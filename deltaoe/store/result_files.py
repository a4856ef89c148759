"""Which inputs a result file was made from, so that no result of other inputs is replaced unasked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deltaoe.errors import StoreError
from deltaoe.store.workspace import Workspace

STDIN = "-"
_STATE = "results"


def check_same_inputs(workspace: Workspace, target: Path, inputs: Sequence[str]) -> None:
    """Raise StoreError if a result file is there that was not made from these inputs, or was changed since.

    Args:
        workspace: remembers which inputs its results were made from.
        target: the file that is about to be written.
        inputs: as the user wrote them. What came on standard input is never the same.
    """
    try:
        info = target.stat()
    except OSError:
        return
    if not info.st_size:
        return
    noted = workspace.state().get(_STATE, {}).get(workspace.file_key(target))
    if not isinstance(noted, dict):
        reason = f"{target} is there, and it is not known here what it was made from"
    elif [noted.get("size"), noted.get("mtime_ns")] != [info.st_size, info.st_mtime_ns]:
        reason = f"{target} was changed after deltaoe wrote it"
    elif noted.get("inputs") != _keys(workspace, inputs) or STDIN in inputs:
        made_from = noted.get("inputs")
        named = ", ".join(map(str, made_from)) if isinstance(made_from, list) else "other inputs"
        reason = f"{target} has the result of {named}"
    else:
        return
    raise StoreError(reason, hint="use --out DIR to keep both, or --force to replace it")


def note_inputs(workspace: Workspace, targets: Sequence[Path], inputs: Sequence[str]) -> None:
    """Remember which inputs these result files, just written, were made from; not in a workspace that is read-only."""
    new = {}
    for target in targets:
        info = target.stat()
        new[workspace.file_key(target)] = {
            "inputs": _keys(workspace, inputs),
            "size": info.st_size,
            "mtime_ns": info.st_mtime_ns,
        }

    def noted(state: dict[str, Any]) -> dict[str, Any]:
        there = {
            key: value
            for key, value in state.get(_STATE, {}).items()
            if os.path.exists(_path(workspace, key))
        }
        return {**state, _STATE: {**there, **new}}

    with contextlib.suppress(StoreError):
        # The results are written; without the note, they are not replaced unasked.
        workspace.change_state(noted)


def _keys(workspace: Workspace, inputs: Sequence[str]) -> list[str]:
    """Names of the inputs that do not depend on the current folder; data sets and standard input stay as they are."""
    return [
        one
        if one == STDIN or (one.startswith("data:") and not os.path.lexists(one))
        else workspace.file_key(one)
        for one in inputs
    ]


def _path(workspace: Workspace, key: str) -> str:
    return os.path.join(os.path.dirname(workspace.folder), key)
