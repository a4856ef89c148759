"""Text from users' files, fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text from users' files, fit for a terminal: control characters and stray bytes are shown, not sent."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
