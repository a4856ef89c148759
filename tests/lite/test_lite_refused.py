"""A folder that somebody changed, or made to do harm, is refused with a message."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exported import copied_export, noted, with_manifest
from onnx import TensorProto, helper, numpy_helper

import deltaoe.lite
from deltaoe.errors import ConfigError, DataError
from deltaoe.lite.bundle import DETECTOR, MANIFEST, MODEL, VOCABULARY, Bundle
from deltaoe.lite.onnx_file import external_files
from deltaoe.scoring.detector import Detector


@pytest.fixture
def folder(export, tmp_path) -> Path:
    return copied_export(export, tmp_path / "gate")


def refused(folder: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        deltaoe.lite.load(folder)
    assert caught.value.hint


def replaced(path: Path, content: bytes) -> None:
    path.unlink()  # it may be a hard link to the original
    path.write_bytes(content)


@pytest.mark.parametrize("name", [MODEL, DETECTOR, VOCABULARY, "requirements.txt"])
def test_one_changed_bit_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    replaced(folder / name, bytes(content))
    refused(folder, f"the content of {name} has changed")


@pytest.mark.parametrize("name", [MODEL, DETECTOR, VOCABULARY])
def test_cut_and_missing_files_are_found(folder, name):
    replaced(folder / name, (folder / name).read_bytes()[:-7])
    refused(folder, f"{name} has .* bytes, and had")
    (folder / name).unlink()
    refused(folder, f"{name} is not there")


@pytest.mark.parametrize("name", [MODEL, DETECTOR, VOCABULARY])
def test_rubbish_with_the_right_digest_is_found(folder, name):
    for content in (b"", b"rubbish", bytes(1000), b"\xff" * 1000):
        replaced(folder / name, content)
        noted(folder, name)
        with pytest.raises(DataError) as caught:
            deltaoe.lite.load(folder)
        assert str(folder) in str(caught.value) and caught.value.hint


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": 2}, "format 2, and this deltaoe reads formats up to 1"),
        ({"format": 0}, "not that of an exported detector"),
        ({"format": "1"}, "not that of an exported detector"),
        ({"files": {}}, "does not name"),
        ({"files": []}, "does not name"),
        ({"files": None}, "not a usable export"),
        ({"rule": {"alpha": 2, "per_class": False}}, "--alpha must be"),
        ({"rule": {}}, "missing 'alpha'"),
        ({"space": {}}, "not a description of a feature space"),
    ],
    ids=str,
)
def test_manifests_that_say_something_else(folder, changes, match):
    with_manifest(folder, **changes)
    refused(folder, match)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "extra.so", ""])
def test_a_manifest_names_no_other_files(folder, name):
    files = json.loads((folder / MANIFEST).read_text())["files"]
    with_manifest(folder, files=files | {name: {"bytes": 1, "sha256": "0"}})
    refused(folder, "a file that no export has")


def test_manifests_that_are_none(folder, tmp_path):
    for content in ("", "{", "[]", "null", '{"format": 1}', "[" * 100_000):
        (folder / MANIFEST).write_text(content)
        with pytest.raises(DataError):
            deltaoe.lite.load(folder)
    (folder / MANIFEST).unlink()
    refused(folder, f"has no {MANIFEST}")
    refused(tmp_path / "nowhere", "there is no folder")
    (folder / MANIFEST).mkdir()
    refused(folder, "it is a folder")


def test_links_lead_nowhere_else(folder, tmp_path):
    outside = tmp_path / "outside"
    (folder / DETECTOR).rename(outside)
    (folder / DETECTOR).symlink_to(outside)
    refused(folder, "a link to a file outside the folder")
    (folder / DETECTOR).unlink()
    outside.rename(folder / "inside")  # as in a mounted volume of Kubernetes
    (folder / DETECTOR).symlink_to("inside")
    deltaoe.lite.load(folder)


def places_in(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to each value within JSON values, from the outermost inwards."""
    yield place
    within = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in within:
        yield from places_in(one, (*place, key))


def put(values: Any, place: tuple[str | int, ...], value: object) -> Any:
    """JSON values with another value in one place."""
    if not place:
        return value
    changed = copy.deepcopy(values)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def test_wrong_values_anywhere_in_a_manifest_are_refused_or_harmless(folder):
    """Each value that is read, in turn, becomes one of another type, or none that such a value can be."""
    manifest = json.loads((folder / MANIFEST).read_text())
    read = {name: manifest[name] for name in ("format", "files", "space", "rule")}
    settings = json.loads(read["space"]["preprocess"])
    wrong = (None, True, -1, 10**30, float("nan"), "", "\ud800", [[]], {})
    cases = [put(read, place, value) for place in places_in(read) if place for value in wrong]
    cases += [
        put(read, ("space", "preprocess"), json.dumps(put(settings, place, value)))
        for place in places_in(settings)
        for value in wrong
    ]
    refusals = 0
    for case in cases:
        with_manifest(folder, **case)
        try:
            Bundle.read(folder)
        except DataError as error:
            assert str(folder) in str(error) and error.hint
            refusals += 1
    assert refusals > len(cases) / 2


@pytest.mark.parametrize(
    "rule", [{"alpha": None}, {"alpha": "0.1"}, {"per_class": None}, {"per_class": 1}], ids=str
)
def test_a_rule_of_other_types_is_refused(folder, rule):
    with_manifest(folder, rule={"alpha": 0.1, "per_class": False} | rule)
    refused(folder, "its rule is no number")


def test_a_detector_of_another_model_is_refused(folder):
    """Though it has the same dimension, and the manifest its digest."""
    detector = Detector.load(folder / DETECTOR)
    other = dataclasses.replace(detector, space=dataclasses.replace(detector.space, weights="other"))
    replaced(folder / DETECTOR, other.to_bytes())
    noted(folder, DETECTOR)
    refused(folder, "its detector is of another model")


def test_an_older_or_newer_rule_of_decoding_is_refused(folder):
    space = json.loads((folder / MANIFEST).read_text())["space"]
    with_manifest(folder, space=space | {"decode_policy": 7})
    refused(folder, "decodes images by another rule")


@pytest.mark.parametrize("preprocess", ["imported", "[]", '{"size": 0}', '{"size": [1, 2, 3]}', '{"new": 1}'])
def test_preprocessing_that_cannot_be_used_is_refused(folder, preprocess):
    space = json.loads((folder / MANIFEST).read_text())["space"]
    with_manifest(folder, space=space | {"preprocess": preprocess})
    refused(folder, "is not a usable export")


def test_a_detector_of_another_dimension_is_refused(folder):
    space = json.loads((folder / MANIFEST).read_text())["space"]
    with_manifest(folder, space=space | {"dim": 7})
    with pytest.raises(DataError):
        deltaoe.lite.load(folder)


def test_another_model_is_refused(folder):
    value = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 4, 4, 3])
    out = helper.make_tensor_value_info("features", TensorProto.UINT8, ["n", 4, 4, 3])
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["features"])], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    replaced(folder / MODEL, model.SerializeToString())
    noted(folder, MODEL)
    refused(folder, "is no image tower of this detector")


def external(location: str, name: str = "w") -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, dtype=np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def test_weights_in_other_files_are_found_wherever_they_hide(tmp_path):
    """In initializers, constants, sparse values, branches of branches and functions: all are named, in any order."""
    plain = numpy_helper.from_array(np.zeros(3, dtype=np.float32), "plain")
    sparse = onnx.SparseTensorProto(values=external("in-sparse", "s"), indices=external("in-indices", "i"))
    deepest = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=external("in-branch"))], "deep", [], []
    )
    middle = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=deepest)], "middle", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=middle, else_branch=deepest)
    many = helper.make_node("Custom", [], ["z"])
    many.attribute.append(helper.make_attribute("several", [external("in-tensors"), plain]))
    many.attribute.append(helper.make_attribute("graphs", [middle]))
    graph = helper.make_graph([node, many], "g", [], [], initializer=[plain, external("in-initializer")])
    graph.sparse_initializer.append(sparse)
    function = helper.make_function(
        "d", "f", [], ["o"], [helper.make_node("Constant", [], ["o"], value=external("in-function"))], []
    )
    model = helper.make_model(graph, functions=[function])
    training = model.training_info.add()
    training.algorithm.initializer.append(external("in-training"))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert external_files(path) == {
        "in-initializer",
        "in-sparse",
        "in-indices",
        "in-branch",
        "in-tensors",
        "in-function",
        "in-training",
    }


@pytest.mark.parametrize("place", ["../../secret", "/etc/passwd", "detector.safetensors", "model.onnx.data"])
def test_a_model_reads_no_other_file(folder, place):
    model = onnx.load(str(folder / MODEL))
    model.graph.initializer.append(external(place, "extra"))
    replaced(folder / MODEL, model.SerializeToString())
    noted(folder, MODEL)
    refused(folder, "has weights in another file")


def test_no_threads_and_no_providers_that_are_not_there(export):
    with pytest.raises(ConfigError, match="threads must be at least 1"):
        deltaoe.lite.load(export, threads=0)
    with pytest.raises(ConfigError, match="has no NoSuchProvider here"):
        deltaoe.lite.load(export, providers=["NoSuchProvider"])
    assert (
        deltaoe.lite.load(os.fspath(export), threads=1).class_names == deltaoe.lite.load(export).class_names
    )
