"""Choosing τ and c by held-out classes."""

from __future__ import annotations

import numpy as np
import pytest

from deltaoe.errors import DataError
from deltaoe.scoring.selection import select_settings


def problem(classes: int = 9, images: int = 270, noise: float = 0.5):
    rng = np.random.default_rng(3)
    text = rng.normal(size=(classes, 32))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    labels = np.arange(images) % classes
    features = text[labels] + noise * rng.normal(size=(images, 32)) / np.sqrt(32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.astype(np.float32), labels, text.astype(np.float32)


def chosen(features, labels, text, **changes):
    options = {"generator": np.random.default_rng(0), **changes}
    return select_settings(features, labels, text, text[:0], **options)


def test_every_setting_is_tried_and_the_best_comes_first():
    found = chosen(*problem(), temperatures=(0.05, 1.0), top_cs=(1, 2, 5, 9))
    # A third of nine classes is held out: c = 9 has no room.
    assert {(one.temperature, one.top_c) for one in found} == {
        (tau, c) for tau in (0.05, 1.0) for c in (1, 2, 5)
    }
    values = [one.auroc for one in found]
    assert values == sorted(values, reverse=True)
    assert all(0.5 < value <= 1 for value in values)
    assert found[0].top_c == 1  # one class an image, and no others near it


def test_the_same_draws_give_the_same_choice():
    assert chosen(*problem()) == chosen(*problem())


def test_noise_is_told_from_signal():
    features, labels, text = problem(noise=0.5)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert chosen(features, labels, text)[0].auroc > 0.9
    assert abs(chosen(features, shuffled, text)[0].auroc - 0.5) < 0.1


def test_two_classes_are_too_few():
    features, labels, text = problem(classes=2, images=20)
    with pytest.raises(DataError, match="at least 3 classes"):
        chosen(features, labels, text)
