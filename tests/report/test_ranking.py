"""Which numbers are marked as the best: never one that only chance may have put first."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import measured

from deltaoe.report.ranking import exceeds, higher_is_better_value, standings


@pytest.mark.parametrize(
    ("values", "half", "found"),
    [
        ([0.9, 0.8, 0.7], math.nan, ["best", "", ""]),
        ([0.7, 0.9, 0.8], 0.02, ["", "best", ""]),
        ([0.9, 0.88, 0.7], 0.02, ["best", "level", ""]),
        ([0.9, 0.9, 0.7], math.nan, ["best", "best", ""]),
        ([0.90001, 0.90002, 0.7], math.nan, ["best", "best", ""]),  # both read 0.900
        ([0.9, 0.89, 0.88], 0.02, ["", "", ""]),  # no winner
        ([0.9, 0.9], math.nan, ["", ""]),
        ([0.9], 0.01, [""]),
        ([0.9, math.nan, 0.7], math.nan, ["best", "", ""]),
        ([math.nan, math.nan], math.nan, ["", ""]),
        ([], math.nan, []),
    ],
)
def test_the_best_and_what_is_level_with_it(values, half, found):
    assert standings([measured(value=value, half=half) for value in values]) == found


@pytest.mark.parametrize("metric", ["fpr95", "ece", "false_alarms"])
def test_less_is_better_of_these(metric):
    assert standings([measured(metric, 0.1), None, measured(metric, 0.3)]) == ["best", "", ""]
    low, high, none = (
        higher_is_better_value(row) for row in (measured(metric, 0.1), measured(metric, 0.3), None)
    )
    assert low > high > none


def test_an_interval_may_overlap_a_number_without_one():
    rows = [measured(value=0.9), measured(value=0.85, half=0.06), measured(value=0.5, half=0.1)]
    assert standings(rows) == ["best", "level", ""]


numbers = st.floats(0, 1) | st.just(math.nan)


@given(st.lists(st.tuples(numbers, st.floats(0, 0.2) | st.just(math.nan)), max_size=12), st.randoms())
def test_marks_do_not_depend_on_the_order(pairs, random):
    rows = [measured(value=value, half=half) for value, half in pairs]
    marks = dict(zip(map(id, rows), standings(rows), strict=True))
    assert all(not mark for row, mark in zip(rows, marks.values(), strict=True) if math.isnan(row.value))
    if any(marks.values()):
        top = max(row.value for row in rows if not math.isnan(row.value))
        assert all(marks[id(row)] == "best" for row in rows if row.value == top)
        assert "" in {marks[id(row)] for row in rows if not math.isnan(row.value)}
    shuffled = random.sample(rows, len(rows))
    if len({row.value for row in rows if not math.isnan(row.value)}) == len(rows):
        assert standings(shuffled) == [marks[id(row)] for row in shuffled]


def test_only_a_whole_interval_breaks_a_promise():
    assert exceeds(measured("false_alarms", 0.09, 0.03), 0.05)
    assert not exceeds(measured("false_alarms", 0.07, 0.03), 0.05)
    assert not exceeds(measured("false_alarms", 0.5), 0.05)
