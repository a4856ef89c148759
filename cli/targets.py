"""Files that a command is about to write: they are replaced only if deltaoe wrote them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deltaoe.errors import ConfigError, StoreError, os_reason
from deltaoe.store.atomic import check_target

if TYPE_CHECKING:
    from deltaoe.store.workspace import Workspace

# Text near the start of each HTML file that deltaoe writes; a file of that name without it is the user's.
HTML_MARK = '<meta name="generator" content="deltaoe'
_LOOKED_AT = 4096  # bytes at the beginning of a file, among which its mark stands


def check_folder(out: Path) -> None:
    """Raise ConfigError if ``out`` is a file."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file, not a folder", hint="name a folder with --out")


def check_replaceable(target: Path, mark: str) -> None:
    """Raise StoreError unless the target is absent, empty, or a file of ours: its mark stands first, in HTML soon."""
    if not target.exists():
        return
    check_target(target)
    try:
        with target.open("rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError as cause:
        raise StoreError(
            f"cannot write {target}: {os_reason(cause)}", hint="choose another folder with --out"
        ) from cause
    ours = mark.encode() in start if target.suffix == ".html" else start.startswith(mark.encode())
    if start and not ours:
        raise StoreError(
            f"{target} exists and was not written by deltaoe",
            hint="move it away, or choose a folder with --out",
        )


def check_targets(
    targets: Mapping[Path, str], place: Workspace, inputs: Sequence[str], *, force: bool
) -> None:
    """Raise StoreError if a file would be replaced that is not ours or, without ``force``, the result of other inputs.

    To be called before the work and, since another process may have written meanwhile, before files are written. Before
    the work, an input that is missing is left to it to name.

    Args:
        targets: the files, each with its mark.
        place: remembers which inputs results were made from.
        inputs: as the user wrote them.
        force: whether results of other inputs may be replaced.
    """
    from deltaoe.images.glob_pattern import is_pattern
    from deltaoe.images.location_text import is_url
    from deltaoe.store.result_files import STDIN, check_same_inputs
    from deltaoe.store.workspace import DATA_PREFIX

    for target, mark in targets.items():
        check_replaceable(target, mark)
    missing = [
        one
        for one in inputs
        if one != STDIN
        and not (os.path.lexists(one) or one.startswith(DATA_PREFIX) or is_pattern(one) or is_url(one))
    ]
    for target in () if force or missing else targets:
        check_same_inputs(place, target, inputs)
