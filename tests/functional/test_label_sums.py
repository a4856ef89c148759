"""Sums over many labels: streamed in any blocks, or bounded, against dense sums in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from deltaoe.errors import ConfigError
from deltaoe.functional.energy import delta_energy, delta_energy_from_top
from deltaoe.functional.label_sums import delta_energy_bounds, nearest_and_floor, tail_bounds

quick = settings(max_examples=80, deadline=None, derandomize=True)
TEMPERATURES = st.sampled_from([0.003, 0.01, 0.049, 0.05, 0.1, 1.0, 10.0])


@st.composite
def label_sets(draw):
    """Images, labels, background, c, shown, τ and a block size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    classes = draw(st.integers(1, 9))
    features, labels = (references.unit_rows(rng, n, 5) for n in (draw(st.integers(1, 4)), classes))
    if draw(st.booleans()):
        labels[-1] = labels[0]  # ties
    background = references.unit_rows(rng, draw(st.integers(0, 6)), 5).reshape(-1, 5)
    top_c = draw(st.integers(1, classes))
    shown = draw(st.integers(top_c, classes))
    return features, labels, background, top_c, shown, draw(TEMPERATURES), draw(st.integers(1, classes + 2))


@quick
@given(label_sets())
def test_streamed_equals_dense_for_any_block(case):
    features, labels, background, top_c, shown, temperature, block = case
    arrays = [torch.from_numpy(rows) for rows in (features, labels, background)]
    best, where, floor = nearest_and_floor(
        *arrays, shown=shown, top_c=top_c, temperature=temperature, block=block
    )
    cosines = features @ labels.T
    ordered = -np.sort(-cosines, axis=1)
    np.testing.assert_allclose(best.numpy(), ordered[:, :shown], atol=1e-15)
    np.testing.assert_allclose(np.take_along_axis(cosines, where.numpy(), axis=1), best, atol=1e-15)
    assert all(len(set(row)) == shown for row in where.tolist())
    rest = np.c_[ordered[:, top_c:], features @ background.T]
    with np.errstate(divide="ignore"):
        expected = logsumexp(np.c_[rest, np.full(len(rest), -np.inf)] / temperature, axis=1)
    np.testing.assert_allclose(floor.numpy(), expected, rtol=1e-12, atol=1e-12)
    if not len(background):
        streamed = delta_energy_from_top(best[:, :top_c], floor, temperature)
        dense = delta_energy(torch.from_numpy(cosines), temperature, top_c)
        np.testing.assert_allclose(streamed, dense, rtol=0, atol=1e-13 * max(1.0, temperature))


@pytest.mark.parametrize("temperature", [0.003, 0.01, 0.05, 1.0, 10.0])
def test_streaming_in_single_precision(temperature):
    rng = np.random.default_rng(3)
    features = references.unit_rows(rng, 6, 32).astype(np.float32)
    labels = references.unit_rows(rng, 300, 32).astype(np.float32)
    cosines = features.astype(np.float64) @ labels.astype(np.float64).T
    best, _, floor = nearest_and_floor(
        torch.from_numpy(features),
        torch.from_numpy(labels),
        torch.zeros(0, 32),
        shown=2,
        top_c=2,
        temperature=temperature,
        block=37,
    )
    ours = delta_energy_from_top(best, floor, temperature)
    for value, row in zip(ours.tolist(), cosines.tolist(), strict=True):
        assert value == pytest.approx(float(references.delta_energy(row, temperature, 2)), abs=2e-7, rel=1e-6)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_half_precision_is_streamed_in_single(stored):
    rng = np.random.default_rng(4)
    features, labels = (torch.from_numpy(references.unit_rows(rng, n, 16)).to(stored) for n in (3, 20))
    options = {"shown": 1, "top_c": 1, "temperature": 0.003, "block": 6}
    _, _, expected = nearest_and_floor(features.double(), labels.double(), labels[:4].double(), **options)
    _, _, floor = nearest_and_floor(features, labels, labels[:4], **options)
    # Exponents reach 300, where one ulp of float32 is 2e-5; float16's is 0.25.
    np.testing.assert_allclose(floor, expected, rtol=0, atol=1e-3)


def test_inputs_stay_as_they_are():
    rows = [torch.rand(4, 3, dtype=torch.float64) for _ in range(3)]
    copies = [row.clone() for row in rows]
    nearest_and_floor(*rows, shown=2, top_c=1, temperature=0.1)
    assert all(torch.equal(a, b) for a, b in zip(rows, copies, strict=True))


def test_every_label_cropped_leaves_no_floor():
    rows = torch.eye(3, dtype=torch.float64)
    for temperature in (0.01, 1.0):
        _, _, floor = nearest_and_floor(rows, rows, rows[:0], shown=3, top_c=3, temperature=temperature)
        assert floor.tolist() == [-math.inf] * 3


@pytest.mark.parametrize(
    "changes", [{"temperature": 0.0}, {"top_c": 0}, {"top_c": 4}, {"shown": 0}, {"shown": 4}]
)
def test_what_is_out_of_range(changes):
    rows = torch.eye(3)
    with pytest.raises(ConfigError):
        nearest_and_floor(rows, rows, rows[:0], **{"shown": 1, "top_c": 1, "temperature": 0.1, **changes})


@quick
@given(
    cosines=st.lists(st.floats(-1, 1), min_size=2, max_size=40),
    known=st.integers(1, 39),
    top_c=st.integers(1, 3),
    temperature=TEMPERATURES,
)
def test_the_truth_lies_within_the_bounds(cosines, known, top_c, temperature):
    ordered = np.sort(cosines)[::-1]
    known = min(known, len(ordered))
    top_c = min(top_c, known)
    rest = ordered[known:]
    if not len(rest):
        return
    low, high = tail_bounds(
        torch.tensor(float(len(rest))),
        torch.tensor([rest.mean()]),
        torch.tensor([ordered[known - 1]]),
        temperature,
    )
    truth = float(logsumexp(rest / temperature))
    slack = 1e-9 + abs(truth) * 1e-12
    assert float(low) <= truth + slack
    assert truth <= float(high) + slack
    # Never above the simple bound r·exp(s_m/τ), but for the rounding that both allow for.
    assert float(high) <= math.log(len(rest)) + (ordered[known - 1] + 4e-6) / temperature + 1e-9
    inner = [ordered[top_c:known] / temperature]
    floors = [torch.tensor([logsumexp(np.r_[*inner, float(end)])]) for end in (low, high)]
    top = torch.from_numpy(ordered[None, :top_c].copy())
    below, above = delta_energy_bounds(top, *floors, temperature)
    exact = float(references.delta_energy(list(ordered), temperature, top_c))
    assert float(below) <= exact <= float(above)
