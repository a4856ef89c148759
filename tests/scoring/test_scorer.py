"""The scorer against a dense computation in double precision, and against published numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import rankdata

from deltaoe.errors import ConfigError, StoreError
from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.scoring import scorer as scorer_module
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import PARTS
from deltaoe.scoring.scorer import Scorer, score_stored, with_exact_scores
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.store_index import FileRecord, as_digests

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "clip-features"
TEMPERATURES = [0.01, 0.1, 1.0]
# Labels are summed in blocks of 8192.
AROUND_BLOCKS = [(8191, 2), (8192, 1), (8193, 2), (16_384, 1), (16_385, 10), (20_000, 1), (20_000, 2)]


def unit_rows(count: int, dim: int, seed: int, lean: float = 0.0) -> np.ndarray:
    """Random directions; ``lean`` moves all to one side, as the features of CLIP lie in a cone."""
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    rows[:, 0] += lean
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_detector(labels: np.ndarray, temperature: float, top_c: int) -> Detector:
    space = FeatureSpace("m", "w", "c", "{}", "fp32", 1, labels.shape[1])
    names = tuple(f"label {i}" for i in range(len(labels)))
    return Detector(names, labels, temperature, top_c, np.empty(0), space, 100.0)


def dense(features: np.ndarray, labels: np.ndarray, temperature: float, top_c: int) -> np.ndarray:
    """Energy after setting the c largest cosines to zero, minus energy before; the whole matrix in float64."""
    cosines = features.astype(np.float64) @ labels.astype(np.float64).T
    cropped = np.sort(cosines, axis=1)
    cropped[:, cropped.shape[1] - top_c :] = 0.0
    after, before = (-temperature * logsumexp(s / temperature, axis=1) for s in (cropped, cosines))
    return after - before


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(
    ("labels", "top_c"),
    [(1, 1), (2, 1), (2, 2), (3, 2), (10, 1), (10, 10), (100, 3), (1000, 5), *AROUND_BLOCKS],
)
def test_scores_equal_the_dense_computation(labels, top_c, temperature):
    z, h = unit_rows(labels, 32, 1, lean=3.0), unit_rows(40, 32, 2, lean=3.0)
    # Some images whose nearest labels are the first and the last of all blocks.
    h[:2], h[2:4] = z[[0, -1]], z[[min(8191, labels - 1), min(8192, labels - 1)]]
    scores, *_ = Scorer(make_detector(z, temperature, top_c))(h)
    assert scores.dtype == np.float64
    assert scores.shape == (40,)
    assert np.abs(scores - dense(h, z, temperature, top_c)).max() < 5e-7


def test_one_image_or_none():
    scorer = Scorer(make_detector(unit_rows(9, 8, 0), 0.1, 2))
    h = unit_rows(5, 8, 1)
    assert scorer(h[:1])[0] == pytest.approx(scorer(h)[0][:1], abs=1e-7)
    scores, labels, cosines, *_ = scorer(h[:0])
    assert (scores.shape, labels.shape, cosines.shape) == ((0,), (0, 3), (0, 3))


@pytest.mark.parametrize(
    ("labels", "top_c", "shown"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (9, 2, 3), (9, 5, 5)]
)
def test_the_labels_shown_are_the_nearest(labels, top_c, shown):
    z, h = unit_rows(labels, 16, 1), unit_rows(20, 16, 2)
    _, found, cosines, *_ = Scorer(make_detector(z, 0.1, top_c))(h)
    exact = h.astype(np.float64) @ z.astype(np.float64).T
    assert found.shape == cosines.shape == (20, shown)
    assert (found == np.argsort(-exact, axis=1)[:, :shown]).all()
    assert np.abs(cosines - np.take_along_axis(exact, found, axis=1)).max() < 1e-6


def test_equal_labels_do_not_change_a_score_by_which_is_taken():
    z = np.repeat(unit_rows(6, 16, 1), 3, axis=0)
    h = unit_rows(20, 16, 2)
    for top_c in (1, 2, 4):
        scores, *_ = Scorer(make_detector(z, 0.05, top_c))(h)
        assert np.abs(scores - dense(h, z, 0.05, top_c)).max() < 5e-7


def test_the_order_of_the_labels_does_not_matter():
    z, h = unit_rows(300, 16, 1), unit_rows(20, 16, 2)
    turned = np.random.default_rng(0).permutation(300)
    one, other = (Scorer(make_detector(labels, 0.02, 3))(h)[0] for labels in (z, z[turned]))
    assert np.abs(one - other).max() < 5e-7


@pytest.mark.parametrize("lean", [3.0, 30.0])
def test_calibration_images_have_their_rank_by_every_library(lean):
    # The closer the cosines are, the smaller are their differences, and the larger is their rounding beside them.
    z, h = unit_rows(12, 64, 1, lean), unit_rows(400, 64, 2, lean)
    detector = make_detector(z, 0.1, 1)
    by_torch, by_numpy = Scorer(detector)(h).scores, Scorer(detector, images=len(h))(h).scores
    assert not np.array_equal(by_torch, by_numpy)
    ranks = rankdata(by_torch, "max") + 1
    calibrated = dataclasses.replace(detector, calibration=by_torch)
    for images in (None, len(h), 1):
        scores = Scorer(calibrated, images=images)(h).scores
        p = calibrated.p_values(scores) * (len(h) + 1)
        # A rank can be shared with the next image only where that is nearer than rounding.
        shared = (np.abs(by_torch[:, None] - by_torch) <= 1.3e-7).sum(axis=1) - 1
        assert (p >= ranks - 1e-9).all() and (p <= ranks + shared + 1e-9).all()


def test_a_detector_from_disk_scores_alike(tmp_path):
    detector = make_detector(unit_rows(9, 8, 0), 0.1, 2)
    detector.save(tmp_path / "d")
    h = unit_rows(5, 8, 1)
    assert (Scorer(Detector.load(tmp_path / "d"))(h)[0] == Scorer(detector)(h)[0]).all()


# Out of a store


@pytest.fixture
def stored(tmp_path):
    h = unit_rows(23, 16, 2)
    store = FeatureStore(tmp_path, FeatureSpace("m", "w", "c", "{}", "fp32", 1, 16))
    digests = as_digests([bytes([i]) * 32 for i in range(len(h))])
    with store.writer() as writer:
        for i, (digest, row) in enumerate(zip(digests, h, strict=True)):
            writer.add(b"%d" % i, FileRecord(1, 2, digest.tobytes(), ""), row)
            if i % 9 == 8:
                writer.flush()
    return store, digests


@pytest.mark.parametrize("block", [1, 5, 22, 23, 24, 2048])
def test_blocks_of_images(stored, monkeypatch, block):
    """Whatever the order asked in: they are read as they lie on disk, and put back into it."""
    store, digests = stored
    asked = np.concatenate([np.random.default_rng(3).permutation(digests), digests[[4, 4]]])
    scorer = Scorer(make_detector(unit_rows(9, 16, 0), 0.1, 2))
    wanted = scorer(store.features(asked))
    monkeypatch.setattr(scorer_module, "IMAGE_BLOCK", block)
    events = []
    found = score_stored(scorer, store, asked, events.append)
    assert np.abs(found[0] - wanted[0]).max() < 1e-7
    assert (found[1] == wanted[1]).all()
    assert np.abs(found[2] - wanted[2]).max() < 1e-6
    assert [event.done for event in events] == [*range(block, 25, block), 25]


def test_no_images_and_a_missing_one(stored):
    store, digests = stored
    scorer = Scorer(make_detector(unit_rows(9, 16, 0), 0.1, 2))
    scores, labels, cosines, *_ = score_stored(scorer, store, as_digests([]))
    assert (scores.shape, labels.shape, cosines.shape) == ((0,), (0, 3), (0, 3))
    with pytest.raises(StoreError, match="no feature"):
        score_stored(scorer, store, as_digests([digests[0].tobytes(), bytes([200]) * 32]))


def test_some_are_with_exact_scores(stored):
    store, digests = stored
    known = make_detector(unit_rows(400, 16, 0), 0.05, 2)
    near, exact = Scorer(known, neighbours=4), Scorer(known)
    found, wanted = (score_stored(scorer, store, digests) for scorer in (near, exact))
    rows = np.array([0, 7, 22, 11])
    made = with_exact_scores(found, rows, near, store, digests)
    rest = np.setdiff1d(np.arange(len(digests)), rows)
    assert np.abs(made.scores[rows] - wanted.scores[rows]).max() < 1e-7
    assert (made.bounds[rows, 0] < wanted.scores[rows]).all() and (
        wanted.scores[rows] < made.bounds[rows, 1]
    ).all()
    assert np.diff(made.bounds[rows]).max() < 1e-5
    assert (made.scores[rest] == found.scores[rest]).all() and (made.bounds[rest] == found.bounds[rest]).all()
    assert (found.bounds[rows, 0] < found.bounds[rows, 1]).all()  # the first is not overwritten
    assert (made.labels == found.labels).all()


def test_an_accelerator_without_double_precision_leaves_scoring_to_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    known, h = make_detector(unit_rows(9, 16, 0), 0.1, 2), unit_rows(5, 16, 2)
    assert (Scorer(known, device="mps")(h).scores == Scorer(known)(h).scores).all()


# Background, centre, and bounds


def with_background(labels: int, background: int, temperature: float, top_c: int, dim: int = 24) -> Detector:
    z, b = unit_rows(labels, dim, 1, lean=3.0), unit_rows(background, dim, 5, lean=3.0)
    names = tuple(f"other {i}" for i in range(background))
    centre = np.concatenate([z, b]).mean(axis=0)
    return dataclasses.replace(
        make_detector(z, temperature, top_c), background=b, background_names=names, centre=centre
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("labels", "background", "top_c"), [(1, 1, 1), (10, 300, 2), (300, 9000, 3)])
def test_energies_run_over_the_background_and_crop_classes_only(labels, background, top_c, temperature):
    detector = with_background(labels, background, temperature, top_c)
    h = unit_rows(30, 24, 2, lean=3.0)
    own, beside = (h.astype(np.float64) @ rows.astype(np.float64).T for rows in detector.prompts)
    cropped = np.sort(own, axis=1)
    cropped[:, labels - top_c :] = 0
    after, before = (-temperature * logsumexp(np.c_[s, beside] / temperature, axis=1) for s in (cropped, own))
    found = Scorer(detector)(h)
    assert np.abs(found.scores - (after - before)).max() < 5e-7
    assert (found.labels[:, 0] == own.argmax(axis=1)).all()
    assert found.bounds is None


@pytest.mark.parametrize("temperature", [0.005, *TEMPERATURES])
@pytest.mark.parametrize("neighbours", [3, 20, 64, 100_000])
@pytest.mark.parametrize(("labels", "background"), [(500, 0), (40, 900), (3000, 100), (5, 0)])
def test_the_truth_lies_within_the_bounds(labels, background, neighbours, temperature):
    detector = with_background(labels, background, temperature, 2)
    h = unit_rows(50, 24, 2, lean=3.0)
    h[:10] = detector.prompts[0][np.arange(10) % labels]
    truth = Scorer(detector)(h)
    found = Scorer(detector, neighbours=neighbours)(h)
    assert found.bounds is not None
    low, high = found.bounds.T
    assert (low <= truth.scores).all()
    assert (truth.scores <= high).all()
    assert (found.labels == truth.labels).all()
    assert (np.abs(found.scores - (low + high) / 2) < 1e-12).all()
    if neighbours >= max(labels, background):
        assert (high - low).max() < 1e-5


def test_more_neighbours_bound_closer():
    detector = with_background(2000, 0, 0.05, 1)
    h = unit_rows(50, 24, 2, lean=3.0)
    widths = [float(np.mean(np.diff(Scorer(detector, neighbours=m)(h).bounds))) for m in (3, 30, 300, 2000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 10 * widths[-1]


def test_bounds_are_a_share_of_scores_however_small():
    """Over many labels ΔEnergy is far smaller than the rounding of a cosine."""
    labels = np.repeat(unit_rows(3000, 24, 1, lean=3.0), 40, axis=0)
    detector = make_detector(labels, 0.1, 1)
    h = unit_rows(30, 24, 2, lean=3.0)
    found, truth = Scorer(detector, neighbours=64)(h), dense(h, labels, 0.1, 1)
    assert truth.max() < 1e-4
    low, high = found.bounds.T
    assert (low <= truth).all() and (truth <= high).all()
    assert ((high - low) / truth).max() < 0.3


def test_images_whose_nearest_labels_stay_open_are_scored_exactly():
    labels = np.concatenate([np.repeat(unit_rows(1, 24, 0), 4000, axis=0), unit_rows(50, 24, 1)])
    detector = make_detector(labels, 0.1, 1)
    h = np.concatenate([labels[:1], labels[-3:]])
    found = Scorer(detector, neighbours=16)(h)
    exact = Scorer(detector)(h)
    assert found.scores[0] == pytest.approx(exact.scores[0], rel=1e-5)
    assert np.diff(found.bounds[0]) == pytest.approx(4e-6)  # those of an exact score
    assert ((found.bounds[:, 0] <= exact.scores) & (exact.scores <= found.bounds[:, 1])).all()
    assert (found.labels[1:, 0] == [4047, 4048, 4049]).all()


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_an_approximate_index_is_measured_and_certifies_nothing(index):
    detector = with_background(3000, 0, 0.05, 1)
    h = unit_rows(300, 24, 2, lean=3.0)
    scorer = Scorer(detector, index=index)
    assert scorer.recall is None
    found, truth = scorer(h), Scorer(detector)(h)
    assert found.bounds is None
    same = (found.labels[:256, :, None] == truth.labels[:256, None, :]).any(axis=1).mean()
    assert scorer.recall == pytest.approx(same)
    assert 0.3 < scorer.recall <= 1


def test_neighbours_must_hold_the_top_c():
    with pytest.raises(ConfigError, match="fewer than top-c"):
        Scorer(with_background(10, 0, 0.05, 3), neighbours=2)


def test_bounds_out_of_a_store(stored, monkeypatch):
    store, digests = stored
    detector = make_detector(unit_rows(90, 16, 0), 0.1, 2)
    monkeypatch.setattr(scorer_module, "IMAGE_BLOCK", 5)
    found = score_stored(Scorer(detector, neighbours=4), store, digests)
    truth = score_stored(Scorer(detector), store, digests)
    assert truth.bounds is None
    assert ((found.bounds[:, 0] <= truth.scores) & (truth.scores <= found.bounds[:, 1])).all()


# Image evidence


def with_images(labels: np.ndarray) -> Detector:
    fitted = ClassGaussians.fit(unit_rows(30, labels.shape[1], 6), np.arange(30) % len(labels))
    sides = {"means": fitted.means, "mean_classes": fitted.classes, "root": fitted.root, "image_weight": 0.02}
    fusion = {"parts": PARTS, "part_weights": np.array([0.25, 0.25, 0.5])}
    bare = dataclasses.replace(make_detector(labels, 0.1, 2), **sides, **fusion)
    return bare.calibrated(bare.part_values(unit_rows(40, labels.shape[1], 7)).values)


@pytest.mark.parametrize("block", [5, 2048])
def test_parts_out_of_a_store(stored, monkeypatch, block):
    store, digests = stored
    detector = with_images(unit_rows(9, 16, 0))
    wanted = detector.part_values(store.features(digests), shown=3)
    monkeypatch.setattr(scorer_module, "IMAGE_BLOCK", block)
    found = score_stored(Scorer(detector), store, digests)
    assert found.parts == pytest.approx(wanted.values, rel=1e-5, abs=1e-5)
    assert (found.labels == wanted.labels).all() and found.bounds is None
    # A rank may change where single precision parts two images otherwise.
    assert found.scores == pytest.approx(detector.fused_scores(found.parts))
    assert score_stored(Scorer(detector), store, digests[:0]).parts.shape == (0, 3)


def test_image_evidence_takes_all_classes():
    detector = with_images(unit_rows(9, 16, 0))
    for options in ({"neighbours": 4}, {"index": "hnsw"}):
        with pytest.raises(ConfigError, match="compares with every class") as caught:
            Scorer(detector, **options)
        assert "--evidence text" in caught.value.hint


def test_energy_prompts_score_and_class_prompts_classify():
    text, energy, h = unit_rows(400, 16, 0), unit_rows(400, 16, 3), unit_rows(30, 16, 2)
    detector = dataclasses.replace(make_detector(text, 0.1, 2), energy_features=energy)
    for scorer in (Scorer(detector), Scorer(detector, neighbours=400)):
        found = scorer(h)
        assert np.abs(found.scores - dense(h, energy, 0.1, 2)).max() < 1e-5
        assert (found.labels[:, 0] == (h.astype(np.float64) @ text.T).argmax(axis=1)).all()
        assert found.parts is None
    near = Scorer(detector, neighbours=5)(h)
    assert ((near.bounds[:, 0] <= found.scores) & (found.scores <= near.bounds[:, 1])).all()


# Published numbers

needs_data = pytest.mark.skipif(
    not (DATA / "reference.json").is_file(), reason=f"no reference data in {DATA}"
)
OOD = {"caltech48-near": "caltech48-near-ood", "dtd": "dtd-ood", "flowers": "flowers-ood"}


def rows_of_delta_energy() -> list[dict]:
    if not (DATA / "reference.json").is_file():
        return []
    rows = json.loads((DATA / "reference.json").read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["score"] == "delta_energy" and row["background_fraction"] is None]


def normalised(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Mann and Whitney's U over ranks."""
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    return (ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside))


@pytest.fixture(scope="module")
def published():
    inside = np.load(DATA / "caltech52-id.npz")
    sets = {name: normalised(np.load(DATA / f"{file}.npz")["features"]) for name, file in OOD.items()}
    return normalised(inside["text_features"]), normalised(inside["features"]), sets


@needs_data
def test_there_are_published_rows():
    assert len(rows_of_delta_energy()) >= 10


@needs_data
@pytest.mark.parametrize(
    "row", rows_of_delta_energy(), ids=lambda row: f"τ={row['temperature']},c={row['top_c']}"
)
def test_auroc_on_real_features_equals_the_published_one(published, row):
    texts, inside, sets = published
    scorer = Scorer(make_detector(texts, float(row["temperature"]), row["top_c"]))
    known = scorer(inside)[0]
    for name, features in sets.items():
        assert auroc(known, scorer(features)[0]) == pytest.approx(row[name]["auroc"], abs=1e-4), name
