"""Image evidence: which side counts in worlds where that is known, what it may look at, and the promise it keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from samples import unit_rows
from scipy.stats import binom
from worlds import DIM, World

from deltaoe.functional.folds import make_folds
from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.scoring.detector_fields import PARTS
from deltaoe.scoring.image_evidence import (
    IMAGE_WEIGHTS,
    USUAL_WEIGHT,
    LabelledImages,
    measured_on_folds,
    with_image_evidence,
)
from deltaoe.scoring.parts import SideTensors

TEXT_IS_NOISE = World.of(text_tells=False)
# As many images as dimensions say little of a covariance, and prompts lie exactly where the classes are.
IMAGES_ARE_NOISE = World.of(images_tell=False, cone=0)


def shots(world: World, per_class: int, seed: int = 1) -> LabelledImages:
    return LabelledImages.shots(*world.images(per_class, seed))


def accuracy(detector, world: World) -> float:
    features, classes = world.images(40, seed=77)
    return float((detector.part_values(features).labels[:, 0] == classes).mean())


# Which side counts


def test_where_prompts_are_noise_images_decide():
    world = TEXT_IS_NOISE
    found = with_image_evidence(world.detector(), shots(world, 8))
    weights = dict(zip(found.parts, found.part_weights, strict=True))
    assert found.parts == PARTS
    assert weights["images"] > 0.5 and weights["text"] < 0.25  # their priors
    assert found.image_weight > 0
    assert accuracy(found, world) > accuracy(world.detector(), world) + 0.3


def test_where_images_are_few_and_scattered_prompts_count_more():
    weights = {}
    for world in (TEXT_IS_NOISE, IMAGES_ARE_NOISE):
        found = with_image_evidence(world.detector(), shots(world, 3))
        weights[world.spread] = dict(zip(found.parts, found.part_weights, strict=True))
    few, noise = weights[IMAGES_ARE_NOISE.spread], weights[TEXT_IS_NOISE.spread]
    assert few["text"] + few["joint"] > noise["text"] + noise["joint"] + 0.2
    assert few["images"] < 0.5


@pytest.mark.parametrize(
    "world", [TEXT_IS_NOISE, IMAGES_ARE_NOISE, World.of()], ids=["noise", "scattered", "both"]
)
@pytest.mark.parametrize("seed", range(3))
def test_the_image_weight_never_costs_accuracy_on_the_folds(world, seed):
    features, classes = world.images(6, seed=seed)
    domains = np.arange(len(classes)) % 2
    images = dataclasses.replace(LabelledImages.shots(features, classes, domains), seed=seed)
    weight = with_image_evidence(world.detector(), images).image_weight
    assert weight in IMAGE_WEIGHTS
    folds = make_folds(classes, domains, images.validation, np.random.default_rng(seed))

    def right(weight: float) -> np.ndarray:
        """Share of held-out images and of images of held-out domains that are classified right, from definitions."""
        hits: tuple[list, list] = ([], [])
        for fold in folds:
            fitted = ClassGaussians.fit(features[fold.train], classes[fold.train])
            root, text = fitted.root.astype(float), world.text[fold.classes].astype(float)
            for rows, kind in ((fold.known, 0), (fold.shifted, 1)):
                off = (features[rows][:, None] - fitted.means) @ root
                logits = 100 * features[rows] @ text.T - weight * (off**2).sum(axis=2) / 2
                hits[kind].extend(fold.classes[logits.argmax(axis=1)] == classes[rows])
        return np.array([np.mean(kind) for kind in hits])

    # One image more or less may be a tie.
    assert (right(weight) >= right(0.0) - 0.02).all()
    best = max(right(w).mean() for w in IMAGE_WEIGHTS if (right(w) >= right(0.0)).all())
    assert right(weight).mean() >= best - 0.02


# How few images it takes


@pytest.mark.parametrize("per_class", [1, 2, 3])
def test_from_one_image_per_class_on(per_class):
    world = World.of()
    found = with_image_evidence(world.detector(), shots(world, per_class))
    assert found.parts == PARTS and found.part_weights.sum() == pytest.approx(1)
    assert len(found.means) == 6
    if per_class == 1:  # no image can be held out
        assert found.part_weights.tolist() == [0.25, 0.25, 0.5]
    if per_class < 3:
        assert found.image_weight == 0
    values = found.part_values(world.images(20, seed=9)[0]).values
    assert np.isfinite(found.calibrated(values).score(world.images(5, seed=8)[0])).all()


def test_one_rare_class_does_not_switch_the_discriminants_off():
    world = TEXT_IS_NOISE
    features, classes = world.images(8, seed=1)
    keep = (classes > 0) | (np.cumsum(classes == 0) <= 1)  # a single image of the first class
    found = with_image_evidence(world.detector(), LabelledImages.shots(features[keep], classes[keep]))
    assert found.image_weight > 0


def test_classes_without_images_are_classified_by_their_prompts_alone_if_nothing_says_otherwise():
    world = World.of()
    features, classes = world.images(8, seed=1)
    found = with_image_evidence(
        world.detector(), LabelledImages.shots(features[classes < 4], classes[classes < 4])
    )
    assert found.mean_classes.tolist() == [0, 1, 2, 3]
    assert accuracy(found, world) > 0.9


def test_one_class_has_images_alone():
    world = World.of(classes=1)
    found = with_image_evidence(world.detector(), shots(world, 10))
    assert found.parts == ("images",) and found.part_weights.tolist() == [1.0]
    assert not len(found.text_features)
    others = unit_rows(30, DIM, seed=3)
    score = found.part_values(np.concatenate([world.images(30, seed=5)[0], others])).values[:, 0]
    assert score[:30].min() > np.median(score[30:])


# What is asked for


def test_text_alone_leaves_the_detector_as_it_is():
    detector = World.of().detector()
    assert with_image_evidence(detector, shots(World.of(), 5), "text") is detector
    assert (
        with_image_evidence(detector, LabelledImages.shots(np.zeros((0, DIM), np.float32), np.zeros(0, int)))
        is detector
    )


def test_images_alone_drop_the_prompts():
    world = World.of()
    detector = world.detector(background=unit_rows(2, DIM), background_names=("v", "w"))
    found = with_image_evidence(detector, shots(world, 5), "images")
    assert found.parts == ("images",) and found.image_weight == 0
    assert not len(found.text_features) and not len(found.background) and not found.background_names
    # The same whatever the prompts were.
    other = dataclasses.replace(detector, text_features=unit_rows(6, DIM, seed=5))
    assert with_image_evidence(other, shots(world, 5), "images").to_bytes() == found.to_bytes()


# What it looks at


def test_the_same_images_give_the_same_detector():
    world = World.of()
    one, other = (with_image_evidence(world.detector(), shots(world, 5)) for _ in range(2))
    assert one.to_bytes() == other.to_bytes()


def test_the_detector_must_be_calibrated_anew():
    world = World.of()
    before = world.detector().calibrated(np.linspace(0, 1, 30), np.zeros(30, dtype=int))
    found = with_image_evidence(before, shots(world, 5))
    assert len(found.calibration) == len(found.calibration_classes) == len(found.part_calibration) == 0
    # Nothing comes from the calibration images.
    assert found.to_bytes() == with_image_evidence(world.detector(), shots(world, 5)).to_bytes()


def test_validation_images_choose_and_nothing_is_fitted_on_them():
    world = TEXT_IS_NOISE
    features, classes = world.images(6, seed=1)
    new, truth = world.images(10, seed=2)
    # Validation images of another world would shift every mean.
    strange = unit_rows(len(new), DIM, seed=4)
    made = [
        with_image_evidence(
            world.detector(),
            LabelledImages(
                np.concatenate([features, rows]),
                np.concatenate([classes, truth]),
                np.full(len(classes) + len(truth), -1),
                np.arange(len(classes) + len(truth)) >= len(classes),
            ),
        )
        for rows in (new, strange)
    ]
    alone = ClassGaussians.fit(features, classes)
    for found in made:
        assert np.array_equal(found.means, alone.means) and np.array_equal(found.root, alone.root)
    assert made[0].image_weight > 0
    assert made[0].part_weights.tolist() != made[1].part_weights.tolist()


def test_the_weight_of_the_discriminants_can_be_chosen_with_other_prompts():
    """Tuned prompts know every shot, so that beside them the folds cannot tell one weight from another."""
    world = TEXT_IS_NOISE
    knowing = dataclasses.replace(world.detector(), text_features=World.of(cone=0).text)
    features = shots(World.of(), 8)
    assert with_image_evidence(knowing, features).image_weight == USUAL_WEIGHT
    found = with_image_evidence(knowing, features, untuned=world.text)
    assert found.image_weight > USUAL_WEIGHT
    assert np.array_equal(found.text_features, knowing.text_features)


# What the folds say


def test_measured_on_folds():
    world = World.of()
    good = with_image_evidence(world.detector(), shots(world, 8))
    poor = with_image_evidence(IMAGES_ARE_NOISE.detector(), shots(IMAGES_ARE_NOISE, 8))
    one, other = measured_on_folds(good, shots(world, 8)), measured_on_folds(poor, shots(IMAGES_ARE_NOISE, 8))
    for found in (one, other):
        assert 0 <= found.near <= 1 and 0 <= found.far <= 1
        assert found.influences.sum() == pytest.approx(0, abs=1e-9)
    assert one.near > other.near
    assert one.far > 0.9
    # Differences are taken image by image: the images that move one AUROC are those that move the other.
    assert len(one.influences) == len(other.influences)


def test_images_alone_are_measured_too():
    world = World.of()
    images = with_image_evidence(world.detector(), shots(world, 8), "images")
    found = measured_on_folds(images, shots(world, 8))
    assert found.far > 0.9


def test_one_image_per_class_measures_nothing():
    world = World.of()
    found = measured_on_folds(with_image_evidence(world.detector(), shots(world, 1)), shots(world, 1))
    assert np.isnan([found.near, found.far]).all()


# The promise


@pytest.mark.parametrize(("evidence", "calibration"), [("auto", 19), ("images", 19), ("images", 60)])
def test_at_most_alpha_of_new_images_are_called_unknown(evidence, calibration):
    """Each time with other images to fit, to calibrate and to judge; one judged image, so that all are independent."""
    alpha, repetitions, called = 0.05, 200, 0
    world = World.of(classes=3, text_tells=False)
    weights = with_image_evidence(world.detector(), shots(world, 4), evidence).part_weights
    for seed in range(repetitions):
        features, classes = world.images((12 + calibration + 1) // 3 + 1, seed=1000 + seed)
        order = np.random.default_rng(seed).permutation(len(classes))
        fitted, rest = order[:12], order[12 : 12 + calibration + 1]
        found = with_image_evidence(
            world.detector(), LabelledImages.shots(features[fitted], classes[fitted]), evidence
        )
        values = SideTensors(found, found.parts, found.prompts)(features[rest]).values
        judged = found.calibrated(values[1:])
        called += judged.p_values(judged.fused_scores(values[:1]))[0] <= alpha
    assert called <= binom.ppf(0.99, repetitions, alpha)
    assert len(weights) == (3 if evidence == "auto" else 1)
