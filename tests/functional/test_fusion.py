"""Fusion of parts by their conformal ranks: the order it gives, the promise its p-values keep, and the weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import binom

from deltaoe.functional.conformal import p_values
from deltaoe.functional.fusion import (
    PRIOR_STRENGTH,
    calibration_log_p_values,
    calibration_scores,
    fused_scores,
    fusion_weights,
    log_p_values,
)

# Log p-values of a part


def test_they_are_the_conformal_p_values_of_each_part():
    rng = np.random.default_rng(0)
    calibration = rng.integers(0, 9, (30, 3)).astype(float)  # with ties
    values = rng.integers(0, 12, (50, 3)).astype(float)  # none lies below the calibration
    for part in range(3):
        wanted = p_values(values[:, part], calibration[:, part])
        assert np.exp(log_p_values(values, calibration)[:, part]) == pytest.approx(wanted, rel=1e-12)


def test_below_the_calibration_the_order_stays():
    values = np.array([[-1e9], [-5.0], [0.9], [0.99], [0.999999], [1.0], [1.5]])
    found = log_p_values(values, [[1.0], [2.0], [3.0]])[:, 0]
    assert (np.diff(found) > 0).sum() == 5 and found[-1] == found[-2]  # 1.5 has the rank of 1
    assert (found[:5] < np.log(1 / 4)).all() and (found >= np.log(1 / 4) - 1).all()


def test_values_of_no_finite_size():
    found = log_p_values([[-np.inf], [np.inf]], [[1.0], [2.0]])[:, 0]
    assert found.tolist() == [np.log(1 / 3) - 1, 0]
    assert np.isnan(log_p_values([[np.nan]], [[1.0]])).all()  # which a p-value refuses


def test_calibration_images_among_themselves():
    calibration = np.array([[5.0], [1.0], [3.0], [3.0], [2.0]])
    ranks = np.array([5, 1, 4, 4, 2]) / 6
    wanted = np.log(ranks) - np.array([0, 1 / 2, 0, 0, 0])  # the smallest lies 1 below the next
    assert calibration_log_p_values(calibration)[:, 0] == pytest.approx(wanted)
    assert calibration_log_p_values(np.empty((0, 2))).shape == (0, 2)


def test_equal_images_have_equal_scores_wherever_they_stand():
    rng = np.random.default_rng(0)
    for _ in range(100):
        parts, n = int(rng.integers(2, 4)), int(rng.integers(2, 100))
        calibration, one = rng.normal(size=(n, parts)), rng.normal(size=parts)
        weights = rng.dirichlet(np.ones(parts))
        alone, many = (fused_scores(np.tile(one, (k, 1)), calibration, weights) for k in (1, n))
        assert {*alone.tolist(), *many.tolist()} == {alone[0]}


# The promise


def ranked_together(x: np.ndarray, calibration: np.ndarray, weights: np.ndarray) -> float:
    """p-value of one image, valid by symmetry: every score of the n + 1 images is the same function of all of them."""
    everyone = [x, *calibration]
    scores = []
    for one in everyone:
        total = 0.0
        for k, weight in enumerate(weights):
            column = sorted(other[k] for other in everyone)
            rank = sum(value <= one[k] for value in column)
            beyond = column[1] - column[0] if rank == 1 else 0.0
            total += weight * (np.log(rank / len(everyone)) - beyond / (1 + beyond))
        scores.append(total)
    return sum(score <= scores[0] + 1e-9 for score in scores) / len(everyone)


def fused_p(x: np.ndarray, calibration: np.ndarray, weights: np.ndarray) -> float:
    return float(
        p_values(fused_scores(x[None], calibration, weights), calibration_scores(calibration, weights))[0]
    )


numbers = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-1e3, 1e3, allow_nan=False).map(lambda v: round(v, 3))
)


@given(
    rows=st.integers(1, 3).flatmap(
        lambda parts: st.lists(st.tuples(*[numbers] * parts), min_size=2, max_size=9)
    ),
    weights=st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 3),
)
def test_the_p_value_is_never_smaller_than_that_of_all_images_ranked_together(rows, weights):
    x, calibration = np.array(rows[0]), np.array(rows[1:])
    share = np.array(weights[: len(x)])
    # Scores that only rounding parts are equal in both.
    scores, score = calibration_scores(calibration, share), fused_scores(x[None], calibration, share)[0]
    p = (1 + (scores <= score + 1e-9).sum()) / len(rows)
    assert p >= ranked_together(x, calibration, share) - 1e-12
    assert p >= fused_p(x, calibration, share)


def same_for_all(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.repeat(rng.normal(size=(n, 1)), 3, axis=1) + 0.01 * rng.normal(size=(n, 3))


def opposed(rng: np.random.Generator, n: int) -> np.ndarray:
    one = rng.normal(size=(n, 1))
    return np.hstack([one, -one, rng.normal(size=(n, 1))])


# In-distribution images, (n, 3) values: the parts depend on each other or not, have heavy tails or ties.
IMAGES = {
    "independent": lambda rng, n: rng.normal(size=(n, 3)),
    "dependent": same_for_all,
    "opposed": opposed,
    "heavy tails": lambda rng, n: rng.standard_cauchy((n, 3)) * [1e-3, 1, 1e6],
    "ties": lambda rng, n: rng.integers(0, 4, (n, 3)).astype(float),
}
WEIGHTS = ([1 / 3, 1 / 3, 1 / 3], [0.25, 0.25, 0.5], [0.0, 0.1, 0.9])
REPETITIONS = 200


def share_called_unknown(kind: str, n: int, weights: list[float], alpha: float, seed: int) -> float:
    """Of one new image in each repetition, with a calibration of its own."""
    rng = np.random.default_rng(seed)
    called = 0
    for _ in range(REPETITIONS):
        images = IMAGES[kind](rng, n + 1)
        called += fused_p(images[0], images[1:], np.array(weights)) <= alpha
    return called / REPETITIONS


@pytest.mark.parametrize("alpha", [0.05, 0.1])
@pytest.mark.parametrize("n", [19, 50, 200])
@pytest.mark.parametrize("kind", IMAGES)
def test_at_most_alpha_of_in_distribution_images_are_called_unknown(kind, n, alpha):
    limit = binom.ppf(0.99, REPETITIONS, alpha) / REPETITIONS
    for seed, weights in enumerate(WEIGHTS):
        assert share_called_unknown(kind, n, weights, alpha, seed) <= limit


@pytest.mark.parametrize("alpha", [0.05, 0.1])
@pytest.mark.parametrize("kind", ["independent", "dependent", "heavy tails"])
def test_with_many_calibration_images_alpha_is_reached(kind, alpha):
    low, high = (binom.ppf(q, REPETITIONS, alpha) / REPETITIONS for q in (0.005, 0.995))
    assert low <= share_called_unknown(kind, 500, WEIGHTS[1], alpha, 3) <= high


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_promise_holds_for_very_few_calibration_images(n):
    """With parts of any unit: one far below the others must not outweigh a rank."""
    rng, alpha, repetitions = np.random.default_rng(n), 1 / (n + 1), 2000
    called = 0
    for _ in range(repetitions):
        images = 100 * rng.normal(size=(n + 1, 2))
        called += fused_p(images[0], images[1:], np.array([0.5, 0.5])) <= alpha
    assert called <= binom.ppf(0.99, repetitions, alpha)


# Weights


def log_p(rng: np.random.Generator, n: int, *shifts: float) -> np.ndarray:
    """Log p-values (n, P), shifted down by so much."""
    return np.log(rng.uniform(0.01, 1, (n, len(shifts)))) - np.array(shifts)


def mean_log_loss(weights, intercepts, pairs) -> float:
    """Log loss of the probability 1/(1 + exp(−odds)) to be known, both kinds of a pair counting one half."""
    total = 0.0
    for (known, unknown), intercept in zip(pairs, intercepts, strict=True):
        chance = [1 / (1 + np.exp(-(rows @ weights + intercept))) for rows in (known, unknown)]
        total -= np.log(chance[0]).mean() / 2 + np.log(1 - chance[1]).mean() / 2
    return total / len(pairs)


def least(weights, pairs) -> float:
    """The loss with the best intercepts for these weights."""
    return sum(
        minimize_scalar(
            lambda level, pair=pair: mean_log_loss(weights, [level], [pair]),
            bounds=(-30, 30),
            method="bounded",
        ).fun
        for pair in pairs
    ) / len(pairs)


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(5)
    return [
        (log_p(rng, 80, 0, 0, 0), log_p(rng, 60, 0.5, 1.5, 0)),
        (log_p(rng, 40, 0, 0, 0), log_p(rng, 90, 0, 1, 0)),
    ]


def test_weights_are_the_best_for_the_objective_that_is_stated(pairs):
    prior = np.array([1, 1, 2]) / 4
    scale = minimize_scalar(lambda s: least(s * prior, pairs), bounds=(0.01, 5), method="bounded").x

    def objective(weights: np.ndarray) -> float:
        return least(weights, pairs) + PRIOR_STRENGTH / (80 + 40) * float(
            ((weights - scale * prior) ** 2).sum()
        )

    best = minimize(objective, scale * prior, method="Powell", bounds=[(0, 20)] * 3).x
    assert fusion_weights(pairs, [1, 1, 2]) == pytest.approx(best / best.sum(), abs=5e-3)


def test_few_images_leave_the_weights_nearer_to_the_prior():
    rng = np.random.default_rng(2)
    prior, off = np.array([0.5, 0.5]), []
    for n in (4, 40, 4000):
        pairs = [(log_p(rng, n, 0, 0), log_p(rng, n, 0, 1.5))]
        off.append(np.abs(fusion_weights(pairs, prior) - prior).max())
    assert off[0] < off[1] < off[2]
    assert off[0] < 0.25 and off[2] > 0.4


def test_a_useless_part_gets_less_than_its_prior_and_the_others_more(pairs):
    weights = fusion_weights(pairs, [1, 1, 2])
    assert weights[2] < 0.5 / 2 and weights[1] > 2 * 0.25
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()


def test_a_part_that_points_the_wrong_way_gets_none():
    rng = np.random.default_rng(0)
    weights = fusion_weights([(log_p(rng, 200, 2, 0), log_p(rng, 200, 0, 2))], [1, 1])
    assert weights.tolist() == [0, 1]


def test_the_order_of_pairs_and_parts_and_the_unit_of_the_prior_do_not_matter(pairs):
    weights = fusion_weights(pairs, [1, 1, 2])
    turned = [2, 0, 1]
    others = [
        fusion_weights(pairs[::-1], [1, 1, 2]),
        fusion_weights(pairs, [5, 5, 10]),
        fusion_weights([(a[:, turned], b[:, turned]) for a, b in pairs], [2, 1, 1])[np.argsort(turned)],
    ]
    for other in others:
        assert other == pytest.approx(weights, abs=2e-3)


@pytest.mark.parametrize(
    "nothing", [[], [(np.empty((0, 2)), np.zeros((3, 2)))], [(np.zeros((3, 2)), np.empty((0, 2)))]]
)
def test_without_pairs_the_prior_stays(nothing):
    assert fusion_weights(nothing, [1, 3]).tolist() == [0.25, 0.75]


def test_images_that_are_told_apart_by_all_parts_alike_leave_the_prior_as_it_is():
    known, unknown = np.zeros((5, 2)), np.full((5, 2), -4.0)
    assert fusion_weights([(known, unknown)], [1, 1]) == pytest.approx([0.5, 0.5], abs=1e-6)
