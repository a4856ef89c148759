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


CLASSES, ENERGY = "Tuning, class prompts", "Tuning, energy prompts"


def killed(place, out, stage, step):
    def kill(event):
        if (event.stage, event.done) == (stage, step) and not event.message:
            raise Killed

    with pytest.raises(Killed):
        tune_workspace(place, options(out), kill)
    assert checkpoints(place) and not out.exists()


@pytest.mark.parametrize(("stage", "step"), [(CLASSES, 4), (ENERGY, 1), (ENERGY, 4), ("Scoring", None)])
def test_killed_and_gone_on(place, undisturbed, tmp_path, stage, step):
    killed(place, tmp_path / "d.safetensors", stage, step or len(undisturbed.detector.calibration))
    events = []
    again = tune_workspace(place, options(tmp_path / "d.safetensors"), events.append)
    assert again.detector.digest == undisturbed.detector.digest
    # Nothing is learned twice, and nothing is left lying about.
    learned = {name: [e.done for e in events if e.stage == name and e.total] for name in (CLASSES, ENERGY)}
    assert learned[CLASSES] == ([4, 5, 6] if stage == CLASSES else [])
    assert learned[ENERGY] == {CLASSES: [1, 2, 3, 4, 5, 6], ENERGY: list(range(step or 0, 7))}.get(stage, [])
    assert checkpoints(place) == []


def test_a_torn_or_foreign_checkpoint_is_begun_again(place, undisturbed, tmp_path):
    killed(place, tmp_path / "d.safetensors", ENERGY, 4)
    assert len(checkpoints(place)) == 2
    for number, file in enumerate(checkpoints(place)):
        file.write_bytes(file.read_bytes()[:200] if number % 2 else b"\x80\x04nothing of ours")
    again = tune_workspace(place, options(tmp_path / "d.safetensors"))
    assert again.detector.digest == undisturbed.detector.digest


def interrupted(place, out, stage, step):
    """The messages of a tuning that Ctrl-C ends in this step, and the detectors that it has left."""
    before, messages = place.current_detector(), []

    def stop(event):
        if event.message:
            messages.append(event.message)
        elif (event.stage, event.done) == (stage, step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_workspace(place, options(out), stop)
    assert place.current_detector() == before
    assert not out.exists()
    return messages, list((place.folder / "detectors").glob("interrupted-*.safetensors"))


@pytest.mark.parametrize(
    ("stage", "step", "says"),
    [
        (CLASSES, 5, "stopped after step 4 of 6 of the class prompts"),
        (ENERGY, 1, "stopped after step 6 of 6 of the class prompts"),
        (ENERGY, 5, "stopped after step 4 of 6 of the energy prompts"),
    ],
)
def test_ctrl_c_keeps_the_best_so_far(place, undisturbed, tmp_path, stage, step, says):
    messages, [kept] = interrupted(place, tmp_path / "d.safetensors", stage, step)
    assert says in messages[-1] and str(kept) in messages[-1]
    detector, whole = Detector.load(kept), undisturbed.detector
    assert detector.facts["interrupted"] is True
    assert len(detector.calibration) and np.isfinite(detector.text_features).all()
    # Class prompts are finished once energy prompts are begun; of these, there are some after their first epoch.
    assert np.array_equal(detector.text_features, whole.text_features) == (stage == ENERGY)
    if (stage, step) == (ENERGY, 5):
        assert np.array_equal(detector.class_context, whole.class_context)
        assert detector.energy_features.shape == whole.energy_features.shape
        assert not np.array_equal(detector.energy_features, whole.energy_features)
    else:
        assert detector.energy_features.size == 0 and detector.class_context is None
        assert detector.settings["ebm_weight"] == 0  # of its one context
    again = tune_workspace(place, options(tmp_path / "d.safetensors"))
    assert again.detector.digest == whole.digest
    kept.unlink()


def test_ctrl_c_before_the_first_epoch_leaves_nothing(place, tmp_path):
    _, kept = interrupted(place, tmp_path / "d.safetensors", CLASSES, 1)
    assert kept == [] and checkpoints(place) == []


def test_other_options_do_not_go_on_from_it(place, undisturbed, tmp_path):
    killed(place, tmp_path / "d.safetensors", ENERGY, 4)
    events = []
    other = tune_workspace(place, options(tmp_path / "e.safetensors", seed=2), events.append)
    assert not any(event.message for event in events if event.stage in (CLASSES, ENERGY))
    assert other.detector.digest != undisturbed.detector.digest


def test_views_are_learned_from(undisturbed):
    assert undisturbed.detector.facts["views"] == 1


@pytest.mark.parametrize(("position", "specific"), [("middle", False), ("front", True), ("end", True)])
def test_other_contexts_make_whole_detectors(place, tmp_path, position, specific):
    context = ContextOptions(length=3, position=position, class_specific=specific, chunk=2)
    made = tune_workspace(place, options(tmp_path / "d.safetensors", context=context))
    again = Detector.load(made.path)
    assert again.context.shape == again.class_context.shape == ((4, 3, 32) if specific else (3, 32))
    assert again.settings["class_position"] == position
