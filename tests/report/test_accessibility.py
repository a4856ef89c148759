"""Nobody is kept out of our pages: axe finds nothing serious, in any view, size and colour scheme."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from accessibility import findings, serious
from browser import Tab, in_browser
from pages import hostile_evaluation, hostile_report

from deltaoe.report.evaluation import render_evaluation
from deltaoe.report.render import render

pytestmark = in_browser
VIEWS = {
    "gallery": "",
    "table": "document.querySelector('input[value=table]').click()",
    "viewer": "document.querySelector('[data-row] .open').click()",
}


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 400)])
def test_report_is_for_everybody(dark: bool, width: int, tmp_path) -> None:
    with Tab(render(hostile_report()), tmp_path, width, dark=dark) as tab:
        for view, action in VIEWS.items():
            tab.run(f"{action};0")
            tab.run("for (const one of document.querySelectorAll('details')) one.open = true")
            assert serious(tab) == [], view


def test_evaluation_is_for_everybody(tmp_path) -> None:
    html = render_evaluation(hostile_evaluation(), datetime(2026, 1, 2, tzinfo=UTC))
    with Tab(html, tmp_path, 600, dark=True) as tab:
        tab.run("for (const one of document.querySelectorAll('details')) one.open = true")
        assert serious(tab) == []


def test_a_page_that_keeps_somebody_out_is_found(tmp_path) -> None:
    html = "<!doctype html><html><body><main><img src='data:,'><p style='color:#ccc'>pale</p></main></body></html>"
    with Tab(html, tmp_path) as tab:
        assert {finding.rule for finding in findings(tab)} >= {"image-alt", "color-contrast", "html-has-lang"}
        assert len(serious(tab)) >= 3
