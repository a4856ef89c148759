"""Files that are no detector are refused, and nothing in them is executed."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import os
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from detector_files import assert_equal, full_detector, joined, parts
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import make_detector, unit_rows

from deltaoe.errors import DataError
from deltaoe.project.detector_list import described
from deltaoe.scoring.detector import Detector


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
FULL = full_detector().to_bytes()


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


BARE = {"text_features": np.zeros((0, 16), np.float32), "energy_features": np.zeros((0, 16), np.float32)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"energy_features": unit_rows(2, 16)}, "energy features"),
        ({"energy_features": unit_rows(3, 15)}, "energy features"),
        ({"energy_features": 2 * unit_rows(3, 16)}, "energy features"),
        ({"energy_features": unit_rows(3, 16).astype(np.float64)}, "energy features"),
        ({"means": np.zeros((3, 16), np.float32)}, "class means"),
        ({"means": np.zeros((2, 15), np.float32)}, "class means"),
        ({"means": np.zeros((2, 16))}, "class means"),
        ({"means": np.full((2, 16), np.inf, np.float32)}, "class means"),
        ({"mean_classes": np.array([0])}, "class means"),
        ({"mean_classes": np.array([0, 3])}, "class means"),
        ({"mean_classes": np.array([-1, 2])}, "class means"),
        ({"mean_classes": np.array([2, 0])}, "class means"),
        ({"mean_classes": np.array([1, 1])}, "class means"),
        ({"mean_classes": np.array([[0], [2]])}, "class means"),
        ({"mean_classes": np.array([0, 2], np.int32)}, "class means"),
        ({"means": np.zeros((0, 16), np.float32)}, "class means"),
        ({"root": np.eye(15, dtype=np.float32)}, "covariance"),
        ({"root": np.ones(16, np.float32)}, "covariance"),
        ({"root": np.eye(16)}, "covariance"),
        ({"root": np.full((16, 16), np.nan, np.float32)}, "covariance"),
        ({"root": np.zeros((0, 16), np.float32)}, "covariance"),
        ({"image_weight": -0.1}, "image weight"),
        ({"joint_weight": -0.1}, "joint weight"),
        ({"image_weight": float("nan")}, "image weight"),
        ({"image_weight": float("inf")}, "image weight"),
        ({"parts": ("text", "joint", "sound")}, "parts"),
        ({"parts": ("text", "text", "images")}, "parts"),
        ({"parts": ("text", "images")}, "weight each"),
        ({"parts": ()}, "weight each"),
        ({"part_weights": np.array([0.5, 0.5])}, "weight each"),
        ({"part_weights": np.array([0.5, 0.5, 0.5])}, "weight each"),
        ({"part_weights": np.array([-0.5, 0.5, 1.0])}, "weight each"),
        ({"part_weights": np.array([np.nan, 0.5, 0.5])}, "weight each"),
        ({"part_weights": np.array([0.25, 0.25, 0.5], np.float32)}, "weight each"),
        ({"part_calibration": np.zeros((39, 3))}, "values of its parts"),
        ({"part_calibration": np.zeros((40, 2))}, "values of its parts"),
        ({"part_calibration": np.zeros((40, 3), np.float32)}, "values of its parts"),
        ({"part_calibration": np.full((40, 3), np.nan)}, "values of its parts"),
        ({"part_calibration": np.zeros((0, 3))}, "values of its parts"),
        (BARE, "no prompts"),
        (
            BARE | {"parts": ("text",), "part_weights": np.ones(1), "part_calibration": np.zeros((40, 1))},
            "no prompts",
        ),
        (
            BARE | {"parts": (), "part_weights": np.zeros(0), "part_calibration": np.zeros((0, 0))},
            "no prompts",
        ),
    ],
)
def test_evidence_that_does_not_fit(refused, changes, says):
    assert says in refused(full_detector(**changes).to_bytes())


@pytest.mark.parametrize("without", [("joint", "images"), ("joint",), ("images",)])
def test_parts_of_images_need_class_means(refused, without):
    none = np.zeros((0, 16), np.float32)
    changes = {
        "means": none,
        "mean_classes": np.zeros(0, np.int64),
        "root": none,
        "parts": ("text", *without),
    }
    count = len(changes["parts"])
    changes |= {"part_weights": np.full(count, 1 / count), "part_calibration": np.zeros((40, count))}
    assert "no class means" in refused(full_detector(**changes).to_bytes())


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
    for content, step in ((CONTENT, 3), (FULL, 29)):
        for end in range(0, len(content), step):
            refused(content[:end])


@pytest.mark.parametrize("length", [0, 1, 2**31, 100_000_001, 2**63, 2**64 - 1])
def test_a_header_of_any_length(refused, length):
    refused(struct.pack("<Q", length) + CONTENT[8:])


def test_a_newer_format_says_so(refused):
    table, head, body = parts(CONTENT)
    assert "newer deltaoe" in refused(joined(table, head | {"format": 4, "temperature": "cold"}, body))


HEAD = parts(FULL)[1]
ODD = [None, True, -1, 0, 2.5, 10**400, float("inf"), float("nan"), "", "2", [], {}]
ODD += [[1, 2, 3], ["a", "b"], ["a", "b", "a"], {"a": 1, "b": 2, "c": 3}]
ALLOWED = {
    "temperature": ["2.5"],
    "logit_scale": ["0", "2.5"],
    "image_weight": ["0", "2.5"],
    "joint_weight": ["0", "2.5"],
}
ALLOWED["background_names"] = ["['a', 'b']"]
ALLOWED |= {name: ["{}", "{'a': 1, 'b': 2, 'c': 3}"] for name in ("settings", "facts")}


@pytest.mark.parametrize("name", HEAD)
def test_every_entry_of_the_head(refused, name):
    table, head, body = parts(FULL)
    assert name in refused(joined(table, {k: v for k, v in head.items() if k != name}, body))
    for odd in ODD:
        if str(odd) not in ALLOWED.get(name, []):
            refused(joined(table, head | {name: odd}, body))


@pytest.mark.parametrize("name", HEAD["space"])
def test_every_entry_of_the_space(refused, name):
    table, head, body = parts(CONTENT)
    space = head["space"]
    if name not in ("normalisation", "sample_range", "decode"):  # earlier versions did not say them
        refused(joined(table, head | {"space": {k: v for k, v in space.items() if k != name}}, body))
    refused(joined(table, head | {"space": space | {name + "s": 1}}, body))
    for odd in (None, True, 2.5, [], {}, 5 if isinstance(space[name], str) else "5"):
        refused(joined(table, head | {"space": space | {name: odd}}, body))
    if name == "dim":
        for dim in (0, -16, 15, 10**400):
            refused(joined(table, head | {"space": space | {"dim": dim}}, body))


TENSORS = [name for name in parts(FULL)[0] if name != "__metadata__"]


@pytest.mark.parametrize("name", TENSORS)
def test_every_tensor(refused, name):
    table, head, body = parts(FULL)
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
@pytest.mark.parametrize(
    "name", [name for name in TENSORS if parts(FULL)[0][name]["dtype"] in ("F32", "F64")]
)
def test_numbers_that_are_none(refused, name, value):
    array = np.array(getattr(full_detector(), name))
    array.flat[array.size // 2] = value
    refused(dataclasses.replace(full_detector(), **{name: array}).to_bytes())


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


def flipped(whole: bytes, rng: random.Random) -> bytes:
    content = bytearray(whole)
    for _ in range(rng.choice([1, 1, 3])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


@pytest.mark.parametrize("whole", [CONTENT, FULL], ids=["plain", "full"])
def test_flipped_bits_are_noticed(tmp_path, whole):
    """Whatever is changed in a file: it is refused, or it is the same detector (a blank became a tab, say)."""
    rng, path = random.Random(3), tmp_path / "renamed.safetensors"
    path.write_bytes(whole)
    good = Detector.load(path)
    for _ in range(800):
        path.write_bytes(flipped(whole, rng))
        with contextlib.suppress(DataError):
            assert_equal(Detector.load(path), good)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="its content has changed since it was written"):
        Detector.load(path)


@pytest.mark.parametrize("whole", [joined(*parts(CONTENT)), joined(*parts(FULL))], ids=["plain", "full"])
def test_flipped_bits_in_files_of_earlier_versions(tmp_path, whole):
    """They have no digest: a flipped digit of a number is another number. But nothing else may happen."""
    rng, path, refusals = random.Random(3), tmp_path / "x.safetensors", 0
    for _ in range(800):
        path.write_bytes(flipped(whole, rng))
        try:
            found = Detector.load(path)
        except DataError:
            refusals += 1
        else:
            assert np.isfinite(found.p_values([0.0, 1.0])).all()
            # Numbers too large to be added up have no rank.
            with contextlib.suppress(DataError), np.errstate(all="ignore"):
                found.predict(unit_rows(3, 16), alpha=0.1)
            assert found.text_features.shape == (len(found.class_names), found.space.dim)
    assert refusals > 160


def test_the_digest_in_the_name_is_compared_where_the_file_has_none(tmp_path):
    old = joined(*parts(FULL))
    named = hashlib.sha256(old).hexdigest()[:12]
    good = tmp_path / f"16-shots-{named}.safetensors"
    good.write_bytes(old)
    assert_equal(Detector.load(good), full_detector())
    good.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
    with pytest.raises(DataError, match="its content has changed since it was written, or another"):
        Detector.load(good)
    # Under a name that somebody chose, nothing tells; a file of today says it under any name.
    good.rename(tmp_path / "shop.safetensors")
    Detector.load(tmp_path / "shop.safetensors")
    full_detector().save(good)
    assert_equal(Detector.load(good), full_detector())


SPACES = [
    *(("dtype", value) for value in ("object", "banana", "float64", "O", "", "f2")),
    *(("precision", value) for value in ("banana", "", "imported", "fp64")),
    *(("normalisation", value) for value in ("none", "", "L2")),
    *(("dim", value) for value in (-1, 0, 2**16 + 1, 2**62)),
    *(("decode_policy", value) for value in (-1, 2**40)),
    *((name, value) for name in ("model", "weights", "config") for value in ("\0", "\ud800", "x" * 10_000)),
    *((name, "") for name in ("model", "weights")),
]


@pytest.mark.parametrize(("name", "value"), SPACES)
def test_values_that_no_feature_space_has(refused, name, value):
    table, head, body = parts(CONTENT)
    assert "feature space" in refused(joined(table, head | {"space": head["space"] | {name: value}}, body))


@pytest.mark.parametrize("odd", ["", " ", "a\0b", "\ud800", "x" * 5000, "b"])
def test_names_that_no_class_has(refused, odd):
    table, head, body = parts(CONTENT)
    names = ["a", "b", odd]
    assert "class names" in refused(joined(table, head | {"class_names": names}, body))


def test_a_class_named_in_bytes_that_are_no_text(tmp_path):
    """As a folder may be on a disk: it is written and read."""
    detector = make_detector(class_names=("a", "b", os.fsdecode(b"\xff")))
    detector.save(tmp_path / "d")
    assert Detector.load(tmp_path / "d").class_names == detector.class_names


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_in_any_entry(tmp_path_factory, data):
    """One sentence, or a detector that can score and be written again."""
    table, head, body = parts(FULL)
    for name in data.draw(st.sets(st.sampled_from(sorted(head)), min_size=1, max_size=2)):
        if data.draw(st.booleans()):
            head[name] = data.draw(JSON)
        elif isinstance(head[name], dict) and head[name]:
            inner = data.draw(st.sampled_from(sorted(head[name])))
            head[name] = head[name] | {inner: data.draw(JSON)}
        elif isinstance(head[name], list):
            head[name] = head[name] + [data.draw(JSON)]
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(joined(table, head, body))
    try:
        found = Detector.load(path)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(found.score(unit_rows(3, 16))).all()
        found.save(path)
        assert Detector.load(path).digest == found.digest
        json.dumps(described(found))


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
