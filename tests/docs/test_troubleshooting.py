"""The messages that the pages on troubleshooting and on limits quote are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
LIMITS = ROOT / "docs" / "explanation" / "limits.md"
# Said by Python, Pillow, HDF5 or the operating system, or with a value between all words.
ELSEWHERE = {
    "init_sys_streams",
    "image file is truncated",
    "file name too long",
    "no locks available",
    "stale file handle",
    "too many open files",
    "UTF-8 text",
    "--failed lists all",
}


def sentences() -> str:
    """Every text in the code but docstrings, f-strings with a blank for each value, one per line."""
    found = []
    for path in [*(ROOT / "deltaoe").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if id(node) in docstrings:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [str(one.value) if isinstance(one, ast.Constant) else " " for one in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(" ".join(one.split()) for one in found)


def quoted() -> list[str]:
    """The messages in the headings of troubleshooting's entries, and in the third column of the tables of limits."""
    text = PAGE.read_text(encoding="utf-8")
    quoting = re.findall(r"^(\*\*.+?\*\*)\\$", text, re.MULTILINE | re.DOTALL)
    rows = [line.split(" | ") for line in LIMITS.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    quoting += [row[2] for row in rows if len(row) == 4]
    texts = [" ".join(one.split()) for part in quoting for one in re.findall(r"`([^`]+)`", part)]
    return [one for one in texts if " " in one and not one.startswith("evaluate ")]


def test_quoted_messages_are_in_the_code() -> None:
    known, messages = sentences(), quoted()
    assert len(messages) > 60
    for message in messages:
        # Names, numbers and plurals in a message are not in the code; at least a quarter of it is.
        parts = [part.split() for part in re.split(r"[^A-Za-z -]+", message)]
        triples = [" ".join(part[i : i + 3]) for part in parts for i in range(len(part) - 2)]
        found = sum(triple in known for triple in triples)
        assert 4 * found >= len(triples) or any(words in message for words in ELSEWHERE), message


def test_numbers_of_limits_are_in_the_table_of_the_verdict() -> None:
    """Each row has AUROC and FPR@95 of one cell: its row, and its column (``verdict`` if none is named)."""
    table = ROOT / "docs" / "explanation" / "verdict-table.md"
    lines = [line.strip(" |").split(" | ") for line in table.read_text(encoding="utf-8").splitlines()]
    cells = {(row[0], name): cell for row in lines[2:] for name, cell in zip(lines[0], row[1:], strict=True)}
    rows = re.findall(
        r"^\| (.+) \| (0\.\d{3}) \| (0\.\d\d) \|$", LIMITS.read_text(encoding="utf-8"), re.MULTILINE
    )
    of = {
        "10 classes, 16 images each, unlike images (far)": ("caltech 10, 16 shots far", "verdict"),
        "the same, images of other classes of the same data (near)": ("caltech 10, 16 shots near", "verdict"),
        "52 classes, 16 images each, near": ("caltech 52, 16 shots near", "verdict"),
        "300 classes, 2 images each, near": ("imagenet 300, 2 shots near", "verdict"),
        "photographs and drawings, small model, the styles that were learned from": (
            "photographs, 16 shots source",
            "verdict",
        ),
        "the same, a style that was held out": ("photographs, 16 shots held out", "verdict"),
        "the same, ΔEnergy of the class names alone, a style that was learned from": (
            "photographs, 16 shots source",
            "delta_energy_plain",
        ),
    }
    assert {case for case, _, _ in rows} == set(of)
    for case, auroc, fpr in rows:
        assert re.sub(r" ± \S+", "", cells[of[case]]) == f"{auroc} / {fpr}"
