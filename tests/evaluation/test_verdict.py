"""The verdict in evaluations: recomputed with NumPy, and which detectors have one."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from deltaoe.errors import ConfigError, DataError
from deltaoe.evaluation.evaluate import evaluate, prepare
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.interchange.import_export import import_features
from deltaoe.interchange.options import ImportOptions
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import BackgroundOptions, PromptOptions
from deltaoe.scoring.sides import without_prompts
from deltaoe.store.workspace import Workspace
from deltaoe.theory.measure import measure_theory

NAMES = ("cat", "dog", "owl")
TAU, WEIGHT, JOINT_WEIGHT, SHARES = 0.1, 0.5, 0.02, (0.2, 0.3, 0.5)
BOTH = "zero-shot + images"


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def arrays():
    """Images lie around means of their own, beside the class prompts; energy prompts are others again."""
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(3, 16))
    labels = np.arange(240) % 3

    def images(of: np.ndarray) -> np.ndarray:
        return unit(centres[of] + 0.6 * rng.normal(size=(len(of), 16)))

    return {
        "text": unit(centres + 0.9 * rng.normal(size=(3, 16))),
        "energy": unit(centres + 0.7 * rng.normal(size=(3, 16))),
        "background": unit(rng.normal(size=(5, 16))),
        "labels": labels,
        "id": images(labels),
        "shots": images(labels[:30]),
        "held": images(labels[:60]),
        "far": unit(rng.normal(size=(70, 16)) + 0.4 * centres.mean(axis=0)),
    }


@pytest.fixture(scope="module")
def place(arrays, tmp_path_factory):
    root = tmp_path_factory.mktemp("imported")
    workspace = Workspace(root / ".deltaoe")
    for name in ("id", "far"):
        held = {"features": arrays[name]}
        if name == "id":
            held |= {"labels": arrays["labels"], "class_names": list(NAMES), "text_features": arrays["text"]}
        np.savez(root / f"{name}.npz", **held)
        how = ImportOptions(name=name, model="made-up", dtype="float32")
        import_features(root / f"{name}.npz", workspace, how)
    return workspace


OPTIONS = EvaluateOptions(
    "data:id", {"far": "data:far"}, draws=0, prompts=PromptOptions(background=BackgroundOptions("none"))
)


@pytest.fixture(scope="module")
def detector(place, arrays):
    """A calibrated detector of both sides, with energy prompts and background labels."""
    fitted = ClassGaussians.fit(arrays["shots"], arrays["labels"][:30])
    plain = Detector(
        class_names=NAMES,
        text_features=arrays["text"],
        temperature=TAU,
        top_c=1,
        calibration=np.empty(0),
        space=place.features_of(place.dataset("data:id")).space,
        logit_scale=50.0,
        energy_features=arrays["energy"],
        background=arrays["background"],
        background_names=tuple("abcde"),
        means=fitted.means,
        mean_classes=fitted.classes,
        root=fitted.root,
        image_weight=WEIGHT,
        parts=("text", "joint", "images"),
        part_weights=np.array(SHARES),
    )
    return plain.calibrated(plain.part_values(arrays["held"]).values)


class Reference:
    """Logits and parts by their formulas, in float64, from the shots."""

    def __init__(self, arrays):
        self.arrays = {name: rows.astype(np.float64) for name, rows in arrays.items() if name != "labels"}
        shots, of = self.arrays["shots"], arrays["labels"][:30]
        self.means = np.stack([shots[of == k].mean(axis=0) for k in range(3)])
        self.inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(shots - self.means[of]).covariance_)

    def distances(self, rows: np.ndarray, means: np.ndarray) -> np.ndarray:
        apart = rows[:, None] - means[None]
        return np.einsum("nkd,de,nke->nk", apart, self.inverse, apart)

    def discriminants(self, rows: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Half of how much closer a mean is than the mean of all means."""
        middle = self.distances(rows, self.means.mean(axis=0, keepdims=True))
        return (middle - self.distances(rows, means)) / 2

    def logits(self, rows: np.ndarray) -> np.ndarray:
        return rows @ self.arrays["text"].T + WEIGHT / 100 * self.discriminants(rows, self.means)

    def parts(self, rows: np.ndarray) -> np.ndarray:
        energy, others = self.arrays["energy"], self.arrays["background"]
        cosines, beside = rows @ energy.T, rows @ others.T
        top = cosines.argmax(axis=1)
        cropped = cosines.copy()
        cropped[np.arange(len(rows)), top] = 0
        energies = [logsumexp(np.hstack([each, beside]) / TAU, axis=1) for each in (cosines, cropped)]
        x = (energy - energy.mean(axis=0)).ravel()[:, None]
        (slope,) = np.linalg.lstsq(x, (self.means - self.means.mean(axis=0)).ravel(), rcond=None)[0]
        placed = self.means.mean(axis=0) + slope * (others - energy.mean(axis=0))
        logits = np.hstack([cosines, beside]) + JOINT_WEIGHT / 100 * self.discriminants(
            rows, np.vstack([self.means, placed])
        )
        joint = np.log(softmax(logits / TAU, axis=1)[:, :3].max(axis=1))
        nearest = self.distances(rows, self.means).min(axis=1)
        return np.stack([TAU * (energies[0] - energies[1]), joint, -nearest], axis=1)

    def verdict(self, rows: np.ndarray) -> np.ndarray:
        values, held = self.parts(rows), self.parts(self.arrays["held"])
        fused = np.zeros(len(rows))
        for part, share in enumerate(SHARES):
            below = (held[None, :, part] <= values[:, None, part]).sum(axis=1)
            gap = np.maximum(held[:, part].min() - values[:, part], 0)
            fused += share * (np.log((1 + below) / (len(held) + 1)) - gap / (1 + gap))
        return fused


def value(found, **wanted) -> float:
    (row,) = found.find(**wanted)
    return row.value


def area(known: np.ndarray, unknown: np.ndarray) -> float:
    return float(
        roc_auc_score(np.r_[np.ones(len(known)), np.zeros(len(unknown))], np.concatenate([known, unknown]))
    )


def test_verdict_class_and_confidence_are_numpys(place, arrays, detector, tmp_path):
    path = tmp_path / "both.safetensors"
    detector.save(path)
    scores = ("mcm", "verdict", "delta_energy")
    found = evaluate(place, dataclasses.replace(OPTIONS, detectors=(str(path),), scores=scores))
    assert list(found.scores) == ["verdict", "delta_energy", "mcm"] and found.notes == []
    reference = Reference(arrays)
    known, far = (arrays[name].astype(np.float64) for name in ("id", "far"))
    parts = [reference.parts(rows)[:, 0] for rows in (known, far)]
    areas = {
        "verdict": area(reference.verdict(known), reference.verdict(far)),
        "delta_energy": area(*parts),
        # With the energy prompts, not those of the classes.
        "mcm": area(*(softmax(rows @ arrays["energy"].T, axis=1).max(axis=1) for rows in (known, far))),
    }
    assert len({round(one, 3) for one in areas.values()}) == 3
    for score, expected in areas.items():
        assert value(found, metric="auroc", score=score) == pytest.approx(expected, abs=3e-4)
    assert value(found, metric="false_alarms", score="verdict") == pytest.approx(0.05, abs=0.03)

    logits = reference.logits(known)
    right = logits.argmax(axis=1) == arrays["labels"]
    assert value(found, metric="accuracy") == right.mean()
    assert right.mean() == np.mean(detector.predict(arrays["id"]) == arrays["labels"])
    assert right.mean() != np.mean((known @ arrays["text"].T).argmax(axis=1) == arrays["labels"])
    confidence = softmax(50 * logits, axis=1).max(axis=1)
    bins = [(low < confidence) & (confidence <= low + 1 / 15 + 1e-12) for low in np.arange(15) / 15]
    gaps = [abs(right[rows].mean() - confidence[rows].mean()) * rows.mean() for rows in bins if rows.any()]
    # In single precision, an image on the edge of a bin may fall on its other side.
    assert value(found, metric="ece") == pytest.approx(sum(gaps), abs=1 / len(known))


def test_images_alone(place, arrays, detector, tmp_path):
    path = tmp_path / "images.safetensors"
    alone = dataclasses.replace(
        without_prompts(detector),
        parts=("images",),
        part_weights=np.ones(1),
        part_calibration=np.zeros((0, 1)),
    )
    alone = alone.calibrated(alone.part_values(arrays["held"]).values)
    alone.save(path)
    options = dataclasses.replace(OPTIONS, detectors=(str(path),))
    found = evaluate(place, options)
    assert list(found.scores) == ["verdict", "knn", "mahalanobis", "relative_mahalanobis"]
    (note,) = (note for note in found.notes if "prompts" in note)
    assert note.startswith("ΔEnergy, ") and note.endswith("fDBD: left out for a detector without prompts")
    assert "MCM" in note and "KNN" not in note
    assert measure_theory(place, options).findings == []

    found = evaluate(place, dataclasses.replace(options, scores=("verdict",)))
    reference = Reference(arrays)
    nearest = (
        -reference.distances(arrays[name].astype(np.float64), reference.means).min(axis=1)
        for name in ("id", "far")
    )
    assert value(found, metric="auroc", score="verdict") == pytest.approx(area(*nearest), abs=1e-4)
    posterior = softmax(-reference.distances(arrays["id"].astype(np.float64), reference.means) / 2, axis=1)
    assert value(found, metric="accuracy") == np.mean(posterior.argmax(axis=1) == arrays["labels"])
    # The confidence is the posterior, whatever the scale of cosines.
    right, confidence = posterior.argmax(axis=1) == arrays["labels"], posterior.max(axis=1)
    bins = [(low < confidence) & (confidence <= low + 1 / 15 + 1e-12) for low in np.arange(15) / 15]
    gaps = [abs(right[rows].mean() - confidence[rows].mean()) * rows.mean() for rows in bins if rows.any()]
    assert value(found, metric="ece") == pytest.approx(sum(gaps), abs=1e-4)


def test_centred_detectors_of_the_past_classify_as_they_did(place, arrays, tmp_path):
    space = place.features_of(place.dataset("data:id")).space
    centre = 4 * arrays["text"][0] / 5
    past = Detector(NAMES, arrays["text"], TAU, 1, np.empty(0), space, 0.0, centre=centre)
    past.save(tmp_path / "past.safetensors")
    options = dataclasses.replace(
        OPTIONS, detectors=(str(tmp_path / "past.safetensors"),), scores=("verdict", "mcm")
    )
    found = evaluate(place, options)
    right = past.predict(arrays["id"]) == arrays["labels"]
    assert value(found, metric="accuracy") == right.mean()
    plain = (arrays["id"] @ arrays["text"].T).argmax(axis=1) == arrays["labels"]
    assert right.mean() != plain.mean()
    assert found.notes == [
        "Verdict: left out for a detector without image evidence, which decides by ΔEnergy"
    ]
    assert list(found.scores) == ["mcm"]


# Zero-shot prompts with the images of the gallery


def test_half_of_the_gallery_is_fitted_and_the_other_half_calibrates(place, arrays):
    options = dataclasses.replace(OPTIONS, scores=("verdict", "mcm"), gallery_shots=14)
    data = prepare(place, options)
    assert list(data.detectors) == ["zero-shot", BOTH]
    assert any(note.startswith(f"{BOTH} compare with 42 images") for note in data.notes)
    found, drawn = data.detectors[BOTH], data.gallery
    assert found.fused and len(found.calibration) == 21
    features, of = arrays["id"][drawn.rows].astype(np.float64), arrays["labels"][drawn.rows]
    # The one half of each class with this mean is found by trying all of them.
    fitted = np.zeros(len(of), dtype=bool)
    for k, mean in enumerate(found.means):
        rows = np.flatnonzero(of == k)
        halves = np.array(list(itertools.combinations(rows, 7)))
        off = np.abs(features[halves].mean(axis=1) - mean).max(axis=1)
        assert off.min() < 1e-6 < np.sort(off)[1]
        fitted[halves[off.argmin()]] = True
    inverse = found.root.astype(np.float64) @ found.root.T
    apart = features[~fitted][:, None] - found.means[None].astype(np.float64)
    distances = np.einsum("nkd,de,nke->nk", apart, inverse, apart).min(axis=1)
    images = found.part_calibration[:, found.parts.index("images")]
    assert np.sort(-images) == pytest.approx(np.sort(distances), rel=1e-3)

    measured = evaluate(place, options)
    (note,) = set(measured.notes) - set(data.notes)
    assert note.startswith("Verdict: left out for a detector without image evidence")
    for name in measured.detectors:
        (row,) = measured.find(detector=name, metric="accuracy", known="id")
        assert row.n_known == 240 - 42
    judged = np.setdiff1d(np.arange(240), drawn.rows)
    right = found.predict(arrays["id"][judged]) == arrays["labels"][judged]
    assert value(measured, detector=BOTH, metric="accuracy") == right.mean()
    expected = area(found.score(arrays["id"][judged]), found.score(arrays["far"]))
    assert value(measured, score="verdict", metric="auroc") == pytest.approx(expected, abs=1e-9)
    assert measured.names("detector", score="verdict") == [BOTH]
    # Energies are those of the prompts, with and without images.
    assert "zero-shot + images" not in {one.detector for one in measure_theory(place, options).findings}


def test_no_image_evidence_without_use_or_images(place):
    found = evaluate(place, dataclasses.replace(OPTIONS, scores=("mcm", "knn")))
    assert list(found.detectors) == ["zero-shot"]
    found = evaluate(place, dataclasses.replace(OPTIONS, gallery_shots=4))
    assert list(found.detectors) == ["zero-shot"]
    assert f"{BOTH}: left out, there are too few images to compare with" in found.notes
    with pytest.raises(ConfigError) as caught:
        evaluate(place, dataclasses.replace(OPTIONS, scores=("verdicts",)))
    assert "verdict, delta_energy" in caught.value.hint


def test_features_without_prompts(place, arrays, tmp_path):
    """Of any encoder: no names are encoded, and images alone are evaluated."""
    np.savez(tmp_path / "a.npz", features=arrays["id"], labels=arrays["labels"], class_names=list(NAMES))
    how = ImportOptions(name="wordless", model="made-up", dtype="float32")
    import_features(tmp_path / "a.npz", place, how)
    options = dataclasses.replace(OPTIONS, known="data:wordless", scores=(), gallery_shots=14)
    data = prepare(place, options)
    found = evaluate(place, options)
    assert list(found.detectors) == ["images"] and not len(data.detectors["images"].text_features)
    assert list(found.scores) == ["verdict", "knn", "mahalanobis", "relative_mahalanobis"]
    assert value(found, metric="accuracy") > 0.9
    assert value(found, score="verdict", metric="auroc") > 0.9
    with pytest.raises(DataError, match="imported without text features") as caught:
        evaluate(place, dataclasses.replace(options, gallery_shots=4))
    assert caught.value.hint
