"""Tuning on cached features: what is learned from never calibrates, and a seed decides everything."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from tiny import make_model, make_pictures

from deltaoe.clip.options import ModelOptions
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DataError, MismatchError, ModelError
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import BackgroundOptions, PromptOptions
from deltaoe.scoring.scorer import Scorer
from deltaoe.scoring.zero_shot import calibrate, zero_shot_detector
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.options import TuneOptions, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.tune import tune_workspace

CLASSES = ("blue_waves", "green_checks", "red_stripes")
QUICK = Recipe(epochs=2, top_c=1)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A workspace with 12 pictures of each of three classes, copies among them, and one that lies in two classes."""
    root = tmp_path_factory.mktemp("project")
    model = make_model(root / "model", seed=0)
    for number, name in enumerate(CLASSES):
        make_pictures(root / "images" / name, 12, seed=number)
        for i in range(12):  # a copy of every picture: of shots and of others
            shutil.copy(root / "images" / name / f"{i:02d}.png", root / "images" / name / f"copy-{i:02d}.png")
    shutil.copy(root / "images" / CLASSES[0] / "03.png", root / "images" / CLASSES[1] / "stray.png")
    workspace = Workspace(root / ".deltaoe")
    options = ExtractOptions(
        ingest=IngestOptions(workers=0),
        model=ModelOptions(model=f"local-dir:{model}", device="cpu", offline=True, precision="fp32"),
    )
    return workspace, extract(root / "images", workspace, options).data


def options(**changes) -> TuneOptions:
    """Quick ones; changes of either kind."""
    own = {one.name for one in dataclasses.fields(TuneOptions)}
    inner = {name: value for name, value in changes.items() if name not in own}
    prompts = dataclasses.replace(TuningOptions(shots=4, recipe=QUICK), **inner)
    outer = {name: value for name, value in changes.items() if name in own}
    return TuneOptions(tuning=prompts, **{"model": ModelOptions(device="cpu", offline=True), **outer})


@pytest.fixture(scope="module")
def tuned(project):
    return tune_workspace(project[0], options())


# Shots and calibration


def test_what_was_learned_from_calibrates_nothing(project, tuned):
    workspace, data = project
    keys = data.keys()
    shots = {keys[i] for i in tuned.drawn.split.shots}
    rest = [keys[i] for i in tuned.drawn.split.rest]
    assert len(shots) == len(tuned.drawn.split.shots) == 3 * 4
    assert len(set(rest)) == len(rest)
    assert not shots & set(rest)
    # 12 distinct pictures per class; the stray one counts in none of its two.
    assert len(rest) == 3 * 12 - 1 - 12
    assert keys[data.paths.index("blue_waves/03.png")] not in shots | set(rest)
    assert any("3 files show an image that also lies under another class" in note for note in tuned.notes)
    store = workspace.store(tuned.detector.space)
    wanted = Scorer(tuned.detector)(store.features(rest)).parts
    assert wanted is not None and tuned.detector.parts == ("text", "joint", "images")
    assert np.sort(tuned.detector.part_calibration, axis=0) == pytest.approx(
        np.sort(wanted, axis=0), rel=1e-6, abs=1e-5
    )


def test_the_copy_of_a_shot_scores_like_it_but_calibrates_nothing(project, tuned):
    """Were copies of shots among the calibration images, there would be twice as many of them."""
    _, data = project
    keys = data.keys()
    shots = {keys[i] for i in tuned.drawn.split.shots}
    copies = [i for i, key in enumerate(keys) if key in shots]
    assert len(copies) == 2 * len(tuned.drawn.split.shots)
    assert not set(copies) & set(tuned.drawn.split.rest.tolist())


def test_the_saved_detector_is_the_one_returned(project, tuned):
    workspace, data = project
    assert Detector.load(tuned.path).to_bytes() == tuned.detector.to_bytes()
    assert workspace.current_detector() == tuned.path
    assert tuned.detector.class_names == data.class_names == ("blue waves", "green checks", "red stripes")
    assert tuned.detector.space.id == data.space_id
    settings = tuned.detector.settings
    assert (settings["shots"], settings["seed"], settings["epochs"]) == (4, 1, 2)
    assert settings["context_length"] == len(tuned.detector.context) == 16
    assert json.loads(json.dumps(dict(settings))) == settings
    assert tuned.detector.facts["shots"] == 12


def test_a_seed_decides_every_bit(project, tuned):
    again = tune_workspace(project[0], options())
    assert again.detector.to_bytes() == tuned.detector.to_bytes()
    assert again.path == tuned.path
    other = tune_workspace(project[0], options(seed=2))
    assert other.path != tuned.path
    assert set(other.drawn.split.shots.tolist()) != set(tuned.drawn.split.shots.tolist())


def test_two_workspaces_give_the_same_detector(project, tuned, tmp_path):
    """Neither paths nor the order of writing enter, only pictures and seed."""
    root = project[0].folder.parent
    shutil.copytree(root / "images", tmp_path / "moved" / "images")
    (tmp_path / "moved" / "images" / "red_stripes" / "00.png").rename(
        tmp_path / "moved" / "images" / "red_stripes" / "zz.png"
    )
    workspace = Workspace(tmp_path / "moved" / ".deltaoe")
    model = f"local-dir:{root / 'model'}"
    small = IngestOptions(batch_size=5, workers=0)
    extract(
        tmp_path / "moved" / "images",
        workspace,
        ExtractOptions(
            ingest=small, model=ModelOptions(model=model, device="cpu", offline=True, precision="fp32")
        ),
    )
    again = tune_workspace(workspace, options())
    assert np.abs(again.detector.text_features - tuned.detector.text_features).max() < 1e-5
    assert again.detector.calibration == pytest.approx(tuned.detector.calibration, abs=1e-6)


def test_all_images_as_shots_leave_nothing_to_calibrate(project):
    result = tune_workspace(project[0], options(shots=12, allow_fewer=True, allow_undecided=True))
    assert len(result.detector.calibration) == 0
    assert result.detector.threshold(0.5) is None
    assert any("no images are left to calibrate" in note for note in result.notes)


def test_too_few_calibration_images_are_found_before_anything_is_loaded(project):
    events = []
    with pytest.raises(DataError, match="--shots 6 leaves 17 of 35 distinct images to calibrate") as caught:
        tune_workspace(project[0], options(shots=6), events.append)
    assert caught.value.hint == (
        "use --shots 5: it leaves 20 images, enough for α = 0.05, or --allow-undecided"
    )
    assert events == []
    result = tune_workspace(project[0], options(shots=6, allow_undecided=True), events.append)
    assert events[0].message == ("Of 35 distinct images, 18 are learned from and 17 calibrate.")
    assert "Only 17 images calibrate" in result.outcome()[-1]


def test_more_shots_than_images(project):
    with pytest.raises(DataError, match=r"1 of 3 classes have fewer than 12 .*: blue waves 11") as caught:
        tune_workspace(project[0], options(shots=12))
    assert "--allow-fewer" in caught.value.hint


@pytest.mark.parametrize("changes", [{"shots": 0}, {"seed": -1}, {"seed": 2**63}, {"domains": ("photo",)}])
def test_options_that_make_no_sense(project, changes):
    with pytest.raises(ConfigError):
        tune_workspace(project[0], options(**changes))


@pytest.mark.parametrize("recipe", [{"top_c": 4}, {"learning_rate": math.nan}, {"epochs": 0}])
def test_a_recipe_is_checked_before_anything_is_loaded(project, recipe):
    events = []
    with pytest.raises(ConfigError):
        tune_workspace(project[0], options(recipe=dataclasses.replace(QUICK, **recipe)), events.append)
    assert events == []


def test_divergence_in_the_very_last_step_is_no_detector(project, tmp_path):
    """The loss of a step is taken before it is made; only the features after it show the damage."""
    out = tmp_path / "d.safetensors"
    with pytest.raises(ModelError, match="diverged in its last step") as caught:
        tune_workspace(project[0], options(recipe=Recipe.coop(epochs=1, learning_rate=3e38), out=out))
    assert "--learning-rate" in caught.value.hint
    assert not out.exists()


def test_features_that_are_gone(project, tmp_path):
    root = project[0].folder
    shutil.copytree(root, tmp_path / ".deltaoe")
    workspace = Workspace(tmp_path / ".deltaoe")
    shutil.rmtree(workspace.store(workspace.known_space(project[1].space_id)).folder)
    with pytest.raises(MismatchError, match="no longer in") as caught:
        tune_workspace(workspace, options())
    assert "extract or import them again" in caught.value.hint


def test_nothing_extracted(tmp_path):
    with pytest.raises(DataError, match="nothing with classes") as caught:
        tune_workspace(Workspace(tmp_path / ".deltaoe"), options())
    assert "deltaoe extract" in caught.value.hint


# Zero-shot


def test_zero_shot_prompts_are_encoded_once_and_calibrated_on_distinct_images(project):
    workspace, data = project

    def detector(events):
        model = ModelOptions(model=data.model, device="cpu", offline=True)
        source = ModelSource(model, workspace, on=events.append)
        prompts = PromptOptions(template="a drawing of {}.", background=BackgroundOptions("none"))
        return zero_shot_detector(data.class_names, prompts, source, workspace, events.append), source

    first, again = [], []
    one, source = detector(first)
    assert [event.stage for event in first] == ["Loading model", "Encoding prompts"]
    two, _ = detector(again)
    assert again == []
    assert (one.text_features == two.text_features).all()
    wanted = source.clip().encode_text([f"a drawing of {name}." for name in data.class_names]).numpy()
    assert (one.text_features == wanted).all()
    assert (one.tuned, len(one.calibration)) == (False, 0)
    rows = data.distinct_rows()
    assert len(rows) == 3 * 12 - 1
    calibrated = calibrate(one, data, workspace.store(one.space), rows, again.append)
    assert len(calibrated.calibration) == len(rows)
    assert (np.diff(calibrated.calibration) >= 0).all()
