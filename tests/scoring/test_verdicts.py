"""p-values, thresholds and what is said about them."""

from __future__ import annotations

import numpy as np
import pytest

from deltaoe.errors import ConfigError
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule
from deltaoe.scoring.score_table import ScoreTable
from deltaoe.scoring.verdicts import decide, rows_to_score_exactly
from deltaoe.store.feature_space import FeatureSpace


def detector(scores=(), classes=()) -> Detector:
    space = FeatureSpace("m", "w", "c", "{}", "fp32", 1, 4)
    names = ("a", "b", "c")
    plain = Detector(names, np.eye(3, 4, dtype=np.float32), 0.1, 1, np.empty(0), space, 100.0)
    return plain.calibrated(scores, classes)


RNG = np.random.default_rng(4)
CALIBRATION = RNG.normal(size=300)
CLASSES = np.arange(300) % 3
SCORES = np.array([-9.0, -3.0, -1.0, 0.0, 2.0])
HOME = np.array([0, 1, 2, 0, 1])


def verdicts(decisions, scores=SCORES) -> list[str]:
    table = ScoreTable(
        class_names="abc",
        paths=[str(i) for i in range(len(scores))],
        scores=scores,
        labels=np.zeros((len(scores), 1), dtype=np.int64),
        cosines=np.zeros((len(scores), 1), dtype=np.float32),
        p_values=decisions.p_values,
        threshold=decisions.threshold,
        alpha=0.05,
        failed=[("x", "broken")],
        thresholds=decisions.thresholds,
    )
    found = [table.verdict(i) for i in range(len(scores))]
    counts = table.counts
    assert counts.pop("failed") == 1
    assert counts == {name: found.count(name) for name in ("known", "unknown", "undecided")}
    for i, record in enumerate(list(table.records())[: len(scores)]):
        threshold = table.threshold_of(i)
        assert record["margin"] == (scores[i] - threshold if np.isfinite(threshold) else None)
    return found


def test_alpha_is_the_detectors_threshold():
    decisions = decide(detector(CALIBRATION), SCORES, HOME, Rule(0.05))
    assert decisions.threshold == detector(CALIBRATION).threshold(0.05)
    assert verdicts(decisions) == ["unknown", "unknown", "known", "known", "known"]
    assert (np.array(verdicts(decisions)) == np.where(decisions.p_values <= 0.05, "unknown", "known")).all()
    assert decisions.notes == []


def test_no_calibration_and_too_little():
    decisions = decide(detector(), SCORES, HOME, Rule())
    assert decisions.p_values is None and verdicts(decisions) == ["undecided"] * 5
    for rule, name in ((Rule(0.05), "alpha"), (Rule(fdr=0.05), "fdr")):
        decisions = decide(detector(CALIBRATION[:10]), SCORES, HOME, rule)
        assert verdicts(decisions) == ["undecided"] * 5
        assert f"--{name} 0.091" in decisions.notes[0] and "needs at least 19" in decisions.notes[0]


def test_fdr_is_benjamini_hochberg():
    scores = np.concatenate([np.full(20, -9.0), RNG.normal(size=100)])
    decisions = decide(detector(CALIBRATION), scores, np.zeros(120, dtype=int), Rule(fdr=0.1))
    p = np.sort(decisions.p_values)
    most = max(k for k in range(1, 121) if p[k - 1] <= 0.1 * k / 120)
    assert verdicts(decisions, scores).count("unknown") == most
    assert most >= 20


def test_fdr_may_call_nothing_unknown():
    scores = RNG.normal(size=50) + 1
    decisions = decide(detector(CALIBRATION), scores, np.zeros(50, dtype=int), Rule(fdr=0.05))
    assert verdicts(decisions, scores) == ["known"] * 50
    assert decisions.threshold is None


def test_every_class_by_itself():
    shifted = CALIBRATION + 5 * CLASSES
    decisions = decide(detector(shifted, CLASSES), np.full(3, 2.0), np.arange(3), Rule(0.05, per_class=True))
    for k in range(3):
        assert decisions.thresholds[k] == detector(shifted[k == CLASSES]).threshold(0.05)
    assert verdicts(decisions, np.full(3, 2.0)) == ["known", "unknown", "unknown"]
    assert decisions.threshold is None and decisions.notes == []


def test_small_classes_are_compared_with_all_and_named():
    classes = np.where(np.arange(300) < 5, 2, np.arange(300) % 2)
    decisions = decide(detector(CALIBRATION, classes), SCORES, HOME, Rule(0.05, per_class=True))
    assert decisions.thresholds[2] == detector(CALIBRATION).threshold(0.05)
    assert "(c)" in decisions.notes[0] and "not promised" in decisions.notes[0]


def test_a_detector_without_classes_of_calibration():
    with pytest.raises(ConfigError, match="does not know the classes") as caught:
        decide(detector(CALIBRATION), SCORES, HOME, Rule(per_class=True))
    assert "leave --per-class out" in caught.value.hint


@pytest.mark.parametrize("rule", [Rule(0.0), Rule(fdr=0.0), Rule(fdr=1.5), Rule(fdr=float("nan"))])
def test_rules_out_of_range(rule):
    with pytest.raises(ConfigError):
        decide(detector(CALIBRATION), SCORES, HOME, rule)


def test_bounds_that_hold_the_threshold():
    bounds = np.array([[0.1, 0.3], [0.3, 0.5], [0.2, 0.2], [0.31, 0.32], [0.0, 0.29]])
    none = np.zeros(5, dtype=bool)
    # Known from the threshold on: a score of exactly .3 is known, whether it is a lower bound or an upper one.
    assert rows_to_score_exactly(bounds, np.full(5, 0.3), none).tolist() == [0]
    assert rows_to_score_exactly(bounds, np.full(5, 0.2), none).tolist() == [0, 4]
    assert rows_to_score_exactly(bounds, np.full(5, 0.2), np.arange(5) == 0).tolist() == [4]
    each_threshold = np.array([-np.inf, np.nan, 0.2, 0.315, np.inf])
    assert rows_to_score_exactly(bounds, each_threshold, none).tolist() == [3]
    assert rows_to_score_exactly(None, np.full(5, 0.3), none).tolist() == []
    assert rows_to_score_exactly(bounds, None, none).tolist() == []
