"""Average linkage against scikit-learn's, and what is said of means and of near-duplicates against float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from deltaoe.functional import near_duplicates as module
from deltaoe.functional.average_linkage import average_linkage, directions, nearest_group
from deltaoe.functional.near_duplicates import near_duplicates


def blobs(count: int, groups: int, noise: float, seed: int, dim: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(groups, dim))[rng.integers(0, groups, count)] + noise * rng.normal(
        size=(count, dim)
    )
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(2, 60), st.sampled_from([0.2, 0.6, 1.0]), st.sampled_from([0.3, 0.7]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_groups_are_scikit_learns(count: int, noise: float, limit: float, seed: int) -> None:
    rows = blobs(count, 4, noise, seed)
    theirs = AgglomerativeClustering(
        n_clusters=None, distance_threshold=limit, metric="cosine", linkage="average"
    ).fit_predict(rows.astype(np.float64))
    assert adjusted_rand_score(theirs, average_linkage(rows, limit, 1)) == 1


def test_small_groups_are_none_and_numbers_follow_the_first_rows() -> None:
    rows = np.array([[0, -1], [1, 0], [0.8, 0.6], [-1, 0], [-0.8, 0.6], [-0.8, -0.6]], dtype=np.float32)
    found = average_linkage(rows, 0.3, 2).tolist()
    assert found[1] == found[2] == 0 and found[0] != 0
    assert average_linkage(rows, 0.3, 4).tolist() == [-1] * 6


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rows(count: int) -> None:
    rows = np.ones((count, 1), dtype=np.float32)
    assert average_linkage(rows, 0.5, 2).tolist() == [-1] * count
    assert average_linkage(rows, 0.5, 1).tolist() == [0] * count


def test_the_mean_says_the_average_distance() -> None:
    rows = blobs(40, 3, 0.8, 1)
    members = [rows[:15].astype(np.float64), rows[15:30].astype(np.float64)]
    average = np.array(
        [[np.mean([1 - row @ one for one in group]) for group in members] for row in rows[30:]]
    )
    means = np.stack([group.mean(axis=0) for group in members]).astype(np.float32)
    found, cosine = nearest_group(rows[30:], means, 0.9)
    assert np.allclose(1 - cosine, average.min(axis=1), atol=1e-6)
    assert found.tolist() == np.where(average.min(axis=1) <= 0.9, average.argmin(axis=1), -1).tolist()


def test_directions() -> None:
    root = np.array([[2.0, 0.0], [0.0, 0.5]], dtype=np.float32)
    rows = directions(np.array([[2, 5], [1, 1]], dtype=np.float32), np.array([1, 1], dtype=np.float32), root)
    assert np.allclose(rows, [[2**-0.5, 2**-0.5], [0, 0]])


@given(st.integers(0, 70), st.sampled_from([0.02, 0.1, 0.3]), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_near_duplicates_are_those_of_a_plain_loop(count: int, noise: float, groups: int, seed: int) -> None:
    rows = blobs(count, groups, noise, seed, dim=40)
    cosines = rows.astype(np.float64) @ rows.astype(np.float64).T
    limit = 0.97
    if (abs(cosines - limit) < 1e-6).any():
        return  # float32 may see it on the other side
    wanted: list[int] = []
    for i in range(count):
        near = [j for j in range(i) if wanted[j] == -1 and cosines[i, j] >= limit]
        wanted.append(near[0] if near else -1)
    block, directions_kept = module._BLOCK, module._DIRECTIONS
    module._BLOCK, module._DIRECTIONS = 16, 5  # several blocks, and bounds that are no cosines
    try:
        assert near_duplicates(count, rows.__getitem__, limit).tolist() == wanted
    finally:
        module._BLOCK, module._DIRECTIONS = block, directions_kept
