"""Classes of the images in containers: from what stands beside them, or from other columns of their rows."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from deltaoe.images.lists import Wanted, read_columns
from deltaoe.images.tar_images import CAPTION

_SAMPLE = 1000  # images by which it is found what says the class
_LONGEST_CLASS = 40  # characters of a .txt that may name a class rather than describe a picture


class Container(Protocol):
    """What holds n images: their names, and texts by title that are known of each."""

    names: list[str]
    beside: set[str]

    def cells(self, rows: Sequence[int], wanted: Collection[str] | None = None) -> list[dict[str, str]]:
        """Title → text of each of these rows, of the wanted titles at least."""
        ...


@dataclass
class Labelled:
    """What was found for N images; ``classes``, ``domains`` and ``splits`` as in a list of files."""

    classes: list[str] | None = None
    domains: list[str] | None = None
    splits: list[str] | None = None
    assumed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_table: bool = False


def labels_of(title: str, containers: Sequence[Container], wanted: Wanted) -> Labelled:
    """Classes, domains and splits of all images of some containers.

    What is known of a thousand of the images, evenly spread, is read as a table with the titles of tables of images
    (:mod:`deltaoe.images.columns`); then only what says the class, domain or split is read of all. The text of a
    ``.txt`` is a caption, and no class, unless it is short and comes again.

    Args:
        title: the containers' name, for messages.
        containers: N images in all.
        wanted: what is read.

    Raises:
        DataError: several titles could be the classes.
        ConfigError: there is no such title as the user says.
    """
    total = sum(len(one.names) for one in containers)
    beside = {kind for one in containers for kind in one.beside}
    if not wanted.labels or not total or not beside:
        return Labelled()
    chosen = range(0, total, max(1, total // _SAMPLE))
    sample = list(_cells(containers, chosen, None))
    titles = list(dict.fromkeys(itertools.chain.from_iterable(sample)))
    captions = CAPTION in titles and not _repeat([cells.get(CAPTION, "") for cells in sample])
    left_out = captions and wanted.label_column != CAPTION
    if left_out:
        titles.remove(CAPTION)
    said = ["the .txt files are captions, not classes (--label-column txt takes them)"] if left_out else []
    if not titles and wanted.label_column is None:
        return Labelled(assumed=said)
    listed, roles = read_columns(title, _text(titles, sample), wanted)
    assumed = [*listed.assumed, *said]
    if not roles.titles:
        return Labelled(assumed=assumed, is_table=True)
    if len(chosen) < total:
        cells = _cells(containers, range(total), roles.titles)
        listed, _ = read_columns(title, _text(titles, cells, roles.titles), wanted, roles)
    return Labelled(listed.classes, listed.domains, listed.splits, assumed, listed.notes, is_table=True)


def _repeat(texts: Sequence[str]) -> bool:
    """Whether texts are short, and come again as names of classes do."""
    there = [text for text in texts if text]
    return all(len(text) <= _LONGEST_CLASS and "\n" not in text for text in there) and (
        2 * len(set(there)) <= len(there)
    )


def _cells(
    containers: Sequence[Container], rows: Sequence[int], wanted: Collection[str] | None
) -> Iterator[dict[str, str]]:
    """What is known of these images, numbered over all containers, ascending."""
    start = at = 0
    for one in containers:
        stop = start + len(one.names)
        first = at
        while at < len(rows) and rows[at] < stop:
            at += 1
        if at > first:
            yield from one.cells([row - start for row in rows[first:at]], wanted)
        start = stop


def _text(titles: Sequence[str], rows: Iterable[dict[str, str]], used: Collection[str] | None = None) -> str:
    """A table with tabs between its cells; its paths stand for the images one after the other.

    Args:
        titles: of its columns.
        rows: title → text of each image.
        used: titles of the columns that are filled; None for all.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(["path", *titles])
    for number, cells in enumerate(rows):
        texts = (cells.get(title, "") if used is None or title in used else "" for title in titles)
        writer.writerow([f"{number}.jpg", *(" ".join(text.split()) for text in texts)])
    return out.getvalue()
