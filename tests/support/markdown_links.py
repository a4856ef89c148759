"""What a Markdown page links to, and the anchors that others can link to, by the rules of GitHub."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[`~]*[ ]*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\s*<?([^()\s<>]*(?:\([^()\s]*\)[^()\s<>]*)*)>?[^)]*\)"
)
_HEADING = re.compile(r"^(#{1,6})[ ]+(.+?)[ ]*#*$", re.MULTILINE)


@dataclass(frozen=True)
class Link:
    """Where a link leads and the line that it stands in; of a picture, its text alternative."""

    target: str
    line: int
    picture: bool
    text: str


def prose_of(text: str) -> str:
    """A page without its blocks of code and comments, which are blank instead so that lines keep their numbers."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    return re.sub(r"<!--.*?-->", blank, _FENCE.sub(blank, text), flags=re.DOTALL)


def links_of(page: Path) -> list[Link]:
    """All links and pictures of a page: Markdown's, those by reference, plain addresses, and HTML's."""
    text = prose_of(page.read_text(encoding="utf-8"))
    found: list[Link] = []

    def add(match: re.Match[str], target: str, picture: bool = False, label: str = "") -> None:
        found.append(Link(target, text.count("\n", 0, match.start()) + 1, picture, label))

    # The text of a link may have code in it; a code span that looks like a link is none.
    text = _SPAN.sub(lambda span: span[1] + re.sub(r"[\[\]()<>]", " ", span[2]) + span[1], text)
    for match in _LINK.finditer(text):
        add(match, match[3], match[1] == "!", match[2])
        for inner in _LINK.finditer(match[2]):  # a picture that is a link
            add(match, inner[3], inner[1] == "!", inner[2])
    for match in re.finditer(r"^\[[^\]^]+\]:\s*<?(\S+?)>?(?:\s|$)", text, re.MULTILINE):
        add(match, match[1])
    for match in re.finditer(r"<(https?://[^>\s]+)>", text):
        add(match, match[1])
    for match in re.finditer(
        r"<(a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]*)\"[^>]*>", text, re.DOTALL
    ):
        alternative = re.search(r"\balt=\"([^\"]*)\"", match[0])
        add(match, match[2], match[1] == "img", alternative[1] if alternative else "")
    return found


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, and those that are written as such."""
    text = prose_of(page.read_text(encoding="utf-8"))
    found = set(re.findall(r"<(?:a|span|div)\b[^>]*?\b(?:id|name)=\"([^\"]+)\"", text))
    for match in _HEADING.finditer(text):
        shown = _LINK.sub(lambda link: link[2], match[2])
        base = slug(shown)
        number, name = 0, base
        while name in found:
            number += 1
            name = f"{base}-{number}"
        found.add(name)
    return found


def slug(heading: str) -> str:
    """GitHub's anchor of a heading: small letters, digits, dashes and underscores, and a dash for each blank."""
    kept = (
        sign
        for sign in heading.strip().lower()
        if sign in " -_" or unicodedata.category(sign)[0] in "LN" or unicodedata.category(sign) == "Mn"
    )
    return "".join(kept).replace(" ", "-")
