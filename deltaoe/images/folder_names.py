"""Kinds of folder names that are rarely names of classes: splits, dates, and kinds of files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from typing import Literal

from deltaoe.images.splits import Split, canonical_split, is_outside_splits, split_within

Kind = Literal["splits", "dates", "kinds of files"]

_YEAR = r"(?:19|20)\d\d"
_DATE = re.compile(
    rf"{_YEAR}(?:[-_. ]?(?:0?[1-9]|1[0-2])(?:[-_. ]?(?:0?[1-9]|[12]\d|3[01]))?)?"
    rf"|(?:0?[1-9]|[12]\d|3[01])[-_. ](?:0?[1-9]|1[0-2])[-_. ]{_YEAR}"
)
_NUMBER = re.compile(r"[0-9]+")
_DAY_OR_MONTH = re.compile(r"0?[1-9]|[12]\d|3[01]")
_MOST_FIGURES = 4  # longer ones are codes of something, such as ids of WordNet
# Folders of image files whatever these show.
_CONTAINER_WORDS = (
    "data dataset datasets files images image img imgs jpeg jpegimages jpegs jpg jpgs photos pics pictures png pngs "
    "raw rgb"
)
_CONTAINERS = frozenset(_CONTAINER_WORDS.split())
# Folders of what belongs to images and is none, or a picture of another kind.
_BESIDE_WORDS = (
    "annotation annotations bbox bboxes boxes doc docs gt json label labels mask masks meta metadata segmentation "
    "segmentationclass segmentationobject segmentations trimap trimaps txt xml xmls"
)
_BESIDE = frozenset(_BESIDE_WORDS.split())


def is_container(name: str) -> bool:
    """Whether a folder of this name usually says no more than that there are images in it.

    Example:
        >>> [is_container(name) for name in ("images", "JPEGImages", "data", "dog")]
        [True, True, True, False]
    """
    return name.strip().casefold() in _CONTAINERS


def is_beside(name: str) -> bool:
    """Whether a folder of this name usually holds annotations of images that lie elsewhere."""
    return name.strip().casefold() in _BESIDE


def folder_split(name: str) -> Split | None:
    """The split of a folder among splits, by its name: also where other words stand in it, as in ``cars_train``.

    Annotations, as in ``train_masks``, are of none.
    """
    within = split_within(name)
    found = canonical_split(name)
    return found or (within[0] if within and not _BESIDE.intersection(within[1]) else None)


def splits_among(names: Collection[str]) -> dict[str, Split]:
    """Those of some folders beside each other that are splits: by their names, or by names that differ in the split.

    If one is by its name, and all speak of splits, all are.

    Example:
        >>> splits_among(["cars_train", "cars_test", "test tube", "model train"])
        {'cars_train': 'train', 'cars_test': 'test'}
    """
    found: dict[str, Split] = {}
    alike: dict[tuple[str, ...], dict[str, Split]] = defaultdict(dict)
    for name in names:
        split = folder_split(name)
        if split and canonical_split(name):
            found[name] = split
        elif split and (within := split_within(name)):
            alike[within[1]][name] = split
    for group in alike.values():
        if len(set(group.values())) > 1:
            found |= group
    every = {name: split for name in names if (split := folder_split(name))}
    return every if any(map(canonical_split, names)) and len(every) == len(names) else found


def is_annotation_of_split(name: str) -> bool:
    """Whether a folder's name says that it holds annotations of a split: ``train_masks``."""
    within = split_within(name)
    return bool(within and _BESIDE.intersection(within[1]))


def is_numbering(names: Collection[str]) -> bool:
    """Whether names are one word with different numbers, as of parts or cameras, rather than names of classes.

    Numbers counted from zero are how programs name classes.

    Example:
        >>> [is_numbering(names) for names in (["1", "2"], ["clip_1", "clip_2"], ["0", "1"], ["n01498041", "n0"])]
        [True, True, False, False]
    """
    words = {_NUMBER.sub("", name).strip(" _-.").casefold() for name in names}
    numbers = [_NUMBER.findall(name) for name in names]
    if (
        len(names) < 2
        or len(words) != 1
        or not all(len(found) == 1 and len(found[0]) <= _MOST_FIGURES for found in numbers)
    ):
        return False
    (word,) = words
    counted = sorted(int(found[0]) for found in numbers) == list(range(len(names)))
    return not (word in {"class", "label", "category"} or (word in {"", "c"} and counted))


def is_date(name: str) -> bool:
    """Whether it is a year, a month of a year, or a day.

    Example:
        >>> [is_date(name) for name in ("2023", "2023-07", "20230714", "14.07.2023", "1234", "07")]
        [True, True, True, True, False, False]
    """
    return _DATE.fullmatch(name.strip()) is not None


def is_day_or_month(name: str) -> bool:
    """Whether it may be the number of a month or of a day."""
    return _DAY_OR_MONTH.fullmatch(name.strip()) is not None


def kind_of(name: str) -> Kind | None:
    """What a name is instead of a class's, by its looks; None if nothing speaks against a class.

    Example:
        >>> [kind_of(name) for name in ("train", "2023-07", "masks", "dog")]
        ['splits', 'dates', 'kinds of files', None]
    """
    if canonical_split(name) or is_outside_splits(name):
        return "splits"
    if is_date(name):
        return "dates"
    return "kinds of files" if is_container(name) or is_beside(name) else None
