"""Verdicts in words: every kind of record is one line, and no number in it says more than the p-value."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaoe.scoring.words import most_frequent, verdict_line

REASONS = ("", "text", "images", "text and images", "together")


def record(verdict: str, **changes: Any) -> dict[str, Any]:
    return {"path": "a.jpg", "verdict": verdict, "class": "cat", "p_value": 0.02, "error": "empty", **changes}


@given(st.integers(1, 500), st.data(), st.sampled_from(REASONS), st.sampled_from(["", "tulip", "none fits"]))
def test_the_share_is_true_for_any_calibration(n, data, reason, name):
    below = data.draw(st.integers(0, n))  # calibration images that are no more familiar
    p = (1 + below) / (n + 1)
    said = verdict_line(record("unknown", p_value=p, unknown_by=reason, looks_like=name or None), n)
    assert said.count("\n") == 0 and said.startswith("a.jpg: unknown (less familiar than ")
    share = re.search(r"than (\d+) % of your images", said)
    if share:
        assert int(share[1]) / 100 <= (n - below) / n < int(share[1]) / 100 + 0.01 + 1 / n
    else:
        assert below == 0 and "than all of your images" in said
    known = verdict_line(record("known", p_value=p), n)
    share = re.search(r"than (\d+) % of your images", known)
    assert int(share[1]) / 100 <= p < int(share[1]) / 100 + 0.011 if share else below == n


@pytest.mark.parametrize(
    ("given_record", "calibration", "says"),
    [
        (record("failed"), 5, "a.jpg: failed (empty)"),
        (record("undecided"), 0, "a.jpg: undecided (there is no calibration; most like cat)"),
        (record("undecided"), 7, "a.jpg: undecided (7 calibration images are too few; most like cat)"),
        (record("unknown", looks_like="none fits"), 99, "no name of the vocabulary fits"),
        (record("unknown", unknown_by="text and images"), 99, "; text and images agree)"),
        (record("known", p_value=None), 0, "a.jpg: cat (known)"),
    ],
)
def test_each_kind(given_record, calibration, says):
    assert says in verdict_line(given_record, calibration)


def test_per_class_says_of_which_class():
    said = verdict_line(record("unknown", p_value=0.01), 99, per_class=True)
    assert "less familiar than 99 % of your images of cat" in said


def test_most_frequent_names():
    names = ["b", "a", "b", "c", "d", "none fits", "none fits", ""]
    assert most_frequent(names) == "b 2, a 1, c 1 and 1 more; 2 fit no name"
    assert most_frequent([""]) == ""
