"""What CONTRIBUTING and SECURITY point to in the code and the suite is there; test_every_block.py runs the examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_what_it_points_to_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    places = re.findall(r"`([\w/]+\.py)`(?:\s+\(`(\w+)`\))?", text)
    assert len(places) > 10
    for file, name in places:
        text = (ROOT / file).read_text(encoding="utf-8")
        defined = rf"^(?:def|class) {name}\b|^{name}(?:: [^=]+)? = "
        assert not name or re.search(defined, text, re.MULTILINE), f"{file}: {name}"


def test_every_session_that_it_names_is_one() -> None:
    sessions = re.findall(
        r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = set(re.findall(r"nox -s (\w+)", PAGE))
    assert named <= set(sessions)
    assert {"tests", "slow", "lint", "types", "docs", "minimums", "wheel", "release"} <= named
