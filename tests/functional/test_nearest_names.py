"""The nearest name: what a plain float64 softmax says, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from deltaoe.functional import nearest_names as module
from deltaoe.functional.nearest_names import nearest_names


def unit(rng: np.random.Generator, n: int, dim: int = 6) -> np.ndarray:
    rows = rng.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 40), st.integers(1, 30), st.integers(0, 10**6))
def test_equals_a_softmax_over_all_names(images, names, seed):
    rng = np.random.default_rng(seed)
    features, text = unit(rng, images), unit(rng, names)
    found = nearest_names(features, text)
    cosines = features.astype(np.float64) @ text.astype(np.float64).T
    expected = softmax(100 * cosines, axis=1)
    rows = np.arange(images)
    assert np.allclose(cosines[rows, found.place], cosines.max(axis=1) if images else [], atol=1e-6)
    assert np.allclose(found.cosine, cosines[rows, found.place], atol=1e-6)
    assert np.allclose(found.probability, expected[rows, found.place], rtol=1e-3)


def test_blocks_leave_no_trace(monkeypatch):
    rng = np.random.default_rng(1)
    features, text = unit(rng, 50), unit(rng, 7)
    whole = nearest_names(features, text)
    monkeypatch.setattr(module, "_BLOCK", 7 * 3)
    for one, other in zip(whole, nearest_names(features, text), strict=True):
        assert other == pytest.approx(one, rel=1e-5)


def test_two_equal_names_share_the_probability():
    text = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert nearest_names(text[:1], text).probability[0] == pytest.approx(0.5)
