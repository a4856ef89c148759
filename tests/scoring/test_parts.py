"""Each part of a verdict, and the predicted classes, against double precision written from their definitions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from samples import make_detector, unit_rows
from scipy.special import logsumexp

from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.scoring import parts as parts_module
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import PARTS
from deltaoe.scoring.parts import PartValues, SideTensors, few, possible_parts
from deltaoe.scoring.sides import without_prompts

DIM = 12
# Sums of a dozen products of single precision; the whitened ones are a few tens. NumPy computes in double precision.
COSINE, LOGIT, DISTANCE = 1e-6, 2e-4, 2e-3
WAYS = {"PyTorch": "cpu", "NumPy": None}


def towards(direction: np.ndarray, rows: np.ndarray, share: float) -> np.ndarray:
    mixed = direction + share * rows
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def fitted_detector(
    classes: int = 4, with_images: tuple[int, ...] = (0, 1, 2, 3), per_class: int = 5, **changes: object
) -> Detector:
    """A detector with Gaussians of made-up images of some of its classes."""
    rng = np.random.default_rng(classes)
    centres, label = unit_rows(classes, DIM, seed=3), np.repeat(with_images, per_class)
    rows = towards(centres[label], rng.normal(size=(len(label), DIM)), 0.15)
    fitted = ClassGaussians.fit(rows, label)
    values = {
        "text_features": unit_rows(classes, DIM, seed=1),
        "background": unit_rows(0, DIM),
        "top_c": 2,
        "means": fitted.means,
        "mean_classes": fitted.classes,
        "root": fitted.root,
        "image_weight": 0.02,
        "parts": PARTS,
        "part_weights": np.array([0.25, 0.25, 0.5]),
    }
    return make_detector(classes, DIM, calibration=0, **(values | changes))


def images(count: int = 30) -> np.ndarray:
    rng = np.random.default_rng(9)
    near = unit_rows(4, DIM, seed=3)[rng.integers(0, 4, count)]
    return towards(near, rng.normal(size=(count, DIM)), 0.4)


def computed(
    detector: Detector,
    features: np.ndarray,
    shown: int = 1,
    parts: tuple[str, ...] = PARTS,
    way: str = "PyTorch",
) -> PartValues:
    return SideTensors(detector, parts, detector.prompts, WAYS[way])(features, shown)


class Dense:
    """The same in float64, one image and one label at a time."""

    def __init__(self, detector: Detector) -> None:
        self.tau, self.c, self.w = detector.temperature, detector.top_c, detector.image_weight
        self.text = detector.text_features.astype(np.float64)
        self.energy, self.background = (rows.astype(np.float64) for rows in detector.prompts)
        means, root = detector.means.astype(np.float64), detector.root.astype(np.float64)
        self.precision = root @ root.T
        self.u = detector.joint_weight
        self.with_images = detector.mean_classes.tolist()
        self.middle = means.mean(axis=0)
        place = self._placing(self.text, means)
        self.means = [
            means[self.with_images.index(j)] if j in self.with_images else place(z)
            for j, z in enumerate(self.text)
        ]
        place = self._placing(self.energy, means)
        self.others = [place(z) for z in self.background]

    def _placing(self, text, means):
        known = text[self.with_images]
        middle, length = known.mean(axis=0), ((known - known.mean(axis=0)) ** 2).sum()
        slope = ((known - middle) * (means - self.middle)).sum() / length if length else 0.0
        return lambda z: self.middle + slope * (z - middle)

    def discriminant(self, h, mean) -> float:
        off = mean - self.middle
        return (h - self.middle) @ self.precision @ off - off @ self.precision @ off / 2

    def logits(self, h) -> np.ndarray:
        """100 · cosine + w · discriminant, as in the module's words, over 100."""
        return np.array(
            [
                (100 * h @ z + self.w * self.discriminant(h, m)) / 100
                for z, m in zip(self.text, self.means, strict=True)
            ]
        )

    def part_text(self, h) -> float:
        cosines, beside = self.energy @ h, self.background @ h
        cropped = cosines.copy()
        cropped[np.argsort(-cosines)[: self.c]] = 0
        energies = [-self.tau * logsumexp(np.r_[s, beside] / self.tau) for s in (cropped, cosines)]
        return energies[0] - energies[1]

    def part_joint(self, h) -> float:
        own = [
            z @ h + self.u / 100 * self.discriminant(h, m)
            for z, m in zip(self.energy, self.means, strict=True)
        ]
        beside = [
            z @ h + self.u / 100 * self.discriminant(h, m)
            for z, m in zip(self.background, self.others, strict=True)
        ]
        return max(own) / self.tau - logsumexp(np.array(own + beside) / self.tau)

    def part_images(self, h) -> float:
        return -min((h - self.means[j]) @ self.precision @ (h - self.means[j]) for j in self.with_images)


DETECTORS = {
    "plain": fitted_detector(),
    "background": fitted_detector(background=unit_rows(5, DIM, seed=7), background_names=tuple("vwxyz")),
    "classes without images": fitted_detector(6, (1, 2, 5), background=unit_rows(2, DIM, seed=7)),
    "energy prompts": fitted_detector(
        energy_features=unit_rows(4, DIM, seed=8), background=unit_rows(3, DIM, seed=7)
    ),
    "image weight 0": fitted_detector(image_weight=0.0, background=unit_rows(3, DIM, seed=7)),
    "images of one class": fitted_detector(4, (2,)),
    "one image per class": fitted_detector(per_class=1),
    "sharp": fitted_detector(temperature=0.01, top_c=1, image_weight=0.1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DETECTORS)
def test_parts_and_classes_are_those_of_their_definitions(name, way):
    detector, features = DETECTORS[name], images()
    dense, found = Dense(detector), computed(detector, features, shown=3, way=way)
    rows = features.astype(np.float64)
    assert found.values.dtype == np.float64 and found.values.shape == (30, 3)
    scale = max(1.0, 0.1 / detector.temperature)
    for column, (part, within) in enumerate(zip(PARTS, (COSINE, LOGIT * scale, DISTANCE), strict=True)):
        wanted = np.array([getattr(dense, f"part_{part}")(h) for h in rows])
        assert found.values[:, column] == pytest.approx(wanted, abs=within, rel=1e-4), part
        if way == "NumPy" and part != "joint":  # which has placed labels, kept in single precision
            assert found.values[:, column] == pytest.approx(wanted, abs=1e-9, rel=1e-9), part
    for row, h in enumerate(rows):
        logits = dense.logits(h)
        # Largest first; of two that single precision cannot tell apart, either.
        assert logits[found.labels[row]] == pytest.approx(np.sort(logits)[::-1][:3], abs=1e-5)
        assert found.cosines[row] == pytest.approx(dense.text[found.labels[row]] @ h, abs=COSINE)


def test_the_examples_differ_where_they_should():
    """Else a part that ignores its prompts, its background or its weight would pass above."""
    values = {name: computed(detector, images()).values for name, detector in DETECTORS.items()}
    plain, beside, off = values["plain"], values["background"], values["image weight 0"]
    assert np.abs(plain[:, :2] - beside[:, :2]).max() > 1e-3
    assert np.array_equal(plain[:, 2], beside[:, 2])
    # The weight of the discriminants in the classes is not that in the joint part.
    same = fitted_detector(background=unit_rows(3, DIM, seed=7), image_weight=0.1)
    assert np.array_equal(computed(same, images()).values, off)
    assert np.abs(values["energy prompts"][:, 0] - off[:, 0]).max() > 1e-3


def test_without_weight_the_classes_are_those_of_the_class_prompts():
    detector = DETECTORS["energy prompts"]
    features = images()
    alone = dataclasses.replace(detector, image_weight=0.0)
    wanted = (features.astype(np.float64) @ detector.text_features.T.astype(np.float64)).argmax(axis=1)
    assert computed(alone, features).labels[:, 0].tolist() == wanted.tolist()
    assert computed(detector, features).labels[:, 0].tolist() != wanted.tolist()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("with_images", [(0, 1, 2, 3), (1, 3)])
def test_images_alone_take_the_nearest_class_that_has_images(with_images, way):
    detector = without_prompts(fitted_detector(4, with_images, parts=("images",), part_weights=np.ones(1)))
    features, precision = images(), detector.root.astype(np.float64) @ detector.root.T.astype(np.float64)
    found = computed(detector, features, shown=2, parts=("images",), way=way)
    off = features[:, None].astype(np.float64) - detector.means.astype(np.float64)
    squares = np.einsum("ncd,de,nce->nc", off, precision, off)
    nearest = np.argsort(squares, axis=1)[:, :2]
    assert found.labels.tolist() == detector.mean_classes[nearest].tolist()
    assert found.values[:, 0] == pytest.approx(-squares.min(axis=1), rel=1e-4, abs=DISTANCE)
    means = detector.means / np.linalg.norm(detector.means, axis=1, keepdims=True)
    wanted = np.take_along_axis(features @ means.T, nearest, axis=1)
    assert found.cosines == pytest.approx(wanted, abs=1e-5)


def test_one_class_is_judged_by_its_images():
    detector = fitted_detector(1, (0,), top_c=1)
    assert possible_parts(detector) == ("images",)
    alone = without_prompts(detector)
    found = computed(alone, images(), parts=("images",))
    assert set(found.labels[:, 0].tolist()) == {0}
    off = images().astype(np.float64) - alone.means[0]
    wanted = -(((off @ alone.root.astype(np.float64)) ** 2).sum(axis=1))
    assert found.values[:, 0] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("detector", "wanted"),
    [
        (fitted_detector(), ("text", "joint", "images")),
        (make_detector(3), ("text",)),
        (without_prompts(fitted_detector()), ("images",)),
        (make_detector(1, top_c=1), ()),
    ],
)
def test_possible_parts(detector, wanted):
    assert possible_parts(detector) == wanted


@pytest.mark.parametrize("name", ["background", "classes without images"])
def test_blocks_of_images_equal_one_block(monkeypatch, name):
    detector, features = DETECTORS[name], images(70)
    whole = computed(detector, features, shown=2)
    monkeypatch.setattr(parts_module, "_BLOCK", 1)  # of which 16 images are still taken at a time
    sizes: list[int] = []
    sides = SideTensors(detector, PARTS, detector.prompts)
    one_block = sides._block
    monkeypatch.setattr(
        sides, "_block", lambda rows, *others: sizes.append(len(rows)) or one_block(rows, *others)
    )
    pieces = sides(features, 2)
    assert sizes == [16, 16, 16, 16, 6]
    assert pieces.values == pytest.approx(whole.values, rel=1e-5, abs=1e-4)
    assert pieces.labels.tolist() == whole.labels.tolist()
    assert pieces.cosines == pytest.approx(whole.cosines, abs=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_no_images_and_no_parts(way):
    found = computed(fitted_detector(), images(0), shown=3, way=way)
    assert (found.values.shape, found.labels.shape, found.cosines.shape) == ((0, 3), (0, 3), (0, 3))
    assert computed(fitted_detector(), images(), parts=(), way=way).values.shape == (30, 0)


@pytest.mark.parametrize("name", DETECTORS)
def test_both_ways_give_the_same_types_and_confidence(name):
    detector = DETECTORS[name]
    found = [
        SideTensors(detector, PARTS, detector.prompts, device)(images(), 2, logit_scale=100.0)
        for device in WAYS.values()
    ]
    for one, other in zip(*found, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert found[0].labels.tolist() == found[1].labels.tolist()
    assert found[0].confidence == pytest.approx(found[1].confidence, abs=1e-3)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_calibration_image_has_the_same_p_values_by_both_ways(name):
    """Whichever of the two has calibrated, and whether an image is scored alone or among others."""
    detector, features = DETECTORS[name], images(200)
    values = {way: computed(detector, features, way=way).values for way in WAYS}
    alone = np.concatenate([computed(detector, one[None], way="NumPy").values for one in features])
    differs = False
    for own in values.values():
        judge = detector.calibrated(own)
        wanted = judge.part_p_values(own)
        for other in (*values.values(), alone):
            differs |= bool((other != own).any())
            assert np.array_equal(judge.part_p_values(other), wanted)
            scores = judge.fused_scores(other)
            assert np.array_equal(judge.p_values(scores), judge.p_values(judge.fused_scores(own)))
            assert np.array_equal(scores < judge.threshold(0.1), judge.p_values(scores) <= 0.1)
    assert differs


def test_few_is_few_images_of_few_labels(monkeypatch):
    detector = fitted_detector(background=unit_rows(5, DIM, seed=7))
    monkeypatch.setattr(parts_module, "FEW_COSINES", 90)
    assert few(10, detector) and not few(11, detector)
    monkeypatch.setattr(parts_module, "_FEW_LABELS", 8)
    assert not few(1, detector)


def test_classes_that_lie_close_together_lose_no_digits():
    """In a narrow cone, and one class far from the others: distances are differences of large numbers."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 30)
    centres = towards(np.eye(DIM)[:1], 1e-2 * rng.normal(size=(4, DIM)), 1.0)
    centres[3] = np.eye(DIM)[5]
    rows = towards(centres[label], rng.normal(size=(120, DIM)), 2e-3)
    fitted = ClassGaussians.fit(rows, label)
    detector = fitted_detector(means=fitted.means, mean_classes=fitted.classes, root=fitted.root)
    found, dense = computed(detector, rows), Dense(detector)
    wanted = np.array([dense.part_images(h) for h in rows.astype(np.float64)])
    assert np.abs(wanted).max() < 100
    assert found.values[:, 2] == pytest.approx(wanted, rel=1e-4)
