"""File and folder names made to break things go through all three commands unharmed and harmless."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from command import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such file names")

FILES = [
    b"new\nline.png",
    b"carriage\rreturn.png",
    b"quo\"te'.png",
    b"<script>alert(1)<.png",
    b"<img src=x onerror=alert(1)>.png",
    b"=cmd|' C'!A0.png",
    b"not-utf8-\xff\xfe.png",
    b"x" * 251 + b".png",
    b"\x1b[31mred\x1b[0m.png",
    b"--report.png",
    b"a,b;c\td.png",
    b"[bold]markup[-bold].png",
    b"{{7*7}}{}%s.png",
    b"back\\slash.png",
    "e\u0301 and \u202egnp.png".encode(),
    "\U0001f431 \u2028.png".encode(),
]
FOLDERS = [
    b"plain_words",
    b"=1+1",
    b"<b>bold<b>",
    b"[red]rich[-red]",
    b'quo"te',
    b"byte-\xff",
    b"new\nline",
    b"a,b",
]
FOLDERS += [b"\x1b[2J", b"{}"]


@pytest.fixture
def hostile(pictures: Path, tmp_path: Path) -> Path:
    """Pictures under such names, three in each folder, all of them in the first one and in ``unknown``."""
    contents = (path.read_bytes() for path in sorted(pictures.rglob("*.png")))
    os.mkdir(os.fsencode(tmp_path) + b"/images")
    for number, folder in enumerate([*FOLDERS, b"../unknown"]):
        where = os.fsencode(tmp_path) + b"/images/" + folder
        os.mkdir(where)
        for name in FILES if number == 0 else [b"=1.png", b"<b>.png", b"ok.png"]:
            with open(os.path.join(where, name), "wb") as file:
                file.write(next(contents))
    for name in FILES:
        with open(os.path.join(os.fsencode(tmp_path), b"unknown", name), "wb") as file:
            file.write(next(contents))
    with open(os.path.join(os.fsencode(tmp_path), b"unknown", b"bad\x1b]0;title\x07\n<i>.png"), "wb") as file:
        file.write(b"broken")
    return tmp_path


class Page(HTMLParser):
    """Collects the text of a page and the attributes and elements that scripts could hide in."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_round_trip(hostile: Path, run: Run) -> None:
    extracted = run("extract", "images", "--json", cwd=hostile)
    names = {" ".join(os.fsdecode(name).replace("_", " ").split()) for name in FOLDERS}
    assert extracted.json["images_per_class"].keys() == names
    assert extracted.json["encoded"] == len(FILES) + 3 * (len(FOLDERS) - 1)
    assert extracted.json["failed"] == []
    run("tune", "--shots", "2", "--epochs", "1", "--allow-undecided", cwd=hostile)
    done = run("score", "unknown", "--report", "html", "--report", "json", cwd=hostile)
    shown = done.stdout + done.stderr
    assert "\x1b" not in shown and "\x07" not in shown
    assert "bad\\x1b]0;title\\x07\\n<i>.png: not an image" in done.stderr

    expected = sorted(b"unknown/" + name for name in os.listdir(os.fsencode(hostile) + b"/unknown"))
    told = json.loads((hostile / "scores.json").read_text(encoding="ascii"))
    assert sorted(os.fsencode(record["path"]) for record in told["images"]) == expected
    with open(hostile / "scores.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [record["path"] for record in told["images"]]
    cells = {"=1+1": "'=1+1"}  # which a spreadsheet would run
    classes = [record["class"] for record in told["images"][:-1]]
    assert [row["class"] for row in rows[:-1]] == [cells.get(name, name) for name in classes]
    assert {row["class"] for row in rows[:-1]} <= {cells.get(name, name) for name in names}

    html = (hostile / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert "<script>alert" not in html and "<img src=x" not in html and "\x1b" not in html
    assert not page.handlers and not page.elements & {"i", "iframe", "object", "embed", "form", "base"}
    assert html.count("<script") == 2  # the data and the code
    assert "{{7*7}}{}%s.png" in html and "&lt;script&gt;alert(1)&lt;.png" in html
    assert "not-utf8-\\xff\\xfe.png" in html and "x" * 251 + ".png" in html

    # A file whose name begins like an option, and one with bytes that are no text, given by themselves.
    inside = os.fsencode(hostile) + b"/unknown"
    again = run(
        "score", "--json", "--", b"not-utf8-\xff\xfe.png", b"--report.png", cwd=Path(os.fsdecode(inside))
    )
    assert [os.fsencode(record["path"]) for record in again.json["images"]] == [
        b"not-utf8-\xff\xfe.png",
        b"--report.png",
    ]
    again = run("extract", "images", "--json", cwd=hostile)
    assert again.json["encoded"] == 0 and "Loading model" not in again.stderr
    assert re.fullmatch(r"[\x00-\x7f]*", again.stdout)
