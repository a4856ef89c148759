"""An exported detector says what ``score --stream`` says: of all kinds of files, and with every kind of detector."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from corpus import corpus
from exported import with_detector
from PIL import Image
from samples import make_detector, unit_rows

import deltaoe
import deltaoe.lite
from deltaoe.errors import ConfigError, DataError
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import PARTS
from deltaoe.scoring.scorer import Scorer
from deltaoe.scoring.sides import with_evidence
from deltaoe.scoring.stream import ScoreStream
from deltaoe.store.workspace import Workspace

DIM = 192  # of the demo's model


@pytest.fixture(scope="module")
def detector(export) -> deltaoe.lite.LiteDetector:
    return deltaoe.lite.load(export)


@pytest.fixture(scope="module")
def files(project) -> list[str]:
    new = sorted(str(path) for path in (project / "new").rglob("*.png"))
    known = sorted(str(path) for path in (project / "images").rglob("*.png"))
    return [*new, *known[::7]]


@pytest.fixture(scope="module")
def streamed(project, score_options, files, tmp_path_factory) -> tuple[list[str], list[dict]]:
    """Paths of pictures and of the corpus of good and broken files, and what the command says of them."""
    cases = [case for case in corpus(tmp_path_factory.mktemp("corpus")) if case.skip is None]
    paths = [*files, *(str(case.path) for case in cases)]
    with ScoreStream(Workspace(project / ".deltaoe"), score_options) as stream:
        return paths, stream.score_many(paths)


def assert_alike(mine: dict, theirs: dict) -> None:
    """The same record, but for what the sixth digit of a feature changes."""
    assert list(mine) == list(theirs)
    for name, value in theirs.items():
        if name in {"score", "margin", "looks_like_cosine"} and value is not None:
            assert mine[name] == pytest.approx(value, abs=2e-2 if name != "looks_like_cosine" else 1e-4)
        elif name.startswith("p_") and value is not None:
            assert mine[name] == pytest.approx(
                value, abs=0.03
            )  # one or two ranks of the 48 calibration images
        elif name == "top":
            for one, other in zip(mine[name], value, strict=True):
                assert one["class"] == other["class"]
                assert one["cosine"] == pytest.approx(other["cosine"], abs=1e-4)
        else:
            assert mine[name] == value, name


def test_every_kind_of_file_gets_the_same_answer(detector, streamed):
    paths, wanted = streamed
    found = [verdict.to_dict() for verdict in detector.score_many(paths)]
    assert {record["verdict"] for record in wanted} == {"known", "unknown", "failed"}
    assert len({record["error"] for record in wanted}) > 10
    for mine, theirs in zip(found, wanted, strict=True):
        assert_alike(mine, theirs)
    same = [mine["p_value"] == theirs["p_value"] for mine, theirs in zip(found, wanted, strict=True)]
    assert np.mean(same) > 0.9


def test_bytes_and_pictures_are_answered_as_their_files_are(detector, files):
    for path, wanted in zip(files, detector.score_many(files), strict=True):
        content = Path(path).read_bytes()
        for image in (
            content,
            bytearray(content),
            Path(path),
            Image.open(path),
            Image.open(io.BytesIO(content)),
        ):
            found = detector.score(image)
            assert found.path == (path if isinstance(image, Path) else None)
            assert dataclasses.replace(found, path=path) == wanted


def test_a_picture_is_turned_and_laid_on_white_as_its_file_is(detector):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 64, 4), dtype=np.uint8), "RGBA")
    turned = Image.Exif()
    turned[274] = 6
    for kind, image, options in (
        ("PNG", picture, {}),
        ("PNG", picture.convert("P"), {}),
        ("JPEG", picture.convert("RGB"), {"exif": turned.tobytes(), "quality": 95}),
        ("JPEG", picture.convert("CMYK"), {"quality": 95}),
        ("TIFF", Image.fromarray(rng.integers(0, 65536, (40, 64), dtype=np.uint16)), {}),
    ):
        out = io.BytesIO()
        image.save(out, kind, **options)
        of_bytes = detector.score(out.getvalue())
        assert of_bytes.verdict != "failed"
        assert detector.score(Image.open(io.BytesIO(out.getvalue()))) == of_bytes, kind


def test_a_broken_picture_is_a_verdict_and_another_type_an_error(detector, files):
    cut = Path(files[0]).read_bytes()[:60]
    assert detector.score(cut).verdict == "failed"
    assert detector.score(b"").error == "empty file"
    assert detector.score(Image.open(io.BytesIO(cut))).error == detector.score(cut).error
    with pytest.raises(ConfigError, match="type int"):
        detector.score(3)
    assert detector.score_many([]) == []


def test_filters_of_warnings_change_no_verdict(detector):
    """Where warnings are errors, one about a large picture would be taken for damage."""
    chunks = (
        struct.pack(">4sIIBBBBB", b"IHDR", 17850, 10000, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(bytes(99)),
    )
    large = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )
    wanted = detector.score(large).error
    assert "over the limit" in wanted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert detector.score(large).error == wanted


def fused() -> Detector:
    """Four classes, of which three have images, and a value in every field."""
    rng = np.random.default_rng(6)
    return dataclasses.replace(
        make_detector(4, DIM),
        background=unit_rows(5, DIM, seed=3),
        background_names=tuple("abcde"),
        energy_features=unit_rows(4, DIM, seed=4),
        means=rng.normal(size=(3, DIM)).astype(np.float32) / 10,
        mean_classes=np.array([0, 2, 3]),
        root=(rng.normal(size=(DIM, DIM)) / 5).astype(np.float32),
        image_weight=0.02,
        parts=PARTS,
        part_weights=np.array([0.25, 0.25, 0.5]),
        part_calibration=np.stack(
            [rng.normal(0, 0.1, 40), rng.normal(-3, 1, 40), rng.normal(-8, 1, 40)], axis=1
        ),
        calibration=np.sort(rng.normal(-2, 1, 40)),
        calibration_classes=rng.integers(0, 4, 40),
    )


DETECTORS = {
    "fused": fused(),
    "text": make_detector(4, DIM),
    "many nearest": make_detector(4, DIM, top_c=4),
    "not calibrated": make_detector(4, DIM, calibration=0),
    "few calibration images": make_detector(4, DIM, calibration=5),
    "images alone": with_evidence(fused(), "images"),
    "text alone of both": with_evidence(fused(), "text"),
}
ONE_CLASS = dataclasses.replace(
    make_detector(1, DIM, top_c=1),
    text_features=np.zeros((0, DIM), dtype=np.float32),
    context=None,
    means=unit_rows(1, DIM),
    mean_classes=np.array([0]),
    root=np.eye(DIM, dtype=np.float32),
    parts=("images",),
    part_weights=np.ones(1),
    calibration=-np.arange(40.0)[::-1],
    part_calibration=-np.arange(40.0)[::-1, None],
)


@pytest.mark.parametrize("name", [*DETECTORS, "one class"])
@pytest.mark.parametrize("rule", [{}, {"alpha": 0.3}, {"alpha": 0.3, "per_class": True}], ids=str)
def test_equal_features_get_equal_answers(export, tmp_path, name, rule):
    """As torch computes them in single precision: scores but for rounding, p-values and verdicts exactly."""
    own = ONE_CLASS if name == "one class" else DETECTORS[name]
    if rule.get("per_class") and not len(own.calibration_classes):
        own = dataclasses.replace(own, calibration_classes=np.zeros(len(own.calibration), dtype=np.int64))
    lite = deltaoe.lite.load(with_detector(export, tmp_path / "other", own, **rule))
    features = unit_rows(50, DIM, seed=3)
    found = lite.score_features(features)
    scored = Scorer(own, device="cpu")(features)
    np.testing.assert_allclose([one.score for one in found], scored.scores, rtol=1e-4, atol=1e-5)
    assert [one.class_name for one in found] == [own.class_names[i] for i in scored.labels[:, 0]]
    if len(own.calibration):
        assert not rule.get("per_class") or {one.verdict for one in found} <= {
            "known",
            "unknown",
            "undecided",
        }
        if not rule.get("per_class"):
            threshold = own.threshold(rule.get("alpha", 0.05))
            expected = [
                "undecided" if threshold is None else "known" if one.score >= threshold else "unknown"
                for one in found
            ]
            assert [one.verdict for one in found] == expected
            counted = [
                (1 + (own.calibration <= one.score).sum()) / (1 + len(own.calibration)) for one in found
            ]
            assert [one.p_value for one in found] == pytest.approx(counted)
    else:
        assert {one.verdict for one in found} == {"undecided"} and found[0].p_value is None
        assert "no calibration" in lite.notes[0]
    assert (found[0].p_text is not None) == own.fused and json.dumps(found[0].to_dict())


def test_features_are_kept_as_the_store_keeps_them(project, detector, files):
    """From the images whose features are stored to the last bit."""
    place = Workspace(project / ".deltaoe")
    data = place.dataset()
    rows = np.arange(0, len(data), 9)
    stored = place.features_of(data).features(data.digests[rows])
    found = detector.score_many([Path(data.root, data.paths[row]) for row in rows])
    wanted = detector.score_features(stored)
    same = [
        one.score == pytest.approx(other.score, abs=1e-3) for one, other in zip(found, wanted, strict=True)
    ]
    assert np.mean(same) > 0.9 and [one.class_name for one in found] == [one.class_name for one in wanted]


def test_features_of_another_shape_are_refused(detector):
    with pytest.raises(DataError, match="features must be"):
        detector.score_features(np.ones((2, 3)))
