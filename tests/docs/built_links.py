"""The built documentation: all that its pages link to or load is there; `nox -s docs` runs this after Sphinx."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(os.environ.get("SITE", Path(__file__).parents[2] / "docs" / "_build" / "html")).resolve()
# Made by Sphinx from all pages, and not led to by a link of one.
UNLINKED = {"search.html", "genindex.html", "py-modindex.html", "index.html"}


class Links(HTMLParser):
    """What a page links to or loads, and its ids."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.targets += [told[name] or "" for name in ("href", "src", "data") if name in told]
        self.targets += [part.split()[0] for part in (told.get("srcset") or "").split(",") if part.strip()]
        self.ids += [
            told[name] or "" for name in ("id", "name") if name in told and (name == "id" or tag == "a")
        ]


def test_everything_that_is_linked_is_there() -> None:
    pages = {page: Links(page) for page in sorted(SITE.rglob("*.html")) if "_static" not in page.parts}
    assert len(pages) > 20, f"no site is built in {SITE}"
    problems, reached = [], set()
    for page, links in pages.items():
        name = page.relative_to(SITE).as_posix()
        problems += [f"{name}: the id {one} twice" for one in {*links.ids} if links.ids.count(one) > 1]
        for link in links.targets:
            parts = urlsplit(link)
            if parts.scheme in ("https", "data", "mailto"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if parts.scheme or parts.netloc or link.startswith("/") or not target.is_relative_to(SITE):
                problems.append(f"{name}: {link} works on one machine only")
            elif not target.is_file():
                problems.append(f"{name}: {link} is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                problems.append(f"{name}: {link}: no such place")
            elif target != page:
                reached.add(target)
    orphans = {page.relative_to(SITE).as_posix() for page in pages.keys() - reached} - UNLINKED
    problems += [f"{name}: no page links to it" for name in sorted(orphans)]
    assert not problems, "\n".join(problems)
