"""Files that a command is about to write: they are replaced only if deltaoe wrote them."""

from __future__ import annotations

from pathlib import Path

from deltaoe.errors import ConfigError, StoreError, os_reason

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
