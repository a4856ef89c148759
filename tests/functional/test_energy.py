"""Laws and numerics of ΔEnergy, against sums of exponentials in 60-digit arithmetic."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import references
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deltaoe.errors import ConfigError
from deltaoe.functional.energy import crop, delta_energy, delta_energy_from_top, energy

quick = settings(max_examples=60, deadline=None, derandomize=True)
few = settings(max_examples=25, deadline=None, derandomize=True)

# Both sides of the switch between the two formulas, 0.05, and the switch itself.
TEMPERATURES = st.sampled_from([0.001, 0.01, 0.02, 0.049999, 0.05, 0.1, 0.5, 1.0, 10.0, 100.0])
FLOAT64 = 1e-14  # absolute, in cosine units: a few dozen ulp of a cosine
FLOAT32 = 1e-6  # absolute, in cosine units: 8 ulp of 1


def rows(low: float = -1.0, high: float = 1.0, *, max_size: int = 8, unique: bool = False):
    """Rows of cosines, exactly representable in float32, often with ties."""
    free = st.floats(low, high, width=32).map(lambda s: s + 0.0)
    grid = st.sampled_from([s for s in (-1.0, -0.25, 0.0, 0.125, 0.25, 0.25, 0.375, 1.0) if low <= s <= high])
    return st.lists(free if unique else free | grid, min_size=1, max_size=max_size, unique=unique)


@st.composite
def cropped_rows(draw, **kwargs):
    """A row and a valid c."""
    row = draw(rows(**kwargs))
    return row, draw(st.integers(1, len(row)))


def exact(row, temperature, top_c) -> float:
    return float(references.delta_energy(row, temperature, top_c))


def tensor(row, dtype=torch.float64) -> torch.Tensor:
    return torch.tensor(row, dtype=dtype)


# Values against the reference


@quick
@given(cropped_rows(), TEMPERATURES)
def test_energies_in_float64_equal_direct_sums(case, temperature):
    row, top_c = case
    assert float(energy(tensor(row), temperature)) == pytest.approx(
        float(references.energy(row, temperature)), rel=1e-14, abs=FLOAT64
    )
    assert float(delta_energy(tensor(row), temperature, top_c)) == pytest.approx(
        exact(row, temperature, top_c), abs=FLOAT64 * max(1.0, temperature)
    )


@quick
@given(cropped_rows(max_size=12), TEMPERATURES)
@example(([-1.0, -1.0], 2), 0.05)  # log1p(−1) in float32, unless a fall is computed from its other end
@example(([-0.5, -0.625], 2), 0.05)
@example(([1.0, 1.0, -1.0], 1), 0.001)
def test_float32_keeps_a_millionth_at_every_temperature(case, temperature):
    row, top_c = case
    ours = delta_energy(tensor(row, torch.float32), temperature, top_c)
    assert ours.dtype == torch.float32
    assert float(ours) == pytest.approx(exact(row, temperature, top_c), abs=FLOAT32)


@pytest.mark.parametrize("top_c", [1, 3, 10])
@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.05, 1.0, 100.0])
def test_float32_on_clip_like_rows(temperature, top_c):
    """Many classes on a floor of 0.2, one peak. Relative, so that a large τ, where ΔE is small, counts too."""
    rng = np.random.default_rng(7)
    cosines = rng.normal(0.2, 0.02, (4, 500)).astype(np.float32)
    cosines[:, 17] += np.array([0.0, 0.05, 0.1, 0.2], dtype=np.float32)
    ours = delta_energy(torch.from_numpy(cosines), temperature, top_c)
    for value, row in zip(ours.tolist(), cosines.tolist(), strict=True):
        # Small τ: two float32 energies of about 0.3 are subtracted; a direct sum elsewhere.
        tolerance = {"abs": 3e-7, "rel": 0} if temperature < 0.05 else {"rel": 3e-6, "abs": 0}
        assert value == pytest.approx(exact(row, temperature, top_c), **tolerance)


def test_a_softmax_that_rounds_to_one_still_has_its_digits():
    """At τ = 0.01 and a margin of 0.3 the rest holds e^-30 of the mass: 1 − P_c is 0 in float32, ΔE is not."""
    row = [0.5, 0.2, 0.1]
    assert float(torch.softmax(tensor(row, torch.float32) / 0.01, dim=-1)[0]) == 1.0
    ours = delta_energy(tensor(row, torch.float32), 0.01, 1)
    assert float(ours) == pytest.approx(exact(row, 0.01, 1), rel=1e-6)
    assert float(ours) == pytest.approx(0.3, abs=1e-3)


@quick
@given(cropped_rows(), TEMPERATURES, st.sampled_from([torch.float16, torch.bfloat16]))
def test_half_precision_input_is_computed_in_single(case, temperature, dtype):
    row, top_c = case
    half = tensor(row, dtype)
    ours = delta_energy(half, temperature, top_c)
    assert ours.dtype == energy(half, temperature).dtype == torch.float32
    assert float(ours) == pytest.approx(exact(half.tolist(), temperature, top_c), abs=FLOAT32)


# Law 1


@quick
@given(cropped_rows(), TEMPERATURES)
def test_never_negative_when_cropped_cosines_are_not(case, temperature):
    row, top_c = case
    if references.top(row, top_c) and min(row[j] for j in references.top(row, top_c)) < 0:
        row = [abs(s) for s in row]
    assert float(delta_energy(tensor(row), temperature, top_c)) >= (0 if temperature >= 0.05 else -1e-15)


@quick
@given(st.integers(1, 5), st.lists(st.floats(-1, 0), max_size=6), TEMPERATURES)
def test_zero_when_the_cropped_cosines_are_all_zero(top_c, rest, temperature):
    row = tensor([0.0] * top_c + rest)
    assert float(delta_energy(row, temperature, top_c)) == 0.0
    assert float(delta_energy(row.float(), temperature, top_c)) == 0.0


@quick
@given(st.floats(0.001, 1), st.lists(st.floats(-1, 0), max_size=6), TEMPERATURES)
def test_positive_when_the_peak_is(peak, rest, temperature):
    """Or ΔE = 0 for everything would be a law-abiding score."""
    assert float(delta_energy(tensor([peak, *rest]), temperature, 1)) > 0


# Law 2

DISTINCT = cropped_rows(unique=True, max_size=6).filter(
    lambda case: all(b - a > 1e-6 for a, b in zip(sorted(case[0]), sorted(case[0])[1:], strict=False))
)


def gradient(row, temperature, top_c, dtype=torch.float64) -> list[float]:
    leaf = tensor(row, dtype).requires_grad_()
    delta_energy(leaf, temperature, top_c).backward()
    return leaf.grad.tolist()


@few
@given(DISTINCT, st.sampled_from([0.01, 0.05, 0.1, 1.0, 100.0]))
def test_gradient_is_the_slope_of_the_definition(case, temperature):
    row, top_c = case

    def definition(point):
        cropped = references.crop(point, references.top(row, top_c))
        return references.energy(cropped, temperature) - references.energy(point, temperature)

    expected = [float(g) for g in references.slopes(definition, row)]
    assert gradient(row, temperature, top_c) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@quick
@given(DISTINCT, TEMPERATURES)
def test_gradient_at_the_peak_is_the_softmax_and_at_the_floor_not_positive(case, temperature):
    row, top_c = case
    chosen = references.top(row, top_c)
    probabilities = references.softmax(row, temperature)
    # The floor's sign, like ΔE ≥ 0, needs cropped cosines ≥ 0.
    rises = min(row[j] for j in chosen) >= 0
    for j, slope in enumerate(gradient(row, temperature, top_c)):
        if j in chosen:
            assert slope == pytest.approx(float(probabilities[j]), rel=1e-9, abs=1e-12)
            assert slope > 0 or probabilities[j] < 1e-300
        elif rises:
            assert slope <= 1e-15


def test_floor_is_punished_where_vanilla_energy_rewards_it():
    row = tensor([0.3, 0.2, 0.15]).requires_grad_()
    delta_energy(row, 0.1, 1).backward()
    punished = row.grad.tolist()
    row.grad = None
    (-energy(row, 0.1)).backward()
    assert punished[0] > 0
    assert max(punished[1:]) < -0.01
    assert min(row.grad.tolist()) > 0


# Law 3

CLIP_LIKE = st.lists(st.floats(0.1, 0.4), min_size=3, max_size=6)


@few
@given(st.lists(CLIP_LIKE, min_size=2, max_size=5))
@example([[0.3, 0.28, 0.1], [0.35, 0.349, 0.1], [0.2, 0.1, 0.1]])
def test_small_temperature_and_top_1_rank_like_max_softmax(batch):
    temperature = 0.004
    ours = [float(delta_energy(tensor(row), temperature, 1)) for row in batch]
    # log(1 − MSP): MSP itself is 1.0 in double precision for many of these rows.
    with mpmath.workdps(references.DIGITS):
        doubt = [mpmath.log(1 - max(references.softmax(row, temperature))) for row in batch]
    for i in range(len(batch)):
        for j in range(len(batch)):
            # ΔE/τ = −log(1 − MSP + exp(E_0/τ)), and the last term is below e^-25 of the one before.
            if doubt[i] < doubt[j] - 1e-9:
                assert ours[i] > ours[j]


@quick
@given(cropped_rows(), st.sampled_from([100.0, 1000.0]))
def test_large_temperature_is_the_sum_of_the_top_c(case, temperature):
    row, top_c = case
    limit = math.fsum(sorted(row)[-top_c:])
    for dtype in (torch.float32, torch.float64):
        ours = len(row) * float(delta_energy(tensor(row, dtype), temperature, top_c))
        # First omitted terms: Σs²/2τ, |Σs|·(mean of the rest)/τ and (Σs)²/2Kτ, each ≤ c/τ or half of it.
        assert ours == pytest.approx(limit, abs=2.1 * top_c / temperature)
    assert limit == 0 or abs(limit) < 4 * top_c / temperature or ours * limit > 0


# Law 4, and ties


@quick
@given(cropped_rows(), TEMPERATURES, st.randoms(use_true_random=False))
def test_order_of_classes_does_not_matter(case, temperature, random):
    row, top_c = case
    shuffled = random.sample(row, len(row))
    assert float(delta_energy(tensor(shuffled), temperature, top_c)) == pytest.approx(
        float(delta_energy(tensor(row), temperature, top_c)), abs=FLOAT64 * max(1.0, temperature)
    )


@quick
@given(rows(), TEMPERATURES, st.sampled_from([torch.float32, torch.float64]))
def test_every_class_cropped_is_finite_and_so_are_its_gradients(row, temperature, dtype):
    value = float(delta_energy(tensor(row, dtype), temperature, len(row)))
    assert math.isfinite(value)
    slopes = gradient(row, temperature, len(row), dtype)
    assert all(math.isfinite(g) for g in slopes)
    assert sum(slopes) == pytest.approx(1, rel=1e-4)  # all of E_1 is constant, E_0 falls by what all s rise


@pytest.mark.parametrize("temperature", [0.01, 0.1])
@pytest.mark.parametrize("loser", [1, 2, 3])
def test_ties_at_the_last_place_may_fall_either_way(temperature, loser):
    row = [0.3, 0.25, 0.25, 0.25, 0.1]
    chosen = {0, 1, 2, 3} - {loser}
    either = references.energy(references.crop(row, chosen), temperature) - references.energy(
        row, temperature
    )
    assert float(delta_energy(tensor(row), temperature, 3)) == pytest.approx(float(either), abs=FLOAT64)


@given(cropped_rows())
@quick
def test_crop_zeroes_the_largest_and_keeps_the_rest(case):
    row, top_c = case
    before = tensor(row)
    after = crop(before, top_c)
    assert before.tolist() == row
    kept = sorted(row)[: len(row) - top_c]
    assert sorted(after.tolist()) == sorted([*kept, *[0.0] * top_c])


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_leading_dimensions_are_kept(temperature):
    cosines = torch.rand(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batched = delta_energy(cosines, temperature, 2)
    assert batched.shape == energy(cosines, temperature).shape == (2, 3)
    one_by_one = [float(delta_energy(row, temperature, 2)) for row in cosines.reshape(6, 5)]
    assert batched.flatten().tolist() == pytest.approx(one_by_one, abs=FLOAT64)


# Errors


@pytest.mark.parametrize("temperature", [0.0, -0.01, math.nan, math.inf])
def test_temperature_must_be_positive_and_finite(temperature):
    row = tensor([[0.2, 0.1]])
    for call in (
        lambda: energy(row, temperature),
        lambda: delta_energy(row, temperature, 1),
        lambda: delta_energy_from_top(row, tensor([0.0]), temperature),
    ):
        with pytest.raises(ConfigError, match="temperature must be a positive number"):
            call()


@pytest.mark.parametrize("top_c", [0, -1, 3])
def test_top_c_must_fit_the_classes(top_c):
    with pytest.raises(ConfigError, match=f"top-c is {top_c}, but there are 2 classes") as caught:
        delta_energy(tensor([0.2, 0.1]), 0.1, top_c)
    assert "between 1 and 2" in caught.value.hint
    with pytest.raises(ConfigError, match=r"there is 1 class$"):
        crop(tensor([0.2]), 2)
