"""Images inside tar and Parquet files, as rows of a list of image files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deltaoe.errors import ConfigError, DataError, os_reason
from deltaoe.images.container_labels import Labelled, labels_of
from deltaoe.images.container_names import levels_above, splits_of
from deltaoe.images.file_list import FileList
from deltaoe.images.file_rows import add_members
from deltaoe.images.labels import tidy
from deltaoe.images.lists import Wanted
from deltaoe.images.location_text import PARQUET, absolute
from deltaoe.images.passed_over import Unlisted
from deltaoe.images.tar_images import TarImages
from deltaoe.images.tars import ContainerError
from deltaoe.images.walk import FileCollector
from deltaoe.short_repr import counted

_SHOWN = 3
_MANY = {
    "further image of a sample": "further images of samples",
    "member of an unknown kind": "members of unknown kinds",
    "name with ..": "names with ..",
}
_COMPRESSED = {
    **dict.fromkeys((".tar.gz", ".tgz"), "gzip"),
    **dict.fromkeys((".tar.bz2", ".tbz", ".tbz2"), "bzip2"),
    **dict.fromkeys((".tar.xz", ".txz"), "xz"),
    **dict.fromkeys((".tar.zst", ".tzst"), "zstd"),
}
_TOOLS = {"gzip": "gunzip", "bzip2": "bunzip2", "xz": "unxz", "zstd": "unzstd"}


@dataclass(frozen=True)
class Found:
    """A container that is an input, or lies in one.

    Attributes:
        folder: the folder that was walked; that of the file itself, if the user has named the file.
        path: the container's.
        named: whether the user has named it.
    """

    folder: str
    path: str
    named: bool


def refuse_compressed(path: str) -> None:
    """Raise DataError, with what to do, if a file is a compressed tar by its name: its members cannot be found."""
    how = next((how for suffix, how in _COMPRESSED.items() if path.lower().endswith(suffix)), None)
    if how is not None:
        raise _compressed(path, how)


def _compressed(path: str, how: str) -> DataError:
    return DataError(
        f"{path} is a tar compressed with {how}, in which no image can be found without unpacking all before it",
        hint=f"run {_TOOLS[how]} on it once: the .tar is read as it is"
        if path.lower().endswith(tuple(_COMPRESSED))
        else f"unpack it once, with `{_TOOLS[how]} -c` into another file that ends in .tar",
    )


def listed_in_parquet(path: str) -> str | None:
    """A Parquet file of paths or URLs of images as the text of a table; None if it holds the images themselves.

    Raises:
        DataError: it does neither, or cannot be read.
        ConfigError: pyarrow is not installed.
    """
    from deltaoe.images.parquet_rows import listed_rows

    try:
        text = listed_rows(path)
    except ContainerError as cause:
        raise DataError(f"cannot read {path}: it is {cause}", hint="make or download it again") from cause
    except OSError as cause:
        raise DataError(f"cannot read {path}: {os_reason(cause)}", hint="check its permissions") from cause
    if text is not None and not text.strip():
        raise DataError(
            f"{path} has no column of images, paths or URLs",
            hint="images are bytes, or texts in a column path; for features: deltaoe store import",
        )
    return text


def add_containers(collector: FileCollector, found: Sequence[Found], wanted: Wanted) -> bool:
    """Add the images of containers to a list, each container a root of its own.

    Classes, domains and splits come from what stands beside the images, as :mod:`deltaoe.images.container_labels`
    finds it, and splits from the containers' names, too; else the members' folders say them.

    Args:
        collector: has the list.
        found: the containers.
        wanted: what is read from tables.

    Returns:
        Whether there is anything like a table beside the images.

    Raises:
        DataError: a file that the user has named cannot be read, or several of its columns could be the classes.
        ConfigError: there is no such column as the user says, or pyarrow is not installed.
    """
    files = collector.files
    stems = {os.path.splitext(one.path)[0] for one in found if not one.path.lower().endswith(PARQUET)}
    opened: list[tuple[Found, Any]] = []
    known: set[str] = set()
    for one in found:
        if absolute(one.path) in known:
            files.ignored.repeated += 1
            continue
        known.add(absolute(one.path))
        if not one.named and one.path.lower().endswith(PARQUET) and os.path.splitext(one.path)[0] in stems:
            files.ignored.other_files += 1  # img2dataset writes what it knows of a tar beside it
            continue
        container = _opened(one, files)
        if container is not None:
            opened.append((one, container))
    if not opened:
        return False
    before = len(files)
    places = [_below(one) for one, _ in opened]
    prefixes = levels_above(places, [container.names for _, container in opened])
    splits = splits_of(places) if wanted.labels else []
    for (one, container), prefix in zip(opened, prefixes, strict=True):
        files.roots.append(one.path)
        root = len(files.roots) - 1
        files.containers[root] = one.folder, prefix
        add_members(collector, root, container.names, container.observed, container.size, container.inode)
        files.ignored.hidden += container.hidden
        files.ignored.other_files += container.other_files
    files.assumed.append(_read_as(opened, len(files) - before))
    files.notes += _passed_over(opened)
    try:
        labelled = labels_of(_title(opened), [container for _, container in opened], wanted)
    except (ContainerError, OSError) as cause:
        raise DataError(f"cannot read {_title(opened)}: {cause}", hint="was it changed just now?") from cause
    _take(files, before, labelled)
    if any(splits) and labelled.splits is None:
        names = [name for (_, container), name in zip(opened, splits, strict=True) for _ in container.names]
        files.splits = _filled(files.splits, before) + names
    return labelled.is_table


def _opened(one: Found, files: FileList) -> Any:
    """What a container holds; None, with a word in the list, for one in a folder that holds no images."""
    try:
        if one.path.lower().endswith(PARQUET):
            from deltaoe.images.parquet_rows import ParquetImages

            try:
                container = ParquetImages(one.path)
            except ConfigError:
                if one.named:
                    raise
                files.notes.append(
                    f"{one.path} is passed over: Parquet files need pyarrow (pip install pyarrow)"
                )
                container = None
            if container is None or not container.holds_images:
                files.ignored.other_files += 1
                return None
            return container
        return TarImages(one.path)
    except (ContainerError, OSError) as cause:
        reason = os_reason(cause) if isinstance(cause, OSError) else str(cause)
        if one.named and reason.startswith("compressed with "):
            raise _compressed(one.path, reason.removeprefix("compressed with ")) from cause
        if one.named:
            raise DataError(
                f"cannot read {one.path}: {reason}", hint="tar -tvf lists what a tar holds; make it anew"
            ) from cause
        relative = one.path[len(one.folder) :].lstrip("/" + os.sep)
        files.unlisted.append(Unlisted(one.path + "/", relative + "/", f"cannot be listed: {reason}"))
        return None


def _below(one: Found) -> str:
    """A container's path below the folder that was walked, with ``/``; its name, if the user has named it."""
    return (
        os.path.basename(one.path)
        if one.named
        else one.path[len(one.folder) :].replace(os.sep, "/").lstrip("/")
    )


def _title(opened: Sequence[tuple[Found, Any]]) -> str:
    first = opened[0][0].path
    return first if len(opened) == 1 else f"{first} and {len(opened) - 1:,} more"


def _read_as(opened: Sequence[tuple[Found, Any]], images: int) -> str:
    kinds = Counter("Parquet" if one.path.lower().endswith(PARQUET) else "tar" for one, _ in opened)
    said = " and ".join(
        counted(number, f"{kind} file") for kind, number in sorted(kinds.items(), reverse=True)
    )
    like = "a folder" if len(opened) == 1 else "folders"
    return f"{said} read like {like}, without unpacking: {counted(images, 'image')}"


def _passed_over(opened: Sequence[tuple[Found, Any]]) -> list[str]:
    total: Counter[str] = Counter()
    for _, container in opened:
        total += container.passed_over
    notes = []
    if total:
        said = ", ".join(counted(number, what, _MANY.get(what, "")) for what, number in sorted(total.items()))
        notes.append(f"passed over in {_title(opened)}: {said}")
    problems = [(one, container) for one, container in opened if container.problem]
    for one, container in problems[:_SHOWN]:
        whole = counted(len(container.names), "whole image")
        notes.append(f"{one.path}: {container.problem}; used: {whole} before that")
    if len(problems) > _SHOWN:
        notes.append(f"{len(problems) - _SHOWN} more containers are cut off or damaged likewise")
    return notes


def _take(files: FileList, before: int, found: Labelled) -> None:
    files.assumed += found.assumed
    files.notes += found.notes
    if found.classes is not None:
        words = {name: name and tidy(name) for name in set(found.classes)}
        files.classes = _filled(files.classes, before) + [words[name] for name in found.classes]
    if found.domains is not None:
        files.domains = _filled(files.domains, before) + found.domains
    if found.splits is not None:
        files.splits = _filled(files.splits, before) + found.splits


def _filled(names: list[str] | None, length: int) -> list[str]:
    names = names or []
    return [*names, *[""] * (length - len(names))]


def containers_of(collector: FileCollector) -> Iterable[Found]:
    """The containers that a walk has found."""
    for folder, path in collector.containers:
        yield Found(folder, path.removeprefix(f".{os.sep}") if folder == os.curdir else path, False)
