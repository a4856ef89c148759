"""The table of scores: one signature, one direction, values against exact sums."""

from __future__ import annotations

import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.errors import ConfigError
from deltaoe.functional.scores import SCORES, max_logit, mcm, negative_energy

quick = settings(max_examples=60, deadline=None, derandomize=True)
ROWS = st.lists(st.floats(-1, 1, width=32) | st.sampled_from([0.0, 0.25]), min_size=1, max_size=8)
TEMPERATURES = st.sampled_from([0.001, 0.01, 0.05, 0.1, 1.0, 100.0])

EXACT = {
    "delta_energy": references.delta_energy,
    "mcm": lambda row, temperature, top_c: max(references.softmax(row, temperature)),
    "max_logit": lambda row, temperature, top_c: max(row),
    "energy": lambda row, temperature, top_c: -references.energy(row, temperature),
}


def test_every_score_has_a_reference():
    assert set(SCORES) == set(EXACT)


@pytest.mark.parametrize("name", SCORES)
@quick
@given(row=ROWS, temperature=TEMPERATURES)
def test_scores_equal_exact_sums(name, row, temperature):
    top_c = (len(row) + 1) // 2
    ours = float(SCORES[name](torch.tensor(row, dtype=torch.float64), temperature, top_c))
    # rel 1e-12: at τ = 0.001 a softmax is the exponential of ±1000, whose rounding is 1e-13.
    assert ours == pytest.approx(float(EXACT[name](row, temperature, top_c)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
@quick
@given(floor=st.lists(st.floats(-0.25, 0.25), max_size=6), low=st.floats(0.3, 0.6), gain=st.floats(0.01, 0.3))
def test_a_higher_peak_is_more_in_distribution(name, floor, low, gain):
    if name == "mcm" and not floor:
        floor = [0.0]  # one class has all the mass, whatever its cosine
    batch = torch.tensor([[low, *floor], [low + gain, *floor]], dtype=torch.float64)
    scores = SCORES[name](batch, 0.1, 1)
    assert scores.shape == (2,)
    assert float(scores[1]) > float(scores[0])


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_single_and_half_precision(name, dtype):
    """A probability in bfloat16 would be off by 0.004, and confident images would tie."""
    row = torch.tensor([0.3125, 0.28125, 0.25, 0.1875], dtype=dtype)  # exact in every format
    ours = float(SCORES[name](row, 0.05, 1))
    assert ours == pytest.approx(float(EXACT[name](row.tolist(), 0.05, 1)), abs=1e-6)


@pytest.mark.parametrize("score", [mcm, negative_energy])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(score, temperature):
    with pytest.raises(ConfigError, match="temperature"):
        score(torch.tensor([0.2, 0.1]), temperature)


def test_max_logit_needs_no_temperature():
    assert max_logit(torch.tensor([[0.5, 0.25], [-0.5, -0.25]])).tolist() == [0.5, -0.25]


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        SCORES["mcm"] = max_logit
