"""The rules for names of detectors. Importing them loads nothing."""

from __future__ import annotations

import os

from deltaoe.errors import ConfigError

SUFFIX = ".safetensors"
ZERO_SHOT_NAME = "zero-shot"  # what `--detector` of evaluate calls prompts that were not tuned
_MOST_BYTES = 120  # of a name, so that the file's name and temporary ones are short enough everywhere
_NO_CHARACTERS = frozenset('/\\<>:"|?*')  # separators, and what some file systems do not take


def check_detector_name(name: str) -> None:
    """Raise ConfigError unless this can be a detector's name.

    Example:
        >>> check_detector_name("shop-v2")
        >>> check_detector_name("-v2")
        Traceback (most recent call last):
        ...
        deltaoe.errors.ConfigError: a detector cannot be named '-v2': it begins with a dot or a dash
    """
    wrong = (
        "it is empty"
        if not name
        else "it begins with a dot or a dash"
        if name[0] in ".-"
        else "it ends with a dot"
        if name.endswith(".")
        else "it begins or ends with a blank"
        if name.strip() != name
        else f"names ending in {SUFFIX} are paths"
        if name.lower().endswith(SUFFIX)
        else "it has a character that cannot be shown"
        if not name.isprintable()
        else f"it has one of {' '.join(sorted(_NO_CHARACTERS))}"
        if set(name) & _NO_CHARACTERS
        else "it stands for prompts that were not tuned"
        if name == ZERO_SHOT_NAME
        else f"it is longer than {_MOST_BYTES} bytes"
        if len(name.encode()) > _MOST_BYTES
        else ""
    )
    if wrong:
        raise ConfigError(
            f"a detector cannot be named {name!r}: {wrong}",
            hint="use letters, digits, - and _, as in shop-v2",
        )


def is_detector_path(wanted: str) -> bool:
    """Whether a word names a file instead of a detector of the workspace.

    Example:
        >>> [is_detector_path(word) for word in ("shop-v2", "./shop-v2", "shop-v2.safetensors")]
        [False, True, True]
    """
    separators = {os.sep, os.altsep or os.sep, "/"}
    return bool(set(wanted) & separators) or wanted.lower().endswith(SUFFIX)
