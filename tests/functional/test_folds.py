"""Folds: what is held out is nowhere learned from, and every image is on one side only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaoe.functional.folds import FOLDS, make_folds, shuffled_features


@given(
    classes=st.integers(2, 9),
    per_class=st.integers(1, 9),
    domains=st.integers(0, 4),
    spare=st.integers(0, 3),
    seed=st.integers(0, 2**31),
)
def test_laws(classes, per_class, domains, spare, seed):
    label = np.repeat(np.arange(classes), per_class + spare)
    validation = np.tile(np.arange(per_class + spare) >= per_class, classes)
    rng = np.random.default_rng(seed)
    domain = rng.integers(0, domains, len(label)) if domains else np.full(len(label), -1)
    for fold in make_folds(label, domain, validation, rng):
        parts = [fold.train, fold.known, fold.unknown, fold.shifted, fold.shifted_unknown]
        rows = np.concatenate(parts)
        assert len(set(rows.tolist())) == len(rows)
        assert not validation[fold.train].any()
        for part in (fold.train, fold.known, fold.shifted):
            assert np.isin(label[part], fold.classes).all()
        assert set(label[fold.train]) == set(fold.classes.tolist())
        for part in (fold.unknown, fold.shifted_unknown):
            assert not np.isin(label[part], fold.classes).any()
        if fold.domain >= 0:
            for part in (fold.train, fold.known, fold.unknown):
                assert (domain[part] != fold.domain).all()
            for part in (fold.shifted, fold.shifted_unknown):
                assert (domain[part] == fold.domain).all()
        else:
            assert not len(fold.shifted)
        if classes < 4:
            assert not len(fold.unknown) and not len(fold.shifted_unknown)
        learned = (
            ~validation & (domain != fold.domain if fold.domain >= 0 else True) & np.isin(label, fold.classes)
        )
        if spare:
            # Validation images are what is held out: every shot of a known class is learned from.
            assert fold.train.tolist() == np.flatnonzero(learned).tolist()
            assert validation[fold.known].all() and validation[fold.shifted].all()
        else:
            for one in fold.classes:
                have = int(learned[label == one].sum())
                held = int((label[fold.known] == one).sum())
                assert held == (-(-have // 3) if have > 1 else 0)  # a third, rounded up, but not the only one


def test_classes_and_domains_take_turns():
    label = np.repeat(np.arange(8), 12)
    domain = np.tile(np.arange(3), 32)
    folds = make_folds(label, domain, np.zeros(96, dtype=bool), np.random.default_rng(0))
    assert sorted(fold.domain for fold in folds[:3]) == [0, 1, 2]
    assert folds[3].domain == folds[0].domain
    held_out = [set(range(8)) - set(fold.classes.tolist()) for fold in folds]
    assert [len(one) for one in held_out] == [2] * FOLDS
    assert set.union(*held_out) == set(range(8))
    # Of 12 images a class has 4 in the held-out domain; a third of the other 8, rounded up, is held out.
    assert [len(fold.train) for fold in folds] == [6 * 5] * FOLDS
    assert [len(fold.known) for fold in folds] == [6 * 3] * FOLDS


def test_two_shots_of_a_class_are_one_to_learn_from_and_one_held_out():
    label = np.repeat(np.arange(5), 2)
    for fold in make_folds(label, np.full(10, -1), np.zeros(10, dtype=bool), np.random.default_rng(0)):
        assert sorted(label[fold.train]) == sorted(label[fold.known]) == fold.classes.tolist()


def test_many_classes_are_all_in_a_fold():
    label = np.repeat(np.arange(500), 4)
    folds = make_folds(label, np.full(2000, -1), np.zeros(2000, dtype=bool), np.random.default_rng(0))
    assert [len(fold.classes) for fold in folds] == [375] * FOLDS
    assert all(len(np.unique(label[fold.unknown])) == 125 for fold in folds)


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 100])
@pytest.mark.parametrize(("per_class", "count"), [(1, 0), (2, FOLDS), (3, FOLDS)])
def test_a_class_needs_two_images_for_a_fold(per_class, count, classes):
    label = np.repeat(np.arange(classes), per_class)
    folds = make_folds(
        label, np.full(len(label), -1), np.zeros(len(label), dtype=bool), np.random.default_rng(0)
    )
    assert len(folds) == count


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_shuffled_features_keep_what_components_are_and_lose_what_images_are():
    rng = np.random.default_rng(0)
    features = unit(rng.normal(size=(50, 8)) + 3 * np.eye(8)[rng.integers(0, 8, 50)])
    made = shuffled_features(features, rng, 100)
    assert made.shape == (100, 8)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
    assert (made @ features.T).max() < 0.999
    assert (
        np.abs(unit(made.mean(axis=0, keepdims=True)) @ unit(features.mean(axis=0, keepdims=True)).T) > 0.95
    )
    assert len(shuffled_features(features[:1], rng)) == 0
