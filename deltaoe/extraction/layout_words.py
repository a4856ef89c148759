"""What the folders of an extraction were taken for, what else they could mean, and what was left out, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from deltaoe.images.file_list import FileList
from deltaoe.images.first_bytes import is_image_by_content
from deltaoe.images.folder_names import Kind, is_beside, is_container, kind_of
from deltaoe.images.labels import Labelling
from deltaoe.images.layout import ANY, FLAT, TABLE, Layout, levels_of
from deltaoe.images.layout_detection import Place, beside_images, folder_of, places
from deltaoe.images.passed_over import Others
from deltaoe.short_repr import counted, listed
from deltaoe.store.dataset import DataSet
from deltaoe.store.split_use import split_use

_OTHERS = 2  # other layouts that a sentence names
_NAMED = 5  # folders that a sentence names
_PATHS = 3  # files that a sentence names
_LOOKS_LIKE: Mapping[Kind, str] = {
    "splits": "splits of a data set",
    "dates": "dates",
    "kinds of files": "kinds of files",
}


@dataclass(frozen=True)
class Reading:
    """What a layout makes of some images.

    Attributes:
        layout: the layout.
        class_folders: names of its class folders, sorted.
        images: number of images in them.
    """

    layout: Layout
    class_folders: tuple[str, ...]
    images: int

    def sentence(self) -> str:
        """The layout with its numbers of classes and images."""
        if not self.class_folders:
            return f"{self.layout}: no classes"
        classes = counted(len(self.class_folders), "class", "classes")
        return f"{self.layout}: {classes} ({listed(self.class_folders)}), {counted(self.images, 'image')}"


def readings(paths: Iterable[str], layout: Layout) -> list[Reading]:
    """What a layout makes of the paths, first, and what else their folders could mean: layouts with other classes."""
    folders = Counter(map(folder_of, paths))
    depth = max((folder.count("/") + 1 for folder in folders if folder), default=0)
    splits = "split" in levels_of(layout)
    options = [layout, "class", "domain/class", f"{ANY}/class", f"{ANY}/{ANY}/class"]
    options += ["split/class", "class/split"] if splits else []
    if "class" in levels_of(layout):
        options.insert(1, layout.replace("class", f"{ANY}/class"))  # of a class folder's own folders
    found: dict[tuple[str, ...], Reading] = {}
    for one in options:
        if one != layout and one.count("/") >= depth:
            continue
        reading = _reading(folders, one)
        if one == layout or not all(is_container(name) or is_beside(name) for name in reading.class_folders):
            found.setdefault(reading.class_folders, reading)
    return list(found.values())


def _reading(folders: Mapping[str, int], layout: Layout) -> Reading:
    images: Counter[str] = Counter()
    for folder, place in places(folders, layout).items():
        if place.folder is not None:
            images[place.folder] += folders[folder]
    return Reading(layout, tuple(sorted(images)), sum(images.values()))


def layout_taken(paths: Sequence[str], layout: Layout) -> list[str]:
    """A sentence on a layout that was recognised, unless nothing but folders of classes lies there."""
    if layout == TABLE:
        return []
    first, *found = readings(paths, layout)
    others = [one for one in found if len(one.class_folders) > 1 or not first.class_folders]
    if not others:
        return [] if layout in {"class", FLAT} else [f"layout {first.sentence()} (--layout changes it)"]
    return [
        f"layout {first.sentence()}; or else --layout {'; '.join(one.sentence() for one in others[:_OTHERS])}"
    ]


def odd_classes(paths: Sequence[str], labelling: Labelling, told: Collection[str] = ()) -> list[str]:
    """Warnings of images without a class, and of class names that are rather something else.

    Args:
        paths: of the images, as the layout reads them.
        labelling: of these images.
        told: those of the paths whose lack of a class was said before.
    """
    said: list[str] = []
    odd = _odd_names(labelling.class_names)
    if odd:
        said.append(odd)
    outside = [
        path
        for path, index in zip(paths, labelling.class_of.tolist(), strict=True)
        if index < 0 and path not in told
    ]
    if outside and labelling.class_names and labelling.layout != TABLE:
        beside = beside_images(set(map(folder_of, paths)))
        drawn = [path for path in outside if folder_of(path) in beside]
        outside = [path for path in outside if folder_of(path) not in beside]
        if drawn:
            said.append(
                f"{counted(len(drawn), 'image')} in folders of annotations beside those of images: stored without a "
                f"class ({', '.join(drawn[:_PATHS])}{' …' if len(drawn) > _PATHS else ''})"
            )
    if outside and labelling.class_names:
        if labelling.layout == TABLE:
            images = counted(
                len(outside), "image has no class in the list", "images have no class in the list"
            )
        else:
            images = counted(
                len(outside), "image lies outside the class folders", "images lie outside the class folders"
            )
        named = ", ".join(outside[:_PATHS]) + (" …" if len(outside) > _PATHS else "")
        said.append(f"{images}: stored without a class ({named})")
    return said


def about_splits(data: DataSet) -> list[str]:
    """A sentence on the splits of a data set and what they are for; none without splits."""
    if not data.split_names:
        return []
    counts = Counter(data.split_of[data.class_of >= 0].tolist() if data.labelled else data.split_of.tolist())
    numbers = ", ".join(f"{name} {counts[i]:,}" for i, name in enumerate(data.split_names))
    images = "images with a class" if data.labelled else "images"
    said = f"splits: {numbers} {images}. {split_use(data).sentence()}".rstrip()
    left = int(((data.split_of < 0) & (data.class_of >= 0)).sum()) if data.labelled else 0
    return [f"{said} {counted(left, 'image')} in no split: not used." if left else said]


def _odd_names(names: Sequence[str]) -> str:
    """A sentence if most class names look like something else; empty otherwise."""
    kinds: dict[Kind, list[str]] = {}
    for name in names:
        kind = kind_of(name)
        if kind is not None:
            kinds.setdefault(kind, []).append(name)
    odd = sum(map(len, kinds.values()))
    if not odd or 2 * odd < len(names):
        return ""
    which = "all classes" if odd == len(names) else f"{odd} of {len(names)} classes"
    what = " and ".join(f"{_LOOKS_LIKE[kind]} ({listed(found)})" for kind, found in kinds.items())
    return (
        f"{which} look like {what}, and prompts are made of these names: --layout says which folders are classes "
        "(flat: none), --classes FILE renames them"
    )


def about_lost_classes(
    files: FileList, prefixes: Sequence[str], labelling: Labelling, usable: Labelling
) -> list[str]:
    """Sentences on classes that have no image: folders that are empty or hold other files, or whose files all failed.

    Args:
        files: all files that were found.
        prefixes: what stands before the paths below each root, as the layout reads them.
        labelling: of all of them.
        usable: of those that are usable images.
    """
    said: list[str] = []
    if files.unsuffixed:
        number = counted(len(files.unsuffixed), "file")
        said.append(
            f"{number} without a suffix: taken for images by their first bytes ({listed(files.unsuffixed)})"
        )
    failed = [name for name in labelling.class_names if name not in set(usable.class_names)]
    if failed:
        said.append(f"no usable image in {listed(failed)}: not among the classes")
    lost = _lost_folders(files, prefixes, labelling.layout)
    if lost:
        shown = "; ".join(f"{folder}/ {_instead(others)}" for folder, others in list(lost.items())[:_NAMED])
        more = f"; and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        folders = counted(len(lost), "class folder has", "class folders have")
        said.append(f"{folders} no images: {shown}{more}")
    return said


def _instead(others: Others) -> str:
    """What a folder holds instead of images, in words."""
    if not others.files:
        return "is empty"
    said = f"holds {counted(others.files, 'other file')} (such as {others.example})"
    if is_image_by_content(others.example):
        return f"{said}: an image by its first bytes; rename such files to end in .jpg or the like"
    return said


def _lost_folders(files: FileList, prefixes: Sequence[str], layout: Layout) -> dict[str, Others]:
    """Class folders, and class folders of a domain or split, without images below; and what is in them instead."""
    if "class" not in levels_of(layout) or not files.without_images:
        return {}
    rows = zip(files.root_of, files.relative, strict=True)
    full = {folder_of(prefixes[root] + path) for root, path in rows}
    empty = {prefixes[root] + folder: others for (root, folder), others in files.without_images.items()}
    leading = {folder[: i + 1].rstrip("/") for folder in full for i, c in enumerate(f"{folder}/") if c == "/"}
    said = places(full, layout, empty)
    have = {said[folder] for folder in full}
    found: dict[Place, tuple[str, Others]] = {}
    for folder in sorted(empty.keys() - leading):
        place, others = said[folder], empty[folder]
        if place.folder is None or place in have or is_beside(place.folder):
            continue
        path, before = found.get(place, (folder, Others(0, "")))
        found[place] = (path, Others(before.files + others.files, before.example or others.example))
    return dict(found.values())
