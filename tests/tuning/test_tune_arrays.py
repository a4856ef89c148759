"""The Python API: arrays in, a detector out that needs no model any more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import make_model

import deltaoe
from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ConfigError, DataError, MismatchError
from deltaoe.scoring.options import BackgroundOptions

NAMES = ("cat", "dog", "fox", "owl")
OPTIONS = deltaoe.TuningOptions(shots=4, recipe=deltaoe.Recipe(steps=4), background=BackgroundOptions("none"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("m") / "m", seed=0)
    return FrozenClip.load(ModelRef.parse(f"local-dir:{folder}"), torch.device("cpu"), offline=True)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 40)
    return 5 * (rng.normal(size=(4, 16))[labels] + 0.3 * rng.normal(size=(160, 16))), labels


@pytest.fixture(scope="module")
def detector(clip, images):
    return deltaoe.tune(*images, NAMES, model=clip, options=OPTIONS)


def test_scores_are_those_of_the_formula(detector, images):
    features, labels = images
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = rows @ detector.energy_features.astype(float).T
    assert detector.tuned
    tau, c = detector.temperature, detector.top_c
    top = np.sort(cosines, axis=1)[:, ::-1]
    cropped = top.copy()
    cropped[:, :c] = 0
    wanted = tau * (np.log(np.exp(top / tau).sum(axis=1)) - np.log(np.exp(cropped / tau).sum(axis=1)))
    found = detector.part_values(rows.astype(np.float32)).values[:, detector.parts.index("text")]
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len(labels) == 160


def test_a_saved_detector_scores_the_same_without_any_model(detector, images, tmp_path):
    detector.save(tmp_path / "d.safetensors")
    again = deltaoe.Detector.load(tmp_path / "d.safetensors")
    assert np.array_equal(again.score(images[0]), detector.score(images[0]))


def test_shots_and_validation_images_do_not_calibrate(detector, images):
    assert len(detector.shots) == 16
    assert len(detector.calibration) == 160 - 2 * 16
    rows = images[0] / np.linalg.norm(images[0], axis=1, keepdims=True)
    values = detector.part_values(rows.astype(np.float32)).values
    nearest = [np.abs(values - own).max(axis=1).argmin() for own in detector.part_calibration]
    assert len(set(nearest)) == len(nearest)
    assert values[nearest] == pytest.approx(detector.part_calibration, abs=1e-4)


def test_unknown_is_minus_one(detector, images):
    found = detector.predict(images[0], alpha=0.1)
    assert set(found.tolist()) <= {-1, 0, 1, 2, 3}
    assert 0 < (found == -1).sum() < 40
    known = found >= 0
    assert (found[known] == detector.predict(images[0])[known]).all()
    with pytest.raises(DataError, match="too few for alpha"):
        detector.predict(images[0], alpha=1e-4)


def test_the_same_arrays_give_the_same_detector(clip, images, detector):
    again = deltaoe.tune(*images, NAMES, model=clip, options=OPTIONS)
    assert again.digest == detector.digest


def test_the_recipe_is_the_detectors(clip, images):
    recipe = deltaoe.Recipe(steps=4, ebm_weight=0.3, blend=0.6, temperature=0.07, top_c=2)
    prompts = deltaoe.TuningOptions(shots=4, recipe=recipe, background=BackgroundOptions("none"))
    found = deltaoe.tune(*images, NAMES, model=clip, options=prompts)
    assert (found.settings["ebm_weight"], found.settings["blend"]) == (0.3, 0.6)
    assert (found.temperature, found.top_c) == (0.07, 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": np.zeros(3, dtype=int)}, DataError, r"labels must be \(160,\) integers"),
        ({"labels": np.full(160, 4)}, DataError, "but there are 4 class names"),
        ({"labels": np.zeros(160)}, DataError, "of float64"),
        ({"features": np.zeros((160, 16))}, DataError, "zero or not finite"),
        ({"features": np.full((160, 16), np.nan)}, DataError, "zero or not finite"),
        ({"features": np.ones(16)}, DataError, "features must be"),
        ({"class_names": ("a", "a", "b", "c")}, DataError, "each name once"),
        ({"features": np.random.default_rng(0).normal(size=(160, 8))}, MismatchError, "8 numbers each"),
        ({"options": deltaoe.TuningOptions(shots=41)}, DataError, "fewer than 41"),
        ({"options": deltaoe.TuningOptions(shots=0)}, ConfigError, "shots must be"),
    ],
)
def test_what_cannot_be_is_said(clip, images, change, error, message):
    given = {"features": images[0], "labels": images[1], "class_names": NAMES, "options": OPTIONS, **change}
    with pytest.raises(error, match=message):
        deltaoe.tune(**given, model=clip)
