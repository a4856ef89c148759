"""The report in headless chromium: its script and style run under its policy, hostile text does not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from browser import Tab, dump_dom, in_browser, with_script
from pages import HOSTILE, Page, hostile_evaluation, hostile_report, make_report, row

from deltaoe.report.evaluation import render_evaluation
from deltaoe.report.render import render

SET = (
    "const set = (id, value) => { const e = document.getElementById(id); e.value = value;"
    " e.dispatchEvent(new Event('input')); };"
    "const choose = (id, words) => { const e = document.getElementById(id);"
    " for (const o of e.options) o.selected = o.textContent === words; e.dispatchEvent(new Event('input')); };"
)
TABLE = "document.querySelector('input[value=table]').click();"


def shown(page: Page) -> list[str]:
    """Names of the images in the gallery, in order."""
    return [text for attrs, text in page.find("p", class_="path")]


@in_browser
@pytest.mark.parametrize("view", ["", TABLE])
def test_script_and_style_run_under_the_policy_and_hostile_text_does_not(view, tmp_path):
    html = with_script(
        render(hostile_report()),
        f"{view} document.body.dataset.border = getComputedStyle(document.querySelector('.tile')).borderTopWidth;"
        "document.querySelector('[data-row] .open').click();",
    )
    page = dump_dom(html, tmp_path)
    assert page.find("html")[0][0]["data-script"] == "ran"
    assert page.find("body")[0][0]["data-border"] == "3px"
    assert page.find("title")[0][1] == HOSTILE[3]
    if view:
        assert [text for _, text in page.find("td", class_="path")] == HOSTILE * 2
        assert [text for _, text in page.find("td", class_="class")] == HOSTILE
        assert [text for _, text in page.find("td", class_="reason")] == HOSTILE
    else:
        ends = [text[max(text.rfind("/"), text.rfind("\\")) + 1 :] for text in HOSTILE]
        assert shown(page) == ends * 2
        looks = [text for _, text in page.find("p", class_="what")][: len(HOSTILE)]
        assert looks == [f"unknown looks like {text}" for text in HOSTILE]
    assert page.text("h2", id="big-path") == " ".join(HOSTILE[0].split())
    assert "hidden" not in page.find("div", id="tools")[0][0]
    assert page.text("output", id="shown") == f"{2 * len(HOSTILE)} of {2 * len(HOSTILE)} shown"
    assert not [name for _, attrs, _ in page.elements for name in attrs if name.startswith("on")]
    assert len(page.find("script")) == 2


@in_browser
def test_hostile_text_in_an_evaluation_does_not_run(tmp_path):
    page = dump_dom(render_evaluation(hostile_evaluation(), datetime(2026, 1, 2, tzinfo=UTC)), tmp_path)
    assert page.find("title")[0][1] == HOSTILE[3]
    assert [text for _, text in page.find("summary")][1:] == HOSTILE


@in_browser
def test_the_policy_stops_markup_that_would_get_through(tmp_path):
    attack = "<script>document.title='pwned'</script><img src='data:,' onerror=\"document.title='pwned'\">"
    html = render(make_report())
    page = dump_dom(html.replace("<main>", f"<main>{attack}"), tmp_path)
    assert page.find("title")[0][1] == "Holiday pictures"
    assert page.find("html")[0][0]["data-script"] == "ran"
    # The same attack does work without the policy: the test can fail.
    harmless = html.replace("http-equiv=", "name=").replace("<main>", f"<main>{attack}")
    assert dump_dom(harmless, tmp_path).find("title")[0][1] == "pwned"


@in_browser
@pytest.mark.parametrize(
    ("heading", "clicks", "order", "aria"),
    [
        ("path", 1, "img2 img10 img11 x", "ascending"),
        ("path", 2, "x img11 img10 img2", "descending"),
        ("score", 2, "img11 x img2 img10", "ascending"),
        ("score", 1, "img2 x img11 img10", "descending"),
    ],
)
def test_sorting_by_a_heading(heading, clicks, order, aria, tmp_path):
    scores = {"img10": float("nan"), "img2": 0.5, "x": -0.25, "img11": -3e-7 - 0.25}
    report = make_report(rows=[row(path, score=score) for path, score in scores.items()], failed=[])
    click = f"document.querySelector('th[data-sort={heading}] button').click();"
    page = dump_dom(with_script(render(report), TABLE + click * clicks), tmp_path)
    assert " ".join(text for _, text in page.find("td", class_="path")) == order
    headers = {
        attrs["data-sort"]: attrs.get("aria-sort") for attrs, _ in page.find("th") if "data-sort" in attrs
    }
    assert {name: sort for name, sort in headers.items() if sort} == {heading: aria}
    option = [attrs for attrs, text in page.find("option") if attrs.get("value") == heading]
    assert len(option) == 1  # the select shows the same order


@in_browser
def test_the_closest_to_the_threshold_come_first_and_failed_files_last(tmp_path):
    line = make_report().threshold
    rows = [
        row(f"{name}.jpg", score=line + margin)
        for name, margin in (("far", -0.02), ("just", 0.001), ("near", -0.003))
    ]
    page = dump_dom(with_script(render(make_report(rows=rows)), SET + "set('sort', 'closest')"), tmp_path)
    assert shown(page) == ["just.jpg", "near.jpg", "far.jpg", "broken.jpg", "odd.png"]


LOW = [("text", 0.01), ("both together", 0.01), ("images", 0.01)]
ROWS = [
    row("a.jpg"),
    row("b/Cafe\u0301.jpg", verdict="unknown", looks_like="airliner", looks_like_cosine=0.3),
    row("c.jpg", "cat", top=[("tabby", 0.3)]),
    row(
        "b/d.jpg",
        verdict="unknown",
        parts=LOW,
        reason="text and images",
        looks_like="none fits",
        looks_like_cosine=0.1,
        group=7,
        group_name="tulips",
    ),
]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    with Tab(render(make_report(rows=ROWS)), tmp_path_factory.mktemp("mixed")) as tab:
        yield tab


@in_browser
@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ("document.querySelector('input[value=unknown]').click()", "Cafe\u0301.jpg d.jpg"),
        ("document.querySelector('input[value=failed]').click()", "broken.jpg odd.png"),
        ("choose('label', 'cat (1)')", "c.jpg"),
        ("choose('folder', 'b/ (2)')", "Cafe\u0301.jpg d.jpg"),
        ("choose('reason', 'text and images agree (1)')", "d.jpg"),
        ("choose('looks', 'airliner (1)')", "Cafe\u0301.jpg"),
        ("choose('looks', 'none fits (1)')", "d.jpg"),
        ("choose('group', '7 tulips (1)')", "d.jpg"),
        ("choose('group', '7 tulips (1)'); choose('label', 'cat (1)')", ""),
        (
            "choose('label', 'cat (1)'); document.getElementById('clear-filters').click()",
            "a.jpg Cafe\u0301.jpg c.jpg d.jpg broken.jpg odd.png",
        ),
        ("document.querySelector('#by-folder tbody button').click()", "Cafe\u0301.jpg d.jpg"),
        ("document.querySelectorAll('#by-class tbody button')[1].click()", "c.jpg"),
        ("document.querySelector('#groups button').click()", "d.jpg"),
        ("set('text', 'CAFÉ')", "Cafe\u0301.jpg"),
        ("set('text', 'tabby')", "c.jpg"),
        ("set('text', 'truncated')", "broken.jpg"),
        ("set('text', '0.25')", ""),
    ],
)
def test_filters(change, paths, mixed):
    mixed.load()
    mixed.run("{" + SET + change + "}")
    names = mixed.run("Array.from(document.querySelectorAll('.card .path'), (one) => one.textContent)")
    assert " ".join(names) == paths
    all_shown = len(names) == 6
    assert mixed.run("document.getElementById('shown').textContent") == f"{len(names)} of 6 shown"
    assert mixed.run("document.getElementById('clear-filters').hidden") == all_shown


@in_browser
def test_more_images_than_fit_on_a_page_are_turned_to(tmp_path):
    rows = [row(f"{i:03}.jpg", score=0.2 + i / 1000, thumbnail=None) for i in range(250)]
    html = render(make_report(rows=rows, failed=[]))
    page = dump_dom(with_script(html, "document.getElementById('next-page').click();"), tmp_path)
    assert shown(page) == [f"{i:03}.jpg" for i in range(120, 240)]
    assert page.text("span", id="pages") == "of 3"
    last = "const p = document.getElementById('page'); p.value = 99; p.dispatchEvent(new Event('change'));"
    page = dump_dom(with_script(html, last), tmp_path)
    assert shown(page) == [f"{i:03}.jpg" for i in range(240, 250)]
    assert "disabled" in page.find("button", id="next-page")[0][0]
    assert page.text("output", id="shown") == "250 of 250 shown"
