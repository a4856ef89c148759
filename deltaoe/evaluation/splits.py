"""What a protocol learns from and is judged on: one split for each seed, and each domain left out."""

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

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images that are judged: where their features are, digests (n, 32), and classes (n,), −1 for unknown images."""

    store: FeatureStore
    digests: Digests
    truth: Indices

    @classmethod
    def unknown(cls, store: FeatureStore, digests: Digests) -> Images:
        """Of no class."""
        return cls(store, digests, np.full(len(digests), -1, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.digests)

    def without(self, learned: Digests) -> Images:
        """Those of another content."""
        taken = {row.tobytes() for row in learned}
        keep = np.array([row.tobytes() not in taken for row in self.digests], dtype=bool)
        return Images(self.store, self.digests[keep], self.truth[keep])


@dataclass(frozen=True)
class Split:
    """What one run learns from and is judged on. No image of ``inside`` is a shot.

    Attributes:
        name: the held-out domain, or the draw of classes, or empty.
        seed: of shots and start.
        data: the data set to tune on, with the classes that are known.
        domains: of it, to draw shots from; all if empty.
        shots: rows of ``data``.
        inside: name → known images; measuring's KNOWN first.
        outside: name → unknown images.
        notes: what a reader must know about it.
    """

    name: str
    seed: int
    data: DataSet
    domains: tuple[str, ...]
    shots: Indices
    inside: Mapping[str, Images]
    outside: Mapping[str, Images]
    notes: tuple[str, ...] = ()

    def learned_from(self) -> str:
        """Digest of everything that shots are drawn from: images, classes and domains."""
        found = hashlib.sha256(repr((self.data.space_id, self.data.class_names, self.domains)).encode())
        for array in (self.data.digests, self.data.class_of, self.data.domain_of, self.shots):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def judged_on(self) -> str:
        """Digest of all images that are judged, and of their names and classes."""
        found = hashlib.sha256()
        for parts in (self.inside, self.outside):
            found.update(repr([(name, one.store.space.id, len(one)) for name, one in parts.items()]).encode())
            for one in parts.values():
                found.update(np.ascontiguousarray(one.digests).tobytes() + one.truth.tobytes())
        return found.hexdigest()


def splits(
    protocol: Protocol, known: ImageSet, shifts: Mapping[str, ImageSet], unknown: Mapping[str, Images]
) -> Iterator[Split]:
    """All splits of a protocol.

    Raises:
        DataError: the data has not the domains or classes that the protocol needs, or no image is left to judge.
    """
    if not known.data.labelled:
        raise DataError(f"{known.data.title} has no classes", hint="it needs one folder per class")
    require_classes(known.data.class_names, known.data.title)
    if protocol.kind == "class-split":
        yield from _class_splits(protocol, known, unknown)
        return
    moved = {name: _labelled(one, known.data.class_names) for name, one in shifts.items()}
    if protocol.kind == "fixed":
        for seed in protocol.seeds:
            yield _split(protocol, known, "", seed, known.data, (), moved, unknown)
        return
    data = known.data
    if len(data.domain_names) < 2:
        raise DataError(
            f"{data.title} has no domains to leave out",
            hint="it needs folders domain/class/image, two domains or more",
        )
    for held in data.domain_names:
        others = tuple(name for name in data.domain_names if name != held)
        beyond = np.where(data.rows_in((held,)), data.class_of, -1)
        rows = data.distinct_rows(beyond)
        there = {HELD_OUT: Images(known.store, data.digests[rows], data.class_of[rows]), **moved}
        for seed in protocol.seeds:
            yield _split(protocol, known, held, seed, data, others, there, unknown)


def _class_splits(protocol: Protocol, known: ImageSet, unknown: Mapping[str, Images]) -> Iterator[Split]:
    data = known.data
    if len(data.class_names) < 4:
        raise DataError(f"{data.title} has too few classes to split", hint="it needs four or more")
    for seed in protocol.seeds:
        order = np.random.default_rng(seed).permutation(len(data.class_names))
        stays = np.sort(order[: (len(order) + 1) // 2])
        part = class_part(data, stays)
        others = (data.class_of >= 0) & ~np.isin(data.class_of, stays)
        near = Images.unknown(known.store, np.unique(data.digests[others], axis=0)).without(part.digests)
        yield _split(protocol, known, f"draw {seed}", seed, part, (), {}, {REST: near, **unknown})


def class_part(data: DataSet, classes: Indices) -> DataSet:
    """The images of these classes alone, as a data set."""
    rows = np.flatnonzero(np.isin(data.class_of, classes))
    return dataclasses.replace(
        data,
        class_names=tuple(data.class_names[i] for i in classes.tolist()),
        class_of=np.searchsorted(classes, data.class_of[rows]).astype(np.int64),
        domain_of=data.domain_of[rows],
        paths=tuple(data.paths[i] for i in rows.tolist()),
        digests=data.digests[rows],
        text_features=None if data.text_features is None else data.text_features[classes],
    )


def _split(
    protocol: Protocol,
    known: ImageSet,
    name: str,
    seed: int,
    data: DataSet,
    domains: tuple[str, ...],
    moved: Mapping[str, Images],
    outside: Mapping[str, Images],
) -> Split:
    """Draw the shots, and leave them out of everything that is judged."""
    labels = np.where(data.rows_in(domains), data.class_of, -1).tolist()
    drawn = few_shot_split(labels, data.keys(), protocol.shots, seed)
    learned = data.digests[drawn.shots]
    rest = Images(known.store, data.digests[drawn.rest], data.class_of[drawn.rest])
    inside = {where: one.without(learned) for where, one in {KNOWN: rest, **moved}.items()}
    for where, one in inside.items():
        if not len(one):
            what = {KNOWN: "known images", HELD_OUT: f"images of {name}"}.get(where, where)
            raise DataError(
                f"{what}: none is left to judge beside {protocol.shots} shots per class",
                hint="lower shots in the recipe's [tune], or add images",
            )
    return Split(name, seed, data, domains, drawn.shots, inside, outside, _few(protocol, name, data, drawn))


def _few(protocol: Protocol, name: str, data: DataSet, drawn: FewShotSplit) -> tuple[str, ...]:
    counts = {word: drawn.available.get(i, 0) for i, word in enumerate(data.class_names)}
    held = name in data.domain_names
    if gone := [word for word, count in counts.items() if not count]:
        listed = ", ".join(gone[:5]) + (" …" if len(gone) > 5 else "")
        raise DataError(
            f"{data.title} has no image of {listed} to learn from"
            + (f" without the domain {name}" if held else ""),
            hint="every class needs images in two domains or more: remove it, or add some",
        )
    few = [word for word, count in counts.items() if count < protocol.shots]
    if not few:
        return ()
    where = f" ({name} held out)" if held else ""
    return (
        f"{len(few)} of {len(counts)} classes have fewer than {protocol.shots} images to learn from{where}",
    )


def _labelled(one: ImageSet, class_names: tuple[str, ...]) -> Images:
    truth = one.rows_of(class_names)
    rows = one.data.distinct_rows(truth)
    return Images(one.store, one.data.digests[rows], truth[rows])
