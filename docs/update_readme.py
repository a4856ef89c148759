"""Write the numbers of README.md from the tables that the benchmarks wrote: ``python docs/update_readme.py``.

Two regions between markers are made: what a user gains, from ``verdict-table.md`` (``python
benchmarks/verdict.py``) and ``tuning-table.md`` (``python benchmarks/tuning.py``); and the counts under the
picture, from ``docs/photographs`` (``python docs/update_report.py``). A test compares README.md with :func:`filled`.
"""

from __future__ import annotations

import csv
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
EXPLANATION, PHOTOGRAPHS = DOCS / "explanation", DOCS / "photographs"
SCORES = {"plain CLIP (MCM)": "mcm", "Mahalanobis": "mahalanobis", "GDA": "gda"}
OURS, TUNED = "verdict", "verdict, tuned prompts"
COOP = ("ΔEnergy", "MCM", "MaxLogit", "Energy")  # CoOp's number is that of the best of them
AS_GOOD = 0.005  # as good as the best, in print: within this of it
AUROC, FPR = 0, 1  # which number of a cell

Table = dict[str, dict[str, str]]


def table(file: Path) -> Table:
    """The cells of a Markdown table by row (its first cell) and column."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in (lines[0], *lines[2:])]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def number(cell: str, which: int = 0) -> float:
    """A number of a cell such as ``0.940 ± 0.021 / 0.16``: the first (AUROC), or the one after the stroke (FPR@95)."""
    return float(cell.split("/")[which].split("±")[0])


def measured(row: dict[str, str], score: str, which: int = AUROC) -> float:
    """AUROC or FPR@95 of a score in a row of ``verdict-table.md``; ours is with tuned prompts where there are some."""
    if score == OURS and row[TUNED] != "–":
        score = TUNED
    return number(row[score], which)


def mean(rows: Sequence[dict[str, str]], score: str, which: int = AUROC) -> float:
    """The mean of :func:`measured` over rows."""
    return sum(measured(row, score, which) for row in rows) / len(rows)


def line(name: str, values: Sequence[float | None], form: str = ".3f", better: int = 1) -> str:
    """A row of the table; in bold what is best in print, or as good as that. ``better`` is -1 where less is better."""
    best = max(better * value for value in values if value is not None)
    near = AS_GOOD if form == ".3f" else 0.5
    cells = []
    for value in values:
        cell = "–" if value is None else f"{value:{form}}"
        cells.append(f"**{cell}**" if value is not None and better * value >= best - near else cell)
    return f"| {name} | " + " | ".join(cells) + " |"


def gain() -> str:
    """The table of what a user gains."""
    tables = {name: table(EXPLANATION / f"{name}-table.md") for name in ("verdict", "tuning")}
    rows = {name: row for name, row in tables["verdict"].items() if not name.startswith("one class")}
    real = {name: row for name, row in rows.items() if not name.startswith("photographs")}
    many = [row for name, row in real.items() if "16 shots" in name]
    few = [row for name, row in real.items() if "16 shots" not in name]
    photographs = {place: rows[f"photographs, 16 shots {place}"] for place in ("source", "held out")}
    hardest = min(
        real, key=lambda name: max(measured(real[name], score) for score in (*SCORES.values(), OURS))
    )
    plain, *others = (*SCORES.values(), OURS)

    def all_of(
        rows: Sequence[dict[str, str]], which: int = AUROC, coop: float | None = None
    ) -> list[float | None]:
        times = 1 if which == AUROC else 100
        found = [times * mean(rows, score, which) for score in others]
        return [times * mean(rows, plain, which), coop, *found]

    lines = ["| **of 100 unknown images, taken for known** | | | | | |"]
    lines += [
        line(name, all_of(found, FPR), ".0f", -1)
        for name, found in (
            ("CLIP features, 16 images a class", many),
            ("CLIP features, 1 to 4 images a class", few),
            ("photographs, style learned from", [photographs["source"]]),
            ("photographs, style new", [photographs["held out"]]),
        )
    ]
    lines += [
        "| **AUROC** | | | | | |",
        line("CLIP features, 16 images a class", all_of(many)),
        line("CLIP features, 1 to 4 images a class", all_of(few)),
        line(f"… the hardest of them: {words(hardest)}", all_of([real[hardest]])),
    ]
    for place, style in (("source", "learned from"), ("held out", "new")):
        where = place.replace(" ", "-")
        coop = max(number(tables["tuning"][f"AUROC {score} {where}"]["CoOp"]) for score in COOP)
        lines.append(line(f"photographs, style {style}", all_of([photographs[place]], coop=coop)))
    single = [name for name in next(iter(rows.values())) if not name.startswith((OURS, "its "))]
    behind = {
        score: max(max(number(row[one]) for one in single) - measured(row, score) for row in rows.values())
        for score in (plain, *others)
    }
    worst = [behind[plain], None, *(behind[score] for score in others)]
    lines.append(line(f"worst of all {len(rows)} cases: behind its best score by", worst, better=-1))
    lines.append("| **of 100 known images, given the right class** | | | | | |")
    for place, style in (("source", "learned from"), ("held-out", "new")):
        row = tables["tuning"][f"accuracy {place}"]
        zero, coop, ours = (100 * number(row[name]) for name in ("zero-shot", "CoOp", "deltaoe"))
        lines.append(line(f"photographs, style {style}", [zero, coop, None, None, ours], ".0f"))
    head = ["", *list(SCORES)[:1], "CoOp", *list(SCORES)[1:], "deltaoe"]
    return "\n".join(["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|", *lines])


def words(column: str) -> str:
    """A column's name in words: ``imagenet 300, 2 shots near`` becomes ``300 ImageNet classes, …``."""
    found = re.fullmatch(r"(\w+) (\d+), (\d+) shots (\w+)", column)
    if found is None:
        raise ValueError(f"unknown form: {column}")
    data = {"imagenet": "ImageNet", "caltech": "Caltech"}[found[1]]
    return f"{found[2]} {data} classes, {found[3]} images each, unknown ones {found[4]}"


def counts() -> str:
    """What is said under the picture."""
    with (PHOTOGRAPHS / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        judged = {row["file"]: row for row in csv.DictReader(file)}
    shows = {name: row["class"] for name, row in table(PHOTOGRAPHS / "SOURCES.md").items()}
    if shows.keys() != judged.keys():
        raise ValueError(f"not in both verdicts.csv and SOURCES.md: {shows.keys() ^ judged.keys()}")
    others = [name for name, kind in shows.items() if kind == "–"]
    ours = [name for name, kind in shows.items() if kind != "–"]
    missed = [name for name in others if judged[name]["verdict"] != "unknown"]
    alarms = [name for name in ours if judged[name]["verdict"] != "known"]
    wrong = [name for name in ours if name not in alarms and judged[name]["class"] != shows[name]]
    text = (
        f"Of {len(others)} photographs of other things, {len(others) - len(missed)} are called unknown"
        f"{named('missed', missed)}. Of {len(ours)} of its classes, {len(ours) - len(alarms)} are called known"
        f"{named('not', alarms)}, each with its class{named('but', wrong)}."
    )
    return textwrap.fill(text, 120)


def named(word: str, files: Sequence[str]) -> str:
    """Photographs in parentheses, if there are any: ``(missed: bison, moose)``."""
    names = ", ".join(stem(name) for name in files)
    return f" ({word}: {names})" if names else ""


def stem(name: str) -> str:
    """A file's name in a sentence."""
    return Path(name).stem.replace("_", " ")


def filled(text: str) -> str:
    """The text of README.md with both regions made anew."""
    return region(region(text, "gain", gain()), "picture", counts())


def region(text: str, name: str, made: str) -> str:
    """The text with what stands between the markers of a region replaced."""
    form = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    text, times = form.subn(lambda found: f"{found[1]}{made}\n{found[2]}", text)
    if times != 1:
        raise ValueError(f"README.md has {times} regions {name}")
    return text


def main() -> None:
    """Write README.md."""
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
