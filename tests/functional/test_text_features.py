"""Background labels, blended and centred prompts, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.errors import ConfigError
from deltaoe.functional.text_features import blend, centred, likeness, mine, nearest_label

quick = settings(max_examples=50, deadline=None, derandomize=True)


def unit_rows(n: int, seed: int, dim: int = 12) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dim)) + 0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_likeness_and_the_nearest_class():
    labels, background = unit_rows(7, 1), unit_rows(5000, 2)  # more than one block
    cosines = background.astype(np.float64) @ labels.astype(np.float64).T
    np.testing.assert_allclose(likeness(background, labels), np.quantile(cosines, 0.95, axis=1), atol=1e-12)
    near, cosine = nearest_label(background, labels)
    assert (near == cosines.argmax(axis=1)).all()
    np.testing.assert_allclose(cosine, cosines.max(axis=1), atol=1e-12)


@quick
@given(
    count=st.integers(0, 60), fraction=st.sampled_from([0.01, 0.3, 0.5, 0.99, 1.0]), seed=st.integers(0, 99)
)
def test_the_least_like_are_kept(count, fraction, seed):
    labels, background = unit_rows(5, 1), unit_rows(count, 100 + seed).reshape(-1, 12)
    kept = mine(background, labels, fraction)
    assert len(kept) == int(fraction * count + 1e-9)
    assert (np.diff(kept) > 0).all()
    like = likeness(background, labels)
    dropped = np.setdiff1d(np.arange(count), kept)
    if len(kept) and len(dropped):
        assert like[kept].max() <= like[dropped].min()


def test_a_class_is_never_its_own_background():
    labels = unit_rows(40, 1)
    background = np.concatenate([labels[:10], unit_rows(10, 3)])
    assert set(mine(background, labels, 1.0)) == set(range(10, 20))
    assert len(mine(labels, labels, 1.0)) == 0


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.1, float("nan")])
def test_fractions_out_of_range(fraction):
    with pytest.raises(ConfigError, match="fraction"):
        mine(unit_rows(3, 1), unit_rows(3, 2), fraction)
    with pytest.raises(ConfigError, match="quantile"):
        likeness(unit_rows(3, 1), unit_rows(3, 2), 2.0)


def test_centred_rows_are_unit_rows_less_the_centre():
    rows = unit_rows(20, 4)
    centre = rows.mean(axis=0)
    wanted = rows.astype(np.float64) - centre
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(centred(rows, centre), wanted, atol=1e-6)
    assert centred(rows, centre).dtype == np.float32


def test_a_prompt_that_is_the_centre_stays():
    row = unit_rows(1, 5)
    assert np.array_equal(centred(row, row[0]), row)
    assert centred(row[:0], row[0]).shape == (0, 12)


@quick
@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_blend_is_of_unit_length_and_ends_where_it_should(share, seed):
    start, end = unit_rows(3, seed), unit_rows(3, 100 + seed)
    assert np.linalg.norm(blend(start, end, share), axis=1) == pytest.approx(1, abs=1e-5)
    assert blend(start, end, 0) == pytest.approx(start, abs=1e-6)
    assert blend(start, end, 1) == pytest.approx(end, abs=1e-6)
    assert blend(start, -start, 0.5) == pytest.approx(-start, abs=1e-6)
