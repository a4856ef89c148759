"""README's numbers are those of the tables that the benchmarks wrote, and its picture's photographs are free."""

from __future__ import annotations

import csv
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXPLANATION, PHOTOGRAPHS = ROOT / "docs" / "explanation", ROOT / "docs" / "photographs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
FREE = {"public domain", "CC0 1.0", "CC BY 2.0"}


def rows_of(file: Path) -> dict[str, list[str]]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (lines[0], *lines[2:])]
    return {row[0]: row[1:] for row in split}


def test_regions_are_those_of_the_command() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "update_readme.py"))
    assert page["filled"](README) == README, "run: python docs/update_readme.py"
    with pytest.raises(ValueError, match="0 regions gain"):
        page["filled"]("")


def test_gains_are_means_of_the_benchmark() -> None:
    table = rows_of(EXPLANATION / "verdict-table.md")
    blocks = dict(re.findall(r"^\| \*\*(.+?)\*\* \|(?: \|)+\n((?:\| [^*\n].*\n)+)", README, re.MULTILINE))
    assert list(blocks) == [
        "of 100 unknown images, taken for known",
        "AUROC",
        "of 100 known images, given the right class",
    ]
    titles = ("plain CLIP (MCM)", "CoOp", "Mahalanobis", "GDA", "deltaoe")
    columns = dict(zip(titles, ("mcm", "", "mahalanobis", "gda", "verdict"), strict=True))
    for which, (block, times, off) in enumerate(
        (("AUROC", 1, 6e-4), ("of 100 unknown images, taken for known", 100, 0.6))
    ):
        made = {
            line.split(" | ")[0]: line.strip(" |").split(" | ")[1:] for line in blocks[block].splitlines()
        }
        for place, (title, column) in enumerate(columns.items()):
            if title == "CoOp":
                continue
            at = table[""].index(column)
            for name, pattern, cases in (
                ("| CLIP features, 16 images a class", "(caltech|imagenet).* 16 shots", 6),
                ("| CLIP features, 1 to 4 images a class", "(caltech|imagenet).* [124] shots", 12),
            ):
                found = [
                    times * float(re.findall(r"[\d.]+", row[at])[-1 if which else 0])
                    for case, row in table.items()
                    if re.match(pattern, case)
                ]
                assert len(found) == cases
                assert float(made[name][place].strip("*")) == pytest.approx(np.mean(found), abs=off)
    worst = re.search(r"worst of all.*\*\*([\d.]+)\*\* \|$", README, re.MULTILINE)
    summary = (EXPLANATION / "verdict-table-summary.md").read_text(encoding="utf-8")
    assert worst and re.search(rf"verdict, tuned prompts .* -{worst[1]} \(", summary)


def test_numbers_told_in_sentences_are_in_the_tables() -> None:
    text = (EXPLANATION / "measured.md").read_text(encoding="utf-8")
    tables = "".join(
        (EXPLANATION / f"{name}-table.md").read_text(encoding="utf-8") for name in ("verdict", "tuning")
    )
    told = re.findall(r"(?<!\d)\.\d{3}\b", text.split("## Where a simple score")[1].split("## The data")[0])
    told += re.findall(
        r"(?<!\d)\.\d{3}\b", next(line for line in text.splitlines() if "benchmarks/tuning.py" in line)
    )
    assert len(told) > 20
    assert [number for number in told if f"0{number}" not in tables] == []


def test_photographs_are_named_with_a_free_licence() -> None:
    sources = rows_of(PHOTOGRAPHS / "SOURCES.md")
    files = {path.name: path for path in PHOTOGRAPHS.glob("*.jpg")}
    assert files.keys() == sources.keys() - {"file"}
    with (PHOTOGRAPHS / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        assert {row["file"] for row in csv.DictReader(file)} == files.keys()
    for name, path in files.items():
        author, licence = sources[name][2:4]
        assert author and licence in FREE, name
        with Image.open(path) as image:
            assert max(image.size) <= 400
    assert sum(path.stat().st_size for path in files.values()) < 2e6
    assert (ROOT / "docs" / "report.webp").stat().st_size < 300_000
