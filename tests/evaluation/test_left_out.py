"""Why a tuned detector is not evaluated is always said, with what to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import SPACE

from deltaoe.evaluation.left_out import classes_without_images, usable_detectors
from deltaoe.store.workspace import Workspace


def detector(*names: str, space: Any = SPACE) -> Any:
    return SimpleNamespace(class_names=names, space=space)


def data(*names: str) -> Any:
    return SimpleNamespace(class_names=names, title="te.csv")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With two detectors, of which t1 is the current one."""
    place = Workspace(tmp_path / ".deltaoe")
    (place.folder / "detectors").mkdir(parents=True)
    for name in ("t1", "t2"):
        place.detector_file(name).touch()
    place.remember(detector="t1")
    return place


def said(workspace: Workspace, tuned: Any, *names: str) -> tuple[list[str], list[str]]:
    usable, notes = usable_detectors({"t1": tuned}, data(*names), SPACE, workspace)
    return list(usable), [note for note in notes if "t2" not in note]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("hot_dog", "hot dog"),
        ("Hot Dog", "hot dog"),
        ("hotdog", "hot dog"),
        ("cafe\u0301", "caf\u00e9"),
        ("elefant", "elephant"),
    ],
)
def test_another_spelling_is_named_beside_the_detectors_own(workspace, mine, theirs):
    usable, notes = said(workspace, detector("cat", theirs), mine, "cat")
    assert usable == []
    assert len(notes) == 1
    assert notes[0].startswith("the tuned detector t1 is not evaluated: 1 of the 2 classes")
    assert f"{mine} (it has {theirs})" in notes[0] and "extract --classes FILE" in notes[0]


def test_classes_that_are_new_to_it(workspace):
    usable, notes = said(workspace, detector("cat", "dog"), "cat", "dog", "zebra", "yak", "xerus", "wasp")
    assert usable == []
    assert "4 of the 6 classes" in notes[0] and "wasp, xerus, yak and 1 more" in notes[0]
    assert "tune on data with these classes" in notes[0]


def test_another_model(workspace):
    other = dataclasses.replace(SPACE, model="ViT-L-14", weights="z")
    usable, notes = said(workspace, detector("cat", space=other), "cat")
    assert usable == []
    assert "of another model (model fake / ViT-L-14; weights" in notes[0] and "--model ViT-L-14" in notes[0]


@pytest.mark.parametrize("names", [("cat", "dog"), ("dog", "cat"), ("dog",)])
def test_order_and_a_part_of_the_classes_are_no_reason(workspace, names):
    assert said(workspace, detector("cat", "dog"), *names) == (["t1"], [])


def test_a_part_of_the_classes_is_said(workspace):
    tuned = {"t1": detector("cat", "dog", "owl")}
    assert classes_without_images(tuned, data("dog")) == [
        "t1 chooses among 3 classes, 2 of which have no images in te.csv (cat, owl)"
    ]
    assert classes_without_images(tuned, data("owl", "dog", "cat")) == []


def test_other_detectors_and_one_that_is_gone(workspace):
    _, notes = usable_detectors({"t1": detector("cat")}, data("cat"), SPACE, workspace)
    assert notes == ["t2 is not evaluated: only the last tuned detector is, unless --detector NAME is given"]
    workspace.detector_file("t1").unlink()
    _, notes = usable_detectors({}, data("cat"), SPACE, workspace)
    assert "the detector t1 is no longer in" in notes[0] and "t2 is not evaluated" in notes[1]
