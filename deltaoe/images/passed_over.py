"""What is below folders and not in a list of image files, so that nothing is left out without a word."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class Ignored:
    """Numbers of entries that are not in a list of image files, so that nothing is left out without a word.

    Attributes:
        hidden: hidden files and folders, and system folders.
        other_files: files that are no images by their suffix, or without one by their first bytes.
        repeated: files that were named before, and links from a folder to one that it lies in.
        contradicted: paths of the files that lists name under several classes, or in several splits.
    """

    hidden: int = 0
    other_files: int = 0
    repeated: int = 0
    contradicted: set[str] = field(default_factory=set)


class Others(NamedTuple):
    """What a folder without images of its own holds instead: how many other files, and the path of one of them."""

    files: int
    example: str


class Unlisted(NamedTuple):
    """A folder below a root whose entries cannot be listed, so that nobody knows what it holds.

    Attributes:
        path: the path that could not be listed, with ``/`` at its end.
        relative: the same, below the root.
        reason: why, in words that fit into a table cell.
    """

    path: str
    relative: str
    reason: str
