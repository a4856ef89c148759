"""The detector file: what is saved comes back byte for byte, and whatever differs differs in the digest."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from detector_files import assert_equal, full_detector, joined, parts
from samples import make_detector, unit_rows

from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import PARTS

CONTENT = make_detector().to_bytes()


# What comes back


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"context": None},
        {
            "class_context": np.full((4, 8), 0.5, dtype=np.float32),
            "energy_features": unit_rows(3, 16, seed=4),
        },
        {"calibration": 0},
        {"background": unit_rows(5, 16, seed=3), "background_names": ("v", "w", "x", "y", "é")},
        {"centre": np.full(16, 0.1, dtype=np.float32), "shots": np.full((4, 32), 7, dtype=np.uint8)},
        {"class_names": ("café", "a\nb", os.fsdecode(b"\xff"))},
        {
            "temperature": 1,
            "top_c": 3,
            "logit_scale": 0.0,
            "settings": {},
            "facts": {"nothing": float("nan")},
        },
    ],
)
def test_round_trip(tmp_path, changes):
    detector = make_detector(**changes)
    detector.save(tmp_path / "deep" / "d.safetensors")
    found = Detector.load(tmp_path / "deep" / "d.safetensors")
    assert found.to_bytes() == detector.to_bytes() == (tmp_path / "deep" / "d.safetensors").read_bytes()
    if "facts" not in changes:  # NaN is not equal to itself
        assert_equal(found, detector)
    assert found.tuned == (detector.context is not None)
    assert found.digest == detector.digest


IMAGES_ALONE = {
    "text_features": np.zeros((0, 16), dtype=np.float32),
    "energy_features": np.zeros((0, 0), dtype=np.float32),
    "context": None,
    "class_context": None,
    "background": np.zeros((0, 0), dtype=np.float32),
    "background_names": (),
    "parts": ("images",),
    "part_weights": np.ones(1),
    "part_calibration": np.zeros((40, 1)),
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        IMAGES_ALONE,
        IMAGES_ALONE
        | {"calibration": 0, "calibration_classes": np.zeros(0, dtype=np.int64)}
        | {"part_calibration": np.zeros((0, 0))},
        {
            "parts": ("text", "images"),
            "part_weights": np.array([0.0, 1.0]),
            "part_calibration": np.zeros((40, 2)),
        },
        {"context": np.zeros((3, 4, 8), np.float32), "class_context": np.zeros((3, 4, 8), np.float32)},
        {"mean_classes": np.array([1]), "means": np.zeros((1, 16), dtype=np.float32), "image_weight": 1},
        {"parts": (), "part_weights": np.zeros(0), "part_calibration": np.zeros((0, 0))},
    ],
)
def test_round_trip_of_evidence(tmp_path, changes):
    detector = full_detector(**changes)
    detector.save(tmp_path / "d")
    found = Detector.load(tmp_path / "d")
    assert found.to_bytes() == detector.to_bytes()
    assert_equal(found, detector)


def test_equal_detectors_are_equal_files():
    settings = {"b": 1, "a": [2, {"y": 1, "x": 2}]}
    backwards = {"a": [2, {"x": 2, "y": 1}], "b": 1}
    one, other = make_detector(settings=settings), make_detector(settings=backwards)
    assert one.to_bytes() == other.to_bytes()
    strided = np.asfortranarray(unit_rows(3, 16, seed=1))
    assert make_detector(text_features=strided).to_bytes() == make_detector().to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.2},
        {"top_c": 1},
        {"settings": {}},
        {"facts": {}},
        {"context": None},
        {"class_context": np.full((4, 8), 0.5, dtype=np.float32)},
        {"logit_scale": 99.0},
        {"text_features": unit_rows(3, 16, seed=2)},
        {"calibration": 39},
        {"background": unit_rows(1, 16, seed=3), "background_names": ("v",)},
        {"centre": np.full(16, 0.1, dtype=np.float32)},
        {"shots": np.full((4, 32), 7, dtype=np.uint8)},
        {"class_names": ("class 1", "class 0", "class 2")},
    ],
)
def test_whatever_differs_differs_in_the_digest(changes):
    assert make_detector(**changes).digest != make_detector().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_features": unit_rows(3, 16, seed=5)},
        {"class_context": np.zeros((4, 8), np.float32)},
        {"means": np.zeros((2, 16), np.float32)},
        {"mean_classes": np.array([0, 1])},
        {"root": np.eye(16, dtype=np.float32)},
        {"image_weight": 0.05},
        {"parts": PARTS[::-1]},
        {"part_weights": np.array([0.5, 0.25, 0.25])},
        {"part_calibration": np.zeros((40, 3))},
        {"calibration_classes": np.zeros(40, dtype=np.int64)},
    ],
)
def test_evidence_that_differs_differs_in_the_digest(changes):
    assert full_detector(**changes).digest != full_detector().digest


def test_the_sample_has_a_value_in_every_field():
    plain = Detector((), np.zeros((0, 1), np.float32), 1.0, 1, np.empty(0), make_detector().space, 0.0)
    found = full_detector()
    alike = {
        field.name
        for field in dataclasses.fields(Detector)
        if np.array_equal(getattr(found, field.name), getattr(plain, field.name))
    }
    assert alike == {"space", "centre"}  # no detector that is made now has a centre


def test_calibration_is_sorted_and_decides():
    detector = make_detector().calibrated([3.0, 1.0, 2.0])
    assert detector.calibration.tolist() == [1.0, 2.0, 3.0]
    assert detector.p_values([0.5, 1.0, 9.0]).tolist() == [0.25, 0.5, 1.0]
    assert detector.threshold(0.5) == 2.0
    assert detector.threshold(0.1) is None


def test_calibration_keeps_the_class_beside_its_score(tmp_path):
    detector = make_detector().calibrated([3.0, 1.0, 2.0, 1.0], [2, 1, 0, 0])
    assert detector.calibration.tolist() == [1.0, 1.0, 2.0, 3.0]
    assert detector.calibration_classes.tolist() == [0, 1, 0, 2]
    detector.save(tmp_path / "d")
    assert Detector.load(tmp_path / "d").calibration_classes.tolist() == [0, 1, 0, 2]


def test_prompts_less_their_centre():
    centre = np.full(16, 0.1, dtype=np.float32)
    background = unit_rows(2, 16, seed=3)
    detector = make_detector(background=background, background_names=("v", "w"), centre=centre)
    for found, given in zip(detector.prompts, (detector.text_features, background), strict=True):
        wanted = given.astype(np.float64) - 0.1
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    as_they_are = make_detector().prompts
    assert as_they_are[0] is not None and np.array_equal(as_they_are[0], make_detector().text_features)
    assert as_they_are[1].shape == (0, 16)


def test_a_detector_of_format_1(tmp_path):
    table, head, body = parts(CONTENT)
    del head["background_names"]
    (tmp_path / "d").write_bytes(joined(table, head | {"format": 1}, body))
    found = Detector.load(tmp_path / "d")
    assert found.to_bytes() == CONTENT
    assert len(found.background) == len(found.shots) == len(found.calibration_classes) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"class_context": np.zeros((4, 8), np.float32)},
        {"energy_features": unit_rows(3, 16, seed=4)},
        {
            "means": np.zeros((1, 16), np.float32),
            "mean_classes": np.array([1]),
            "root": np.eye(16, dtype=np.float32),
        },
        {"parts": ("text",), "part_weights": np.ones(1)},
    ],
)
def test_what_an_older_version_cannot_read_makes_it_format_3(tmp_path, changes):
    """Other detectors stay as they were, so that an older version reads them."""
    assert parts(make_detector().to_bytes())[1]["format"] == 2
    assert {"image_weight", "parts"}.isdisjoint(parts(make_detector().to_bytes())[1])
    newer = make_detector(**changes)
    assert parts(newer.to_bytes())[1]["format"] == 3
    newer.save(tmp_path / "d")
    assert Detector.load(tmp_path / "d").to_bytes() == newer.to_bytes()


def test_delta_energy_compares_with_energy_prompts_where_there_are_some():
    text, energy = unit_rows(3, 16, seed=1), unit_rows(3, 16, seed=4)
    assert np.array_equal(make_detector(text_features=text).prompts[0], text)
    assert np.array_equal(make_detector(text_features=text, energy_features=energy).prompts[0], energy)
