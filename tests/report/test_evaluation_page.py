"""The evaluation's page: whole, safe, and true to its numbers."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pages import HOSTILE, Page, hostile_evaluation, make_evaluation, measured

from deltaoe.report.evaluation import manifest, render_evaluation
from deltaoe.theory.results import Conclusion, Finding, Theory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def page(evaluation=None) -> Page:
    return Page(render_evaluation(evaluation or make_evaluation(), NOW))


def words(text: str) -> str:
    return " ".join(text.split())


def test_theory_is_shown_below_the_tables_and_nothing_of_it_is_markup():
    name = HOSTILE[0]
    rows = [
        Finding("bound", name, "id", "", "score", "premise", 1.0, 0.9, 1.0, 20),
        Finding("hessian", name, "id/ink", "", "start", "trace", 3.0, 2.0, 4.0, 9),
    ]
    told = Theory("t", rows, [Conclusion("bound", "supports", f"{name} holds")], ["how", "Mind this."])
    found = Page(render_evaluation(make_evaluation(), NOW, told))
    cells = [text for _, text in found.find("td")]
    assert "1.000 [0.900, 1.000]" in cells and "3 ± 1" in cells
    assert words(f"supports: {name} holds") in [words(text) for _, text in found.find("li")]
    assert [words(text) for _, text in found.find("p")].count("Mind this.") == 1  # not twice
    assert not any("What the theorems" in text for _, text in page().find("h2"))


# --- what it says


def test_first_come_what_was_measured_the_convention_and_the_notes():
    found = page()
    assert found.text("h1") == "Pets against the rest"
    assert found.text("p", class_="promise") == (
        "How well 2 detectors tell, with 3 scores each, known images (id, sketches) from unknown ones (textures, "
        "scenes). In-distribution images are the positive class: FPR@95 is the share of unknown images that are kept "
        "by the threshold that keeps 95 % of the known ones. Brackets and thin lines are 95 % intervals."
    )
    assert found.text("aside") == "Mind this."
    order = [tag for tag, attrs, _ in found.elements if tag in ("aside", "svg", "table")]
    assert order[0] == "aside" and order.index("svg") < order.index("table")
    other = page(make_evaluation(convention="ood")).text("p", class_="promise")
    assert "flags 95 % of the unknown ones" in other


def test_the_tables_hold_every_number():
    evaluation = make_evaluation()
    cells = [words(text) for _, text in page(evaluation).find("td")]
    assert len(cells) == len(evaluation.rows)
    for row in evaluation.rows:
        text = f"{row.value:.3f}" + ("" if math.isnan(row.low) else f" [{row.low:.3f}, {row.high:.3f}]")
        assert any(cell.endswith(text) for cell in cells)


def test_the_best_are_bold_and_what_is_level_says_so():
    found = page()
    bold = [words(text) for attrs, text in found.find("td") if "best" in attrs["class"].split()]
    top = max(row.value for row in make_evaluation().find(metric="auroc", known="id", unknown="mean"))
    assert f"{top:.3f}" in bold
    assert any(words(text).startswith("≈ 0.") for _, text in found.find("td"))
    one = page(make_evaluation(detectors=["zero-shot"], scores={"mcm": "MCM"}, known=["id"], unknown=["x"]))
    assert not one.find("td", class_="best") and "Bold" not in words(one.find("body")[0][1])


def test_every_dot_is_drawn_where_it_belongs():
    rows = [measured(value=0.9, half=0.05), measured(value=0.7, score="knn")]
    found = page(make_evaluation(rows=rows, detectors={"zero-shot": "words"}))
    marks = [attrs["x"] for attrs, _ in found.find("svg", class_="symbol")]
    assert marks == ["66.67%", "0.0%"]  # from 0.7 to 1
    ((whisker, _),) = found.find("line", class_="whisker")
    assert (whisker["x1"], whisker["x2"]) == ("50.0%", "83.33%")


def test_small_pictures_have_words_for_those_who_do_not_see_them():
    pictures = page().find("svg", role="img")
    assert len(pictures) == 2 * 2 * 3 + 2 * 3  # known × unknown × scores, and false alarms
    for attrs, _ in pictures:
        assert re.fullmatch(r"zero-shot: 0\.\d{3} \[.*\]; tuned: 0\.\d{3} \[.*\]", attrs["aria-label"])
    hidden = [attrs for attrs, _ in page().find("svg", class_="plot") if attrs.get("role") != "img"]
    assert all(attrs["aria-hidden"] == "true" for attrs in hidden)  # their numbers are text beside them


def test_false_alarms_stand_beside_their_promise():
    found = page()
    text = words(found.find("section", **{"aria-labelledby": "alarms"})[0][1])
    assert "calibration at α = 0.05 on one half of id" in text and "at most 5 % on average" in text
    assert len(found.find("figure", class_="promised")) == 1
    over = make_evaluation(rows=[measured("false_alarms", 0.2, 0.01, unknown="")])
    assert [words(text) for _, text in page(over).find("td", class_="over")] == ["▲ 0.200 [0.190, 0.210]"]


def test_nothing_unknown():
    found = page(make_evaluation(unknown=()))
    assert "No unknown images were given, so there is no AUROC." in found.text("p", class_="promise")
    assert "FPR@95" not in found.text("p", class_="promise")
    headings = [words(text) for _, text in found.find("h3")]
    assert [text.split(" ")[0] for text in headings] == ["id", "sketches", "Accuracy", "Calibration", "False"]
    empty = page(make_evaluation(rows=[], notes=[], manifest={}))
    assert empty.find("table") == empty.find("aside") == empty.find("figure") == []


def test_no_interval_no_whisker():
    rows = [replace(row, low=math.nan, high=math.nan) for row in make_evaluation().rows]
    found = page(make_evaluation(rows=rows))
    assert not found.find("line", class_="whisker") and found.find("svg", class_="symbol")
    assert "nan" not in words(found.find("body")[0][1]).lower()


def test_a_large_evaluation_is_a_page_that_opens():
    evaluation = make_evaluation(
        detectors=[f"detector {i}" for i in range(4)],
        scores=[f"score {i}" for i in range(9)],
        unknown=[f"unknown {i}" for i in range(8)],
    )
    html = render_evaluation(evaluation, NOW)
    found = Page(html)
    assert len(found.find("td")) == len(evaluation.rows)
    assert len({attrs["class"] for attrs, _ in found.find("svg", class_="symbol")}) == 4
    assert len(html) < 1_000_000


# --- the manifest


def test_the_manifest_is_folded_away_and_flat():
    found = page(make_evaluation(manifest={"options": {"seed": 0, "out": {"a": None}}, "title": "t"}))
    assert [text for _, text in found.find("summary")] == ["Run", "Settings", "options"]
    assert all("open" not in attrs for attrs, _ in found.find("details"))
    values = dict(zip([t for _, t in found.find("dt")], [t for _, t in found.find("dd")], strict=True))
    assert values["time"] == "2026-01-02T03:04:05+00:00"
    assert (values["seed"], values["out › a"], values["title"]) == ("0", "none", "t")


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ({"a": {"b": {"c": 1.5}}}, [("a › b › c", "1.5")]),
        ({"a": [1, "x", True], "b": []}, [("a", "1, x, yes"), ("b", "none")]),
        ([{"n": 1}, {"n": False}], [("1 › n", "1"), ("2 › n", "no")]),
        ([[1, 2], [3]], [("1", "1, 2"), ("2", "3")]),
        (["a", "b"], [("", "a, b")]),
        ({}, [("", "none")]),
    ],
)
def test_nested_values(value, entries):
    assert manifest({"part": value}) == [("part", entries)]


def test_a_manifest_may_be_deep_and_long():
    deep: object = "end"
    for _ in range(5000):
        deep = {"a": deep}
    ((_, ((name, text),)),) = manifest({"part": deep})
    assert name.count("a") == 5000 and text == "end"
    ((_, entries),) = manifest({"part": {str(i): i for i in range(1000)}})
    assert len(entries) == 201 and entries[-1] == ("…", "more are in evaluation.json")
    ((_, ((_, text),)),) = manifest({"part": {"list": list(range(1000))}})
    assert text.endswith("49, … (1,000 in all)")


# --- that it is inert


def test_hostile_names_are_shown_not_run():
    found = page(hostile_evaluation())
    assert not found.find("script") and not found.find("img") and len(found.find("style")) == 1
    names = {name for _, attrs, _ in found.elements for name in attrs}
    assert not [
        name for name in names if name.startswith("on") or name in ("style", "srcset", "action", "src")
    ]
    assert found.find("title")[0][1] == HOSTILE[3]
    assert found.find("aside")[0][1].strip().split("\n")[0] == HOSTILE[0]
    columns = [text for attrs, text in found.find("th", scope="col") if attrs.get("class") == "num"]
    assert columns[:8] == ["mean", *HOSTILE]
    assert [text for _, text in found.find("summary")] == ["Run", *HOSTILE]
    assert found.find("style") == page().find("style")


def test_what_html_cannot_carry_is_visible_and_the_file_is_utf8():
    name = os.fsdecode(b"caf\xe9") + "\x07\x1b\u202e\ud83d"
    html = render_evaluation(
        make_evaluation([name], unknown=[name], title=name, notes=[name], manifest={name: [name]}), NOW
    )
    assert html.encode("utf-8").decode("utf-8") == html
    assert Page(html).find("title")[0][1] == r"caf\xe9\x07\x1b\u202e\ud83d"


def test_it_loads_nothing_and_its_policy_names_its_style():
    html = render_evaluation(hostile_evaluation(), NOW)
    found = Page(html)
    for tag, attrs, _ in found.elements:
        for name in ("src", "href", "data", "poster"):
            assert (attrs.get(name) or "data:").startswith("data:"), (tag, attrs)
    assert not re.search(r"https?:|url\(|@import", html)
    ((meta, _),) = found.find("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = dict(part.strip().split(" ", 1) for part in meta["content"].split(";"))
    digest = base64.b64encode(hashlib.sha256(found.find("style")[0][1].encode()).digest()).decode()
    assert policy["style-src"] == f"'sha256-{digest}'" and policy["default-src"] == "'none'"
