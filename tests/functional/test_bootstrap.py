"""Counts against scikit-learn's sample weights and repeated scores; intervals against a known truth."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional import bootstrap
from deltaoe.functional.bootstrap import DETECTION, Interval, detection_intervals, metrics_of_counts
from deltaoe.functional.metrics import aupr_in, aupr_out, auroc, fpr_at_tpr

quick = settings(max_examples=80, deadline=None, derandomize=True)

VALUES = st.sampled_from([-3.0, -0.5, 0.0, 0.25, 0.5, 2.0, 40.0]) | st.floats(-5, 5)
SIDE = st.lists(VALUES, min_size=1, max_size=25)
SIDES = st.sampled_from(["id", "ood"])


@st.composite
def resamples(draw):
    """Distinct scores, ascending, and counts (R, G) of either side, many of them 0."""
    scores = np.array(sorted(draw(st.sets(VALUES.map(lambda v: v + 0.0), min_size=1, max_size=12))))
    row = st.lists(st.sampled_from([0, 0, 0, 1, 2, 7]), min_size=len(scores), max_size=len(scores))
    rows = st.lists(row.filter(any), min_size=3, max_size=3)
    return scores, np.array(draw(rows)), np.array(draw(rows))


def openood_fpr(inside, outside) -> float:
    """Their convention by another route: OOD positive, scores negated, first point with TPR ≥ 95 %."""
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    ranks = np.unique(np.concatenate([inside, outside]), return_inverse=True)[1]
    fpr, tpr, _ = roc_curve(truth, -ranks, drop_intermediate=False)
    return fpr[np.argmax(tpr >= 0.95 - 1e-12)]


def gaussians(rng, n, m, distance=1.0):
    return rng.normal(distance, 1, size=n), rng.normal(0, 1, size=m)


# Counts


@quick
@given(resamples())
def test_counts_are_scikit_learns_weights(case):
    scores, inside, outside = case
    both = np.tile(np.arange(len(scores)), 2)  # ranks, for scikit-learn merges scores that are almost equal
    truth = np.repeat([1, 0], len(scores))
    found = metrics_of_counts(inside, outside)
    for draw in range(len(inside)):
        weight = np.concatenate([inside[draw], outside[draw]])
        expected = {
            "auroc": roc_auc_score(truth, both, sample_weight=weight),
            "aupr_in": average_precision_score(truth, both, sample_weight=weight),
            "aupr_out": average_precision_score(1 - truth, -both, sample_weight=weight),
        }
        for name, value in expected.items():
            assert found[name][draw] == pytest.approx(value, abs=1e-12), name


@quick
@given(resamples())
def test_counts_are_repeated_scores(case):
    scores, inside, outside = case
    known, other = metrics_of_counts(inside, outside, "id"), metrics_of_counts(inside, outside, "ood")
    assert set(known) == set(other) == set(DETECTION)
    for draw in range(len(inside)):
        a, b = np.repeat(scores, inside[draw]), np.repeat(scores, outside[draw])
        assert known["fpr95"][draw] == pytest.approx(fpr_at_tpr(a, b), abs=1e-15)
        assert other["fpr95"][draw] == pytest.approx(fpr_at_tpr(-b, -a), abs=1e-15)
        assert other["fpr95"][draw] == pytest.approx(openood_fpr(a, b), abs=1e-12)
        for name, metric in (("auroc", auroc), ("aupr_in", aupr_in), ("aupr_out", aupr_out)):
            assert known[name][draw] == other[name][draw] == pytest.approx(metric(a, b), abs=1e-12)


def test_counts_do_not_round_at_scale():
    rng = np.random.default_rng(3)
    a, b = (np.round(side, 2) for side in gaussians(rng, 50_000, 10_000))
    scores = np.unique(np.concatenate([a, b]))
    counts = [np.searchsorted(scores, side) for side in (a, b)]
    inside, outside = (np.bincount(c, minlength=len(scores))[None] for c in counts)
    found = metrics_of_counts(inside, outside)
    for name, metric in zip(DETECTION, (auroc, fpr_at_tpr, aupr_in, aupr_out), strict=True):
        assert found[name][0] == pytest.approx(metric(a, b), abs=1e-12), name


# Values


@quick
@given(SIDE, SIDE, SIDES)
def test_values_are_those_of_the_metrics(inside, outside, positive):
    found = detection_intervals(
        inside, outside, generator=np.random.default_rng(0), draws=5, positive=positive
    )
    assert tuple(found) == DETECTION
    a, b = np.array(inside), np.array(outside)
    expected = (auroc(a, b), openood_fpr(a, b) if positive == "ood" else fpr_at_tpr(a, b))
    expected += (aupr_in(a, b), aupr_out(a, b))
    assert [i.value for i in found.values()] == pytest.approx(list(expected), abs=1e-12)
    for interval in found.values():
        assert 0 <= interval.low <= interval.high <= 1


def test_the_positive_class_moves_fpr_alone():
    """A wide unknown side: few unknowns are kept, but to catch nearly all, many known ones are flagged."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 0.2, size=2000), rng.normal(-1, 1, size=1000)
    known, other = (
        detection_intervals(a, b, generator=np.random.default_rng(2), draws=50, positive=side)
        for side in ("id", "ood")
    )
    assert known["fpr95"].high < 0.35 < 0.95 < other["fpr95"].low  # in expectation .25 and .999
    assert all(known[name] == other[name] for name in DETECTION if name != "fpr95")


def test_no_draws_means_no_interval():
    found = detection_intervals([1, 2, 3], [0, 2], generator=np.random.default_rng(0), draws=0)
    assert found["auroc"].value == auroc([1, 2, 3], [0, 2])
    assert all(math.isnan(end) for i in found.values() for end in i[1:])


def test_separated_sides_have_no_width():
    found = detection_intervals([2, 3], [0, 1], generator=np.random.default_rng(0), draws=40)
    assert found["auroc"] == found["aupr_in"] == found["aupr_out"] == Interval(1, 1, 1)
    assert found["fpr95"] == Interval(0, 0, 0)


# Draws


def test_draws_have_the_spread_of_resampled_scores():
    """Plain resampling, sorted draw by draw, has the same quantiles within their own error."""
    rng = np.random.default_rng(5)
    a, b = (np.round(side, 1) for side in gaussians(rng, 120, 60))
    draws = 600
    found = detection_intervals(a, b, generator=rng, draws=draws, level=0.9)
    plain = [
        (auroc(x, y), fpr_at_tpr(x, y), aupr_in(x, y), aupr_out(x, y))
        for x, y in ((rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(draws))
    ]
    for name, sample in zip(DETECTION, np.array(plain).T, strict=True):
        # Four standard errors of a count, one grid step of the metric allowed for.
        slack, step = 4 * math.sqrt(0.05 * 0.95 / draws), 1 / 60
        low, high = found[name][1:]
        assert np.quantile(sample, 0.05 - slack) - step <= low <= np.quantile(sample, 0.05 + slack) + step
        assert np.quantile(sample, 0.95 - slack) - step <= high <= np.quantile(sample, 0.95 + slack) + step


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_an_interval_covers_the_true_auroc(level):
    """AUROC = Φ(d/√2) of two unit Gaussians at distance d; independent trials, a 99 % binomial band."""
    rng = np.random.default_rng(17)
    trials, distance = 250, 1.0
    truth = norm.cdf(distance / math.sqrt(2))
    hits = 0
    for _ in range(trials):
        a, b = gaussians(rng, 150, 120, distance)
        interval = detection_intervals(a, b, generator=rng, draws=200, level=level)["auroc"]
        hits += interval.low <= truth <= interval.high
    low, high = binom.interval(0.99, trials, level)
    assert low <= hits <= high


def test_the_generator_is_the_only_chance():
    a, b = gaussians(np.random.default_rng(0), 80, 50)
    first, again, other = (
        detection_intervals(a, b, generator=np.random.default_rng(seed), draws=60) for seed in (4, 4, 5)
    )
    assert first == again
    assert first != other
    generator = np.random.default_rng(4)
    assert detection_intervals(a, b, generator=generator, draws=60) == first
    assert detection_intervals(a, b, generator=generator, draws=60) != first


def test_blocks_do_not_show(monkeypatch):
    a, b = gaussians(np.random.default_rng(0), 80, 50)
    whole = detection_intervals(a, b, generator=np.random.default_rng(4), draws=61)
    for block in (1, 40_000):  # one draw at a time, and a few with a rest
        monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", block)
        assert detection_intervals(a, b, generator=np.random.default_rng(4), draws=61) == whole


def test_memory_is_bounded():
    a, b = gaussians(np.random.default_rng(0), 4000, 1000)
    tracemalloc.start()
    try:
        detection_intervals(a, b, generator=np.random.default_rng(4), draws=300)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20  # all draws at once would take eight arrays of 12 MB


# Errors


@pytest.mark.parametrize("draws", [0, 10])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused(bad, draws):
    for sides in (([0.1, bad], [0.2]), ([0.1], [0.2, bad])):
        with pytest.raises(DataError, match="finite"):
            detection_intervals(*sides, generator=np.random.default_rng(0), draws=draws)


@pytest.mark.parametrize(("inside", "outside"), [([], [0.1]), ([0.1], [])])
def test_an_empty_side_is_refused(inside, outside):
    with pytest.raises(DataError, match="needs both"):
        detection_intervals(inside, outside, generator=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"draws": -1}, "0 or more"),
        ({"level": 0.0}, "level of an interval"),
        ({"level": 95}, "level of an interval"),
        ({"positive": "in"}, "positive class"),
    ],
)
def test_options_out_of_range_are_refused(options, fact):
    with pytest.raises(ConfigError, match=fact) as caught:
        detection_intervals([1, 2], [0, 1], generator=np.random.default_rng(0), **options)
    assert caught.value.hint
