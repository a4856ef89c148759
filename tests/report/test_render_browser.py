"""The report in headless chromium: its script and style run under its policy, hostile text does not."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pages import HOSTILE, Page, hostile_evaluation, hostile_report, make_report, row

from deltaoe.report.evaluation import render_evaluation
from deltaoe.report.render import content_security_policy, render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=2000",
    "--dump-dom",
)


def dump_dom(html: str, folder: Path) -> Page:
    """The document after its script ran in headless chromium."""
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", file.as_uri()],
        capture_output=True,
        timeout=180,
        check=True,
    )
    return Page(done.stdout.decode("utf-8"))


def with_script(html: str, more: str) -> str:
    """``html`` with statements added to its script, and its policy renewed for them."""
    page = Page(html)
    [(_, style)], [(_, script)] = page.find("style"), page.find("script")
    new = script + more
    old_policy, policy = (content_security_policy(style, s).replace("'", "&#39;") for s in (script, new))
    assert html.count(script) == html.count(old_policy) == 1
    return html.replace(script, new).replace(old_policy, policy)


@in_browser
def test_script_and_style_run_under_the_policy_and_hostile_text_does_not(tmp_path):
    html = with_script(
        render(hostile_report()),
        "document.body.dataset.border = getComputedStyle(document.querySelector('.tile')).borderTopWidth;",
    )
    page = dump_dom(html, tmp_path)
    assert page.find("html")[0][0]["data-script"] == "ran"
    assert page.find("body")[0][0]["data-border"] == "3px"
    assert page.find("title")[0][1] == HOSTILE[3]
    assert [text for _, text in page.find("td", class_="path")][: len(HOSTILE)] == HOSTILE
    assert "hidden" not in page.find("div", id="filters")[0][0]
    assert page.text("output") == f"{len(HOSTILE)} of {len(HOSTILE)} shown"


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
    ("column", "clicks", "order", "aria"),
    [
        (1, 1, "img2 img10 img11 x", "ascending"),
        (4, 1, "img11 x img2 img10", "ascending"),
        (4, 2, "img2 x img11 img10", "descending"),
        (4, 3, "img10 img2 x img11", None),
    ],
)
def test_sorting(column, clicks, order, aria, tmp_path):
    scores = {"img10": float("nan"), "img2": 0.5, "x": -0.25, "img11": -3e-7 - 0.25}
    report = make_report(rows=[row(path, score=score) for path, score in scores.items()])
    click = f"document.querySelectorAll('#images th')[{column}].querySelector('button').click();"
    page = dump_dom(with_script(render(report), click * clicks), tmp_path)
    assert " ".join(text for _, text in page.find("td", class_="path") if text in scores) == order
    headers = [attrs.get("aria-sort") for attrs, _ in page.find("th", scope="col")]
    assert [h for h in headers if h] == ([aria] if aria else [])
    assert headers[column] == aria


@in_browser
@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ("document.querySelector('input[value=unknown]').click()", ["b/Cafe\u0301.jpg"]),
        ("set('class', '1')", ["c.jpg"]),
        ("set('text', 'CAFÉ')", ["b/Cafe\u0301.jpg"]),
        ("set('text', 'tabby')", ["c.jpg"]),
        ("set('text', '0.25')", []),
    ],
)
def test_filters(change, paths, tmp_path):
    rows = [
        row("a.jpg"),
        row("b/Cafe\u0301.jpg", verdict="unknown"),
        row("c.jpg", "cat", top=[("tabby", 0.3)]),
    ]
    setter = (
        "const set = (id, value) => { const e = document.getElementById(id); e.value = value;"
        " e.dispatchEvent(new Event('input')); };"
    )
    page = dump_dom(with_script(render(make_report(rows=rows)), setter + change), tmp_path)
    shown = ["hidden" not in attrs for attrs, _ in page.find("tr") if "data-verdict" in attrs]
    assert [r.path for r, visible in zip(rows, shown, strict=True) if visible] == paths
    assert page.text("output") == f"{len(paths)} of 3 shown"
