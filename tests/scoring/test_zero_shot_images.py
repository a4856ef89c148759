"""Image evidence without tuning: half of each class is fitted on, the rest calibrates, and neither sees the other."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from samples import digests, make_space
from worlds import DIM, World

from deltaoe.errors import DataError
from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.progress import silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.scorer import Scorer, score_stored
from deltaoe.scoring.zero_shot_images import class_rows, fitting_rows, image_detector, with_images_of
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace

NAMES = tuple(f"class {i}" for i in range(6))


def data_set(classes, domains=None, numbers=None) -> DataSet:
    """Images of these classes; equal ``numbers`` are images of equal content."""
    classes = np.asarray(classes, dtype=np.int64)
    n = len(classes)
    return DataSet(
        root="",
        space_id=make_space(DIM).id,
        model="m",
        layout="class",
        class_names=NAMES,
        domain_names=("d", "e"),
        paths=[f"{i}.png" for i in range(n)],
        digests=digests(range(n) if numbers is None else numbers),
        class_of=classes,
        domain_of=np.full(n, -1) if domains is None else np.asarray(domains, dtype=np.int64),
        name="mine",
    )


def stored(folder, data: DataSet, features: np.ndarray) -> FeatureStore:
    store = FeatureStore(folder, make_space(DIM))
    with store.writer() as writer:
        for i, (digest, row) in enumerate(zip(data.digests, features, strict=True)):
            writer.add(b"%d" % i, FileRecord(1, 2, digest.tobytes(), ""), row)
    return store


# Which images are fitted on


def test_half_of_each_class_rounded_down():
    data = data_set(np.repeat(np.arange(6), [10, 11, 1, 2, 0, 40]))
    rows = fitting_rows(data, "auto")
    assert np.bincount(data.class_of[rows], minlength=6).tolist() == [5, 5, 0, 1, 0, 20]
    assert len(set(rows.tolist())) == len(rows)


def test_the_order_of_the_images_does_not_matter():
    order, classes = np.random.default_rng(0).permutation(60), np.repeat(np.arange(6), 10)
    one, other = data_set(classes), data_set(classes[order], numbers=order)
    chosen = [{data.digests[row].tobytes() for row in fitting_rows(data, "both")} for data in (one, other)]
    assert chosen[0] == chosen[1]


def test_copies_count_once_and_what_has_two_classes_or_none_not_at_all():
    classes = [*np.repeat(np.arange(6), 10), 0, 1, 2, -1, -1]
    numbers = [
        *range(60),
        0,
        0,
        20,
        30,
        99,
    ]  # image 0 has classes 0 and 1; 20 is there twice; 30 without a class, too
    data = data_set(classes, numbers=numbers)
    rows, others = fitting_rows(data, "auto"), np.setdiff1d(data.distinct_rows(), fitting_rows(data, "auto"))
    fitted, calibration = ({data.digests[row].tobytes() for row in some} for some in (rows, others))
    assert len(fitted) == len(rows) == 4 + 5 * 5 and len(calibration) == len(others) == 5 + 5 * 5
    assert not fitted & calibration
    assert digests([0]).tobytes() not in fitted | calibration
    assert (data.class_of[rows] >= 0).all()


@pytest.mark.parametrize(("images", "enough"), [(36, False), (37, True), (38, True)])
def test_nineteen_images_must_remain_to_calibrate(images, enough):
    data = data_set(np.zeros(images, dtype=int))
    rows = fitting_rows(data, "auto")
    assert (rows is not None) == enough
    for evidence in ("both", "images"):
        if enough:
            assert fitting_rows(data, evidence).tolist() == rows.tolist()
            continue
        with pytest.raises(DataError, match=f"data:mine has {images} distinct images, too few") as caught:
            fitting_rows(data, evidence)
        assert "19 or more" in caught.value.hint


def test_text_alone_and_single_images_fit_nothing():
    assert fitting_rows(data_set(np.zeros(100, dtype=int)), "text") is None
    single = data_set(np.repeat(np.arange(6), [1, 1, 1, 0, 0, 0]))
    assert fitting_rows(single, "auto") is None
    with pytest.raises(DataError, match="has 3 distinct images"):
        fitting_rows(single, "images")


def test_classes_are_those_of_the_detector():
    detector = World.of().detector(class_names=NAMES[::-1])
    assert class_rows(detector, data_set([0, 5, -1, 2])).tolist() == [5, 0, -1, 3]


# What is made of them


@pytest.fixture
def world() -> World:
    return World.of()


def made(folder, world: World, features, data: DataSet, evidence="auto", detector=None) -> Detector:
    space = make_space(DIM)
    stored(folder / "features" / space.id, data, features)
    start = world.detector(space=space) if detector is None else detector
    return with_images_of(start, data, Workspace(folder), fitting_rows(data, evidence), evidence, silent)


def test_one_half_is_fitted_and_the_other_calibrates(tmp_path, world):
    features, classes = world.images(10, seed=1)
    data = data_set(classes)
    found = made(tmp_path, world, features, data)
    rows = fitting_rows(data, "auto")
    store = stored(tmp_path / "again", data, features)
    fitted = ClassGaussians.fit(store.features(data.digests[rows]), classes[rows])
    assert np.array_equal(found.means, fitted.means) and np.array_equal(found.root, fitted.root)
    others = np.setdiff1d(np.arange(60), rows)
    scored = score_stored(Scorer(found), store, data.digests[others])
    assert len(found.calibration) == 30
    assert np.sort(scored.parts, axis=0) == pytest.approx(np.sort(found.part_calibration, axis=0), abs=1e-4)
    assert sorted(scored.labels[:, 0].tolist()) == sorted(found.calibration_classes.tolist())


def test_nothing_that_is_fitted_depends_on_the_images_that_calibrate(tmp_path, world):
    features, classes = world.images(10, seed=1)
    data = data_set(classes)
    others = np.setdiff1d(np.arange(60), fitting_rows(data, "auto"))
    changed = features.copy()
    changed[others] = world.images(10, seed=2)[0][others]
    one, other = (made(tmp_path / str(i), world, rows, data) for i, rows in enumerate((features, changed)))
    assert one.part_calibration.tolist() != other.part_calibration.tolist()
    bare = [
        dataclasses.replace(
            found,
            calibration=np.empty(0),
            part_calibration=np.zeros((0, 0)),
            calibration_classes=np.zeros(0, dtype=np.int64),
        ).to_bytes()
        for found in (one, other)
    ]
    assert bare[0] == bare[1]


def test_images_alone_need_no_prompts(tmp_path, world):
    features, classes = world.images(10, seed=1)
    start = image_detector(NAMES, make_space(DIM))
    found = made(tmp_path, world, features, data_set(classes), "images", start)
    assert found.parts == ("images",) and len(found.calibration) == 30
    assert found.calibration.tolist() == found.part_calibration[:, 0].tolist()
    new, truth = world.images(20, seed=3)
    assert (found.predict(new) == truth).mean() > 0.95
    found.save(tmp_path / "d")
    assert Detector.load(tmp_path / "d").score(new).tolist() == found.score(new).tolist()


def test_only_the_latest_are_kept(tmp_path, world):
    """Each change of the images makes a new file; the old ones go, and what is deleted is made again."""
    features, classes = world.images(10, seed=1)
    data = data_set(classes)
    first = made(tmp_path, world, features, data)
    (path,) = tmp_path.rglob("zero-shot/*.safetensors")
    content = path.read_bytes()
    for number in range(40):
        (path.parent / f"{number:032}.safetensors").write_bytes(content)
        os.utime(path.parent / f"{number:032}.safetensors", (number + 1, number + 1))
    path.unlink()
    assert made(tmp_path, world, features, data).digest == first.digest
    left = sorted(file.name for file in path.parent.iterdir())
    assert len(left) == 16 and path.name in left
    assert f"{39:032}.safetensors" in left
