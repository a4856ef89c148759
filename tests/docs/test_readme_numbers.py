"""README's numbers are those of the tables that the benchmarks wrote, and its picture's photographs are free."""

from __future__ import annotations

import csv
import re
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deltaoe.scoring.options import ALPHA

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


def test_numbers_in_sentences_of_the_readme_stand_where_they_come_from() -> None:
    """A sentence that is not there any more is passed over; one that is there tells the numbers of its source."""
    sources = (PHOTOGRAPHS / "SOURCES.md").read_text(encoding="utf-8")
    with (PHOTOGRAPHS / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        photographs = len([*csv.DictReader(file)])
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "requires-python"
    ]
    install = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    sizes = re.findall(r"^\| .* \| ([\d.]+) GB \|", install, re.MULTILINE)
    measured = (EXPLANATION / "measured.md").read_text(encoding="utf-8")
    cases = re.findall(r"22 cases .*?: (\d+) to (\d+) classes", measured)
    told = {
        r"A report: (\d+) photographs": str(photographs),
        r"(\d+) images of each were learned": re.search(r"(\d+) images per class of photographs", sources)[1],
        r"and (\d+)\s+others calibrate": re.search(r"and (\d+) others calibrate", sources)[1],
        r"small CLIP of (\d+) million\s+parameters": re.search(r"CLIP of (\d+) million", sources)[1],
        r"On Linux that takes ([\d.]+) GB": sizes[0],
        r"a CPU alone needs ([\d.]+) GB": sizes[-1],
        r"ImageNet, (\d+ to \d+) classes": " to ".join(cases[0]),
        r"unknown\* if at most (\d+) %": f"{100 * ALPHA:.0f}",
        r"at most (\d+) % of images like yours": f"{100 * ALPHA:.0f}",
        r"`--alpha ([\d.]+)`": f"{ALPHA:g}",
        r"threshold that (\d+) of 100": re.search(r"FPR@(\d+)", README)[1],
        r"Python ≥ ([\d.]+)": needed.removeprefix(">="),
    }
    found = {pattern: re.findall(pattern, README) for pattern in told}
    for pattern, numbers in found.items():
        assert set(numbers) <= {told[pattern]}, pattern
    assert sum(map(bool, found.values())) >= 6


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
