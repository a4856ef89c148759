"""An option is said once: what the command line offers, shows and refuses is what stands on the dataclass field."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaoe.clip.options import ModelOptions
from deltaoe.errors import ConfigError
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.extraction.options import ExtractOptions
from deltaoe.interchange.options import ImportOptions
from deltaoe.options import PANELS, Option, OptionField, Options, Unset, Without, option_fields
from deltaoe.scoring.options import ScoreOptions
from deltaoe.tuning.options import TuneOptions

GROUPS: tuple[type[Options], ...] = (
    ExtractOptions,
    TuneOptions,
    ScoreOptions,
    EvaluateOptions,
    ImportOptions,
)
EVERY = [(group, one) for group in GROUPS for one in option_fields(group)]
NUMBERS = [(group, one) for group, one in EVERY if one.kind in {int, float}]


def names(pair: tuple[type[Options], OptionField]) -> str:
    return f"{pair[0].__name__}-{pair[1].flag}"


def filled(group: type[Options], path: tuple[str, ...], value: Any) -> Options:
    """The group with one value, however deep it stands."""
    start = group()
    if len(path) == 1:
        return dataclasses.replace(start, **{path[0]: value})
    inner = filled(type(getattr(start, path[0])), path[1:], value)
    return dataclasses.replace(start, **{path[0]: inner})


@pytest.mark.parametrize("group", GROUPS)
def test_the_defaults_are_usable(group: type[Options]) -> None:
    group().check()


@pytest.mark.parametrize("group", GROUPS)
def test_no_two_options_of_a_command_share_a_flag(group: type[Options]) -> None:
    flags = [one.flag for one in option_fields(group)]
    assert len(set(flags)) == len(flags)


@pytest.mark.parametrize("pair", EVERY, ids=names)
def test_an_option_says_what_it_does(pair: tuple[type[Options], OptionField]) -> None:
    one = pair[1]
    assert one.option.help[0] and one.option.help.endswith(".")
    assert "Default" not in one.option.help  # --help prints the one that the code uses
    assert one.option.panel in {"", *PANELS}
    value: Any = pair[0]()
    for name in one.path:
        value = getattr(value, name)
    assert value == one.default


@pytest.mark.parametrize("pair", NUMBERS, ids=names)
def test_a_number_out_of_range_is_refused_by_its_flag(pair: tuple[type[Options], OptionField]) -> None:
    group, one = pair
    option = one.option
    beyond = [
        *([option.at_least - 1] if option.at_least is not None else []),
        *([option.above, option.above - 1] if option.above is not None else []),
        *([option.at_most + 1] if option.at_most is not None else []),
        *([option.below, option.below + 1] if option.below is not None else []),
        *([math.nan, math.inf, -math.inf] if one.kind is float else []),
    ]
    assert beyond, "a number has a range"
    for value in beyond:
        with pytest.raises(ConfigError, match=f"--{one.flag} must be ") as caught:
            filled(group, one.path, value).check()
        assert caught.value.hint


@pytest.mark.parametrize(
    "pair", [(group, one) for group, one in EVERY if get_origin(one.kind) is Literal], ids=names
)
def test_other_words_than_the_choices_are_refused(pair: tuple[type[Options], OptionField]) -> None:
    group, one = pair
    for choice in get_args(one.kind):
        filled(group, one.path, choice).check()
    with pytest.raises(ConfigError, match=f"--{one.flag} cannot be 'nope'") as caught:
        filled(group, one.path, "nope").check()
    assert all(str(choice) in caught.value.hint for choice in get_args(one.kind))


# The rules themselves, on a group of their own


@dataclass(frozen=True)
class Inner(Options):
    share: Annotated[float, Option("A share.", above=0, at_most=1)] = 0.5
    place: Annotated[str | None, Option("A place.", unset="here")] = None
    rate: Annotated[float, Option("A rate.", hidden=True, at_least=0)] = 1.0


@dataclass(frozen=True)
class Outer(Options):
    count: Annotated[int, Option("A number.", flag="how-many", at_least=1)] = 3
    plain: int = 0
    first: Inner = field(default_factory=Inner)
    second: Annotated[Inner, Without("share"), Unset("place", "there")] = field(default_factory=Inner)


@dataclass(frozen=True)
class Outermost(Options):
    group: Annotated[Outer, Unset("second.place", "everywhere")] = field(default_factory=Outer)


def test_fields_are_walked_in_order_and_hidden_ones_left_out() -> None:
    found = [(one.path, one.flag, one.name, one.option.unset) for one in option_fields(Outer)]
    assert found == [
        (("count",), "how-many", "how_many", None),
        (("first", "share"), "share", "share", None),
        (("first", "place"), "place", "place", "here"),
        (("second", "place"), "place", "place", "there"),
    ]


def test_the_outermost_word_for_nothing_counts() -> None:
    unset = {one.path: one.option.unset for one in option_fields(Outermost)}
    assert unset["group", "first", "place"] == "here"
    assert unset["group", "second", "place"] == "everywhere"


def test_a_value_is_checked_where_it_is_not_offered() -> None:
    with pytest.raises(ConfigError, match="--share must be above 0 and at most 1, not 2"):
        Outer(second=Inner(share=2.0)).check()
    with pytest.raises(ConfigError, match="--rate must be at least 0, not -1"):
        Outer(first=Inner(rate=-1.0)).check()


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    *[st.none() | st.floats(-10, 10) for _ in range(4)],
)
def test_a_range_holds_what_its_ends_say(
    value: float, at_least: float | None, above: float | None, at_most: float | None, below: float | None
) -> None:
    option = Option("", at_least=at_least, above=above, at_most=at_most, below=below)
    wanted = not (
        math.isnan(value)
        or math.isinf(value)
        or (at_least is not None and not at_least <= value)
        or (above is not None and not above < value)
        or (at_most is not None and not value <= at_most)
        or (below is not None and not value < below)
    )
    assert option.allows(value) is wanted


def test_a_model_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="its own weights"):
        ModelOptions(model="local-dir:x", pretrained="openai").reference()
    assert str(ModelOptions().reference("ViT-L-14")) == "ViT-L-14/openai"
