"""Folders of splits, strays, dates and classes without images, on the command line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Fails, Run

from deltaoe.store.workspace import Workspace


@pytest.fixture
def divided(project: Path) -> Path:
    """The project with ``divided``: train, val and test of its classes, and images of none."""
    for folder in sorted((project / "images").iterdir()):
        for number, picture in enumerate(sorted(folder.iterdir())):
            split = ("Training", "valid", "test_set")[number % 3]
            target = project / "divided" / split / folder.name / picture.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, target)
    target = project / "divided" / "single_prediction"
    target.mkdir()
    shutil.copy(next((project / "images").rglob("*.png")), target / "1.png")
    return project


def test_splits_are_no_classes_and_no_domains(divided: Path, run: Run) -> None:
    told = run("extract", "divided", "--json", cwd=divided)
    found = told.json
    assert (found["layout"], found["domains"]) == ("split/class", [])
    assert set(found["images_per_class"]) == set(
        run("extract", "images", "--json", cwd=divided).json["images_per_class"]
    )
    assert list(found["splits"]) == ["train", "val", "test"]
    assert sum(found["splits"].values()) == found["images"] - 1
    assert "--layout class: 4 classes" in told.stderr
    assert "test is left for evaluate" in told.stderr
    assert "single_prediction/1.png" in told.stderr
    text = run("extract", "divided", cwd=divided).stdout
    assert " splits " in text and "train, val, test" in text


def test_splits_are_shown_and_exported(divided: Path, run: Run) -> None:
    counts = run("extract", "divided", "--name", "d", "--json", cwd=divided).json["splits"]
    state = run("status", "--json", cwd=divided).json["data_sets"]
    assert next(one for one in state if one["current"])["splits"] == counts
    shown = f"train {counts['train']}, val {counts['val']}, test {counts['test']}"
    assert shown in run("status", cwd=divided).stdout
    assert shown in run("store", "info", cwd=divided).stdout
    run("store", "export", "d.npz", cwd=divided)
    splits = np.load(divided / "d.npz")["splits"].tolist()
    assert {name: splits.count(name) for name in counts} == counts and splits.count("") == 1
    imported = ("store", "import", "d.npz", "--name", "back", "--workspace", "other")
    run(*imported, cwd=divided)
    back = Workspace(divided / "other").dataset("data:back")
    assert back is not None
    assert [back.split_names[i] if i >= 0 else "" for i in back.split_of.tolist()] == splits


def test_test_images_neither_calibrate_nor_are_learned_from(divided: Path, run: Run) -> None:
    run("extract", "divided", cwd=divided)
    data = Workspace(divided / ".deltaoe").dataset(None)
    assert data is not None
    told = run(
        "score", "divided/test_set", "--zero-shot", "--evidence", "text", "--out", "o", "--json", cwd=divided
    )
    assert "not its test images" in json.dumps(told.json)
    train_or_val = int(((data.split_of >= 0) & (data.split_of < 2)).sum())
    assert told.json["calibration_images"] == train_or_val
    assert "look more familiar" not in told.stderr
    told = run("score", "divided/Training", "--zero-shot", "--out", "o", "--force", cwd=divided)
    assert "look more familiar" in told.stderr


def test_evaluate_takes_test_images(divided: Path, run: Run) -> None:
    options = (
        "--ood",
        "far=unknown",
        "--bootstrap",
        "0",
        "--scores",
        "mcm",
        "--detector",
        "zero-shot",
        "--force",
    )
    told = run("evaluate", "--id", "divided", *options, cwd=divided)
    with (divided / "evaluation" / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    data = run("extract", "divided", "--json", cwd=divided).json
    assert {int(row["n_known"]) for row in rows if row["known"] == "id"} == {data["splits"]["test"]}
    assert "in test are evaluated, not those in train and val" in told.stderr
    told = run("evaluate", "--id", "divided", "--split", "val", *options, cwd=divided)
    assert "in val are evaluated" in told.stderr


def test_splits_named_one_by_one(divided: Path, run: Run) -> None:
    told = run("extract", "divided/Training", "divided/test_set", "--json", cwd=divided).json
    assert (told["layout"], list(told["splits"])) == ("split/class", ["train", "test"])
    data = Workspace(divided / ".deltaoe").dataset(None)
    assert data is not None and data.paths[0].startswith("Training/")


def test_a_stray_file_changes_no_layout_and_is_named(project: Path, run: Run) -> None:
    for domain in ("ink", "wash"):
        shutil.copytree(project / "images", project / "drawn" / domain)
    before = run("extract", "drawn", "--json", cwd=project)
    assert before.json["layout"] == "domain/class"
    assert "or else --layout class: 2 classes (ink, wash)" in before.stderr
    shutil.copy(next((project / "images").rglob("*.png")), project / "drawn" / "ink" / "cover.png")
    after = run("extract", "drawn", "--json", cwd=project)
    assert after.json["layout"] == "domain/class"
    assert after.json["images_per_class"] == before.json["images_per_class"]
    assert "(ink/cover.png)" in after.stderr


def test_classes_that_look_like_dates_are_named(project: Path, run: Run) -> None:
    shutil.copytree(project / "images" / "red_stripes", project / "dated" / "2023-07")
    shutil.copytree(project / "images" / "blue_waves", project / "dated" / "2023-08")
    told = run("extract", "dated", cwd=project)
    assert "all classes look like dates (2023-07, 2023-08)" in told.stderr
    told = run("extract", "images", "--json", cwd=project)
    assert "look like" not in told.stderr and told.json["assumed"] == []


def test_a_class_without_images_is_named(project: Path, run: Run) -> None:
    shutil.copytree(project / "images", project / "some")
    (project / "some" / "empty").mkdir()
    (project / "some" / "texts").mkdir()
    (project / "some" / "texts" / "a.txt").write_text("no image")
    (project / "some" / "odd").mkdir()
    picture = next((project / "images").rglob("*.png"))
    shutil.copy(picture, project / "some" / "odd" / "1.png_large")
    (project / "some" / "bare").mkdir()
    shutil.copy(picture, project / "some" / "bare" / "0001")
    (project / "some" / "broken").mkdir()
    (project / "some" / "broken" / "1.png").write_bytes(b"no picture")
    told = run("extract", "some", "--json", cwd=project)
    assert told.json["images_per_class"]["bare"] == 1
    assert not {"empty", "texts", "odd", "broken"} & set(told.json["images_per_class"])
    for words in (
        "empty/ is empty",
        "texts/ holds 1 other file (such as some/texts/a.txt)",
        "odd/ holds 1 other file (such as some/odd/1.png_large): an image by its first bytes",
        "1 file without a suffix: taken for images by their first bytes (bare/0001)",
        "no usable image in broken",
    ):
        assert words in told.stderr


def test_a_layout_that_finds_no_class_is_refused_with_what_would(
    divided: Path, run: Run, fails: Fails
) -> None:
    fails(
        *("extract", "images", "--layout", "split/class"),
        cwd=divided,
        rc=2,
        says=("no image has a class by the layout split/class", "class: "),
    )
    told = run("extract", "divided", "--layout", "class", "--json", cwd=divided)
    assert len(told.json["images_per_class"]) == 4
    assert "classes look like splits of a data set" in told.stderr
    said = run("extract", "images", cwd=divided).stderr
    assert "deltaoe extract ./divided --layout class" in said
