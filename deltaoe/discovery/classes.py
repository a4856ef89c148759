"""Groups that become classes: which image goes into which class folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from deltaoe.discovery.discover import Discovery
from deltaoe.errors import ConfigError, DataError
from deltaoe.files import read_small_file
from deltaoe.filing.plan import Item
from deltaoe.images.lists import Wanted, read_list


def chosen_groups(words: str | None, found: Discovery) -> dict[int, str]:
    """Group number → name of the class that it becomes; all groups by their own names without a choice.

    Args:
        words: numbers with commas between, each perhaps with ``=`` and a name: ``1,3=tulip``. Groups that get the same
            name become one class.
        found: the groups.

    Raises:
        ConfigError: a word is none of these, or there is no such group, or it is named twice.
    """
    names = {group.number: group.name for group in found.groups}
    if words is None:
        return names
    chosen: dict[int, str] = {}
    for word in words.split(","):
        number, equals, name = (part.strip() for part in word.partition("="))
        if not number.isdecimal() or (equals and not name):
            raise ConfigError(f"--groups takes numbers and names, as in 1,3=tulip, not {word!r}")
        if int(number) not in names:
            there = f"the groups are 1 to {len(names)}" if names else "no groups were found"
            raise ConfigError(f"there is no group {number}", hint=there)
        if int(number) in chosen:
            raise ConfigError(f"--groups names group {number} twice")
        chosen[int(number)] = name or names[int(number)]
    return chosen


def class_items(found: Discovery, chosen: dict[int, str]) -> list[Item]:
    """The images of chosen groups, each with the folder of its class; images that repeat others are left out."""
    items = []
    features = found.scored.features
    for i, row in enumerate(found.rows.tolist()):
        name = chosen.get(int(found.group_of[i]))
        if name is not None and found.duplicate_of[i] < 0:
            digest = features.digests[row].tobytes() if features is not None else b""
            items.append(Item(found.scored.files[row], (name,), digest))
    return items


def listed_items(path: Path) -> list[Item]:
    """The images of a list with classes, such as an edited ``discovered.csv``; those without a class are left out.

    In a list that a report has exported, with a column ``verdict``, ``group`` is the class that an image is to have,
    and ``class`` the known class that it was taken for. Paths are relative to the list's folder or, if there is no such
    file, to the current one, since a browser puts downloads into a folder of its own.

    Raises:
        DataError: it cannot be read, has no classes, or is no table of paths.
    """
    data = read_small_file(path)
    suffix = path.suffix.lower() if path.suffix.lower() in (".csv", ".tsv") else ".csv"
    exported = b"verdict" in re.split(rb'[,;\t"\r\n]+', data.split(b"\n", 1)[0])
    listed = read_list(str(path), data, suffix, Wanted(only=("group" if exported else "class",)))
    named = [(one, name) for one, name in zip(listed.paths, listed.classes or (), strict=False) if name]
    if not named:
        raise DataError(
            f"{path} names no image with a class",
            hint=f"fill in its column {'group' if exported else 'class'}; images without one are left out",
        )
    return [Item(_found(path.parent, one), (name,)) for one, name in named]


def _found(folder: Path, path: str) -> str:
    below = os.path.join(folder, path)
    return path if not os.path.lexists(below) and os.path.lexists(path) else below
