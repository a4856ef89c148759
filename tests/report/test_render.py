"""What the report says, and that hostile names stay text in it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import HOSTILE, Page, hostile_report, make_report, row

from deltaoe.report.formats import decimal, p_value, share
from deltaoe.report.render import render

# --- what it says


def test_first_come_the_counts_the_threshold_and_its_meaning():
    report = make_report(notes=["Only 200 calibration images.", "Second note."])
    page = Page(render(report))
    for name, count in report.counts.items():
        [(_, text)] = page.find("div", id=f"count-{name}")
        assert text.split()[:2] == [name, str(count)]
    assert page.text("div", id="threshold") == f"unknown if p ≤ 5 % delta_energy below {report.threshold:.4f}"
    assert page.text("p", class_="promise") == (
        "An image is unknown if at most 5 % of your images are less familiar. So on average, at most 5 % of your own "
        "images are called unknown."
    )
    assert page.text("aside") == "Only 200 calibration images. Second note."


def test_shares_are_of_all_images():
    page = Page(render(make_report(counts={"known": 3, "unknown": 1, "undecided": 0, "failed": 4})))
    shares = [
        " ".join(page.text("div", id=f"count-{n}").split()[2:])
        for n in ("known", "unknown", "undecided", "failed")
    ]
    assert shares == ["37.5 %", "12.5 %", "0 %", "50.0 %"]


def test_rows_come_in_the_order_given_with_all_their_values():
    first = row("z/é.jpg", "dog", -0.03125, verdict="unknown", p_value=1 / 201, margin=-0.25)
    page = Page(render(make_report(rows=[first, row("a.jpg", thumbnail=None)])))
    assert [text for _, text in page.find("td", class_="path")][:2] == ["z/é.jpg", "a.jpg"]
    cells = [page.find("td", class_=name)[0][1] for name in ("verdict", "class", "p")]
    assert cells == ["unknown", "dog", "0.00498 less familiar than all of your images"]
    assert page.find("td", class_="p")[1][1] == "0.500 more familiar than 50 % of your images"
    assert [page.find("dd", class_=n)[0][1] for n in ("score", "margin")] == ["−0.0312", "−0.2500"]
    assert page.find("ol", class_="top")[0][1].split() == ["dog", "0.3100", "cat", "0.2200"]
    assert "likeliest classes, cosine" in [text for _, text in page.find("h3")]
    [(image, _)] = [found for found in page.find("img") if "src" in found[0]]
    assert image["src"] == "data:image/webp;base64," + base64.b64encode(b"RIFF0000WEBP").decode()
    assert (image["loading"], image["decoding"], image["alt"]) == ("lazy", "async", "preview of z/é.jpg")
    assert image["width"] == image["height"] == "72"


def test_what_is_missing_is_a_dash():
    page = Page(render(make_report(rows=[row(p_value=None, margin=None), row(score=float("nan"))])))
    assert page.find("td", class_="p")[0][1].strip() == "—"
    assert page.find("dd", class_="margin")[0][1] == "—"
    assert page.find("dd", class_="score")[1][1] == "NaN"


def test_an_unknown_image_says_what_it_looks_like_and_why():
    rows = [
        row("a", verdict="unknown", reason="text", looks_like="airliner", looks_like_cosine=0.274),
        row("b", verdict="unknown", looks_like="none fits", looks_like_cosine=0.1, parts=[("text", 0.1)]),
        row("c"),
    ]
    page = Page(render(make_report(rows=rows)))
    assert [" ".join(text.split()) for _, text in page.find("td", class_="looks")] == [
        "looks like airliner cosine 0.27",
        "no name fits",
        "",
    ]
    assert page.find("td", class_="why")[0][1] == "text says so, images do not"
    plain = Page(render(make_report()))
    assert not plain.find("td", class_="looks") and not plain.find("td", class_="why")


def test_folders_classes_and_groups_are_counted():
    rows = [
        row("a/1", "dog", verdict="unknown", group=4, group_name="tulips"),
        row("a/2", "cat", verdict="unknown", group=4, group_name="tulips"),
        row("b/3", "cat"),
    ]
    page = Page(render(make_report(rows=rows, failed=[("b/broken", "truncated")])))
    names = [text for attrs, text in page.find("th") if attrs["scope"] == "row"]
    numbers = [text for attrs, text in page.find("td") if attrs.get("class") == "num"]
    assert names == ["a/", "b/", "cat", "dog"]
    assert numbers == ["2", "2", "0", "2", "0", "1", "2", "1", "1", "1"]  # of folders with those that failed
    assert page.text("ol", id="groups") == "4 tulips 2 images"
    assert not Page(render(make_report())).find("ol", id="groups")


def test_every_image_of_many_is_on_the_page_without_scripts(monkeypatch):
    monkeypatch.setattr("deltaoe.report.render.FULL_ROWS", 2)
    rows = [row(f"{i}.jpg", score=i / 10, thumbnail=b"RIFF" if i == 5 else None) for i in range(8)]
    failed = [(f"broken-{i}", "truncated") for i in range(4)]
    page = Page(render(make_report(rows=rows, failed=failed)))
    told = [text for _, text in page.find("td", class_="path")]
    assert told == ["0.jpg", "1.jpg", "5.jpg", "broken-0", "broken-1"]
    cells = [text for attrs, text in page.find("td") if not attrs]
    assert [word for word in cells if word.endswith(".jpg")] == [f"{i}.jpg" for i in (2, 3, 4, 6, 7)]
    assert cells.count("broken-2") == cells.count("broken-3") == 1 and "broken-1" not in cells
    assert not Page(render(make_report())).find("noscript")


def test_rows_left_out_are_announced():
    page = Page(render(make_report(rows_left_out=1198, full_table="out/scores.csv")))
    assert page.text("p", id="left-out") == (
        "This page has the first 2 of 1,200 images; 1,198 are left out. All of them are in out/scores.csv."
    )
    assert Page(render(make_report())).find("p", id="left-out") == []


def test_failed_files_and_manifest_are_listed():
    page = Page(render(make_report()))
    assert [text for _, text in page.find("td", class_="reason")] == ["truncated", "not an image"]
    assert [text for _, text in page.find("td", class_="path")][2:] == ["broken.jpg", "odd.png"]
    assert page.find("summary")[-1][1] == "Model"
    assert [text for _, text in page.find("dt")][-2:] == ["tag", "seed"]
    assert [text for _, text in page.find("dd")][-2:] == ["ViT-B-16", "0"]
    more = Page(render(make_report(counts={"known": 0, "unknown": 0, "undecided": 0, "failed": 5})))
    assert any("2 of 5 failed files are named here." in text for _, text in more.find("p"))


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        (0, "there is no calibration. With at least 19 images"),
        (18, "the calibration has only 18 images. With at least 19 images"),
        (19, "no threshold was set."),
    ],
)
def test_without_threshold_the_sentence_says_why(calibration, sentence):
    rows = [row(verdict="undecided", p_value=None, margin=None)]
    html = render(make_report(threshold=None, calibration=np.full(calibration, 0.2), rows=rows))
    page = Page(html)
    assert sentence in page.text("p", class_="promise")
    assert page.text("div", id="threshold") == "unknown if p ≤ 5 % no threshold"
    assert [attrs for attrs, _ in page.find("g", id="threshold-group") if "visibility" not in attrs] == []
    assert {attrs["class"] for attrs, _ in page.find("rect")} <= {"scored", "calibration"}


def test_nothing_scored():
    counts = {"known": 0, "unknown": 0, "undecided": 0, "failed": 2}
    nothing = make_report(rows=[], scores=np.array([]), counts=counts)
    page = Page(render(nothing))
    assert {attrs["class"] for attrs, _ in page.find("rect")} == {"calibration"}
    assert len(page.find("td", class_="reason")) == 2  # the failed files are listed
    bare = replace(
        nothing, calibration=np.array([]), threshold=None, failed=[], counts={}, manifest=[], notes=[]
    )
    page = Page(render(bare))
    assert [text for _, text in page.find("p", class_="empty")] == [
        "There is no score to draw.",
        "No image was scored.",
    ]
    assert page.find("svg") == []
    assert [text for _, text in page.find("small")] == ["—", "—", "—", "—", "no threshold"]
    assert page.find("table", id="images") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0.0, "0.0000"),
        (-0.0, "0.0000"),
        (-0.25, "−0.2500"),
        (1e-7, "1e−07"),
        (float("-inf"), "−∞"),
    ],
)
def test_decimals(value, text):
    assert decimal(value) == text


def test_decimals_grow_where_scores_lie_close_together():
    close = np.array([0.143011, 0.143042, 0.143097])
    report = make_report(scores=close, calibration=close, threshold=0.143042, rows=[row(score=0.143042)])
    assert Page(render(report)).find("dd", class_="score")[0][1] == "0.1430420"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.00"),
        (0.5, "0.500"),
        (1 / 201, "0.00498"),
        (0.015, "0.0150"),
        (1 / 50001, "0.0000200"),
        (None, "—"),
    ],
)
def test_p_values_have_three_significant_digits_and_no_exponent(value, text):
    assert p_value(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (1, 9, "11.1 %"),
        (1, 99999, "under 0.1 %"),
        (99998, 99999, "over 99.9 %"),
        (0, 0, "—"),
    ],
)
def test_shares_never_hide_a_single_image(part, whole, text):
    assert share(part, whole) == text


# --- that it is inert


def test_hostile_text_stays_text_and_round_trips():
    page = Page(render(hostile_report()))
    assert len(page.find("script")) == 2 and len(page.find("style")) == 1
    images = [attrs for attrs, _ in page.find("img") if "src" in attrs]
    assert len(images) == len(HOSTILE)
    assert all(attrs["src"].startswith("data:image/webp;base64,") for attrs in images)
    names = {name for _, attrs, _ in page.elements for name in attrs}
    assert not [name for name in names if name.startswith("on") or name in ("style", "srcset", "action")]
    assert page.find("title")[0][1] == HOSTILE[3]
    assert [text for _, text in page.find("td", class_="path")] == [
        *HOSTILE,
        *HOSTILE,
    ]  # and the failed files
    assert [text for _, text in page.find("td", class_="class")] == HOSTILE
    assert [text for _, text in page.find("td", class_="looks")] == [f"looks like {text}" for text in HOSTILE]
    assert [attrs["alt"] for attrs in images] == [f"preview of {text}" for text in HOSTILE]
    assert [text for _, text in page.find("td", class_="reason")] == HOSTILE
    assert [text for _, text in page.find("summary")][-len(HOSTILE) :] == HOSTILE
    assert [text for _, text in page.find("dt") if "\n" in text or text in HOSTILE] == HOSTILE
    assert sorted(
        text.split(" ", 1)[1].removesuffix(" 1 image")
        for _, text in page.find("li")
        if text.endswith(" 1 image")
    ) == sorted(HOSTILE)


def test_user_text_never_reaches_script_or_style():
    plain, hostile = Page(render(make_report())), Page(render(hostile_report()))
    assert plain.find("style") == hostile.find("style")
    assert plain.find("script")[1] == hostile.find("script")[1]


def test_the_data_of_the_page_cannot_end_its_element_and_say_the_same_texts():
    [(attrs, text), (code, _)] = Page(render(hostile_report())).find("script")
    assert attrs == {"type": "application/json", "id": "data"} and code == {}
    assert text.isascii() and not set("<>&") & set(text)
    data = json.loads(text)
    told = [
        data["folders"][i] + name
        for i, name in zip(data["rows"]["folder"], data["rows"]["name"], strict=True)
    ]
    assert told == HOSTILE
    assert [data["names"][i] for i in data["rows"]["label"]] == HOSTILE
    assert [data["names"][i] for i in data["rows"]["looks"]] == HOSTILE
    assert [path for path, _ in data["failed"]] == HOSTILE
    assert data["groups"] == [[i, f"{i} {text}"] for i, text in enumerate(HOSTILE)]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u202d\u202e"), min_size=1))
def test_any_other_text_round_trips(text):
    page = Page(render(make_report(rows=[row(text, text)], notes=[text], failed=[(text, text)])))
    assert page.find("td", class_="path")[0][1] == text
    assert page.find("td", class_="class") == [({"class": "class"}, text)]
    assert [found for _, found in page.find("td", class_="reason")] == [text]


def test_what_html_cannot_carry_is_visible_and_the_file_is_utf8():
    name = os.fsdecode(b"caf\xe9/\xff.jpg") + "\ud83d\x00\x1b\r\x85\u202egpj.exe"
    html = render(
        make_report(title=name, rows=[row(name, name)], failed=[(name, name)], manifest=[(name, [])])
    )
    shown = r"caf\xe9/\xff.jpg\ud83d\x00\x1b\x0d\x85\u202egpj.exe"
    assert html.encode("utf-8").decode("utf-8") == html
    page = Page(html)
    assert page.find("td", class_="path")[0][1] == shown
    assert page.find("title")[0][1] == shown


def test_every_path_and_label_is_isolated_from_the_direction_of_its_surroundings():
    html = render(make_report(rows=[row("ab", "אב", top=[("גד", 0.1)])], failed=[("הו", "זח")], notes=["טי"]))
    for text in ("ab", "אב", "גד", "הו", "זח", "טי"):
        assert re.search(f"<bdi[^>]*>{text}</bdi>", html), text


def test_it_loads_nothing():
    html = render(make_report())
    page = Page(html)
    for tag, attrs, _ in page.elements:
        for name in ("src", "href", "data", "poster"):
            assert (attrs.get(name) or "data:").startswith("data:"), (tag, attrs)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", html)
    assert page.find("meta", name="generator") == [({"name": "generator", "content": "deltaoe"}, "")]


def test_the_policy_names_the_hashes_of_exactly_the_inline_blocks():
    page = Page(render(hostile_report()))
    [(meta, _)] = page.find("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = dict(part.strip().split(" ", 1) for part in meta["content"].split(";"))
    for tag in ("script", "style"):
        [text] = [
            text for attrs, text in page.find(tag) if not attrs
        ]  # the other one is data, and never runs
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["img-src"] == "data:"
