"""What one does on the report's page in a browser: move α, open images by keyboard, select them and take them along."""

from __future__ import annotations

import csv
import io
import os

import numpy as np
import pytest
from browser import Tab, in_browser
from pages import make_report, row

from deltaoe.functional.conformal import p_values
from deltaoe.report.alpha_stops import alpha_stops
from deltaoe.report.charts.histogram import histogram
from deltaoe.report.model import Report
from deltaoe.report.render import render

pytestmark = in_browser
N = 200
FOCUS = "document.activeElement.getAttribute('aria-label') || document.activeElement.id"
STATE = (
    "[...['known', 'unknown', 'undecided'].map((name) => Number(document.querySelector(`#count-${name} strong`)"
    ".textContent)), document.querySelectorAll('.badge.unknown').length, "
    "(document.querySelector('#threshold b') || {textContent: '—'}).textContent]"
)
MOVE = "var s = document.getElementById('alpha-slider'); s.value = {}; s.dispatchEvent(new Event('input'));"


def decided(calibration: int = N, images: int = 60, **changes) -> Report:
    """A report whose verdicts, p-values and margins belong together, as those of a run do."""
    rng = np.random.default_rng(3)
    reference, scores = rng.normal(0.26, 0.01, calibration), np.sort(rng.normal(0.245, 0.015, images))
    p = p_values(scores, reference)
    base = make_report(scores=scores, calibration=reference)
    stops = {stop.alpha: stop for stop in alpha_stops(base, histogram(scores, reference, None))}
    line = stops[0.05].threshold
    verdicts = ["undecided" if line is None else "unknown" if one <= 0.05 else "known" for one in p]
    rows = [
        row(
            f"in/{i:02}.jpg",
            score=float(score),
            p_value=float(one),
            margin=None if line is None else float(score - line),
            verdict=verdict,
        )
        for i, (score, one, verdict) in enumerate(zip(scores, p, verdicts, strict=True))
    ]
    counts = {name: verdicts.count(name) for name in ("known", "unknown", "undecided")} | {"failed": 2}
    return make_report(
        scores=scores, calibration=reference, rows=rows, threshold=line, counts=counts, **changes
    )


def test_at_every_alpha_the_page_decides_as_another_run_would(tmp_path):
    report = decided()
    stops = alpha_stops(report, histogram(report.scores, report.calibration, report.threshold))
    with Tab(render(report), tmp_path) as tab:
        found = [tab.run(MOVE.format(place) + STATE) for place in range(len(stops))]
    p = p_values(report.scores, report.calibration)
    for stop, (known, unknown, undecided, badges, line) in zip(stops, found, strict=True):
        below = int((p <= stop.alpha).sum())
        if stop.alpha < 1 / (N + 1):
            assert (known, unknown, undecided, badges, line) == (0, 0, len(p), 0, "—")
        else:
            assert (known, unknown, undecided, badges) == (len(p) - below, below, 0, below)
            assert below == (report.scores < stop.threshold).sum()
            assert line == f"{stop.threshold:.4f}"
    assert sum(stop.alpha < 1 / (N + 1) for stop in stops) == 4


def test_alpha_starts_at_the_runs_own_and_says_what_it_promises(tmp_path):
    with Tab(render(decided()), tmp_path) as tab:
        said = "document.getElementById('alpha-says').textContent"
        assert "α = 5 %: at most 5 % of images like yours would be called unknown" in tab.run(said)
        before = tab.run("document.getElementById('promise').textContent")
        place = tab.run("document.getElementById('threshold-line').getAttribute('x1')")
        tab.run("document.getElementById('alpha-slider').focus()")
        tab.press("ArrowRight")
        assert "at most 5.5 % of images like yours would be called unknown" in tab.run(said)
        assert tab.run("document.activeElement.getAttribute('aria-valuetext')") == "α = 5.5 %"
        assert "deltaoe score --alpha 0.055" in tab.run("document.getElementById('promise').textContent")
        assert tab.run("document.getElementById('threshold-line').getAttribute('x1')") != place
        tab.run("document.getElementById('alpha-reset').click()")
        assert tab.run("document.getElementById('promise').textContent") == before
        assert (
            tab.run("document.getElementById('threshold-line').getAttribute('x1').slice(0, 5)") == place[:5]
        )
        tab.run(MOVE.format(0))
        assert "no p-value is below 1/201, so nothing can be called unknown" in tab.run(said)


def test_an_image_is_less_familiar_where_it_is_unknown_and_more_where_it_is_known(tmp_path):
    rows = [
        row("a.jpg", verdict="unknown", p_value=8 / 201),
        row("b.jpg", p_value=40 / 201),
        row("c.jpg", p_value=1.0),
    ]
    with Tab(render(make_report(rows=rows, failed=[])), tmp_path) as tab:
        words = "Array.from(document.querySelectorAll('.card .words:nth-child(5)'), (one) => one.textContent)"
        assert tab.run(words) == [
            "less familiar than 96 % of your images",
            "more familiar than 19 % of your images",
            "as familiar as any of your images",
        ]
        tab.run(MOVE.format("s.max"))
        assert tab.run(words)[:2] == [
            "less familiar than 96 % of your images",
            "less familiar than 80 % of your images",
        ]


def test_a_calibration_too_small_for_the_runs_alpha_is_enough_for_a_larger_one(tmp_path):
    report = decided(calibration=12)
    assert report.counts["undecided"] == 60
    with Tab(render(report), tmp_path) as tab:
        group = "document.getElementById('threshold-group').getAttribute('visibility')"
        assert tab.run(group) == "hidden"
        tab.run(MOVE.format("s.max"))
        unknown = int((p_values(report.scores, report.calibration) <= 0.5).sum())
        assert tab.run("document.querySelector('#count-unknown strong').textContent") == str(unknown)
        assert tab.run(group) == "inherit"


@pytest.mark.parametrize("rule", [{"fdr": 0.1}, {"per_class": True}])
def test_where_alpha_does_not_decide_alone_it_cannot_be_moved_and_the_page_says_why(rule, tmp_path):
    with Tab(render(make_report(**rule)), tmp_path) as tab:
        assert tab.run("document.getElementById('alpha')") is None
        fixed = tab.run("document.getElementById('alpha-fixed').innerText")
        assert fixed.startswith("α cannot be moved here")


def test_the_reason_follows_alpha(tmp_path):
    parts = [("text", 0.03), ("both together", 0.02), ("images", 0.2)]
    rows = [row("a.jpg", verdict="unknown", p_value=4 / 201, parts=parts, reason="text")]
    with Tab(render(make_report(rows=rows, failed=[])), tmp_path) as tab:
        words = "document.querySelector('.card .words:last-child').textContent"
        assert tab.run(words) == "text says so, images do not"
        tab.run(MOVE.format(12))  # 2.5 %
        assert tab.run("document.getElementById('alpha-says').textContent").startswith("α = 2.5 %")
        assert tab.run(words) == "text and images say so only together"
        tab.run(MOVE.format("s.max"))
        assert tab.run(words) == "text and images agree"


def test_images_are_opened_turned_and_closed_by_keyboard(tmp_path):
    with Tab(render(decided()), tmp_path) as tab:
        path, is_open = (
            "document.getElementById('big-path').textContent",
            "document.getElementById('lightbox').open",
        )
        tab.run("document.querySelectorAll('.card .open')[1].focus()")
        tab.press("Enter")
        assert tab.run(is_open) and tab.run(path) == "in/01.jpg"
        assert tab.run("document.getElementById('place').textContent") == "2 of 62"
        tab.press("ArrowRight", "ArrowRight")
        assert tab.run(path) == "in/03.jpg"
        for _ in range(12):  # the focus stays inside
            tab.press("Tab")
            assert tab.run(
                "document.activeElement === document.body || lightbox.contains(document.activeElement)"
            )
        tab.press("ArrowLeft", "Escape")
        assert not tab.run(is_open)
        assert tab.run(FOCUS) == "open in/02.jpg"
        tab.press("Enter", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft")
        assert tab.run(path) == "in/00.jpg" and tab.run("document.getElementById('back').disabled")
        tab.press("Escape")
        assert tab.run(FOCUS) == "open in/00.jpg"
        tab.press("Tab", " ")
        assert tab.run(FOCUS) == "select in/00.jpg" and tab.run("document.activeElement.checked")
        assert tab.run("document.getElementById('shown').textContent") == "62 of 62 shown, 1 selected"


def test_the_path_of_an_open_image_is_copied_and_the_dialog_says_so(tmp_path):
    with Tab(render(decided()), tmp_path) as tab:
        tab.run(
            "document.querySelectorAll('.card .open')[2].click(); document.getElementById('big-copy').focus()"
        )
        tab.press("Enter")
        said = "document.getElementById('big-done').textContent"
        tab.run("new Promise((done) => setTimeout(done, 300))")
        assert tab.run(said) == "1 path copied."
        assert tab.run("document.activeElement.id") == "big-copy"
        tab.press("ArrowRight")
        assert tab.run(said) == ""


CATCH = (
    "var caught = {}; URL.createObjectURL = (blob) => { caught.blob = blob; return 'data:,'; };"
    "HTMLAnchorElement.prototype.click = function () { caught.name = this.download; };"
    "navigator.clipboard.writeText = async (text) => { caught.text = text; };"
    "var bytesOf = async () => Array.from(new Uint8Array(await caught.blob.arrayBuffer()));"
)
NAMES = [
    'in/a, "b".jpg',
    "=cmd|' C'!A0.jpg",
    "-rf",
    "@sum",
    "two\nlines.jpg",
    os.fsdecode(b"caf\xe9/\xff.jpg"),
    "猫\U0001f431.jpg",
]
SAFE = ['in/a, "b".jpg', "./=cmd|' C'!A0.jpg", "./-rf", "./@sum", "two\nlines.jpg", NAMES[5], NAMES[6]]


def test_images_are_taken_along_as_text_and_as_csv(tmp_path):
    rows = [
        row(
            name,
            "=1+1",
            0.2 + i / 100,
            verdict="unknown",
            p_value=0.01,
            looks_like="+airliner",
            looks_like_cosine=-0.02,
        )
        for i, name in enumerate(NAMES)
    ]
    with Tab(render(make_report(rows=rows, failed=[("broken", "@x")])), tmp_path) as tab:
        tab.run(CATCH)
        tab.run("document.getElementById('download-txt').click()")
        lines = bytes(tab.run("bytesOf()")).split(b"\n")
        assert lines == [os.fsencode(name) for name in SAFE if "\n" not in name] + [b"broken", b""]
        assert "1 image with a line break in the path is only in images.csv" in tab.run(
            "document.getElementById('done').textContent"
        )
        tab.run("document.getElementById('download-csv').click()")
        text = bytes(tab.run("bytesOf()")).decode("utf-8", "surrogateescape")
        table = list(csv.DictReader(io.StringIO(text, newline="")))
        assert [one["path"] for one in table] == [*SAFE, "broken"]
        assert {one["verdict"] for one in table[:-1]} == {"unknown"} and table[-1]["verdict"] == "failed"
        assert (table[0]["class"], table[0]["looks_like"], table[0]["looks_like_cosine"]) == (
            "'=1+1",
            "'+airliner",
            "-0.02",
        )
        assert float(table[0]["p_value"]) == 0.01 and table[-1]["error"] == "'@x"
        assert tab.run("caught.name") == "images.csv"


def test_only_the_selected_are_taken_where_some_are(tmp_path):
    with Tab(render(decided()), tmp_path) as tab:
        tab.run(CATCH + "document.querySelectorAll('.card .pick input')[3].click()")
        assert tab.run("document.getElementById('copy').textContent") == "Copy paths of 1 selected"
        # The selection outlives the filter and the view.
        tab.run(
            "document.querySelector('input[value=known]').click(); document.querySelector('input[value=table]').click()"
        )
        tab.run("document.getElementById('copy').click()")
        assert tab.run("caught.text") == "in/03.jpg\n"
        assert tab.run("document.getElementById('done').textContent") == "1 path copied."
        tab.run(
            "document.getElementById('select-none').click(); document.getElementById('select-shown').click()"
        )
        known = tab.run("document.querySelectorAll('#images tbody tr').length")
        assert tab.run("document.querySelectorAll('#images .pick input:checked').length") == known > 0
        tab.run("document.getElementById('copy').click()")
        assert len(tab.run("caught.text").splitlines()) == known


def test_nothing_is_wider_than_a_phone(tmp_path):
    with Tab(render(decided()), tmp_path, width=400) as tab:
        for view in ("gallery", "table"):
            tab.run(f"document.querySelector('input[value={view}]').click()")
            assert tab.run("document.documentElement.scrollWidth") <= 400
