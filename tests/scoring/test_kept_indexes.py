"""Indexes of labels that are kept between runs."""

from __future__ import annotations

import numpy as np
import pytest

from deltaoe.scoring import label_index, many_labels, quantized_index
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.scorer import Scorer
from deltaoe.store.feature_space import FeatureSpace

KINDS = ["flat", "ivf", "hnsw"]


def unit_rows(count, seed):
    rows = np.random.default_rng(seed).standard_normal((count, 24))
    rows[:, 0] += 3
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def detector():
    space = FeatureSpace("m", "w", "c", "{}", "fp32", 1, 24)
    return Detector(tuple(map(str, range(600))), unit_rows(600, 1), 0.05, 2, np.empty(0), space, 100.0)


@pytest.fixture
def built(monkeypatch):
    """Every index is kept; how many were built."""
    calls = []

    def counting(module, name):
        build = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: calls.append(name) or build(*given))

    counting(label_index, "_build")
    counting(quantized_index, "quantized")
    for module in (label_index, quantized_index):
        monkeypatch.setattr(module, "LEAST_KEPT", 1)
    # Recall is measured with an exact index, which is never kept.
    monkeypatch.setattr(many_labels.LabelIndex, "recall", lambda self, features, top_c: 1.0)
    return calls


def same(one, other):
    assert (one.scores == other.scores).all() and (one.labels == other.labels).all()
    assert (one.cosines == other.cosines).all()
    assert (one.bounds is None) == (other.bounds is None)
    if one.bounds is not None:
        assert (one.bounds == other.bounds).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_index_gives_the_same(detector, built, tmp_path, kind):
    h = unit_rows(40, 2)
    without = Scorer(detector, index=kind, neighbours=8)(h)
    first = Scorer(detector, index=kind, neighbours=8, folder=tmp_path)
    same(first(h), without)
    assert len(built) == 2 and len(list(tmp_path.iterdir())) == 1
    again = Scorer(detector, index=kind, neighbours=8, folder=tmp_path)
    same(again(h), without)
    assert len(built) == 2 and not again.notes and not first.notes


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_one_is_built_again_and_said(detector, built, tmp_path, kind):
    h = unit_rows(40, 2)
    wanted = Scorer(detector, index=kind, neighbours=8, folder=tmp_path)(h)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:100], whole[:50] + bytes(200) + whole[250:], b""):
        path.write_bytes(damaged)
        scorer = Scorer(detector, index=kind, neighbours=8, folder=tmp_path)
        same(scorer(h), wanted)
        assert len(scorer.notes) == 1 and "built again" in scorer.notes[0] and str(path) in scorer.notes[0]
        assert path.stat().st_size == len(whole)
    assert len(built) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_cannot_be_written_costs_a_sentence(detector, built, tmp_path, kind):
    (tmp_path / "file").write_text("in the way")
    scorer = Scorer(detector, index=kind, neighbours=8, folder=tmp_path / "file" / "indexes")
    assert "not kept" in scorer.notes[0]
    assert len(scorer(unit_rows(3, 2)).scores) == 3


def test_few_labels_are_not_kept(detector, tmp_path):
    for kind in KINDS:
        Scorer(detector, index=kind, neighbours=8, folder=tmp_path)
    assert not list(tmp_path.iterdir())
