"""Tuning that is killed anywhere goes on to the same detector; Ctrl-C keeps the best prompts so far."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import HUES, make_model, make_pictures

from deltaoe.clip.options import ModelOptions
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import BackgroundOptions
from deltaoe.store.workspace import Workspace
from deltaoe.tuning import checkpoint
from deltaoe.tuning.options import ContextOptions, TuneOptions, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.tune import tune_workspace


class Killed(BaseException):
    """Stands for kill -9: nothing but the file system survives it."""


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "_SAVE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    model = make_model(root / "model", seed=0)
    for d, domain in enumerate(("ink", "oil")):
        for k, name in enumerate(HUES):
            make_pictures(root / "images" / domain / name, 6, seed=10 * d + k)
    workspace = Workspace(root / ".deltaoe")
    quiet = IngestOptions(workers=0, views=1)
    extract(
        root / "images",
        workspace,
        ExtractOptions(
            ingest=quiet, model=ModelOptions(model=f"local-dir:{model}", device="cpu", offline=True)
        ),
    )
    return workspace


def options(out: Path | None = None, **changes) -> TuneOptions:
    prompts = TuningOptions(shots=4, recipe=Recipe(steps=6), background=BackgroundOptions("none"), **changes)
    return TuneOptions(tuning=prompts, out=out, model=ModelOptions(device="cpu", offline=True))


@pytest.fixture(scope="module")
def undisturbed(place, tmp_path_factory):
    return tune_workspace(place, options(tmp_path_factory.mktemp("out") / "d.safetensors"))


def checkpoints(place):
    return sorted((place.folder / "tuning").glob("*.safetensors"))


@pytest.mark.parametrize(("stage", "step"), [("Choosing, 2 of 6", 3), ("Choosing, 5 of 6", 6), ("Tuning", 4)])
def test_killed_and_gone_on(place, undisturbed, tmp_path, stage, step):
    def kill(event):
        if (event.stage, event.done) == (stage, step) and not event.message:
            raise Killed

    with pytest.raises(Killed):
        tune_workspace(place, options(tmp_path / "d.safetensors"), kill)
    assert checkpoints(place) and not (tmp_path / "d.safetensors").exists()
    events = []
    again = tune_workspace(place, options(tmp_path / "d.safetensors"), events.append)
    assert again.detector.digest == undisturbed.detector.digest
    # Nothing is learned twice, and nothing is left lying about.
    learned = [event for event in events if event.stage == stage and event.total == 6 and not event.message]
    assert learned[0].done == step
    assert not any(event.stage == "Choosing, 1 of 6" and event.done for event in events)
    assert checkpoints(place) == []


def test_a_torn_or_foreign_checkpoint_is_begun_again(place, undisturbed, tmp_path):
    def kill(event):
        if event.stage == "Tuning" and event.done == 4:
            raise Killed

    with pytest.raises(Killed):
        tune_workspace(place, options(tmp_path / "d.safetensors"), kill)
    for number, file in enumerate(checkpoints(place)):
        file.write_bytes(file.read_bytes()[:200] if number % 2 else b"\x80\x04nothing of ours")
    again = tune_workspace(place, options(tmp_path / "d.safetensors"))
    assert again.detector.digest == undisturbed.detector.digest


def test_ctrl_c_keeps_the_best_so_far(place, undisturbed, tmp_path):
    before, messages = place.current_detector(), []

    def stop(event):
        if event.message:
            messages.append(event.message)
        elif event.stage == "Tuning" and event.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_workspace(place, options(tmp_path / "d.safetensors"), stop)
    [kept] = (place.folder / "detectors").glob("interrupted-*.safetensors")
    assert "stopped after step 4 of 6" in messages[-1] and str(kept) in messages[-1]
    detector = Detector.load(kept)
    assert detector.facts["interrupted"] is True
    assert len(detector.calibration) and np.isfinite(detector.text_features).all()
    assert place.current_detector() == before
    again = tune_workspace(place, options(tmp_path / "d.safetensors"))
    assert again.detector.digest == undisturbed.detector.digest
    kept.unlink()


def test_other_options_do_not_go_on_from_it(place, undisturbed, tmp_path):
    def kill(event):
        if event.stage == "Tuning" and event.done == 4:
            raise Killed

    with pytest.raises(Killed):
        tune_workspace(place, options(tmp_path / "d.safetensors"), kill)
    events = []
    other = tune_workspace(place, options(tmp_path / "e.safetensors", seed=2), events.append)
    assert not any(event.message for event in events if event.stage == "Tuning")
    assert other.detector.digest != undisturbed.detector.digest


def test_views_are_learned_from(undisturbed):
    assert undisturbed.detector.facts["views"] == 1


def test_what_was_chosen_is_in_the_detector(undisturbed):
    facts, settings = undisturbed.detector.facts["selection"], undisturbed.detector.settings
    assert facts["folds"] == 2 and facts["settings"] == 192
    chosen = facts["chosen"]
    assert settings["blend"] == chosen["blend"] and settings["ebm_weight"] == chosen["ebm_weight"]
    assert undisturbed.detector.temperature == chosen["temperature"]
    assert facts["zero_shot"]["blend"] == 0
    assert chosen["shifted_accuracy"] is not None


@pytest.mark.parametrize(("position", "specific"), [("middle", False), ("front", True), ("end", True)])
def test_other_contexts_make_whole_detectors(place, tmp_path, position, specific):
    context = ContextOptions(length=3, position=position, class_specific=specific, chunk=2)
    made = tune_workspace(place, options(tmp_path / "d.safetensors", context=context, select="off"))
    again = Detector.load(made.path)
    assert again.context.shape == ((4, 3, 32) if specific else (3, 32))
    assert again.settings["class_position"] == position


def test_too_few_shots_to_choose_with(place, tmp_path):
    prompts = TuningOptions(shots=1, recipe=Recipe(steps=2), background=BackgroundOptions("none"))
    made = tune_workspace(
        place,
        TuneOptions(
            tuning=prompts, out=tmp_path / "d.safetensors", model=ModelOptions(device="cpu", offline=True)
        ),
    )
    assert any("too few images to choose" in note and "3 shots per class" in note for note in made.notes)
    assert made.detector.temperature == Recipe().temperature
