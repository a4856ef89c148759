"""The splits of a protocol: for each seed and each held-out domain, the shots and the images evaluated on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.evaluation.image_sets import ImageSet
from deltaoe.evaluation.options import KNOWN
from deltaoe.evaluation.protocol import HELD_OUT, REST, Protocol
from deltaoe.functional.sampling import FewShotSplit, few_shot_split
from deltaoe.images.labels import require_classes
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.split_use import learning_rows, rows_of_splits, split_use

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EvaluationImages:
    """The n images of one set that a split is evaluated on.

    Attributes:
        store: holds their features.
        digests: (n, 32), their content.
        labels: (n,), their classes; −1 for out-of-distribution images.
    """

    store: FeatureStore
    digests: Digests
    labels: Indices

    @classmethod
    def out_of_distribution(cls, store: FeatureStore, digests: Digests) -> EvaluationImages:
        """Images of no class."""
        return cls(store, digests, np.full(len(digests), -1, dtype=np.int64))

    @classmethod
    def labelled(cls, image_set: ImageSet, class_names: tuple[str, ...]) -> EvaluationImages:
        """The distinct images of a set that have a class. Raises DataError for a class that is not among the names."""
        labels = image_set.labels_among(class_names)
        rows = image_set.data.distinct_rows(labels)
        return cls(image_set.store, image_set.data.digests[rows], labels[rows])

    def __len__(self) -> int:
        return len(self.digests)

    def excluding(self, digests: Digests) -> EvaluationImages:
        """The images whose content is none of these (m, 32)."""
        excluded = {row.tobytes() for row in digests}
        kept = np.array([row.tobytes() not in excluded for row in self.digests], dtype=bool)
        return EvaluationImages(self.store, self.digests[kept], self.labels[kept])


@dataclass(frozen=True)
class Split:
    """What one run of a method learns from and is evaluated on. No image of ``id_images`` is a shot.

    Attributes:
        name: the held-out domain, or the draw of classes, or empty.
        seed: of the shots and of tuning.
        data: the data set to tune on, with the in-distribution classes.
        domains: the domains of ``data`` that shots are drawn from; empty for all.
        shots: (k,) rows of ``data``.
        id_images: name → in-distribution images; :data:`~deltaoe.evaluation.options.KNOWN` is the first, then the
            held-out domain and the shifts.
        ood_images: name → out-of-distribution images.
        notes: sentences about it for the reader of the results.
    """

    name: str
    seed: int
    data: DataSet
    domains: tuple[str, ...]
    shots: Indices
    id_images: Mapping[str, EvaluationImages]
    ood_images: Mapping[str, EvaluationImages]
    notes: tuple[str, ...] = ()

    def training_digest(self) -> str:
        """SHA-256 of everything that the shots depend on: images, classes, domains and the rows drawn."""
        digest = hashlib.sha256(repr((self.data.space_id, self.data.class_names, self.domains)).encode())
        for array in (
            self.data.digests,
            self.data.class_of,
            self.data.domain_of,
            self.shots,
            *([self.data.split_of] if self.data.split_names else []),
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def evaluation_digest(self) -> str:
        """SHA-256 of all images that are evaluated, with the names of their sets and their classes."""
        digest = hashlib.sha256()
        for sets in (self.id_images, self.ood_images):
            sizes = [(name, images.store.space.id, len(images)) for name, images in sets.items()]
            digest.update(repr(sizes).encode())
            for images in sets.values():
                digest.update(np.ascontiguousarray(images.digests).tobytes() + images.labels.tobytes())
        return digest.hexdigest()


def splits(
    protocol: Protocol,
    known: ImageSet,
    shifts: Mapping[str, ImageSet],
    unknown: Mapping[str, EvaluationImages],
) -> Iterator[Split]:
    """All splits of a protocol that tunes, in the order in which they run.

    Args:
        protocol: which domains or classes are held out, the seeds and the shots per class.
        known: the in-distribution images.
        shifts: name → images of the same classes under covariate shift.
        unknown: name → out-of-distribution images.

    Raises:
        DataError: the data does not have the domains or classes that the protocol needs, or no image is left to
            evaluate on.
    """
    data = known.data
    if not data.labelled:
        raise DataError(f"{data.title} has no classes", hint="it needs one folder per class")
    require_classes(data.class_names, data.title)
    if protocol.kind == "class-split":
        yield from _class_splits(protocol, known, unknown)
        return
    shifted = {name: EvaluationImages.labelled(one, data.class_names) for name, one in shifts.items()}
    if protocol.kind == "fixed":
        for seed in protocol.seeds:
            yield _split(protocol, known, "", seed, data, (), shifted, unknown)
        return
    if len(data.domain_names) < 2:
        raise DataError(
            f"{data.title} has no domains to leave out",
            hint="it needs folders domain/class/image, two domains or more",
        )
    for domain in data.domain_names:
        others = tuple(name for name in data.domain_names if name != domain)
        rows = data.distinct_rows(np.where(data.rows_in((domain,)), data.class_of, -1))
        held_out = EvaluationImages(known.store, data.digests[rows], data.class_of[rows])
        for seed in protocol.seeds:
            sets = {HELD_OUT: held_out, **shifted}
            yield _split(protocol, known, domain, seed, data, others, sets, unknown)


def _class_splits(
    protocol: Protocol, known: ImageSet, unknown: Mapping[str, EvaluationImages]
) -> Iterator[Split]:
    """For each seed, half of the classes as in-distribution classes, and images of the others as near OOD images."""
    data = known.data
    if len(data.class_names) < 4:
        raise DataError(f"{data.title} has too few classes to split", hint="it needs four or more")
    for seed in protocol.seeds:
        order = np.random.default_rng(seed).permutation(len(data.class_names))
        id_classes = np.sort(order[: (len(order) + 1) // 2])
        subset = class_subset(data, id_classes)
        held_out = (data.class_of >= 0) & ~np.isin(data.class_of, id_classes)
        near = EvaluationImages.out_of_distribution(
            known.store, np.unique(data.digests[held_out], axis=0)
        ).excluding(subset.digests)
        yield _split(protocol, known, f"draw {seed}", seed, subset, (), {}, {REST: near, **unknown})


def class_subset(data: DataSet, classes: Indices) -> DataSet:
    """The images of some classes, given as ascending indices (k,), as a data set of these classes only."""
    part = data.part(np.flatnonzero(np.isin(data.class_of, classes)))
    return dataclasses.replace(
        part,
        class_names=tuple(data.class_names[i] for i in classes.tolist()),
        class_of=np.searchsorted(classes, part.class_of).astype(np.int64),
        text_features=None if data.text_features is None else data.text_features[classes],
    )


def _split(
    protocol: Protocol,
    known: ImageSet,
    name: str,
    seed: int,
    data: DataSet,
    domains: tuple[str, ...],
    shifted: Mapping[str, EvaluationImages],
    unknown: Mapping[str, EvaluationImages],
) -> Split:
    """Draw the shots, and exclude them from all in-distribution images that are evaluated.

    Of a data set with splits, shots come from those that ``tune`` learns from, and the others are evaluated.
    """
    use = split_use(data)
    learned, _ = learning_rows(data, use)
    inside = data.rows_in(domains)
    labels = np.where(inside & learned, data.class_of, -1).tolist()
    drawn = few_shot_split(labels, data.keys(), protocol.shots, seed)
    left = drawn.rest
    if use.evaluated:
        evaluated = inside & rows_of_splits(data, use.evaluated)
        left = data.distinct_rows(np.where(evaluated, data.class_of, -1))
    rest = EvaluationImages(known.store, data.digests[left], data.class_of[left])
    shots = data.digests[drawn.shots]
    id_images = {part: images.excluding(shots) for part, images in {KNOWN: rest, **shifted}.items()}
    for part, images in id_images.items():
        if not len(images):
            what = {KNOWN: "known images", HELD_OUT: f"images of {name}"}.get(part, part)
            raise DataError(
                f"{what}: none is left to judge beside {protocol.shots} shots per class",
                hint="lower shots in the protocol's [tune], or add images",
            )
    notes = _class_size_notes(protocol, name, data, drawn)
    return Split(name, seed, data, domains, drawn.shots, id_images, unknown, notes)


def _class_size_notes(protocol: Protocol, name: str, data: DataSet, drawn: FewShotSplit) -> tuple[str, ...]:
    """A sentence on classes with fewer images than shots. Raises DataError for a class without any image."""
    counts = {class_name: drawn.available.get(i, 0) for i, class_name in enumerate(data.class_names)}
    is_domain = name in data.domain_names
    if empty := [class_name for class_name, count in counts.items() if not count]:
        listed = ", ".join(empty[:5]) + (" …" if len(empty) > 5 else "")
        raise DataError(
            f"{data.title} has no image of {listed} to learn from"
            + (f" without the domain {name}" if is_domain else ""),
            hint="every class needs images in two domains or more: remove it, or add some",
        )
    small = [class_name for class_name, count in counts.items() if count < protocol.shots]
    if not small:
        return ()
    without = f" ({name} held out)" if is_domain else ""
    return (
        f"{len(small)} of {len(counts)} classes have fewer than {protocol.shots} images to learn from{without}",
    )
