"""The built documentation, for readers by keyboard and screen reader; `nox -s docs` runs this after Sphinx."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from accessibility import serious
from browser import Tab, in_browser

SITE = Path(os.environ.get("SITE", Path(__file__).parents[2] / "docs" / "_build" / "html"))


@in_browser
@pytest.mark.parametrize("dark", [False, True])
def test_site_is_for_everybody(dark: bool, tmp_path: Path) -> None:
    pages = sorted(SITE.rglob("*.html"))
    assert len(pages) > 20, f"no site is built in {SITE}"
    pages = pages[::5] if dark else pages  # the theme's colours are those of every page
    found = {}
    with Tab(pages[0], tmp_path, dark=dark) as tab:
        for page in pages:
            tab.load(page)
            found[page.name] = serious(tab)
    assert {name: problems for name, problems in found.items() if problems} == {}
