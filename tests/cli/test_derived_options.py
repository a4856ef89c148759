"""The command line offers what the option dataclasses say: every flag, its default, its choices, and what was given."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from deltaoe.errors import ConfigError
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.extraction.options import ExtractOptions
from deltaoe.interchange.options import ImportOptions
from deltaoe.options import OptionField, Options, option_fields
from deltaoe.scoring.options import (
    LISTED_BACKGROUND,
    ZERO_SHOT_BACKGROUND,
    BackgroundListOptions,
    BackgroundOptions,
    PromptOptions,
    Rule,
    ScoreOptions,
)
from deltaoe.tuning.options import TUNED_BACKGROUND, TuneOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe_cli import background, evaluate, extract, score, store, tune
from deltaoe_cli.command import Command
from deltaoe_cli.derive import with_options
from deltaoe_cli.main import app

COMMANDS: dict[str, tuple[Any, type[Options]]] = {
    "extract": (extract.extract, ExtractOptions),
    "tune": (tune.tune, TuneOptions),
    "score": (score.score, ScoreOptions),
    "evaluate": (evaluate.evaluate, EvaluateOptions),
    "background": (background.background, BackgroundListOptions),
    "import": (store.import_, ImportOptions),
}


def parameters(name: str) -> dict[str, Any]:
    """The command's parameters as the parser knows them, by name."""
    command: Any = typer.main.get_command(app)
    command = command.commands["store"].commands[name] if name == "import" else command.commands[name]
    return {one.name: one for one in command.params}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_offered_with_the_default_that_the_code_uses(name: str) -> None:
    known = parameters(name)
    fields = option_fields(COMMANDS[name][1])
    if name == "background":
        fields = [one for one in fields if one.name in background.OFFERED]
        assert len(fields) == len(background.OFFERED)
    for one in fields:
        offered = known[one.name]
        assert f"--{one.flag}" in offered.opts
        assert offered.help.startswith(one.option.help)
        assert offered.rich_help_panel == (one.option.panel or None)
        assert offered.envvar == ("" if one.option.fact else "DELTAOE_" + one.flag.upper().replace("-", "_"))
        assert not offered.show_envvar
        shown = offered.show_default
        if one.default in (None, (), "", {}):
            nothing = "auto" if one.option.auto else "all" if one.option.listed else None
            assert offered.default == nothing
            if one.option.unset is not None and nothing is None:
                assert shown == str(one.option.unset)
        else:
            assert offered.default == one.default and shown is True


def caught(options: type[Options], *words: str, env: dict[str, str] | None = None) -> tuple[Any, Any]:
    """What a command made of these words: the options, and the paths of those given."""
    told: list[Any] = []

    @with_options(options)
    def command(
        chosen: Any, given: frozenset[tuple[str, ...]], more: Annotated[int, typer.Option()] = 7
    ) -> None:
        told.extend([chosen, given, more])

    one = typer.Typer()
    one.command(cls=Command)(command)
    result = CliRunner().invoke(one, list(words), env=env or {}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert told[2] == 7
    return told[0], told[1]


CLEAN = {"DELTAOE_MODEL": "", "DELTAOE_PRETRAINED": ""}


@pytest.mark.parametrize(
    "options", [ExtractOptions, TuneOptions, ScoreOptions, EvaluateOptions, ImportOptions]
)
def test_nothing_given_is_the_dataclass_as_it_is(
    options: type[Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CLEAN:
        monkeypatch.delenv(name, raising=False)
    assert caught(options) == (options(), frozenset())


def test_values_land_in_their_groups() -> None:
    found, given = caught(
        ScoreOptions,
        *("--alpha", "0.2", "--template", "a {}", "--workers", "0", "--labels", "x.txt"),
        *("--background", "none", "--device", "cpu", "--batch-size", "auto"),
    )
    assert found.rule == Rule(alpha=0.2)
    assert found.prompts == PromptOptions(template="a {}", background=BackgroundOptions(source="none"))
    assert found.labels == Path("x.txt")
    assert (found.ingest.workers, found.ingest.batch_size, found.model.device) == (0, None, "cpu")
    assert given == {
        ("rule", "alpha"),
        ("prompts", "template"),
        ("prompts", "background", "source"),
        ("ingest", "workers"),
        ("ingest", "batch_size"),
        ("labels",),
        ("model", "device"),
    }


def test_a_default_spelled_out_counts_as_given() -> None:
    found, given = caught(TuneOptions, "--ebm-weight", "2", "--domain", "a", "--domain", "b")
    assert found == dataclasses.replace(TuneOptions(), domains=("a", "b"))
    assert given == {("tuning", "recipe", "ebm_weight"), ("domains",)}


def test_names_and_lists() -> None:
    words = (
        "--ood",
        "near=a/b",
        "--ood",
        "./c/d/",
        "--ood",
        "data:far",
        "--scores",
        "mcm, energy",
        "--id",
        "x",
    )
    found, _ = caught(EvaluateOptions, *words)
    assert found.unknown == {"near": "a/b", "d": "./c/d/", "far": "data:far"}
    assert (found.scores, found.known) == (("mcm", "energy"), "x")
    assert caught(EvaluateOptions, "--scores", "all")[0].scores == ()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--ood", "a=x", "--ood", "a=y"), "--ood names 'a' twice"),
        (("--ood", "=x"), "--ood takes NAME=DATA"),
        (("--shift", "a="), "--shift takes NAME=DATA"),
        (("--workers", "many"), "--workers takes auto or a number, not 'many'"),
    ],
)
def test_words_that_cannot_be_read(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        caught(EvaluateOptions, *words)


def test_a_variable_counts_as_given() -> None:
    found, given = caught(ExtractOptions, env={"DELTAOE_MODEL": "ViT-L-14", "DELTAOE_PRETRAINED": ""})
    assert found.model.model == "ViT-L-14"
    assert ("model", "model") in given


def test_the_methods_own_recipe_keeps_what_was_given() -> None:
    coop = by_method("coop", "--learning-rate", "0.5")
    assert (coop.tuning.recipe.learning_rate, coop.tuning.recipe.ebm_weight) == (0.5, 0.0)
    assert (coop.tuning.recipe.blend, coop.tuning.recipe.optimiser) == (1.0, "sgd")
    assert by_method("coop", "--ebm-weight", "0.1").tuning.recipe.ebm_weight == 0.1
    ours = by_method("deltaoe", "--shots", "4", "--blend", "0.5")
    assert (ours.tuning.recipe, ours.tuning.shots) == (Recipe(blend=0.5), 4)


def by_method(method: Any, *words: str) -> TuneOptions:
    chosen, given = caught(TuneOptions, *words)
    return tune._by_method(chosen, method, given)


def test_each_command_prints_its_own_background() -> None:
    shown = {name: parameters(name)["background"].show_default for name in ("score", "tune", "background")}
    assert shown["score"] == f"{ZERO_SHOT_BACKGROUND}; {LISTED_BACKGROUND} with labelled images"
    assert ZERO_SHOT_BACKGROUND == "none"
    assert shown["tune"] == TUNED_BACKGROUND == "imagenet"
    assert shown["background"].startswith(LISTED_BACKGROUND)


def test_headings_stand_in_their_order() -> None:
    def place(one: OptionField) -> int:
        return list(parameters("tune")).index(one.name)

    fields = option_fields(TuneOptions)
    common = [place(one) for one in fields if not one.option.panel]
    assert max(common) < min(place(one) for one in fields if one.option.panel)
