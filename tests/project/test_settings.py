"""Settings of a detector as options: what differs from the defaults, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from samples import make_detector

from deltaoe.project.detector_list import validation
from deltaoe.project.settings import as_options, changed_settings
from deltaoe.scoring.detector_fields import COMPARISON
from deltaoe.tuning.recipe import Recipe


def tuned(recipe: Recipe, **changes: Any) -> Any:
    """A detector with the settings that tuning records, of 32 shots without views."""
    settings = {
        **dataclasses.asdict(recipe),
        "shots": 16,
        "seed": 1,
        "context_length": 16,
        "context_phrase": None,
        "class_position": "end",
        "class_specific": False,
        "precision": "auto",
        "background": "imagenet",
        "background_fraction": 0.5,
        "background_labels": "493 of 997",
        "domains": [],
        "allow_fewer": False,
        "layout": "class",
        "epochs": recipe.epochs_for(32, 16),
    }
    return make_detector(settings=settings | changes, facts={"shots": 32, "views": 0})


def test_the_defaults_are_not_listed():
    assert changed_settings(tuned(Recipe())) == {"shots": 16}
    assert changed_settings(tuned(Recipe.coop())) == {"shots": 16, "method": "coop"}


@pytest.mark.parametrize(
    ("recipe", "changes", "wanted"),
    [
        (Recipe(), {"shots": 4, "seed": 0}, {"shots": 4, "seed": 0}),
        (Recipe(ebm_weight=0.0), {}, {"shots": 16, "ebm-weight": 0.0}),
        (Recipe(steps=20), {}, {"shots": 16, "steps": 20}),
        (Recipe(), {"epochs": 7}, {"shots": 16, "epochs": 7}),
        (Recipe.coop(learning_rate=0.01), {}, {"shots": 16, "method": "coop", "learning-rate": 0.01}),
        (
            Recipe(),
            {"context_phrase": "a photo of a", "context_length": 4},
            {"shots": 16, "context": "a photo of a"},
        ),
        (
            Recipe(),
            {"domains": ["photo"], "background": "none"},
            {"shots": 16, "background": "none", "domain": ["photo"]},
        ),
    ],
)
def test_what_differs_is_listed(recipe, changes, wanted):
    assert changed_settings(tuned(recipe, **changes)) == wanted


def test_settings_of_other_versions_and_of_no_tuning():
    assert changed_settings(make_detector(settings={})) == {}
    assert changed_settings(make_detector(settings={"shots": 2, "until_epoch": 75})) == {"shots": 2}


def test_options_can_be_typed():
    assert as_options({"shots": 4, "ebm-weight": 0.0, "context": "a photo of a", "allow-fewer": True}) == (
        "--shots 4 --ebm-weight 0 --context 'a photo of a' --allow-fewer"
    )


@pytest.mark.parametrize("facts", [{}, {COMPARISON: 3}, {COMPARISON: {"tuned": None}}, {COMPARISON: {}}])
def test_validation_numbers_may_be_missing(facts):
    assert validation(make_detector(facts=facts)) == {}


def test_validation_numbers():
    told = {"tuned": {"accuracy": 0.9, "near": None, "far": 1.0}, "zero_shot": {"accuracy": 0.1}}
    assert validation(make_detector(facts={COMPARISON: told})) == {"accuracy": 0.9, "far": 1.0}
