"""The detector file: what is saved comes back byte for byte, and what cannot be one is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from samples import make_detector, unit_rows

from deltaoe.errors import DataError
from deltaoe.scoring.detector import Detector


def assert_equal(a: Detector, b: Detector) -> None:
    for field in dataclasses.fields(Detector):
        mine, theirs = getattr(a, field.name), getattr(b, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert mine.tobytes() == theirs.tobytes()
        else:
            assert mine == theirs, field.name


def parts(content: bytes) -> tuple[dict, dict, bytes]:
    """Table of tensors, our own head, and the tensors' bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    table = json.loads(content[8 : 8 + length])
    return table, json.loads(table["__metadata__"]["deltaoe"]), content[8 + length :]


def joined(table: dict, head: object, body: bytes) -> bytes:
    table = {**table, "__metadata__": {"deltaoe": head if isinstance(head, str) else json.dumps(head)}}
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


@pytest.fixture
def refused(tmp_path):
    """Asserts that these bytes are no detector; returns the message."""

    def check(content: bytes) -> str:
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            Detector.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.hint
        return str(caught.value)

    return check


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


# What is refused


@pytest.mark.parametrize(
    "changes",
    [
        {"background": unit_rows(2, 16, seed=3)},
        {"background_names": ("v",)},
        {"background": unit_rows(1, 15, seed=3), "background_names": ("v",)},
        {"background": 2 * unit_rows(1, 16, seed=3), "background_names": ("v",)},
        {"background": unit_rows(1, 16, seed=3).astype(np.float64), "background_names": ("v",)},
        {"centre": np.zeros(15, dtype=np.float32)},
        {"centre": np.full(16, np.nan, dtype=np.float32)},
        {"shots": np.zeros((2, 31), dtype=np.uint8)},
        {"shots": np.zeros((2, 32), dtype=np.int64)},
        {"calibration_classes": np.zeros(3, dtype=np.int64)},
        {"calibration_classes": np.full(40, 3)},
        {"calibration_classes": np.full(40, -1)},
    ],
)
def test_rows_that_do_not_fit(refused, changes):
    refused(make_detector(**changes).to_bytes())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        os.urandom(500),
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        CONTENT + b"x",
        joined({}, "{}", b""),
        joined(parts(CONTENT)[0], "", parts(CONTENT)[2]),
        joined(parts(CONTENT)[0], "[]", parts(CONTENT)[2]),
        joined(parts(CONTENT)[0], "5", parts(CONTENT)[2]),
        joined(parts(CONTENT)[0], "[" * 100_000, parts(CONTENT)[2]),
        joined(parts(CONTENT)[0], '{"format":' * 50_000, parts(CONTENT)[2]),
    ],
)
def test_other_files(refused, content):
    refused(content)


def test_a_detector_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no detector") as caught:
        Detector.load(tmp_path / "d")
    assert "deltaoe tune" in caught.value.hint
    with pytest.raises(DataError, match="is a folder"):
        Detector.load(tmp_path)


def test_every_cut(refused):
    for end in range(0, len(CONTENT), 3):
        refused(CONTENT[:end])


@pytest.mark.parametrize("length", [0, 1, 2**31, 100_000_001, 2**63, 2**64 - 1])
def test_a_header_of_any_length(refused, length):
    refused(struct.pack("<Q", length) + CONTENT[8:])


def test_a_newer_format_says_so(refused):
    table, head, body = parts(CONTENT)
    assert "newer deltaoe" in refused(joined(table, head | {"format": 4, "temperature": "cold"}, body))


HEAD = parts(CONTENT)[1]
ODD = [None, True, -1, 0, 2.5, 10**400, float("inf"), float("nan"), "", "2", [], {}]
ODD += [[1, 2, 3], ["a", "b"], ["a", "b", "a"], {"a": 1, "b": 2, "c": 3}]
ALLOWED = {"temperature": ["2.5"], "logit_scale": ["0", "2.5"]}
ALLOWED["background_names"] = ["[]"]
ALLOWED |= {name: ["{}", "{'a': 1, 'b': 2, 'c': 3}"] for name in ("settings", "facts")}


@pytest.mark.parametrize("name", HEAD)
def test_every_entry_of_the_head(refused, name):
    table, head, body = parts(CONTENT)
    assert name in refused(joined(table, {k: v for k, v in head.items() if k != name}, body))
    for odd in ODD:
        if str(odd) not in ALLOWED.get(name, []):
            refused(joined(table, head | {name: odd}, body))


@pytest.mark.parametrize("name", HEAD["space"])
def test_every_entry_of_the_space(refused, name):
    table, head, body = parts(CONTENT)
    space = head["space"]
    if name != "normalisation":  # version 1 did not say it
        refused(joined(table, head | {"space": {k: v for k, v in space.items() if k != name}}, body))
    refused(joined(table, head | {"space": space | {name + "s": 1}}, body))
    for odd in (None, True, 2.5, [], {}, 5 if isinstance(space[name], str) else "5"):
        refused(joined(table, head | {"space": space | {name: odd}}, body))
    if name == "dim":
        for dim in (0, -16, 15, 10**400):
            refused(joined(table, head | {"space": space | {"dim": dim}}, body))


@pytest.mark.parametrize("name", ["text_features", "calibration", "context"])
def test_every_tensor(refused, name):
    table, head, body = parts(CONTENT)
    kind, shape = table[name]["dtype"], table[name]["shape"]
    for other in ("F16", "BF16", "F32", "F64", "I32", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F4", "X"):
        if other != kind:
            changed = copy.deepcopy(table)
            changed[name]["dtype"] = other
            refused(joined(changed, head, body))
    flat, more = [int(np.prod(shape))], [*shape, 1]
    for other in (
        [],
        [0],
        [-1],
        [2**63],
        [1 << 70],
        more,
        flat if len(shape) > 1 else [shape[0], 1],
        None,
        "x",
    ):
        changed = copy.deepcopy(table)
        changed[name]["shape"] = other
        refused(joined(changed, head, body))
    renamed = copy.deepcopy(table)
    renamed[name + "s"] = renamed.pop(name)
    assert name in refused(joined(renamed, head, body))
    for offsets in ([0, 0], [0, 10**9], [8, 0], None):
        changed = copy.deepcopy(table)
        changed[name]["data_offsets"] = offsets
        refused(joined(changed, head, body))


def test_a_tensor_too_many(refused):
    table, head, body = parts(CONTENT)
    table["more"] = {"dtype": "U8", "shape": [8], "data_offsets": [len(body), len(body) + 8]}
    assert "more" in refused(joined(table, head, body + bytes(8)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["text_features", "calibration", "context"])
def test_numbers_that_are_none(refused, name, value):
    array = np.array(getattr(make_detector(), name))
    array.flat[array.size // 2] = value
    refused(dataclasses.replace(make_detector(), **{name: array}).to_bytes())


def test_values_that_do_not_fit_each_other(refused):
    assert "unit length" in refused(make_detector(text_features=unit_rows(3, 16) * 1.01).to_bytes())
    assert "shape" in refused(make_detector(text_features=unit_rows(4, 16)).to_bytes())
    assert "shape" in refused(make_detector(text_features=unit_rows(3, 15)).to_bytes())
    assert "top-c" in refused(make_detector(top_c=4).to_bytes())
    falling = make_detector().calibration[::-1].copy()
    assert "ascending" in refused(dataclasses.replace(make_detector(), calibration=falling).to_bytes())
    for odd in (np.zeros((2, 4, 8)), np.zeros(4), np.full((4, 8), np.nan), np.zeros((4, 8), np.int64)):
        kind = np.float32 if odd.dtype == np.float64 else odd.dtype
        assert "class context" in refused(make_detector(class_context=odd.astype(kind)).to_bytes())
    alone = make_detector(context=None, class_context=np.zeros((4, 8), np.float32))
    assert "no context" in refused(alone.to_bytes())


def test_a_class_context_makes_it_format_3():
    """Other detectors stay as they were, so that an older version reads them."""
    class_context = np.zeros((4, 8), np.float32)
    assert [
        parts(detector.to_bytes())[1]["format"]
        for detector in (make_detector(), make_detector(class_context=class_context))
    ] == [2, 3]


def test_delta_energy_compares_with_energy_prompts_where_there_are_some():
    text, energy = unit_rows(3, 16, seed=1), unit_rows(3, 16, seed=4)
    assert np.array_equal(make_detector(text_features=text).prompts[0], text)
    assert np.array_equal(make_detector(text_features=text, energy_features=energy).prompts[0], energy)


def test_flipped_bits_end_in_a_refusal_or_a_valid_detector(tmp_path):
    """There is no checksum: a flipped digit of a number is another number. But nothing else may happen."""
    rng, path, refusals = random.Random(3), tmp_path / "x.safetensors", 0
    for _ in range(800):
        content = bytearray(CONTENT)
        for _ in range(rng.choice([1, 1, 3])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            found = Detector.load(path)
        except DataError:
            refusals += 1
        else:
            assert np.isfinite(found.p_values([0.0, 1.0])).all()
            assert found.text_features.shape == (len(found.class_names), found.space.dim)
    assert refusals > 160


class Bomb:
    def __reduce__(self):
        return os.system, (f"touch {Bomb.target}",)

    target = Path()


def test_nothing_in_a_file_is_executed(refused, tmp_path):
    Bomb.target = tmp_path / "executed"
    refused(pickle.dumps(Bomb()))
    table, _, body = parts(CONTENT)
    refused(joined(table, pickle.dumps(Bomb(), protocol=0).decode("latin-1"), body))
    import torch

    torch.save({"context": torch.zeros(1), "bomb": Bomb()}, tmp_path / "t.pt")
    refused((tmp_path / "t.pt").read_bytes())
    assert not Bomb.target.exists()
    pickle.loads(pickle.dumps(Bomb()))  # noqa: S301 - the bomb is a live one
    assert Bomb.target.exists()
