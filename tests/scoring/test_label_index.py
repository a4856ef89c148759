"""FAISS's nearest labels against a sort."""

from __future__ import annotations

import numpy as np
import pytest

from deltaoe.errors import ConfigError
from deltaoe.scoring.label_index import LabelIndex


def unit_rows(count: int, dim: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("labels", "images", "top_c"),
    [(1, 3, 1), (2, 1, 1), (2, 1, 2), (7, 25, 3), (7, 25, 7), (300, 64, 10), (300, 64, 300), (5000, 33, 2)],
)
def test_nearest_labels_equal_a_sort(labels, images, top_c):
    z, h = unit_rows(labels, 24, 1), unit_rows(images, 24, 2)
    cosines, found = LabelIndex(z).search(h, top_c)
    exact = h.astype(np.float64) @ z.astype(np.float64).T
    order = np.argsort(-exact, axis=1, kind="stable")[:, :top_c]
    wanted = np.take_along_axis(exact, order, axis=1)
    assert cosines.dtype == np.float32
    assert found.dtype == np.int64
    assert np.abs(cosines - wanted).max() < 1e-6
    assert np.abs(np.take_along_axis(exact, found, axis=1) - wanted).max() < 1e-6
    assert all(len(set(row)) == top_c for row in found.tolist())
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_equal_labels_are_all_found():
    z = np.repeat(unit_rows(3, 8, 0), 4, axis=0)
    cosines, found = LabelIndex(z).search(z[:1], 4)
    assert set(found[0].tolist()) == {0, 1, 2, 3}
    assert np.abs(cosines - 1).max() < 1e-6


def test_arrays_of_other_layouts():
    z, h = unit_rows(20, 8, 0), unit_rows(5, 8, 1)
    wanted = LabelIndex(z).search(h, 3)
    for labels, features in ((np.asfortranarray(z), h), (z, np.asfortranarray(h)), (z.astype(np.float64), h)):
        found = LabelIndex(labels).search(features, 3)
        assert (found[0] == wanted[0]).all()
        assert (found[1] == wanted[1]).all()
    assert LabelIndex(z).search(h[:0], 3)[0].shape == (0, 3)
    assert len(LabelIndex(z)) == 20


@pytest.mark.parametrize("top_c", [0, -1, 21])
def test_c_out_of_range(top_c):
    with pytest.raises(ConfigError, match="20 classes"):
        LabelIndex(unit_rows(20, 8, 0)).search(unit_rows(1, 8, 1), top_c)
