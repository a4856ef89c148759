"""Tables that are opened in a spreadsheet: names that look like formulas are text there, and come back as they were."""

from __future__ import annotations

import csv
from pathlib import Path

from command import Run
from outputs import table

from deltaoe.store.workspace import Workspace

RUN = ("=", "+", "-", "@", "\t", "\r")
NAMES = {"red_stripes": "=1+1", "yellow_dots": "@SUM(A1)", "blue_waves": "-2", "green_rings": "'=x"}


def test_names_and_paths_that_look_like_formulas(fresh: Path, run: Run) -> None:
    folders = sorted(path.name for path in (fresh / "images").iterdir())
    names = dict(zip(folders, NAMES.values(), strict=True))
    for old, new in names.items():
        (fresh / "images" / old).rename(fresh / "images" / new)
    run("extract", "images", cwd=fresh)
    for number, file in enumerate(sorted((fresh / "images" / "=1+1").iterdir())[:3]):
        (fresh / f"{'=+-'[number]}{number}.png").write_bytes(file.read_bytes())
    run("score", "--out", "out", "--", "=0.png", "+1.png", "-2.png", "images", cwd=fresh)
    rows = table(fresh / "out" / "scores.csv")
    assert [row["path"] for row in rows[:3]] == ["./=0.png", "./+1.png", "./-2.png"]
    # Of each name another form: which of them a model that nobody trained takes is chance.
    assert {row["class"] for row in rows} <= {"'=1+1", "'@SUM(A1)", "'-2", "''=x"}
    assert "'=1+1" in {row["class"] for row in rows}
    for row in rows:
        assert not row["path"].startswith(RUN) and not row["class"].startswith(RUN)
        float(row["score"]), float(row["margin"] or 0)
    # The same cells as a list of images: the classes are those of before.
    with (fresh / "list.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerows([("path", "class"), *((row["path"], row["class"]) for row in rows)])
    run("extract", "list.csv", "--name", "again", cwd=fresh)
    data = Workspace(fresh / ".deltaoe").dataset("data:again")
    assert data is not None and set(data.class_names) <= set(NAMES.values())
    assert len(data) == len(rows)
