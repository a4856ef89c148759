"""The settings of a detector that differ from the defaults of ``deltaoe tune``, spelled as its options."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from deltaoe.options import option_fields
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import FRACTION
from deltaoe.tuning.options import TUNED_BACKGROUND, TuneOptions
from deltaoe.tuning.recipe import Recipe

_CONTEXT_LENGTH = 16  # without words to start from
# Entries of a detector's settings whose flags have other names, and what is no option at all.
_FLAGS = {"context_phrase": "context", "domains": "domain", "background": "background"}
_RECIPE = tuple(field.name for field in dataclasses.fields(Recipe))


def changed_settings(detector: Detector) -> dict[str, Any]:
    """Shots, and the settings of a tuned detector that are not the defaults: option of ``deltaoe tune`` → value.

    Defaults are those of the method, ``coop`` if it was tuned like that. Settings that follow from others are left
    out. Empty if nothing is known, as of zero-shot prompts.
    """
    settings = detector.settings
    coop = settings.get("optimiser") == "sgd"
    defaults = _defaults(Recipe.coop() if coop else Recipe())
    changed = {"shots": settings["shots"]} if "shots" in settings else {}
    if coop:
        changed["method"] = "coop"
    for name, default in defaults.items():
        if name in settings and settings[name] != default:
            changed[_FLAGS.get(name, name.replace("_", "-"))] = settings[name]
    if settings.get("context_phrase") is not None:
        changed.pop("context-length", None)  # the number of its tokens
    return {**changed, **_epochs(detector)}


def as_options(changed: Mapping[str, Any]) -> str:
    """Settings as one would type them: ``--shots 4 --seed 2``.

    Example:
        >>> as_options({"shots": 4, "domain": ["photo", "oil paint"], "allow-fewer": True})
        "--shots 4 --domain photo --domain 'oil paint' --allow-fewer"
    """
    words = []
    for flag, value in changed.items():
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                words.append(f"--{flag}")
            else:
                words.append(
                    f"--{flag} {one:g}" if isinstance(one, float) else f"--{flag} {shlex.quote(str(one))}"
                )
    return " ".join(words)


def _defaults(recipe: Recipe) -> dict[str, Any]:
    """The defaults of the entries of a detector's settings that are options with a flag, shots aside."""
    tuning = TuneOptions().tuning
    flags = {field.flag for field in option_fields(TuneOptions)}
    values = {
        "seed": tuning.seed,
        "context_length": _CONTEXT_LENGTH,
        "context_phrase": tuning.context.phrase,
        "class_position": tuning.context.position,
        "class_specific": tuning.context.class_specific,
        "background": TUNED_BACKGROUND,
        "background_fraction": FRACTION,
        "evidence": tuning.evidence,
        "domains": [],
        "allow_fewer": False,
        **{name: getattr(recipe, name) for name in _RECIPE if name != "epochs"},
    }
    return {
        name: value for name, value in values.items() if _FLAGS.get(name, name.replace("_", "-")) in flags
    }


def _epochs(detector: Detector) -> dict[str, int]:
    """The number of epochs, if it is another than follows from the other settings."""
    settings, facts = detector.settings, detector.facts
    try:
        recipe = Recipe(**{name: settings[name] for name in _RECIPE if name != "epochs"})
        usual = recipe.epochs_for(facts["shots"] * (facts["views"] + 1), settings["shots"])
        return {} if settings["epochs"] == usual else {"epochs": settings["epochs"]}
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # of an earlier version, or of no prompts
        return {}
