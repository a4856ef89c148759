"""Recognises what the levels of folders mean: classes, domains, splits, dates, and folders that say nothing.

Everything is decided by where most of the images lie, so that a stray file or folder changes no layout.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from deltaoe.images.folder_names import (
    folder_split,
    is_annotation_of_split,
    is_beside,
    is_container,
    is_date,
    is_day_or_month,
    is_numbering,
    splits_among,
)
from deltaoe.images.layout import ANY, FLAT, Layout, levels_of
from deltaoe.images.splits import Split, is_outside_splits

Parts = tuple[str, ...]
_STRAYS = 4  # at most one image in so many may lie above the folders that a layout takes for classes


class Place(NamedTuple):
    """What a folder's path says: its class folder, domain and split; None where it says nothing."""

    folder: str | None
    domain: str | None
    split: Split | None


def folder_of(path: str) -> str:
    """The folder of a file, both with ``/``; empty for the folder that all paths are relative to."""
    return path.rpartition("/")[0]


def detect_layout(paths: Iterable[str]) -> Layout:
    """The layout of a folder, from the paths of its images relative to it, with ``/``.

    - A level is of splits if most images lie below folders with such names (:func:`canonical_split`).
    - Domains are recognised by their classes: most names of the next level occur under several of them. Names that
      differ in a number only (:func:`is_numbering`) are parts of classes instead.
    - A level of dates says the domain if classes lie below, else nothing.
    - A single folder around everything, and folders like ``images`` with no others beside, say nothing.

    Example:
        >>> detect_layout(["photo/cat/1.jpg", "photo/dog/2.jpg", "sketch/cat/3.jpg", "sketch/dog/4.jpg"])
        'domain/class'
        >>> detect_layout(["train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg", "test/4.jpg"])
        'split/class'
    """
    folders = Counter(map(folder_of, paths))
    plain = significant(folders)
    beside = beside_images(folders)
    tree: Counter[Parts] = Counter()
    for folder, images in folders.items():
        if folder not in beside:
            tree[plain[folder]] += images
    split = _split_level(tree)
    if split is None:
        levels = _class_levels(tree)
    else:
        rest = _without_level(tree, split, folder_split)
        if any(len(parts) > split for parts in rest):
            around = _shared_start(rest, split)
        else:  # one folder around all splits is no class
            around = split if len({parts[:split] for parts in tree if len(parts) >= split}) == 1 else 0
        levels = [ANY] * around + _class_levels(Counter({parts[around:]: n for parts, n in rest.items()}))
        levels += [ANY] * (split - len(levels))
        levels.insert(split, "split")
    while levels and levels[-1] == ANY:
        levels.pop()
    return "/".join(levels) or FLAT


def places(folders: Collection[str], layout: Layout, empty: Collection[str] = ()) -> dict[str, Place]:
    """What the path of each folder, of those with images and of ``empty`` ones, says in a layout.

    Folders like ``images`` are passed over, unless the layout would find nothing then. What lies beside the splits,
    where a layout has them above the classes, has no class; nor have annotations (``masks`` beside ``images``) and
    folders of folders that are named like the classes beside.

    Example:
        >>> places(["train/cat", "test/images", "extra/cat"], "split/class")["train/cat"]
        Place(folder='cat', domain=None, split='train')
    """
    level = {name: i for i, name in enumerate(levels_of(layout)) if name != ANY}
    parts = significant(folders, empty)
    beside = beside_images(folders)
    deepest = level.get("class", level.get("split", -1))
    splits_above = "split" in level and level["split"] < level.get("class", 0)
    if not any(len(parts[folder]) > deepest for folder in folders if folder not in beside):
        parts = {folder: _split_up(folder) for folder in parts}
        beside = set()

    def place(one: Parts) -> Place:
        said = {name: one[i] for name, i in level.items() if i < len(one)}
        split = folder_split(said["split"]) if "split" in said else None
        folder = said.get("class")
        if split is None and splits_above:
            folder = None
        return Place(folder, None if folder is None else said.get("domain"), split)

    nothing = Place(None, None, None)
    found = {folder: nothing if folder in beside else place(one) for folder, one in parts.items()}
    if level.get("class") == len(levels_of(layout)) - 1:
        collections = _collections(parts, level["class"])
        found = {
            folder: Place(None, None, said.split)
            if parts[folder][: level["class"] + 1] in collections
            else said
            for folder, said in found.items()
        }
    return found


def _collections(parts: Mapping[str, Parts], level: int) -> set[Parts]:
    """Folders among those of classes that are none: ``test`` in ``cat``, ``dog``, ``test/cat`` and ``test/dog``."""
    beside: dict[Parts, set[str]] = defaultdict(set)
    below: dict[Parts, set[str]] = defaultdict(set)
    for one in parts.values():
        if len(one) > level:
            beside[one[:level]].add(one[level])
        if len(one) > level + 1:
            below[one[: level + 1]].add(one[level + 1])
    return {
        folder
        for folder, names in below.items()
        if len(names) > 1 and names <= beside[folder[:level]] - {folder[level]}
    }


def above_classes(folders: Collection[str], layout: Layout) -> str:
    """The folder that class folders lie in: that of a domain or split if there are some, of train if possible.

    Example:
        >>> above_classes(["test/cat", "train/cat/images"], "split/class"), above_classes(["cat"], "class")
        ('train', '')
    """
    starts = {
        folder: ["/".join(_split_up(folder)[:end]) for end in range(folder.count("/") + 2)]
        for folder in folders
    }
    said = places(folders, layout, {start for above in starts.values() for start in above})
    classed = [folder for folder in sorted(folders) if said[folder].folder is not None]
    if not classed:
        return ""
    first = next((folder for folder in classed if said[folder].split == "train"), classed[0])
    return max((start for start in starts[first] if said[start].folder is None), key=len, default="")


def significant(folders: Iterable[str], empty: Collection[str] = ()) -> dict[str, Parts]:
    """The levels of each folder's path, of those with images and of ``empty`` ones, without those that say nothing.

    These are folders like ``images`` with no others beside, and a folder alone in one of the same name.

    Example:
        >>> significant(["images/dog/images", "images/cat", "images/cat/cat"])
        {'images/dog/images': ('dog',), 'images/cat': ('cat',), 'images/cat/cat': ('cat',)}
    """
    below: dict[Parts, set[str]] = defaultdict(set)
    split_up = {folder: _split_up(folder) for folder in folders}
    for parts in split_up.values():
        for depth, name in enumerate(parts):
            below[parts[:depth]].add(name)
    containers = {parent: _are_containers(names) for parent, names in below.items()}
    # A domain called photos is one below every split, though it lies alone in some.
    telling = {name for parent, names in below.items() if not containers[parent] for name in names}

    def says_something(parts: Parts, depth: int) -> bool:
        above, name = parts[:depth], parts[depth]
        again = bool(above) and above[-1].casefold() == name.casefold() and below.get(above) == {name}
        return not (again or (containers.get(above, is_container(name)) and name not in telling))

    split_up |= {folder: _split_up(folder) for folder in empty}
    return {
        folder: tuple(name for depth, name in enumerate(parts) if says_something(parts, depth))
        for folder, parts in split_up.items()
    }


def _are_containers(names: Collection[str]) -> bool:
    """Whether folders beside each other hold images whatever these show, and perhaps annotations of these."""
    return any(map(is_container, names)) and all(is_container(name) or is_beside(name) for name in names)


def beside_images(folders: Iterable[str]) -> set[str]:
    """Folders that are, or lie in, one of annotations beside one of images: ``masks`` beside ``images``."""
    split_up = {folder: _split_up(folder) for folder in folders}
    below: dict[Parts, set[str]] = defaultdict(set)
    for parts in split_up.values():
        for depth, name in enumerate(parts):
            below[parts[:depth]].add(name)
    return {
        folder
        for folder, parts in split_up.items()
        if any(is_beside(name) and _are_containers(below[parts[:depth]]) for depth, name in enumerate(parts))
    }


def _split_up(folder: str) -> Parts:
    return tuple(folder.split("/")) if folder else ()


def _split_level(tree: Mapping[Parts, int]) -> int | None:
    """The level whose folders are splits; None if there is none."""
    found: dict[int, int] = {}
    for level in range(max(map(len, tree), default=0)):
        at = {parts: n for parts, n in tree.items() if len(parts) > level}
        names = {parts[level] for parts in at}
        splits = splits_among(names)
        if not splits:
            continue
        unknown = {
            name
            for name in names - splits.keys()
            if not (is_outside_splits(name) or is_annotation_of_split(name))
        }
        inside = sum(n for parts, n in at.items() if parts[level] in splits)
        others = sum(
            n
            for parts, n in tree.items()
            if parts
            and not (len(parts) > level and (parts[level] in splits or is_outside_splits(parts[level])))
        )
        if inside < others:
            continue
        if not unknown:
            found[level] = 2
            continue
        # One such name beside others may be a class: a train among vehicles, a test beside a control.
        below = {parts[level + 1] for parts in at if parts[level] in splits and len(parts) > level + 1}
        several, few = len(set(splits.values())) > 1, others * _STRAYS <= inside + others
        if (several and (below or few)) or (len(below) > 1 and few):
            found[level] = 1
    return min(found, key=lambda level: (-found[level], level)) if found else None


def _shared_start(tree: Mapping[Parts, int], most: int) -> int:
    """The number of levels, at most ``most``, that have one folder only."""
    return next((level for level in range(most) if len({parts[level] for parts in tree}) > 1), most)


def _class_levels(tree: Mapping[Parts, int], *, below_dates: bool = False) -> list[str]:
    """The meaning of each level of a tree without splits, down to the classes; empty if there are no folders."""
    tree = {parts: n for parts, n in tree.items() if parts}
    if not tree:
        return []
    for level in range(2):
        names = {parts[level] for parts in tree if len(parts) > level}
        if names and all(is_date(one) or (below_dates and is_day_or_month(one)) for one in names):
            inner = _class_levels(_without_level(tree, level), below_dates=True)
            if not inner:
                return [] if below_dates else ["class"]
            if level < len(inner):
                inner.insert(level, ANY if below_dates or "domain" in inner or level else "domain")
            return inner
    tops = {parts[0] for parts in tree}
    direct = sum(n for parts, n in tree.items() if len(parts) == 1)
    deep = {parts: n for parts, n in tree.items() if len(parts) > 1}
    if not deep or direct * _STRAYS > sum(tree.values()):
        return ["class"]
    tops_of: dict[str, set[str]] = defaultdict(set)
    for parts in deep:
        tops_of[parts[1]].add(parts[0])
    if len(tops) == 1:
        inner = _class_levels(_without_level(deep, 0), below_dates=below_dates)
        return ["class"] if len(tops_of) == 1 and inner == ["class"] else [ANY, *inner]
    if all(len(parts[0]) == 1 and parts[1].casefold().startswith(parts[0].casefold()) for parts in deep):
        return [ANY, *_class_levels(_without_level(deep, 0), below_dates=below_dates)]  # a/abbey, b/bridge
    if len(tops_of) == 1 or (
        is_numbering(tops_of) and not is_numbering(tops)
    ):  # what lies below may say more
        inner = _class_levels(_without_level(deep, 1), below_dates=below_dates)
        return inner if inner == ["class"] else [inner[0], ANY, *inner[1:]]
    shared = sum(len(above) > 1 for above in tops_of.values())
    return ["domain", "class"] if len(tops_of) > 1 and 2 * shared > len(tops_of) else ["class"]


def _without_level(
    tree: Mapping[Parts, int], level: int, only: Callable[[str], object] | None = None
) -> Counter[Parts]:
    """The tree without a level; with ``only``, without all that is not below a folder of it that fits."""
    rest: Counter[Parts] = Counter()
    for parts, images in tree.items():
        if only is None or (len(parts) > level and only(parts[level])):
            rest[parts[:level] + parts[level + 1 :]] += images
    return rest
