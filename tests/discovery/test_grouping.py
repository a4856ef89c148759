"""Groups of many images: found in a stream as if all were in memory, and the same in every run."""

from __future__ import annotations

import tracemalloc

import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from deltaoe.discovery.grouping import GroupingSpace, group
from deltaoe.functional.gaussians import ClassGaussians

DIM = 96
CENTRE = 0.044  # of each number of the mean of all images


def images(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    rows = 1 + 2 * rng.normal(size=(classes, DIM))[labels] + 0.6 * rng.normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


SPACE = GroupingSpace.around(np.full(DIM, CENTRE, dtype=np.float32))


def test_images_that_fit_are_grouped_by_average_linkage() -> None:
    rows, _ = images(200, 9)
    found = group(200, rows.__getitem__, SPACE, 0.7, 3)
    moved = rows.astype(np.float64) - CENTRE
    theirs = AgglomerativeClustering(
        n_clusters=None, distance_threshold=0.7, metric="cosine", linkage="average"
    ).fit_predict(moved)
    sizes = np.bincount(theirs)
    inside = found.group_of >= 0
    assert (inside == (sizes[theirs] >= 3)).all()
    assert adjusted_rand_score(theirs[inside], found.group_of[inside]) == 1
    counts = np.bincount(found.group_of[inside])
    assert (np.diff(counts) <= 0).all()  # the largest first
    for number in range(len(counts)):
        mean = rows[found.group_of == number].astype(np.float64).mean(axis=0)
        assert np.allclose(found.means[number], mean / np.linalg.norm(mean), atol=1e-6)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    wanted = [
        moved[i] @ moved[found.group_of == found.group_of[i]].mean(axis=0) for i in np.flatnonzero(inside)
    ]
    assert np.allclose(found.closeness[inside], wanted, atol=1e-5)
    assert np.isnan(found.closeness[~inside]).all()


def test_a_stream_finds_the_same_groups() -> None:
    rows, labels = images(3000, 12)
    whole = group(3000, rows.__getitem__, SPACE, 0.7, 3)
    assert adjusted_rand_score(labels, whole.group_of) > 0.95
    for at_once in (100, 500):
        part = group(3000, rows.__getitem__, SPACE, 0.7, 3, at_once=at_once)
        assert adjusted_rand_score(whole.group_of, part.group_of) > 0.95
        again = group(3000, rows.__getitem__, SPACE, 0.7, 3, at_once=at_once)
        assert (part.group_of == again.group_of).all()


def test_a_group_that_comes_late_is_found() -> None:
    rows, labels = images(1000, 6)
    order = np.argsort(labels == 5, kind="stable")
    found = group(1000, rows[order].__getitem__, SPACE, 0.7, 3, at_once=200)
    late = found.group_of[labels[order] == 5]
    assert (late == late[0]).mean() > 0.95 and late[0] >= 0


def test_memory_is_bounded() -> None:
    centres = np.eye(DIM)

    def read(indices: np.ndarray) -> np.ndarray:
        rows = centres[indices % 50] + 0.03 * np.random.default_rng(int(indices[0])).normal(
            size=(len(indices), DIM)
        )
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    peaks = []
    for count in (20_000, 40_000):
        tracemalloc.start()
        found = group(count, read, SPACE, 0.7, 3, at_once=1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(found.means) == 50
    assert peaks[1] - peaks[0] < 20_000 * 100  # bytes: some numbers for each image, no features, no pairs


def test_the_space_of_the_known_classes() -> None:
    rows, labels = images(300, 5)

    class Known:
        means, root = (fitted := ClassGaussians.fit(rows, labels)).means, fitted.root

    space = GroupingSpace.of_classes(Known)
    moved = (rows - Known.means.astype(np.float64).mean(axis=0)) @ Known.root.astype(np.float64)
    assert np.allclose(space(rows), moved / np.linalg.norm(moved, axis=1, keepdims=True), atol=1e-4)
    Known.means = Known.means[:0]
    assert GroupingSpace.of_classes(Known) is None


def test_no_images() -> None:
    found = group(0, lambda indices: np.zeros((0, DIM), dtype=np.float32), SPACE, 0.7, 3)
    assert (len(found.group_of), len(found.means)) == (0, 0)
