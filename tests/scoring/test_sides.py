"""A detector of both sides, asked for one of them: it is calibrated with that side's values of the same images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from samples import make_detector, unit_rows

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional import conformal
from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import PARTS
from deltaoe.scoring.sides import with_evidence, without_images, without_prompts

DIM = 10


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
    rows = unit_rows(3, DIM, seed=2)[label] + 0.2 * rng.normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), label


@pytest.fixture(scope="module")
def both() -> Detector:
    fitted = ClassGaussians.fit(*images(30, seed=0))
    detector = make_detector(
        3,
        DIM,
        calibration=0,
        means=fitted.means,
        mean_classes=fitted.classes,
        root=fitted.root,
        image_weight=0.02,
        background=unit_rows(2, DIM, seed=6),
        background_names=("v", "w"),
        parts=PARTS,
        part_weights=np.array([0.25, 0.25, 0.5]),
    )
    found = detector.part_values(images(60, seed=1)[0])
    return detector.calibrated(found.values, found.labels[:, 0])


def test_auto_and_both_change_nothing(both):
    assert with_evidence(both, "auto") is with_evidence(both, "both") is both


@pytest.mark.parametrize("side", ["text", "images"])
def test_a_side_alone_scores_and_calibrates_with_its_own_part(both, side):
    alone = with_evidence(both, side)
    column = PARTS.index(side)
    new, _ = images(40, seed=3)
    assert not alone.fused
    assert alone.score(new) == pytest.approx(both.part_values(new).values[:, column], abs=1e-5, rel=1e-5)
    for alpha in (0.05, 0.2):
        assert alone.threshold(alpha) == conformal.threshold(both.part_calibration[:, column], alpha)
    assert alone.calibration.tolist() == sorted(both.part_calibration[:, column].tolist())
    # Their classes were predicted with both sides.
    assert len(alone.calibration_classes) == 0


@pytest.mark.parametrize("side", ["text", "images"])
def test_a_side_alone_has_nothing_of_the_other(both, side):
    alone = with_evidence(both, side)
    new, _ = images(40, seed=3)
    if side == "text":
        wanted = (new @ both.text_features.T).argmax(axis=1)
        assert alone.has_one_side and not len(alone.means) and alone.parts == ()
    else:
        off = (new[:, None] - both.means[None]).astype(np.float64) @ both.root.astype(np.float64)
        wanted = (off**2).sum(axis=2).argmin(axis=1)
        assert not len(alone.text_features) and not len(alone.background) and alone.parts == ("images",)
    assert alone.predict(new).tolist() == wanted.tolist()
    assert alone.image_weight == 0


@pytest.mark.parametrize("side", ["text", "images"])
def test_a_side_alone_is_a_detector_that_can_be_saved(both, side, tmp_path):
    alone = with_evidence(both, side)
    alone.save(tmp_path / "d")
    found, new = Detector.load(tmp_path / "d"), images(9, seed=4)[0]
    assert found.score(new).tolist() == alone.score(new).tolist()
    assert found.predict(new, alpha=0.1).tolist() == alone.predict(new, alpha=0.1).tolist()
    assert with_evidence(found, side).to_bytes() == found.to_bytes()


@pytest.mark.parametrize(
    ("has", "asked", "hint"),
    [
        ("text", "images", "tune again"),
        ("text", "both", "tune again"),
        ("images", "text", "leave --evidence"),
        ("images", "both", "leave --evidence"),
    ],
)
def test_a_side_that_is_not_there(both, has, asked, hint):
    with pytest.raises(ConfigError, match="no evidence of") as caught:
        with_evidence(with_evidence(both, has), asked)
    assert hint in caught.value.hint


def test_a_detector_calibrated_for_its_prompts_alone_has_no_calibration_of_its_images(both):
    prompts = both.calibrated(()).calibrated([0.1, 0.2, 0.3])
    assert prompts.parts == () and prompts.calibration.tolist() == [0.1, 0.2, 0.3]
    assert with_evidence(prompts, "text").calibration.tolist() == [0.1, 0.2, 0.3]
    assert len(with_evidence(prompts, "images").calibration) == 0


def test_without_either_side_the_other_stays_as_it_is(both):
    assert without_images(both).text_features is both.text_features
    assert without_images(both).background is both.background
    assert without_prompts(both).means is both.means
    assert without_prompts(both).root is both.root


# Detectors of both sides


def test_the_fused_score_is_the_weighted_sum_of_log_ranks(both):
    new, _ = images(40, seed=3)
    values = both.part_values(new).values
    inside = (values >= both.part_calibration.min(axis=0)).all(axis=1)
    assert inside.sum() > 10
    ranks = [conformal.p_values(values[:, k], both.part_calibration[:, k]) for k in range(3)]
    wanted = np.log(ranks).T @ [0.25, 0.25, 0.5]
    assert both.score(new)[inside] == pytest.approx(wanted[inside])
    assert both.part_p_values(values) == pytest.approx(np.array(ranks).T)


def test_calibration_keeps_parts_and_classes_together_in_whatever_order_they_come(both):
    detector = dataclasses.replace(both, part_weights=np.array([0.5, 0.5, 0.0]))
    # Two images with the same fused score and class, and other values: nothing says which was first.
    values = np.array([[1.0, 2.0, 5.0], [2.0, 1.0, 4.0], [3.0, 3.0, 3.0], [4.0, 4.0, 2.0]])
    made = [
        detector.calibrated(values[order], np.array([1, 1, 0, 2])[order])
        for order in ([0, 1, 2, 3], [3, 1, 2, 0], [1, 0, 3, 2])
    ]
    assert made[0].to_bytes() == made[1].to_bytes() == made[2].to_bytes()
    assert made[0].part_calibration[2:].tolist() == values[2:].tolist()
    assert made[0].calibration_classes.tolist() == [1, 1, 0, 2]


def test_without_calibration_images_the_score_is_delta_energy(both):
    bare, new = both.calibrated(()), images(9, seed=4)[0]
    assert bare.parts == () and bare.threshold(0.1) is None
    assert bare.score(new) == pytest.approx(both.part_values(new).values[:, 0], abs=1e-6)
    assert bare.predict(new).tolist() == both.predict(new).tolist()  # classes still come from both
    not_yet = dataclasses.replace(both, calibration=np.empty(0), part_calibration=np.zeros((0, 3)))
    assert np.isnan(not_yet.score(new)).all()


def test_calibration_values_that_are_not_one_for_each_part(both):
    for detector, values in (
        (both, np.zeros((4, 2))),
        (both, np.zeros(4)),
        (both.calibrated(()), np.zeros((4, 3))),
    ):
        with pytest.raises(DataError, match="one for each part"):
            detector.calibrated(values)
