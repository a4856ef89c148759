"""A page whose commands are run again: its lines and those printed now begin alike."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

from command import Run

DOCS = Path(__file__).resolve().parents[2] / "docs"


def script(name: str) -> ModuleType:
    """A script of docs/, imported."""
    sys.path.insert(0, str(DOCS))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(DOCS))


def check(name: str, folder: Path, run: Run) -> None:
    """Each command of the page that the script ``name`` writes prints lines that begin as on the page."""
    page, writer = script("console_page"), script(name)
    text = writer.PAGE.read_text(encoding="utf-8")
    told = [step for step in page.steps(text) if step.command not in writer.SET_UP]

    def warm(arguments: list[str], where: Path) -> tuple[int, str]:
        rc = 3 if "--fail-on-unknown" in arguments else 0
        done = run(*arguments, cwd=where, model=None, rc=rc)
        return done.rc, done.stdout + done.stderr

    assert len(told) >= 5
    for there, now in zip(told, page.replay(text, folder, writer.SET_UP, warm), strict=True):
        assert there.command == now.command
        assert there.lines, f"run docs/{name}.py: nothing stands under {there.command}"
        if there.command == "echo $?":
            assert now.lines == there.lines
        # Groups and their names depend on the processor's arithmetic.
        missing = _beginnings(there.lines) - _beginnings(now.lines)
        assert not missing, "\n".join(now.lines)


def _beginnings(lines: list[str]) -> set[str]:
    """The first two words of each line without numbers, digests and models; no rows of groups, and none of images."""
    changing = re.compile(r"local-dir:\S+|-[0-9a-f]{12}|\d[\d.,]*")
    words = [changing.sub("#", line).split()[:2] for line in lines]
    return {" ".join(pair) for pair in words if pair and pair[0] != "#" and "/" not in pair[0]}
