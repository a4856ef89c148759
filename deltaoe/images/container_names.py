"""What the names of tar and Parquet files say of the images in them: their class, their split, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deltaoe.images.splits import canonical_split
from deltaoe.images.walk import CONTAINER_SUFFIXES

_NUMBERS = re.compile(r"[-_. ]*\d+(?:[-_. ]*of[-_. ]*\d+)?$")
_SYNSET = re.compile(r"n\d{8}")
_IN_PATH = re.compile(rf"(?:{'|'.join(map(re.escape, CONTAINER_SUFFIXES))})/", re.IGNORECASE)


def levels_above(places: Sequence[str], names: Sequence[Sequence[str]]) -> list[str]:
    """What stands before the members' names as folders are read: the folders above each container, perhaps its name.

    The names of several containers of one folder are class folders if their members lie in none, and if they do not
    differ in their numbers alone: ``cat.tar`` and ``dog.tar``, but not ``00000.tar`` and ``00001.tar``.

    Args:
        places: paths of the containers below a folder, with ``/``.
        names: the names of the members of each.

    Example:
        >>> levels_above(["a/cat.tar", "a/dog.tar"], [["1.jpg"], ["2.jpg"]])
        ['a/cat/', 'a/dog/']
        >>> levels_above(["0000.tar", "0001.tar"], [["cat/1.jpg"], ["dog/2.jpg"]])
        ['', '']
    """
    beside: dict[str, list[int]] = {}
    for i, place in enumerate(places):
        beside.setdefault(place.rpartition("/")[0], []).append(i)
    levels = [""] * len(places)
    for above, rows in beside.items():
        stems = [_stem(places[i]) for i in rows]
        words = {stem if _SYNSET.fullmatch(stem) else _NUMBERS.sub("", stem) for stem in stems}
        flat = not any("/" in name for i in rows for name in names[i])
        says = len(rows) > 1 and len(words) == len(rows) and "" not in words and flat
        for i, stem in zip(rows, stems, strict=True):
            levels[i] = (f"{above}/" if above else "") + (f"{stem}/" if says else "")
    return levels


def splits_of(places: Sequence[str]) -> list[str]:
    """The split that each container's name says, or else a folder above it; "" where none does, and for one alone.

    Example:
        >>> splits_of(["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test.parquet"])
        ['train', 'train', 'test']
    """
    if len(places) < 2:
        return [""] * len(places)
    said = []
    for place in places:
        words = [_NUMBERS.sub("", _stem(place)), *reversed(place.split("/")[:-1])]
        said.append(next((split for word in words if word and (split := canonical_split(word))), ""))
    return said


def as_folders(paths: Sequence[str]) -> Sequence[str]:
    """Paths of images, of which some go on inside containers, as folders are read."""
    cut = [found.end() if (found := _IN_PATH.search(path)) else 0 for path in paths]
    if not any(cut):
        return paths
    members: dict[str, list[str]] = {}
    for path, end in zip(paths, cut, strict=True):
        if end:
            members.setdefault(path[: end - 1], []).append(path[end:])
    level = dict(zip(members, levels_above(list(members), list(members.values())), strict=True))
    pairs = zip(paths, cut, strict=True)
    return [level[path[: end - 1]] + path[end:] if end else path for path, end in pairs]


def _stem(place: str) -> str:
    return place.rpartition("/")[2].rpartition(".")[0]
