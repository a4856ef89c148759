"""Write the numbers of README.md from the tables that the benchmarks wrote: ``python docs/update_readme.py``.

Two regions between markers are made: what a user gains, from ``verdict-table.md`` (``python
benchmarks/verdict.py``) and ``tuning-table.md`` (``python benchmarks/tuning.py``); and the counts under the
picture, from ``docs/photographs`` (``python docs/update_report.py``). A test compares README.md with :func:`filled`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
EXPLANATION, PHOTOGRAPHS = DOCS / "explanation", DOCS / "photographs"
SCORES = {"plain CLIP (MCM)": "mcm", "Mahalanobis": "mahalanobis", "GDA": "gda"}
OURS, TUNED = "verdict", "verdict, tuned prompts"
COOP = ("ΔEnergy", "MCM", "MaxLogit", "Energy")  # CoOp's number is that of the best of them
# A score as good as deltaoe's, or better, in print: at least its number less this.
AS_GOOD = 0.005

Table = dict[str, dict[str, str]]


def table(file: Path) -> Table:
    """The cells of a Markdown table by row (its first cell) and column."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in (lines[0], *lines[2:])]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def number(cell: str, which: int = 0) -> float:
    """A number of a cell such as ``0.940 ± 0.021 / 0.16``: the first (AUROC), or the one after the stroke (FPR@95)."""
    return float(cell.split("/")[which].split("±")[0])


def area(row: dict[str, str], score: str) -> float:
    """AUROC of a score in a row of ``verdict-table.md``; ours is that of tuned prompts where there are some."""
    if score == OURS and row[TUNED] != "–":
        return number(row[TUNED])
    return number(row[score])


def cells(values: Sequence[float]) -> list[str]:
    """Numbers in print, with those in bold that are the best or within 0.005 of it."""
    best = max(values)
    return [f"**{value:.3f}**" if value >= best - AS_GOOD else f"{value:.3f}" for value in values]


def gain() -> str:
    """The table of what a user gains."""
    verdict = table(EXPLANATION / "verdict-table.md")
    tuning = table(EXPLANATION / "tuning-table.md")
    several = {name: row for name, row in verdict.items() if not name.startswith("one class")}
    single = [name for name in next(iter(several.values())) if not name.startswith((OURS, "its "))]
    scores = [*SCORES.values(), OURS]
    real = {name: row for name, row in several.items() if not name.startswith("photographs")}
    groups = {
        "CLIP features, 16 images a class": [row for name, row in real.items() if "16 shots" in name],
        "CLIP features, 1 to 4 images a class": [row for name, row in real.items() if "16 shots" not in name],
    }
    lines = []

    def line(name: str, values: Sequence[float], coop: float | None = None) -> None:
        found = cells([*values[:1], *([] if coop is None else [coop]), *values[1:]])
        if coop is None:
            found.insert(1, "–")
        lines.append(f"| {name} | " + " | ".join(found) + " |")

    for name, rows in groups.items():
        line(name, [sum(area(row, score) for row in rows) / len(rows) for score in scores])
    hardest = min(real, key=lambda name: max(area(real[name], score) for score in scores))
    line(f"… the hardest of them: {words(hardest)}", [area(real[hardest], score) for score in scores])
    for kind, place in (("source", "learned from"), ("held out", "new")):
        row = several[f"photographs, 16 shots {kind}"]
        where = kind.replace(" ", "-")
        coop = max(number(tuning[f"AUROC {score} {where}"]["CoOp"]) for score in COOP)
        line(f"photographs, style {place}", [area(row, score) for score in scores], coop)
    behind = [
        min(area(row, score) - max(number(row[one]) for one in single) for row in several.values())
        for score in scores
    ]
    found = [f"{-value:.3f}" for value in behind]
    worst = f"| worst of all {len(several)} cases: behind its best score by | {found[0]} | – | " + " | ".join(
        found[1:]
    )
    lines.append(f"{worst[: -len(found[-1])]}**{found[-1]}** |")
    for where, kind in (("source", "learned from"), ("held-out", "new")):
        row = tuning[f"accuracy {where}"]
        plain, coop, ours = cells([number(row[name]) for name in ("zero-shot", "CoOp", "deltaoe")])
        lines.append(f"| accuracy, photographs, style {kind} | {plain} | {coop} | – | – | {ours} |")
    head = ["AUROC", *list(SCORES)[:1], "CoOp", *list(SCORES)[1:], "deltaoe"]
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
    missed = [stem(name) for name in others if judged[name]["verdict"] != "unknown"]
    alarms = [stem(name) for name in ours if judged[name]["verdict"] != "known"]
    wrong = [stem(name) for name in ours if name not in alarms and judged[name]["class"] != shows[name]]
    text = (
        f"Of {len(others)} photographs of other things, {len(others) - len(missed)} are called unknown "
        f"(missed: {' and '.join(missed)}); of {len(ours)} of its classes, {len(ours) - len(alarms)} are known "
        f"(not: {' and '.join(alarms)})"
    )
    return text + (f", and {' and '.join(wrong)} got another class." if wrong else ", each with its class.")


def stem(name: str) -> str:
    """A file's name in a sentence."""
    return Path(name).stem.replace("_", " ")


def filled(text: str) -> str:
    """The text of README.md with both regions made anew."""
    for name, made in (("gain", gain()), ("picture", counts())):
        form = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, times = form.subn(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)  # type: ignore[misc]
        if times != 1:
            raise ValueError(f"README.md has {times} regions {name}")
    return text


def main() -> None:
    """Write README.md."""
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
