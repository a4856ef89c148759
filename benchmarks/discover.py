"""How well unknown images are grouped, which near-duplicates are found, and what 100,000 images cost.

    python benchmarks/discover.py [--shared ../shared] [--images 100000] [--markdown docs/how-to]

The images of classes held out are grouped, and the groups compared with the classes: *purity* is the share of grouped
images that are of the most frequent class of their group, *AMI* the adjusted mutual information of groups and classes
with every single image as a group of its own, *single* the share of images in no group. k-means is told the true number
of classes, which a user does not know. The settings were chosen on Caltech's classes; the photographs and ImageNet's
classes only check them.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from discover_photos import Labels, Photos, Rows, extract_photos, unit
from shown import show
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_mutual_info_score

from deltaoe.discovery.grouping import GroupingSpace, group
from deltaoe.discovery.options import DISTANCE, NEAR, SMALLEST
from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.functional.near_duplicates import near_duplicates

SEEDS = 5
LIMITS = (0.96, 0.97, 0.98, 0.99)


class Setting(NamedTuple):
    """Known images with their classes, and unknown images with theirs."""

    known: Rows
    known_classes: Labels
    unknown: Rows
    classes: Labels


def held_out(features: Rows, classes: Labels, known: int, seed: int) -> Setting:
    """So many classes known, the others held out."""
    order = np.random.default_rng(seed).permutation(np.unique(classes))
    inside = np.isin(classes, order[:known])
    return Setting(features[inside], classes[inside], *shuffled(features[~inside], classes[~inside], seed))


def shuffled(features: Rows, classes: Labels, seed: int) -> tuple[Rows, Labels]:
    """The same images in an order that has nothing to do with their classes."""
    order = np.random.default_rng(seed).permutation(len(features))
    return features[order], np.unique(classes, return_inverse=True)[1][order]


def quality(groups: Labels, classes: Labels) -> tuple[float, float, float, float]:
    """Number of groups, purity, adjusted mutual information, share of single images."""
    inside = groups >= 0
    found = np.unique(groups[inside])
    most = sum(np.bincount(classes[groups == number]).max() for number in found)
    own = groups.copy()
    own[~inside] = groups.max(initial=-1) + 1 + np.arange((~inside).sum())
    return (
        float(len(found)),
        float(most / max(inside.sum(), 1)),
        float(adjusted_mutual_info_score(classes, own)),
        float((~inside).mean()),
    )


def without_small(groups: Labels) -> Labels:
    """The groups, but those of fewer than ``SMALLEST`` images."""
    return np.where(np.bincount(groups)[groups] >= SMALLEST, groups, -1)


def ours(data: Setting, at_once: int = 4096, distance: float = DISTANCE) -> Labels:
    """What ``deltaoe discover`` does."""
    fitted = ClassGaussians.fit(data.known, data.known_classes)
    space = GroupingSpace(fitted.means.mean(axis=0), fitted.root)
    return group(
        len(data.unknown), data.unknown.__getitem__, space, distance, SMALLEST, at_once=at_once
    ).group_of


def around_these(data: Setting) -> Labels:
    """What ``deltaoe discover --around these`` does."""
    root = ClassGaussians.fit(data.known, data.known_classes).root
    space = GroupingSpace(data.unknown.mean(axis=0), root)
    return group(len(data.unknown), data.unknown.__getitem__, space, DISTANCE, SMALLEST).group_of


def linked(rows: Rows, distance: float) -> Labels:
    """Average linkage of cosines."""
    model = AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, metric="cosine", linkage="average"
    )
    return without_small(model.fit_predict(rows))


def dense(rows: Rows) -> Labels:
    """HDBSCAN, with the settings that were best for it on Caltech's classes."""
    return np.asarray(HDBSCAN(min_cluster_size=5, min_samples=1, copy=True).fit_predict(rows))


def means(rows: Rows, count: int) -> Labels:
    """k-means."""
    return np.asarray(KMeans(count, n_init=3, random_state=0).fit_predict(rows))


def centred(data: Setting) -> Rows:
    """Features around the mean of the known classes."""
    return unit(data.unknown - ClassGaussians.fit(data.known, data.known_classes).means.mean(axis=0))


def whitened(data: Setting) -> Rows:
    """Features in the space of the known classes."""
    fitted = ClassGaussians.fit(data.known, data.known_classes)
    return unit((data.unknown - fitted.means.mean(axis=0)) @ fitted.root)


def reduced(rows: Rows) -> Rows:
    """The 32 principal components."""
    count = min(32, len(rows) - 1)
    return unit(PCA(count, random_state=0).fit_transform(rows.astype(np.float64)))


METHODS: dict[str, Callable[[Setting], Labels]] = {
    "**deltaoe**: average linkage, space of the known classes": ours,
    "the same, 400 images at a time": lambda data: ours(data, at_once=400),
    "the same, distance 0.6": lambda data: ours(data, distance=0.6),
    "the same, distance 0.8": lambda data: ours(data, distance=0.8),
    "average linkage, centred at the known classes": lambda data: linked(centred(data), 0.7),
    "average linkage, features as they are (0.3)": lambda data: linked(data.unknown, 0.3),
    "HDBSCAN, space of the known classes, 32 components": lambda data: dense(reduced(whitened(data))),
    "HDBSCAN, space of the known classes": lambda data: dense(whitened(data)),
    "HDBSCAN, features as they are": lambda data: dense(data.unknown),
    "k-means told the number of classes, space of the known": lambda data: means(
        whitened(data), len(np.unique(data.classes))
    ),
    "k-means told the number of classes, features as they are": lambda data: means(
        data.unknown, len(np.unique(data.classes))
    ),
}


def photo_setting(photos: Photos, seed: int) -> Setting:
    """Photographs of three classes held out, among those of other objects, scenes and textures."""
    taken = photos.domains == "photo"
    part = held_out(photos.features[taken], photos.classes[taken], 4, seed)
    mixed = np.concatenate([part.unknown, photos.others])
    classes = np.concatenate([part.classes, photos.other_classes])
    return Setting(part.known, part.known_classes, *shuffled(mixed, classes, seed))


def print_methods(shared: Path, photos: Photos, markdown: Path | None) -> None:
    """The table of methods."""
    folder = shared / "data" / "clip-features"
    caltech, imagenet = (dict(np.load(folder / f"{name}.npz")) for name in ("caltech52-id", "imagenet300-id"))
    sets: dict[str, Callable[[int], Setting]] = {
        "Caltech": lambda seed: held_out(unit(caltech["features"]), caltech["labels"], 26, seed),
        "photographs": lambda seed: photo_setting(photos, seed),
        "ImageNet": lambda seed: held_out(unit(imagenet["features"]), imagenet["labels"], 150, seed),
    }
    for kind, make in sets.items():
        settings = [make(seed) for seed in range(SEEDS)]
        rows = []
        for name, method in METHODS.items():
            found = [quality(method(one), one.classes) for one in settings]
            groups, purity, ami, single = np.mean(found, axis=0)
            rows.append([name, f"{groups:.0f}", f"{purity:.2f}", f"{ami:.2f}", f"{single:.0%}"])
        target = markdown and markdown / f"discover-{kind.lower()}.md"
        show(f"{kind}: classes held out, grouped", ["groups", "purity", "AMI", "single"], rows, target)


def print_cases(photos: Photos, markdown: Path | None) -> None:
    """The table of cases that are hard: one class alone, and images of another style."""
    taken = photos.domains == "photo"
    known = taken & (photos.classes < 4)

    def of(chosen: npt.NDArray[np.bool_]) -> Setting:
        return Setting(
            photos.features[known],
            photos.classes[known],
            *shuffled(photos.features[chosen], photos.classes[chosen], 0),
        )

    cases = {
        "photographs of one class": of(taken & (photos.classes == 5)),
        "photographs of three classes": of(taken & (photos.classes >= 4)),
        "cartoons of three classes": of((photos.domains == "cartoon") & (photos.classes >= 4)),
        "sketches of three classes": of((photos.domains == "sketch") & (photos.classes >= 4)),
    }
    methods: dict[str, Callable[[Setting], Labels]] = {
        "deltaoe": ours,
        "--around these": around_these,
        "HDBSCAN": lambda data: dense(reduced(whitened(data))),
    }
    rows = []
    for name, data in cases.items():
        cells = [name]
        for method in methods.values():
            groups, purity, _, single = quality(method(data), data.classes)
            cells += [f"{groups:.0f}", f"{purity:.2f}" if groups else "", f"{single:.0%}"]
        rows.append(cells)
    columns = [f"{name}: {what}" for name in methods for what in ("groups", "purity", "single")]
    show("Known: photographs of four classes", columns, rows, markdown and markdown / "discover-cases.md")


def print_duplicates(shared: Path, photos: Photos, markdown: Path | None) -> None:
    """The table of near-duplicates: changed copies found, and different images taken for copies."""
    originals = photos.copies["original"]
    rows = []
    for name, copies in photos.copies.items():
        if name != "original":
            cosines = (originals * copies).sum(axis=1)
            rows.append([f"found: {name}", *(f"{(cosines >= limit).mean():.0%}" for limit in LIMITS)])
    different = {
        "PACS photographs": photos.features[photos.domains == "photo"],
        "PACS sketches": photos.features[photos.domains == "sketch"],
        "objects, scenes, textures": photos.others,
    }
    for name in ("flowers-ood", "caltech48-near-ood", "dtd-ood"):
        with np.load(shared / "data" / "clip-features" / f"{name}.npz") as arrays:
            different[f"{name}, ViT-B/32"] = unit(arrays["features"])
    for name, features in different.items():
        shares = [
            (near_duplicates(len(features), features.__getitem__, limit) >= 0).mean() for limit in LIMITS
        ]
        rows.append([f"flagged: {name}", *(f"{share:.1%}" for share in shares)])
    columns = [f"≥ {limit:g}" + (" (default)" if limit == NEAR else "") for limit in LIMITS]
    show("Near-duplicates", columns, rows, markdown and markdown / "discover-duplicates.md")


def print_cost(shared: Path, count: int, markdown: Path | None) -> None:
    """Seconds and memory, for images that are real ones moved a random way."""
    folder = shared / "data" / "clip-features"
    arrays = np.load(folder / "caltech52-id.npz")
    fitted = ClassGaussians.fit(unit(arrays["features"]), arrays["labels"])
    space = GroupingSpace(fitted.means.mean(axis=0), fitted.root)
    names = ("caltech48-near-ood", "dtd-ood", "flowers-ood")
    real = np.concatenate([unit(np.load(folder / f"{name}.npz")["features"]) for name in names])
    chosen = np.random.default_rng(0).integers(0, len(real), count)

    def read(indices: Labels) -> Rows:
        noise = np.random.default_rng(int(indices[0])).standard_normal((len(indices), real.shape[1]))
        return unit(real[chosen[indices]] + 0.02 * noise)

    rows = []
    for images in (count // 10, count):
        start = time.perf_counter()
        found = group(images, read, space, DISTANCE, SMALLEST)
        grouped = time.perf_counter()
        near_duplicates(images, read, NEAR)
        compared = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows.append(
            [
                f"{images:,} images",
                str(len(found.means)),
                f"{grouped - start:.0f}",
                f"{compared - grouped:.0f}",
                f"{peak / 1024:.0f}",
            ]
        )
    columns = ["groups", "grouping, s", "near-duplicates, s", "peak memory, MB"]
    show("Cost", columns, rows, markdown and markdown / "discover-cost.md")


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared"), help="folder of photographs and features"
    )
    parser.add_argument(
        "--images", type=int, default=100_000, help="number for the table of costs; 0 for none"
    )
    parser.add_argument("--markdown", type=Path, help="folder for the tables")
    parser.add_argument(
        "--work", type=Path, help="folder that keeps the photographs' features for another run"
    )
    options = parser.parse_args()
    if options.images:
        print_cost(options.shared, options.images, options.markdown)
    with tempfile.TemporaryDirectory() as folder:
        photos = extract_photos(options.shared, options.work or Path(folder))
    print_methods(options.shared, photos, options.markdown)
    print_cases(photos, options.markdown)
    print_duplicates(options.shared, photos, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
