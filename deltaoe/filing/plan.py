"""Which file goes into which folder under which name: plain data, before any file is touched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from deltaoe.filing.names import numbered, safe_name

Mode = Literal["copy", "move", "link"]


@dataclass(frozen=True)
class Item:
    """A file to put somewhere.

    Attributes:
        source: its path.
        folder: names of the folders to put it in, the outermost first; any text.
        digest: of its content; empty if it is not known.
    """

    source: str
    folder: tuple[str, ...]
    digest: bytes = b""


@dataclass(frozen=True)
class Step:
    """One file and its place below the target folder.

    Attributes:
        source: path of the file.
        folder: path of the folder below the target folder, with ``/``.
        name: the name it gets there.
    """

    source: str
    folder: str
    name: str


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        steps: one for each file, in the order given.
        same: (path, path) of files left out because a file of the same content, the second, goes into the same
            folder.
    """

    steps: Sequence[Step]
    same: Sequence[tuple[str, str]]

    @property
    def per_folder(self) -> dict[str, int]:
        """Number of files by folder, in the order in which folders come first."""
        counts: dict[str, int] = {}
        for step in self.steps:
            counts[step.folder] = counts.get(step.folder, 0) + 1
        return counts


def plan(items: Iterable[Item]) -> Plan:
    """Safe names for all files, each different from the others in its folder, upper and lower case being the same.

    Example:
        >>> found = plan([Item("x/a.jpg", ("cat",)), Item("y/A.jpg", ("cat",)), Item("z/a.jpg", ("dog/",))])
        >>> [f"{step.folder}/{step.name}" for step in found.steps]
        ['cat/a.jpg', 'cat/A-2.jpg', 'dog_/a.jpg']
    """
    taken: set[tuple[str, str]] = set()
    last: dict[tuple[str, str], int] = {}
    contents: dict[tuple[str, bytes], str] = {}
    steps: list[Step] = []
    same: list[tuple[str, str]] = []
    for item in items:
        folder = "/".join(map(safe_name, item.folder))
        before = contents.setdefault((folder, item.digest), item.source) if item.digest else item.source
        if before is not item.source:
            same.append((item.source, before))
            continue
        name = safe_name(os.path.basename(item.source))
        key = (folder.casefold(), name.casefold())
        number = last.get(key, 0) + 1
        while (key[0], numbered(name, number).casefold()) in taken:
            number += 1
        last[key] = number
        name = numbered(name, number)
        taken.add((key[0], name.casefold()))
        steps.append(Step(item.source, folder, name))
    return Plan(steps, same)
