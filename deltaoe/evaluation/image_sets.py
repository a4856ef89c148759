"""What an evaluation is given (folders, lists, data sets) as features with classes and domains."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import DataError
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.functional.sampling import few_shot_split
from deltaoe.progress import OnEvent
from deltaoe.scoring.detector import Detector
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.workspace import DATA_PREFIX, Workspace


@dataclass(frozen=True)
class ImageSet:
    """One collection: its name in tables, its images, and where their features are.

    ``notes`` are sentences about it that a reader must see; ``failed`` is how many files were no images.
    """

    name: str
    data: DataSet
    store: FeatureStore
    failed: int
    notes: tuple[str, ...]

    def rows_of(self, class_names: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """(n,) index into ``class_names`` of each image, −1 where it has no class.

        Raises:
            DataError: it has no classes, or one that is not among these names.
        """
        if not self.data.labelled:
            raise DataError(
                f"{self.name}: {self.data.title} has no classes", hint="it needs one folder per class"
            )
        place = {name: i for i, name in enumerate(class_names)}
        missing = [name for name in self.data.class_names if name not in place]
        if missing:
            listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            raise DataError(
                f"{self.name}: the detector knows no class {listed}",
                hint="name its folders like the detector's classes; a .csv list with a column class can say it, too",
            )
        table = np.array([*(place[name] for name in self.data.class_names), -1], dtype=np.int64)
        return table[self.data.class_of]


def load_image_set(
    name: str, given: str, workspace: Workspace, source: ModelSource, on: OnEvent, ingest: IngestOptions
) -> ImageSet:
    """The images of a folder, list, glob or file, extracted as far as they are not, or of a data set (``data:NAME``).

    Raises:
        DataError: there is no such input or data set, or no usable image in it.
        MismatchError: its features are of another model.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    if given.startswith(DATA_PREFIX) and not os.path.lexists(given):
        data = workspace.dataset(given)
        assert data is not None  # noqa: S101 - only asked without a name it may be None
        return ImageSet(name, data, workspace.features_of(data), 0, ())
    result = extract(given, workspace, ExtractOptions(ingest=ingest), on, source=source, keep=False)
    notes = (f"{name}: {len(result.failed)} files could not be used",) if result.failed else ()
    return ImageSet(name, result.data, workspace.features_of(result.data), len(result.failed), notes)


def load_image_sets(
    given: Mapping[str, str], workspace: Workspace, source: ModelSource, on: OnEvent, ingest: IngestOptions
) -> dict[str, ImageSet]:
    """Name → :func:`load_image_set` of each input."""
    return {name: load_image_set(name, place, workspace, source, on, ingest) for name, place in given.items()}


@dataclass(frozen=True)
class KnownImages:
    """KnownImages images: digests (n, 32), classes (n,) of the detector, and name → (n,) mask of each domain."""

    digests: Digests
    truth: npt.NDArray[np.int64]
    domains: Mapping[str, npt.NDArray[np.bool_]]


def known_images(one: ImageSet, detector: Detector, taken: set[bytes]) -> KnownImages:
    """The distinct images with a class whose digests are not ``taken``, because something was learned from them.

    Raises:
        DataError: none is left, or one has a class that the detector does not know.
    """
    truth = one.rows_of(detector.class_names)
    keys = one.data.keys()
    rest = one.data.distinct_rows(truth)
    keep = np.array([row for row in rest.tolist() if keys[row] not in taken], dtype=np.int64)
    if not len(keep):
        raise DataError(
            f"{one.name}: no image is left that no detector has learned from",
            hint="evaluate on images that were not shots, or add some",
        )
    home = one.data.domain_of[keep]
    masks = {name: home == i for i, name in enumerate(one.data.domain_names)}
    domains = {name: mask for name, mask in masks.items() if mask.any()}
    return KnownImages(one.data.digests[keep], truth[keep], domains)


def unknown_rows(
    outside: Mapping[str, ImageSet],
    inside: Iterable[ImageSet],
    per_class: Mapping[str, int],
    seed: int,
) -> tuple[dict[str, npt.NDArray[np.int64]], list[str]]:
    """Which images of the out-of-distribution collections count: distinct ones that lie in no in-distribution set.

    Args:
        outside: name → out-of-distribution collection.
        inside: the in-distribution collections.
        per_class: name → at most so many images of each class, or of all where there are no classes, drawn by content.
        seed: of that draw.

    Returns:
        Name → rows; and sentences on what was left out.

    Raises:
        DataError: none is left of a collection.
    """
    known = set(itertools.chain.from_iterable(one.data.keys() for one in inside))
    rows: dict[str, npt.NDArray[np.int64]] = {}
    notes = []
    for name, one in outside.items():
        rows[name], shared = _distinct_rows(one, known, per_class.get(name), seed)
        if shared:
            notes.append(f"{name}: {shared} images also lie among the known ones; left out")
    return rows, notes


def _distinct_rows(
    one: ImageSet, known: set[bytes], limit: int | None, seed: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Rows of distinct images that are not among the known ones, and how many were."""
    keys = one.data.keys()
    labels = one.data.class_of if one.data.labelled else np.zeros(len(keys), dtype=np.int64)
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    fresh = {key: row for key, row in first.items() if key not in known}
    if not fresh:
        raise DataError(
            f"{one.name}: all of its images also lie among the known ones", hint="name other images"
        )
    keep = np.array(list(fresh.values()), dtype=np.int64)
    if limit is not None:
        drawn = few_shot_split(labels[keep].tolist(), [keys[row] for row in keep], limit, seed).shots
        keep = np.sort(keep[drawn])
    return keep, len(first) - len(fresh)
