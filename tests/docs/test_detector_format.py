"""The page on the detector's format has every field that a detector's file has, with its type, and no other."""

from __future__ import annotations

import dataclasses
import doctest
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from deltaoe.scoring.detector import Detector
from deltaoe.store.feature_space import FeatureSpace

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "detector-format.md"
KINDS = {"int": int, "float": float, "str": str, "list": list, "object": dict}


def table(title: str) -> dict[str, list[str]]:
    """First cell without its marks → other cells, of the table under a heading."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| `.*$", text, re.M)
    ]
    return {row[0].strip("`"): row[1:] for row in rows}


@pytest.fixture
def detector() -> Detector:
    """With every field, so that its file has every entry and array."""
    rng = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray:
        drawn = rng.normal(size=(count, 3)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    space = FeatureSpace("any", "weights", "architecture", "{}", "fp32", 1, 3)
    return Detector(
        class_names=("cat", "dog"),
        text_features=rows(2),
        temperature=0.1,
        top_c=1,
        calibration=np.sort(-rng.random(5)),
        space=space,
        logit_scale=100.0,
        context=rng.normal(size=(4, 8)).astype(np.float32),
        class_context=rng.normal(size=(4, 8)).astype(np.float32),
        background=rows(2),
        background_names=("lamp", "tree"),
        centre=rows(1)[0],
        shots=np.arange(64, dtype=np.uint8).reshape(2, 32),
        energy_features=rows(2),
        means=rows(2),
        mean_classes=np.arange(2),
        root=np.eye(3, dtype=np.float32),
        parts=("text", "images"),
        part_weights=np.array([0.5, 0.5]),
        part_calibration=rng.random((5, 2)),
        calibration_classes=np.zeros(5, dtype=np.int64),
    )


def test_entries_and_arrays_are_those_of_the_page(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "mine.safetensors")
    with safe_open(tmp_path / "mine.safetensors", "numpy") as file:
        head = json.loads(file.metadata()["deltaoe"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    entries, tensors = table("JSON values"), table("Arrays")
    assert set(head) == set(entries)
    for name, cells in entries.items():
        assert type(head[name]) is KINDS[cells[0].split()[0]], name
    assert set(arrays) == set(tensors)
    for name, cells in tensors.items():
        if cells[0] != "as `context`":
            kind = re.search(r"(u?int|float)\d+", cells[0])[0]
            assert arrays[name].dtype == kind, name
            assert arrays[name].ndim == len(re.findall(r"[\w]+", cells[0].split(")")[0])), name


def test_every_field_of_a_detector_is_on_the_page() -> None:
    fields = {field.name for field in dataclasses.fields(Detector)}
    assert fields == (set(table("JSON values")) | set(table("Arrays"))) - {"format", "sha256"}


def test_example_runs(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    detector.save(Path("mine.safetensors"))
    done = doctest.testfile(str(PAGE), module_relative=False)
    assert done.attempted and not done.failed
