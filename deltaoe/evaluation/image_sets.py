"""Image sets: what an evaluation is given (folders, lists, data sets) as features with classes and domains."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import DataError, counted_failures
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.functional.sampling import few_shot_split
from deltaoe.images.class_names import in_words
from deltaoe.progress import OnEvent
from deltaoe.scoring.detector import Detector
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.split_use import rows_of_splits, split_use
from deltaoe.store.workspace import DATA_PREFIX, Workspace

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImageSet:
    """One named collection of images, in-distribution, shifted or out-of-distribution.

    Attributes:
        name: what tables call it.
        data: its images with their classes and domains.
        store: holds their features.
        failed: how many files could not be used.
        notes: sentences about it for the reader of the results.
    """

    name: str
    data: DataSet
    store: FeatureStore
    failed: int
    notes: tuple[str, ...]

    def labels_among(self, class_names: tuple[str, ...]) -> Indices:
        """(n,) index into ``class_names`` of each image, −1 where it has no class.

        Raises:
            DataError: it has no classes, or one that is not among these names.
        """
        if not self.data.labelled:
            raise DataError(
                f"{self.name}: {self.data.title} has no classes", hint="it needs one folder per class"
            )
        # A detector may have been made before its classes' WordNet ids were put into words, or of kept ids.
        index = {
            name: i for names in (in_words(class_names).names, class_names) for i, name in enumerate(names)
        }
        missing = [name for name in self.data.class_names if name not in index]
        if missing:
            listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            raise DataError(
                f"{self.name}: the detector knows no class {listed}",
                hint="name its folders like the detector's classes; a .csv list with a column class can say it, too",
            )
        table = np.array([*(index[name] for name in self.data.class_names), -1], dtype=np.int64)
        return table[self.data.class_of]


def load_image_set(
    name: str, given: str, workspace: Workspace, source: ModelSource, on: OnEvent, ingest: IngestOptions
) -> ImageSet:
    """The images of a data set (``data:NAME``), or of a folder, list, glob or file, which are extracted if necessary.

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
    notes = [f"{name}: {counted_failures(result.failed)} could not be used"] if result.failed else []
    notes += [f"{name}: {said}" for said in result.names_said]
    return ImageSet(name, result.data, workspace.features_of(result.data), len(result.failed), tuple(notes))


def load_image_sets(
    given: Mapping[str, str], workspace: Workspace, source: ModelSource, on: OnEvent, ingest: IngestOptions
) -> dict[str, ImageSet]:
    """Name → :func:`load_image_set` of each input; raises like it."""
    return {name: load_image_set(name, path, workspace, source, on, ingest) for name, path in given.items()}


def on_splits(image_set: ImageSet, splits: Sequence[str]) -> ImageSet:
    """The images of a set that are evaluated, of its splits; the set itself if it has none.

    Args:
        image_set: any.
        splits: names; a set that has other splits is taken whole. Empty for what ``tune`` leaves for ``evaluate``.
    """
    data = image_set.data
    if splits:
        names = [name for name in splits if name in data.split_names]
    else:
        names = [*(split_use(data).evaluated if data.labelled else ())]
    if not names:
        return image_set
    inside = rows_of_splits(data, names)
    others = [name for name in data.split_names if name not in names]
    note = f"{image_set.name}: {inside.sum():,} images in {' and '.join(names)} are evaluated"
    note += f", not those in {' and '.join(others)} (--split)" if others else ""
    return dataclasses.replace(
        image_set, data=data.part(np.flatnonzero(inside)), notes=(*image_set.notes, note)
    )


@dataclass(frozen=True)
class KnownImages:
    """The n images of an in-distribution set that are evaluated.

    Attributes:
        digests: (n, 32), their content.
        labels: (n,), their true classes, as indices into the detector's class names.
        domains: name → (n,) mask of the images of that domain.
    """

    digests: Digests
    labels: Indices
    domains: Mapping[str, Mask]


def known_images(image_set: ImageSet, detector: Detector, excluded: set[bytes]) -> KnownImages:
    """The distinct images of an in-distribution set that have a class and are not excluded.

    Args:
        image_set: in class folders named like the detector's classes.
        detector: defines the order of the classes.
        excluded: digests of images that a detector learned from or the gallery holds.

    Raises:
        DataError: no image is left, or one has a class that the detector does not have.
    """
    data = image_set.data
    labels, keys = image_set.labels_among(detector.class_names), data.keys()
    rows = np.array(
        [row for row in data.distinct_rows(labels).tolist() if keys[row] not in excluded], dtype=np.int64
    )
    if not len(rows):
        raise DataError(
            f"{image_set.name}: no image is left that no detector has learned from",
            hint="evaluate on images that were not shots, or add some",
        )
    masks = {name: data.domain_of[rows] == i for i, name in enumerate(data.domain_names)}
    domains = {name: mask for name, mask in masks.items() if mask.any()}
    return KnownImages(data.digests[rows], labels[rows], domains)


def domain_groups(name: str, domains: Mapping[str, Mask]) -> dict[str, Mask]:
    """``name/domain`` → (n,) mask of each domain of an image set; none where it has fewer than two domains.

    Example:
        >>> list(domain_groups("id", {"photo": np.array([True, False]), "sketch": np.array([False, True])}))
        ['id/photo', 'id/sketch']
        >>> domain_groups("id", {"photo": np.array([True, True])})
        {}
    """
    if len(domains) < 2:
        return {}
    return {f"{name}/{domain}": mask for domain, mask in domains.items()}


def unknown_rows(
    ood_sets: Mapping[str, ImageSet],
    id_sets: Iterable[ImageSet],
    limits: Mapping[str, int],
    seed: int,
) -> tuple[dict[str, Indices], list[str]]:
    """Which images of the out-of-distribution sets are evaluated: distinct ones that lie in no in-distribution set.

    Args:
        ood_sets: name → out-of-distribution set.
        id_sets: the in-distribution and shifted sets.
        limits: name → the most images of each class (of all, where there are no classes), drawn by content.
        seed: of that draw.

    Returns:
        Name → rows (k,) of that set; and sentences on what was left out.

    Raises:
        DataError: no image of a set is left.
    """
    id_digests = set(itertools.chain.from_iterable(image_set.data.keys() for image_set in id_sets))
    rows: dict[str, Indices] = {}
    notes = []
    for name, image_set in ood_sets.items():
        rows[name], shared = _rows_outside(image_set, id_digests, limits.get(name), seed)
        if shared:
            notes.append(f"{name}: {shared} images also lie among the known ones; left out")
    return rows, notes


def _rows_outside(
    image_set: ImageSet, id_digests: set[bytes], limit: int | None, seed: int
) -> tuple[Indices, int]:
    """Rows of the distinct images whose digests are not among these, and how many distinct images are."""
    keys = image_set.data.keys()
    labels = image_set.data.class_of if image_set.data.labelled else np.zeros(len(keys), dtype=np.int64)
    first_row: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first_row.setdefault(key, row)
    remaining = [row for key, row in first_row.items() if key not in id_digests]
    if not remaining:
        raise DataError(
            f"{image_set.name}: all of its images also lie among the known ones", hint="name other images"
        )
    rows = np.array(remaining, dtype=np.int64)
    if limit is not None:
        drawn = few_shot_split(labels[rows].tolist(), [keys[row] for row in rows], limit, seed).shots
        rows = np.sort(rows[drawn])
    return rows, len(first_row) - len(remaining)
