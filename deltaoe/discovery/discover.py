"""``discover``: scores images, groups the unknown ones, and says what each group looks like."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.discovery.grouping import Grouping, GroupingSpace, Indices, group
from deltaoe.discovery.options import DiscoverOptions
from deltaoe.errors import DataError, ModelError
from deltaoe.functional.near_duplicates import NO_ORIGINAL, near_duplicates
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import NONE
from deltaoe.scoring.resembling import Vocabulary
from deltaoe.scoring.score import ScoreResult, score
from deltaoe.scoring.score_table import NONE_FITS, VERDICTS
from deltaoe.scoring.vocabulary import vocabulary_for, vocabulary_source
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.workspace import Workspace

_PROTOTYPES = 3
_BLOCK = 4096


@dataclass(frozen=True)
class Group:
    """Images that are alike.

    Attributes:
        number: 1 for the largest group.
        name: its name, which no other group has: the nearest name of the vocabulary, with a number if an earlier group
            has it, or ``group 7`` where none fits.
        looks_like: the nearest name of the vocabulary, ``none fits``, or empty without a vocabulary.
        cosine: of the mean feature with that name; None without a vocabulary.
        size: number of images.
        duplicates: how many of them repeat others.
        p_value: mean p-value; None without calibration.
        prototypes: indices into the score table of the images that are most like the others, at most three; none
            repeats another, unless all images of the group do.
    """

    number: int
    name: str
    looks_like: str
    cosine: float | None
    size: int
    duplicates: int
    p_value: float | None
    prototypes: Sequence[int]


@dataclass(frozen=True)
class Discovery:
    """Groups of n images of a score table.

    Attributes:
        scored: the score table and how it was made.
        rows: (n,) int64, indices of the images into the table, ascending.
        group_of: (n,) int64, number of each image's group, from 1; 0 for single images, which are in no group.
        rank: (n,) int64, place of each image in its group, 1 for the one that is most like the others; images that
            repeat others come last. 0 for single images.
        closeness: (n,) float32, average cosine with the images of the group, in the space that groups are found in;
            NaN for single images.
        duplicate_of: (n,) int64, index into the table of the image that each repeats; −1 for images that repeat none.
        groups: the groups, the largest first.
        notes: sentences for the user, those of scoring included.
    """

    scored: ScoreResult
    rows: Indices
    group_of: Indices
    rank: Indices
    closeness: npt.NDArray[np.float32]
    duplicate_of: Indices
    groups: Sequence[Group]
    notes: list[str]

    @property
    def singles(self) -> int:
        """Number of images in no group."""
        return int((self.group_of == 0).sum())

    @property
    def duplicates(self) -> int:
        """Number of images that repeat others."""
        return int((self.duplicate_of >= 0).sum())

    @property
    def group_of_row(self) -> dict[int, tuple[int, str]]:
        """Index into the table → number and name of the group, for images in one."""
        rows, numbers = self.rows.tolist(), self.group_of.tolist()
        return {row: (n, self.groups[n - 1].name) for row, n in zip(rows, numbers, strict=True) if n}

    def __repr__(self) -> str:
        """Numbers; the values of all images would fill the screen."""
        return f"Discovery({len(self.groups)} groups, {self.singles} single images of {len(self.rows)})"


def discover(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    workspace: Workspace,
    options: DiscoverOptions | None = None,
    on: OnEvent = silent,
    stdin: BinaryIO | None = None,
) -> Discovery:
    """Score images, and group the unknown ones by what they show: what ``deltaoe discover`` does.

    The same images give the same groups in the same order, whatever they are called and in whatever order they come.

    Args:
        inputs, workspace, on, stdin: as :func:`deltaoe.scoring.score.score`.
        options: how to score and to group; None for the defaults.

    Raises:
        DataError: without calibration, no image is unknown; or as for scoring.
        ConfigError, MismatchError, ModelError, StoreError: as for scoring.
    """
    options = options or DiscoverOptions()
    scored = score(inputs, workspace, options, on, stdin)
    verdicts = scored.table.verdict_numbers
    wanted = np.ones(len(verdicts), dtype=bool) if options.every else verdicts == VERDICTS.index("unknown")
    if not wanted.any() and scored.table.counts["undecided"]:
        raise DataError(
            "no image is called known or unknown: the detector has too few calibration images",
            hint="extract more images of the known classes, or group all images with --all",
        )
    rows = np.flatnonzero(wanted)
    stored = scored.features
    assert stored is not None  # noqa: S101 - for the type checker
    contents = _Contents(stored.store, stored.digests[rows])
    space, notes = _space(scored.detector, contents, around_these=options.around == "these")
    found = group(
        contents.count,
        contents.read,
        space,
        options.distance,
        options.smallest,
        lambda done: on(Event("Grouping images", done, contents.count)),
    )
    duplicate_of = _duplicates(contents, options.near, on)
    group_of = found.group_of[contents.of_row]
    rank = _ranks(group_of, found.closeness[contents.of_row], duplicate_of)
    names, cosines = _names(found, scored.detector, stored.source, workspace, options, notes, on)
    return Discovery(
        scored=scored,
        rows=rows,
        group_of=group_of + 1,
        rank=rank,
        closeness=found.closeness[contents.of_row],
        duplicate_of=np.where(duplicate_of == NO_ORIGINAL, -1, rows[duplicate_of]),
        groups=_groups(scored, rows, group_of, rank, duplicate_of, names, cosines),
        notes=scored.notes + notes,
    )


class _Contents:
    """The different contents of n images, in the order of their digests: random, and the same in every run.

    Attributes:
        count: m, the number of different contents.
        of_row: (n,) index of each image's content.
        first: (m,) index of the first image of each content.
    """

    def __init__(self, store: FeatureStore, digests: npt.NDArray[np.uint8]) -> None:
        keys = np.ascontiguousarray(digests).view("V32").ravel()
        _, self.first, self.of_row = np.unique(keys, return_index=True, return_inverse=True)
        self.count = len(self.first)
        self._store, self._digests = store, digests[self.first]

    def read(self, contents: Indices) -> Rows:
        """Features (b, D), unit rows, of contents (b,)."""
        return self._store.features(self._digests[contents])


def _space(detector: Detector, contents: _Contents, *, around_these: bool) -> tuple[GroupingSpace, list[str]]:
    """Where images are compared, and a sentence if nothing is known of the known classes' images."""
    space = GroupingSpace.of_classes(detector)
    if space is not None and not around_these:
        return space, []
    total = np.zeros(detector.space.dim, dtype=np.float64)
    for start in range(0, contents.count, _BLOCK):
        part = np.arange(start, min(start + _BLOCK, contents.count))
        total += contents.read(part).sum(axis=0, dtype=np.float64)
    centre = np.asarray(total / max(contents.count, 1), dtype=np.float32)
    if space is not None:
        return GroupingSpace(centre, space.root), []
    said = (
        "The detector has no images of the known classes to compare with, so images are compared around the mean of "
        "these images; a single group of them would be split."
    )
    return GroupingSpace.around(centre), [said] if contents.count and not around_these else []


def _duplicates(contents: _Contents, near: float, on: OnEvent) -> Indices:
    """(n,) index of the image that each image repeats, by content or nearly; NO_ORIGINAL for those that repeat none."""
    # The first image as the user named them is the original.
    order = np.argsort(contents.first, kind="stable")
    nearly = np.full(contents.count, NO_ORIGINAL, dtype=np.int64)
    if near < 1:
        found = near_duplicates(
            contents.count,
            lambda places: contents.read(order[places]),
            near,
            lambda done: on(Event("Finding near-duplicates", done, contents.count)),
        )
        nearly[order] = np.where(found == NO_ORIGINAL, NO_ORIGINAL, order[found])
    content = np.where(nearly == NO_ORIGINAL, np.arange(contents.count), nearly)[contents.of_row]
    original = contents.first[content] if contents.count else content
    return np.where(original == np.arange(len(original)), NO_ORIGINAL, original)


def _ranks(group_of: Indices, closeness: npt.NDArray[np.float32], duplicate_of: Indices) -> Indices:
    """(n,) place of each image in its group, from 1; 0 for images in no group."""
    order = np.lexsort((-closeness, duplicate_of != NO_ORIGINAL, group_of))
    sizes = np.bincount(group_of + 1)
    rank = np.empty(len(group_of), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
    rank[group_of < 0] = 0
    return rank


def _names(
    found: Grouping,
    detector: Detector,
    source: ModelSource,
    workspace: Workspace,
    options: DiscoverOptions,
    notes: list[str],
    on: OnEvent,
) -> tuple[list[str], list[float | None]]:
    """What each group looks like, and the cosine; empty names if there is no vocabulary."""
    words: Vocabulary | None = None
    if len(found.means) and vocabulary_source(detector, options) != NONE:
        try:
            words = vocabulary_for(detector, options, source, workspace, on)
        except ModelError as cause:
            if options.vocabulary is not None:
                raise
            notes.append(f"Groups get no names, because the model cannot be loaded: {cause}.")
    if words is None:
        return [""] * len(found.means), [None] * len(found.means)
    names, cosines = words.resembling(found.means)
    return names, [float(cosine) for cosine in cosines]


def _groups(
    scored: ScoreResult,
    rows: Indices,
    group_of: Indices,
    rank: Indices,
    duplicate_of: Indices,
    names: list[str],
    cosines: list[float | None],
) -> list[Group]:
    """The groups in order, each with a name of its own."""
    count = len(names)
    inside = group_of >= 0
    sizes = np.bincount(group_of[inside], minlength=count)
    repeating = np.bincount(group_of[inside & (duplicate_of != NO_ORIGINAL)], minlength=count)
    p = scored.table.p_values
    sums = np.bincount(group_of[inside], p[rows[inside]], minlength=count) if p is not None else None
    # Images that repeat others come last; a group of nothing else shows one of them.
    first = np.flatnonzero(inside & (rank <= _PROTOTYPES) & ((duplicate_of == NO_ORIGINAL) | (rank == 1)))
    first = first[np.lexsort((rank[first], group_of[first]))]
    prototypes = np.split(rows[first], np.searchsorted(group_of[first], np.arange(1, count)))
    groups: list[Group] = []
    taken: set[str] = set()
    for place, (looks_like, cosine) in enumerate(zip(names, cosines, strict=True)):
        name = base = f"group {place + 1}" if looks_like in ("", NONE_FITS) else looks_like
        again = 2
        while name in taken:
            name, again = f"{base} {again}", again + 1
        taken.add(name)
        groups.append(
            Group(
                number=place + 1,
                name=name,
                looks_like=looks_like,
                cosine=cosine,
                size=int(sizes[place]),
                duplicates=int(repeating[place]),
                p_value=None if sums is None else float(sums[place] / sizes[place]),
                prototypes=tuple(prototypes[place].tolist()),
            )
        )
    return groups
