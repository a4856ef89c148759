"""Detector files that are damaged, forged or of another model: never executed, never half believed."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Fails, Run
from copied import copied_project
from safetensors import safe_open
from safetensors.numpy import save

Parts = tuple[dict[str, Any], dict[str, Any]]


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("unpickled", "w"))


def take_apart(file: Path) -> Parts:
    with safe_open(file, "numpy") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
        head = json.loads(opened.metadata()["deltaoe"])
        del head["sha256"]  # as in files of earlier versions, so that the fields themselves must be looked at
        return head, tensors


def put_together(head: dict[str, Any], tensors: dict[str, Any]) -> bytes:
    return save(tensors, metadata={"deltaoe": json.dumps(head)})


def edited(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path], bytes]:
    def make(file: Path) -> bytes:
        head, tensors = take_apart(file)
        change(head, tensors)
        return put_together(head, tensors)

    return make


def one_nan(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(values.size).reshape(values.shape) == 0, values.dtype.type("nan"), values)


CASES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "garbage": (lambda file: b"not a detector at all", "is not a usable detector"),
    "empty": (lambda file: b"", "is not a usable detector"),
    "cut in half": (lambda file: file.read_bytes()[: file.stat().st_size // 2], "is not a usable detector"),
    "pickle": (lambda file: pickle.dumps(Bomb()), "is not a usable detector"),
    "no metadata": (lambda file: save(take_apart(file)[1]), "missing 'deltaoe'"),
    "features too narrow": (
        edited(lambda head, tensors: tensors.update(text_features=tensors["text_features"][:, :8].copy())),
        "its text features have shape (4, 8), not (4, 16)",
    ),
    "features of NaN": (
        edited(lambda head, tensors: tensors.update(text_features=one_nan(tensors["text_features"]))),
        "not unit length",
    ),
    "calibration of NaN": (
        edited(lambda head, tensors: tensors.update(calibration=one_nan(tensors["calibration"]))),
        "calibration scores are not finite",
    ),
    "no calibration": (edited(lambda head, tensors: tensors.pop("calibration")), "missing 'calibration'"),
    "a class too many": (edited(lambda head, tensors: head["class_names"].append("x")), "not (5, 16)"),
    "top-c out of range": (edited(lambda head, tensors: head.update(top_c=9)), "top-c is out of range"),
    "settings are a list": (edited(lambda head, tensors: head.update(settings=[1])), "its settings"),
    "newer format": (edited(lambda head, tensors: head.update(format=99)), "written by a newer deltaoe"),
}


@pytest.fixture(scope="module")
def judged(template: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A tuned project whose ``unknown`` is already in the cache."""
    folder = copied_project(template, tmp_path_factory.mktemp("judged") / "project")
    run("score", "unknown", cwd=folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, judged: Path, fails: Fails) -> None:
    (good,) = (judged / ".deltaoe" / "detectors").iterdir()
    make, says = CASES[name]
    (judged / "bad.safetensors").write_bytes(make(good))
    command = ("score", "unknown", "--detector", "bad.safetensors", "--report", "html")
    fails(*command, cwd=judged, says=("bad.safetensors", says, "detectors are written by: deltaoe tune"))
    assert not (judged / "unpickled").exists()


def test_missing_or_a_folder(judged: Path, fails: Fails) -> None:
    says = ("there is no detector nope.safetensors", "deltaoe tune")
    fails("score", "unknown", "--detector", "nope.safetensors", cwd=judged, says=says)
    fails(
        "score", "unknown", "--detector", "./images", cwd=judged, says=("images is a folder, not a detector",)
    )


def test_made_with_another_model(
    project: Path, other_model: Path, tiny_model: Path, run: Run, fails: Fails
) -> None:
    says = (f"was made with local-dir:{tiny_model}, not with local-dir:{other_model}", "weights ")
    more = (f"use --model local-dir:{tiny_model}, or extract and tune again",)
    fails("score", "unknown", cwd=project, model=other_model, says=("the detector", *says, *more))
    fails("tune", "--shots", "4", cwd=project, model=other_model, says=("the cache of", *says, *more))
    # Weights exchanged behind the same name.
    shutil.copytree(tiny_model, project / "model")
    run("tune", "--shots", "2", "--epochs", "1", cwd=project, model=project / "model")
    shutil.copy(other_model / "open_clip_model.safetensors", project / "model")
    says = ("the detector was made with", "the files of that model have changed: extract and tune again")
    fails("score", "unknown", cwd=project, model=None, says=says)
