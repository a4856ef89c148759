"""The tutorial's commands are run again on the photographs that its output comes from."""

from __future__ import annotations

import csv
from pathlib import Path

import replayed
from command import Run

OWN = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


def test_the_tutorial_on_photographs(shared: Path, tmp_path: Path, run: Run) -> None:
    """It runs as on the page, and what the page says of the verdicts is so."""
    folder = tmp_path / "photos"
    folder.mkdir()
    replayed.script("update_tutorial").lay_out(folder)
    assert len(list((folder / "images").rglob("*.jpg"))) == 252  # as the page says
    replayed.check("update_tutorial", folder, run)
    rows = csv.DictReader((folder / "scores.csv").read_text(encoding="utf-8").splitlines())
    verdicts = [(Path(row["path"]).name.split("-")[0] in OWN, row["verdict"]) for row in rows]
    assert sum(own for own, _ in verdicts) == 28 and len(verdicts) == 113  # as the page says
    assert verdicts.count((True, "known")) > 20
    assert verdicts.count((False, "unknown")) > 60
