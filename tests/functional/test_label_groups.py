"""Nearest labels and bounds from 8-bit products, against all cosines in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from deltaoe.errors import ConfigError
from deltaoe.functional import quantized_labels
from deltaoe.functional.label_groups import LabelGroups
from deltaoe.functional.quantized_labels import quantized

BLOCK = 96  # several blocks of labels, the last of them narrower


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def label_rows(kind: str, count: int, dim: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, dim))
    if kind == "clustered":
        rows = rng.standard_normal((5, dim))[rng.integers(0, 5, count)] + 0.1 * rows
    elif kind == "duplicated":
        rows = rows[rng.integers(0, max(1, count // 8), count)]
    elif kind == "equal":
        rows = np.repeat(rows[:1], count, axis=0)
    elif kind == "outliers":  # one large coordinate of all, and labels far from the others
        rows[:, 0] += 20
        rows[::17] = rng.standard_normal((len(rows[::17]), dim))
    return unit(rows)


def looked(z: np.ndarray, h: np.ndarray, shown: int, groups: int, temperature: float | None):
    labels = torch.from_numpy(z)
    made = LabelGroups(labels, quantized(labels), block=BLOCK, images=32, together=7)
    return made.look(torch.from_numpy(h), shown, groups, temperature)


def check(z: np.ndarray, h: np.ndarray, shown: int, groups: int, temperature: float) -> np.ndarray:
    """Compare with all cosines; returns which images' nearest labels are certain."""
    found = looked(z, h, shown, groups, temperature)
    cosines = h.astype(np.float64) @ z.astype(np.float64).T
    labels, low, high = found.labels.numpy(), found.low.numpy(), found.high.numpy()
    assert labels.shape == found.cosines.shape == (len(h), shown)
    assert all(len(set(row)) == shown for row in labels.tolist())
    mine = np.take_along_axis(cosines, labels, axis=1)
    assert np.abs(found.cosines.numpy() - mine).max(initial=0) < 1e-6
    largest = -np.sort(-cosines, axis=1)[:, :shown]
    sure = found.certain.numpy()
    # Of equal labels any may be returned; their cosines are the largest.
    assert np.abs(mine - largest)[sure].max(initial=0) < 1e-6
    outside = cosines / temperature
    np.put_along_axis(outside, labels, -np.inf, axis=1)
    with np.errstate(divide="ignore"):
        truth = logsumexp(outside, axis=1) if shown < len(z) else np.full(len(h), -np.inf)
    assert (low <= truth).all() and (truth <= high).all()
    assert not np.isnan(low).any() and not np.isnan(high).any() and (high < np.inf).all()
    return sure


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["random", "clustered", "duplicated", "equal", "outliers"]),
    count=st.one_of(st.integers(1, 20), st.integers(80, 700)),
    dim=st.sampled_from([2, 16, 24, 50]),
    temperature=st.sampled_from([1e-4, 0.001, 0.01, 0.05, 0.1, 1.0, 50.0]),
    groups=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.01, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_the_truth_lies_between_the_bounds(kind, count, dim, temperature, groups, share, seed):
    z = label_rows(kind, count, dim, seed)
    h = unit(np.random.default_rng(seed + 1).standard_normal((9, dim)))
    h[:3] = z[np.random.default_rng(seed).integers(0, count, 3)]
    check(z, h, round(share * count), groups, temperature)


def test_bounds_are_close_and_the_nearest_certain():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_000, 64))
    rows[:, 0] += 4
    z, h = unit(rows), unit(np.eye(64)[0] * 3 + rng.standard_normal((70, 64)))
    assert check(z, h, 3, 2, 0.1).all()
    for temperature, widest in ((0.01, 4.0), (0.1, 0.2), (1.0, 0.02)):
        found = looked(z, h, 3, 2, temperature)
        assert (found.high - found.low).max() < widest
    # What no bound in single precision can say: all labels are as near.
    alike = np.repeat(z[:1], 4000, axis=0)
    assert not check(alike, h[:3], 1, 2, 0.1).any()


def test_other_sums_than_asked_for():
    z, h = label_rows("random", 300, 24, 0), label_rows("random", 3, 24, 1)
    assert looked(z, h, 2, 1, None).low.isnan().all()
    assert looked(z, h[:0], 2, 1, 0.1).labels.shape == (0, 2)
    with pytest.raises(ConfigError, match="temperature"):
        looked(z, h, 2, 1, 0.0)


def test_without_instructions_for_8_bits_the_numbers_are_the_same(monkeypatch):
    z, h = label_rows("clustered", 700, 50, 0), label_rows("random", 40, 50, 1)
    with_them = looked(z, h, 3, 2, 0.05)
    monkeypatch.setattr(quantized_labels, "_has_int8_products", lambda device: False)
    without = looked(z, h, 3, 2, 0.05)
    assert torch.equal(with_them.labels, without.labels)
    assert torch.equal(with_them.low, without.low) and torch.equal(with_them.high, without.high)


def test_a_product_that_saturates_or_fails_is_not_used(monkeypatch):
    def saturating(left, right, out=None):
        return (left.float() @ right.float()).clamp(-30_000, 30_000).to(torch.int32)

    def missing(left, right, out=None):
        raise RuntimeError("not implemented")

    for product in (saturating, missing):
        monkeypatch.setattr(torch, "_int_mm", product)
        assert not quantized_labels._has_int8_products.__wrapped__("cpu")
