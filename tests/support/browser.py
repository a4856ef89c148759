"""Pages in headless chromium: what is in the document after its script ran."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pages import Page

from deltaoe.report.render import content_security_policy

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
    [(_, style)] = page.find("style")
    [script] = [text for attrs, text in page.find("script") if not attrs]
    new = script + more
    old_policy, policy = (content_security_policy(style, s).replace("'", "&#39;") for s in (script, new))
    assert html.count(script) == html.count(old_policy) == 1
    return html.replace(script, new).replace(old_policy, policy)
