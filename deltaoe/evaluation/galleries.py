"""The gallery of an evaluation: images that some scores compare with, and that image evidence is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.evaluation.image_sets import ImageSet, load_image_set
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.functional.gallery import Gallery
from deltaoe.functional.sampling import few_shot_split
from deltaoe.functional.scores import SCORES
from deltaoe.progress import OnEvent
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests
from deltaoe.store.split_use import rows_of_splits, split_use
from deltaoe.store.workspace import Workspace

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GalleryImages:
    """The n images that scores of a gallery compare with.

    Attributes:
        image_set: holds them.
        rows: (n,), which of its images they are; all of them have a class.
    """

    image_set: ImageSet
    rows: Indices

    def gallery(self, class_names: tuple[str, ...]) -> Gallery:
        """The gallery of a detector with these classes. Raises DataError if an image has another class."""
        labels = self.image_set.labels_among(class_names)[self.rows]
        return Gallery(self.image_set.store.features(self.image_set.data.digests[self.rows]), labels)


def choose_gallery(
    options: EvaluateOptions,
    workspace: Workspace,
    source: ModelSource,
    known: ImageSet,
    on: OnEvent,
    *,
    needed: bool,
    whole: ImageSet,
) -> tuple[GalleryImages | None, Digests]:
    """What scores of a gallery compare with, and the digests (k, 32) of its images; None and no rows without one.

    Without ``--gallery`` it is drawn from the splits of the ``whole`` in-distribution set that ``tune`` learns from and
    that are not evaluated; where there are none, from the images ``known`` that are, at most half of each class. There
    is none unless a score needs it, or it is ``needed``.

    Raises:
        DataError, MismatchError, ModelError, StoreError: as for :func:`~deltaoe.evaluation.image_sets.load_image_set`.
    """
    none = np.zeros((0, 32), dtype=np.uint8)
    if not needed and not gallery_scores(options):
        return None, none
    data = known.data
    if options.gallery is not None:
        named = load_image_set("gallery", options.gallery, workspace, source, on, options.ingest)
        rows = np.flatnonzero(named.labels_among(data.class_names) >= 0)
        return GalleryImages(named, rows), named.data.digests
    beside = _beside(whole.data, known.data)
    if beside is not None:
        split = few_shot_split(beside.tolist(), whole.data.keys(), options.gallery_shots, options.seed)
        return GalleryImages(whole, split.shots), whole.data.digests[split.shots]
    split = few_shot_split(data.class_of.tolist(), data.keys(), options.gallery_shots, options.seed)
    smallest = min(split.available.values(), default=0)
    if smallest < 2:
        return None, none
    if smallest <= options.gallery_shots:  # half of the smallest class is left to evaluate on
        split = few_shot_split(data.class_of.tolist(), data.keys(), smallest // 2, options.seed)
    return GalleryImages(known, split.shots), data.digests[split.shots]


def _beside(whole: DataSet, evaluated: DataSet) -> Indices | None:
    """Class of each image of the splits that ``tune`` learns from, −1 elsewhere; None unless others are evaluated."""
    use = split_use(whole)
    if len(evaluated) == len(whole) or not use.learned:
        return None
    left, keys = set(evaluated.keys()), whole.keys()
    outside = np.array([key not in left for key in keys], dtype=bool)
    learned = rows_of_splits(whole, use.learned) & outside
    classes = np.where(learned, whole.class_of, -1)
    return classes if (classes >= 0).any() else None


def gallery_scores(options: EvaluateOptions) -> list[str]:
    """The titles of the scores that need a gallery, among those asked for."""
    return [
        score.title
        for name, score in SCORES.items()
        if name in (options.scores or SCORES) and "gallery" in score.needs
    ]
