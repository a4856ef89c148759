"""The table of scores: one signature, one direction, values against exact sums and independent libraries."""

from __future__ import annotations

import numpy as np
import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from deltaoe.errors import ConfigError
from deltaoe.functional.scores import SCORES, Evidence, max_logit, mcm, negative_energy, neglabel

quick = settings(max_examples=60, deadline=None, derandomize=True)
ROWS = st.lists(st.floats(-1, 1, width=32) | st.sampled_from([0.0, 0.25]), min_size=1, max_size=8)
TEMPERATURES = st.sampled_from([0.001, 0.01, 0.05, 0.1, 1.0, 100.0])

EXACT = {
    "delta_energy": references.delta_energy,
    "delta_energy_plain": references.delta_energy,
    "mcm": lambda row, temperature, top_c: max(references.softmax(row, temperature)),
    "msp": lambda row, temperature, top_c: max(references.softmax(row, temperature)),
    "max_logit": lambda row, temperature, top_c: max(row),
    "energy": lambda row, temperature, top_c: -references.energy(row, temperature),
}
# Tested one by one, below and in test_gallery.py.
OTHERS = {"neglabel", *(name for name, score in SCORES.items() if "gallery" in score.needs)}


def unit_rows(n, dim, seed, dtype=torch.float64):
    rows = np.random.default_rng(seed).normal(size=(n, dim)) + 0.3
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).to(dtype)


def evidence(images=40, labels=6, background=15, centre=False):
    h, z, b = unit_rows(images, 12, 1), unit_rows(labels, 12, 2), unit_rows(background, 12, 3)
    shift = torch.cat([z, b]).mean(dim=0) if centre else torch.zeros(12, dtype=torch.float64)
    moved = [torch.nn.functional.normalize(rows - shift, dim=-1) for rows in (z, b)]
    return Evidence(h, z, b, *moved)


def test_every_score_has_a_reference():
    assert set(SCORES) == set(EXACT) | OTHERS


@pytest.mark.parametrize("name", EXACT)
@quick
@given(row=ROWS, temperature=TEMPERATURES)
def test_scores_equal_exact_sums(name, row, temperature):
    top_c = (len(row) + 1) // 2
    images = Evidence.of_cosines(torch.tensor([row], dtype=torch.float64))
    ours = float(SCORES[name].compute(images, temperature, top_c))
    # rel 1e-12: at τ = 0.001 a softmax is the exponential of ±1000, whose rounding is 1e-13.
    assert ours == pytest.approx(float(EXACT[name](row, temperature, top_c)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", EXACT)
@quick
@given(floor=st.lists(st.floats(-0.25, 0.25), max_size=6), low=st.floats(0.3, 0.6), gain=st.floats(0.01, 0.3))
def test_a_higher_peak_is_more_in_distribution(name, floor, low, gain):
    if name in {"mcm", "msp"} and not floor:
        floor = [0.0]  # one class has all the mass, whatever its cosine
    batch = torch.tensor([[low, *floor], [low + gain, *floor]], dtype=torch.float64)
    scores = SCORES[name].compute(Evidence.of_cosines(batch), 0.1, 1)
    assert scores.shape == (2,)
    assert float(scores[1]) > float(scores[0])


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_single_and_half_precision(name, dtype):
    """A probability in bfloat16 would be off by 0.004, and confident images would tie."""
    row = torch.tensor([[0.3125, 0.28125, 0.25, 0.1875]], dtype=dtype)  # exact in every format
    ours = float(SCORES[name].compute(Evidence.of_cosines(row), 0.05, 1))
    assert ours == pytest.approx(float(EXACT[name](row[0].tolist(), 0.05, 1)), abs=1e-6)


def test_published_temperatures_win():
    images = evidence()
    assert torch.equal(SCORES["mcm"](images, 0.3), mcm(images, 1.0))
    assert torch.equal(SCORES["msp"](images, 0.3), mcm(images, 0.01))
    assert torch.equal(SCORES["energy"](images, 0.3), negative_energy(images, 0.01))
    assert not torch.equal(SCORES["delta_energy"](images, 0.3), SCORES["delta_energy"](images, 0.1))


# Background


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("top_c", [1, 3])
@pytest.mark.parametrize("centre", [False, True])
def test_delta_energy_over_a_background(temperature, top_c, centre):
    images = evidence(centre=centre)
    own = (images.features @ images.prompts.T).numpy()
    beside = (images.features @ images.compared.T).numpy()
    cropped = np.sort(own, axis=1)
    cropped[:, -top_c:] = 0
    before = logsumexp(np.c_[own, beside] / temperature, axis=1)
    after = logsumexp(np.c_[cropped, beside] / temperature, axis=1)
    ours = SCORES["delta_energy"](images, temperature, top_c).numpy()
    np.testing.assert_allclose(ours, temperature * (before - after), rtol=1e-9, atol=1e-12)


def test_without_background_and_centre_it_is_the_papers():
    images = evidence(background=0)
    for tau in (0.02, 1.0):
        ours, paper = (SCORES[name](images, tau, 2) for name in ("delta_energy", "delta_energy_plain"))
        torch.testing.assert_close(ours, paper)


def test_a_background_like_the_image_lowers_the_score():
    images = evidence()
    near = images.features[:1]
    closer = Evidence(images.features, images.text, near, images.prompts, near)
    without = evidence(background=0)
    for name in ("delta_energy", "neglabel"):
        before = SCORES[name](images if name == "neglabel" else without, 0.05, 1)[0]
        assert float(SCORES[name](closer, 0.05, 1)[0]) < float(before)


@pytest.mark.parametrize("count", [1, 7, 100, 199, 350])
def test_neglabel_is_the_mean_over_groups_of_100(count):
    images = evidence(background=count)
    own, beside = images.cosines.numpy() / 0.01, images.background_cosines.numpy() / 0.01
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).numpy()
    groups = [order[start : start + 100] for start in range(0, max(count - count % 100, 1), 100)]
    share = [
        np.exp(logsumexp(own, axis=1) - logsumexp(np.c_[own, beside[:, group]], axis=1)) for group in groups
    ]
    np.testing.assert_allclose(neglabel(images, 0.01).numpy(), np.mean(share, axis=0), rtol=1e-9)


def test_neglabel_needs_a_background():
    with pytest.raises(ConfigError, match="background") as caught:
        SCORES["neglabel"](evidence(background=0), 1.0)
    assert "--background" in caught.value.hint


@pytest.mark.parametrize("score", [mcm, negative_energy])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(score, temperature):
    with pytest.raises(ConfigError, match="temperature"):
        score(Evidence.of_cosines(torch.tensor([[0.2, 0.1]])), temperature)


def test_max_logit_needs_no_temperature():
    images = Evidence.of_cosines(torch.tensor([[0.5, 0.25], [-0.5, -0.25]]))
    assert max_logit(images).tolist() == [0.5, -0.25]


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        SCORES["mcm"] = SCORES["msp"]
