"""The bound's statistics and paired separation, against numbers computed by other means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.bootstrap import Interval
from deltaoe.functional.ebm import ebm_terms
from deltaoe.functional.energy import delta_energy
from deltaoe.theory.bounds import bound_statistics, separation, standardised_gap, verdict

quick = settings(max_examples=60, deadline=None, derandomize=True)


@quick
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(1, 8),
    st.integers(1, 6),
    st.sampled_from([0.01, 0.1, 1.0, 10.0]),
)
def test_the_bound_holds_as_often_as_its_premise(seed, classes, width, top_c, temperature):
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(references.unit_rows(rng, 20, width))
    text = torch.from_numpy(references.unit_rows(rng, classes, width))
    top_c = min(top_c, classes)
    terms = ebm_terms(features, text, temperature, top_c)
    change = delta_energy(features @ text.T, temperature, top_c).numpy()
    found = bound_statistics(change, *(e.numpy() for e in (terms.e0, terms.e1, terms.e2)))
    # Where E_2 and E_1 are one number up to rounding, either side of it may be named.
    assert (
        abs(found.premise.value - found.bound.value) * found.n
        <= (np.abs(terms.e1 - terms.e2).numpy() < 1e-11).sum() + 1e-9
    )
    assert found.premise.low <= found.premise.value <= found.premise.high


def test_the_statistics_are_numpys():
    rng = np.random.default_rng(3)
    h, z = references.unit_rows(rng, 200, 12), references.unit_rows(rng, 5, 12)
    h = h + 2 * z[np.arange(200) % 5]
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    tau, c = 0.1, 2
    s = h @ z.T
    cropped = np.where(s >= np.sort(s, axis=1)[:, [-c]], 0, s)
    mask = h * z[s.argmax(axis=1)] > 0
    m = h * mask / np.linalg.norm(h * mask, axis=1, keepdims=True)
    e0, e1, e2 = (-tau * np.log(np.exp(a / tau).sum(axis=1)) for a in (s, cropped, m @ z.T))
    terms = ebm_terms(torch.from_numpy(h), torch.from_numpy(z), tau, c)
    change = delta_energy(torch.from_numpy(s), tau, c).numpy()
    found = bound_statistics(change, *(e.numpy() for e in (terms.e0, terms.e1, terms.e2)))
    gap = e1 - e2
    assert found.premise.value == np.mean(e2 <= e1) and found.informative.value == np.mean(e2 > e0)
    assert found.gap == pytest.approx(gap.mean(), abs=1e-12)
    assert found.gap_quantiles == pytest.approx(np.quantile(gap, (0.05, 0.25, 0.5, 0.75, 0.95)), abs=1e-12)
    up = e1 > e0
    assert found.relative == pytest.approx((gap[up] / (e1 - e0)[up]).mean(), rel=1e-9)
    assert (found.change, found.lower) == pytest.approx(((e1 - e0).mean(), (e2 - e0).mean()), abs=1e-12)


def test_no_positive_change_leaves_the_relative_gap_open():
    one = np.zeros(3)
    found = bound_statistics(-np.ones(3), one, one - 1, one - 2)
    assert math.isnan(found.relative) and all(map(math.isnan, found.relative_quantiles))
    assert found.bound.value == found.premise.value == 1
    with pytest.raises(DataError, match="at least one image"):
        bound_statistics(*(np.zeros(0),) * 4)


def pooled(a, b):
    spread = (a.var(ddof=1) * (len(a) - 1) + b.var(ddof=1) * (len(b) - 1)) / (len(a) + len(b) - 2)
    return (a.mean() - b.mean()) / np.sqrt(spread)


def test_paired_differences_are_those_of_the_same_resamples():
    rng = np.random.default_rng(0)
    inside = np.round(rng.normal(1, 1, (2, 40)), 1)  # with ties
    outside = np.round(rng.normal(0, 1, (2, 30)), 1)
    found = separation(inside, outside, generator=np.random.default_rng(5), draws=60)
    again, areas, gaps = np.random.default_rng(5), [], []
    truth = np.r_[np.ones(40), np.zeros(30)]
    for _ in range(60):
        rows, others = again.integers(40, size=40), again.integers(30, size=30)
        a, b = inside[:, rows], outside[:, others]
        ours, rival = (roc_auc_score(truth, np.r_[a[i], b[i]]) for i in (0, 1))
        areas.append(ours - rival)
        gaps.append(pooled(a[0], b[0]) - pooled(a[1], b[1]))
    assert found.difference[1:] == pytest.approx(np.quantile(areas, (0.025, 0.975)))
    assert found.gap_difference[1:] == pytest.approx(np.quantile(gaps, (0.025, 0.975)))
    whole = [roc_auc_score(truth, np.r_[inside[i], outside[i]]) for i in (0, 1)]
    assert (found.auroc, found.rival_auroc) == pytest.approx(tuple(whole))
    assert found.difference.value == pytest.approx(whole[0] - whole[1])
    assert found.gap == pytest.approx(pooled(inside[0], outside[0]))
    assert (found.n_known, found.n_unknown) == (40, 30)


def test_a_score_is_never_told_from_itself():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=50), rng.normal(size=60)
    found = separation([one, 3 * one], [other, 3 * other], generator=rng, draws=20)
    assert found.difference == (0, 0, 0)
    assert found.gap_difference == pytest.approx((0, 0, 0), abs=1e-12)
    assert verdict(found.difference) == "undecided"


def test_without_draws_nothing_is_decided():
    found = separation([[2, 3], [0, 1]], [[0, 1], [2, 3]], generator=np.random.default_rng(0), draws=0)
    assert found.difference.value == 1 and math.isnan(found.difference.low)
    assert verdict(found.difference) == "undecided"
    with pytest.raises(ConfigError, match="draws"):
        separation([[1], [1]], [[1], [1]], generator=np.random.default_rng(0), draws=-1)


@pytest.mark.parametrize(
    ("ends", "word"), [((0.1, 0.2), "supports"), ((-0.2, -0.1), "contradicts"), ((0.0, 0.2), "undecided")]
)
def test_a_verdict_reads_the_interval_alone(ends, word):
    assert verdict(Interval(0.15, *ends)) == word


def test_scores_without_spread_have_no_gap():
    assert math.isnan(standardised_gap(np.ones(4), np.ones(4)))
    assert math.isnan(standardised_gap(np.ones(1), np.zeros(1)))
