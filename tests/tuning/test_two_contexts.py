"""Class prompts and energy prompts: from one start, with losses of their own, in one detector."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import make_model

import deltaoe
from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import ModelRef
from deltaoe.scoring.options import TEMPLATE, BackgroundOptions

NAMES = ("cat", "dog", "fox", "owl")
RECIPE = deltaoe.Recipe(steps=20, learning_rate=0.02)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("m") / "m", seed=0)
    return FrozenClip.load(ModelRef.parse(f"local-dir:{folder}"), torch.device("cpu"), offline=True)


def tuned(clip, recipe=RECIPE, background="none", on=lambda event: None):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 40)
    images = rng.normal(size=(4, 16))[labels] + 0.3 * rng.normal(size=(160, 16))
    options = deltaoe.TuningOptions(shots=4, recipe=recipe, background=BackgroundOptions(background))
    return deltaoe.tune(images, labels, NAMES, model=clip, options=options, on=on)


@pytest.fixture(scope="module")
def both(clip):
    events = []
    return tuned(clip, on=events.append), events


def by_hand(clip, context, names, blend):
    """The unit rows of (1 − b) · zero-shot + b · learned, in float64; prompts are encoded by a fresh learner."""
    learner = clip.prompt_learner(names, len(context), None, torch.Generator().manual_seed(5))
    with torch.no_grad():
        learner.context.copy_(torch.from_numpy(context))
        learned = learner().numpy().astype(np.float64)
    start = clip.encode_text([TEMPLATE.replace("{}", name) for name in names]).numpy()
    mixed = (1 - blend) * start + blend * learned
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def test_each_prompts_are_those_of_their_context(clip, both):
    detector, _ = both
    assert not np.allclose(detector.class_context, detector.context, atol=1e-3)
    for context, found in (
        (detector.class_context, detector.text_features),
        (detector.context, detector.energy_features),
    ):
        assert found == pytest.approx(by_hand(clip, context, NAMES, RECIPE.blend), abs=1e-5)


def test_class_prompts_know_nothing_of_the_ebm_loss(clip, both):
    """They are those of a tuning with λ = 0, which has one context."""
    alone = tuned(clip, dataclasses.replace(RECIPE, ebm_weight=0.0))
    assert np.array_equal(alone.text_features, both[0].text_features)
    assert np.array_equal(alone.context, both[0].class_context)
    assert alone.class_context is None and alone.energy_features.size == 0
    assert not any(name.startswith("energy_") for name in alone.facts)


def test_both_begin_alike_and_end_where_their_loss_is_small(both):
    detector, events = both
    stages = ("Tuning, class prompts", "Tuning, energy prompts")
    first, other = (next(e for e in events if e.stage == stage and e.done == 1) for stage in stages)
    assert first.info == pytest.approx(other.info)
    facts = detector.facts
    assert facts["steps"] == facts["energy_steps"] == 20
    assert facts["cross_entropy"] < facts["energy_cross_entropy"]
    assert facts["energy_ebm"] < facts["ebm"]
    assert facts["shot_accuracy"] >= facts["energy_shot_accuracy"]
    assert detector.settings["ebm_weight"] == RECIPE.ebm_weight == 2.0


def test_the_background_has_the_context_of_the_energy_prompts(clip, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("tree\nstone\nriver\ncloud\n")
    detector = tuned(clip, background=str(names))
    wanted = by_hand(clip, detector.context, detector.background_names, RECIPE.blend)
    assert len(wanted) and detector.background == pytest.approx(wanted, abs=1e-5)


def test_plain_coop_has_one_context(clip):
    detector = tuned(clip, deltaoe.Recipe.coop(epochs=2))
    assert detector.energy_features.size == 0 and detector.class_context is None
    assert np.array_equal(detector.prompts[0], detector.text_features)
