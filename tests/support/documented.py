"""The code blocks of the repository's pages, and what an author has written above them.

A comment directly above a block says what happens to it:

- ``<!-- not run: REASON -->``: a reader's machine can run it, a test cannot, or another one does. A reason that begins
  with ``run by tests/…`` names that test, and one that begins with ``from FILE`` the file whose lines the block shows.
- ``<!-- file: NAME -->``: a reader saves the block under this name, and so does the test before it goes on.
- ``<!-- in: FOLDER -->``: the commands of the block are typed in this folder of the prepared one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELLS = ("console", "bash", "sh", "shell")
# Languages of blocks that hold nothing to run, and MyST's directives.
SHOWN = ("text", "csv", "dockerfile", "html", "diff", "ini", "bibtex", "math", "mermaid")
_FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*(\S*).*$")
_COMMENT = re.compile(r"<!--\s*(not run|file|in):\s*(.*?)\s*-->$", re.DOTALL)
# MyST's directives that hold nothing to run; {code-block} would hide commands from the tests.
DIRECTIVES = ("{eval-rst}", "{include}", "{literalinclude}", "{toctree}")
_PROMPT = re.compile(r"^(?:\$|>>>|%) |^(?:deltaoe|pip|pipx|uvx?|nox|docker|curl) [\w./-]", re.MULTILINE)
# A block that Markdown sees and blocks_of does not: in a quotation, behind the mark of a list, indented by a tab or by
# four blanks without a fence.
_HIDDEN = re.compile(
    r"^\s*(?:(?:>|[-*+]|\d+[.)])\s+)+(?:```|~~~)|^\s*\t\s*(?:```|~~~)|^(?:\s{4,}|[ >]*>\s*)\$ "
)


@dataclass(frozen=True)
class Command:
    """A command line, continued lines joined, its line on the page, and the lines of output that are shown below it."""

    text: str
    line: int
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line of its first line, its text, and what the comment above it says."""

    page: Path
    language: str
    line: int
    text: str
    not_run: str = ""
    file: str = ""
    folder: str = ""

    @property
    def place(self) -> str:
        """Page and line, to be clicked at in a message."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def looks_like_commands(self) -> bool:
        """Whether a line of it begins as a command does."""
        return bool(_PROMPT.search(self.text))

    def commands(self) -> list[Command]:
        """The commands of a block of a shell: those after ``$``, or all lines where no line has it."""
        found: list[Command] = []
        prompts = re.search(r"^\$ ", self.text, re.MULTILINE) is not None
        if self.language == "console" and not prompts:
            raise AssertionError(f"{self.place}: a block of a console has no line that begins with '$ '")
        lines = iter(enumerate(self.text.splitlines(), start=self.line))
        for number, line in lines:
            if prompts and not line.startswith("$ "):
                if not found:
                    raise AssertionError(f"{self.place}: output stands above the first command")
                before = found.pop()
                found.append(Command(before.text, before.line, (*before.shown, line)))
                continue
            text = line.removeprefix("$ ") if prompts else line
            while text.endswith("\\"):
                text = text[:-1].rstrip() + " " + next(lines)[1].strip()
            if text.strip() and not text.startswith("#"):
                found.append(Command(text, number))
        return found


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found, at = [], 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if not opened:
            at += 1
            continue
        indent, fence, language = opened.groups()
        end = at + 1
        while end < len(lines) and (not lines[end].strip().startswith(fence) or lines[end].strip(" `~")):
            end += 1
        if end == len(lines):
            raise AssertionError(f"{page.name}:{at + 1}: a block that does not end")
        body = "\n".join(line.removeprefix(indent) for line in lines[at + 1 : end])
        told = dict(comments_above(lines, at))
        notes = (told.get("not run", ""), told.get("file", ""), told.get("in", ""))
        found.append(Block(page, language, at + 2, body, *notes))
        at = end + 1
    return found


def hidden_blocks(page: Path) -> list[int]:
    """The lines of a page at which commands stand that :func:`blocks_of` does not see."""
    within = {
        line
        for block in blocks_of(page)
        for line in range(block.line - 1, block.line + block.text.count("\n") + 2)
    }
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
    return [number for number, line in lines if number not in within and _HIDDEN.search(line)]


def comments_above(lines: list[str], at: int) -> list[tuple[str, str]]:
    """The comments that stand directly above a line, one empty line allowed; a comment may have several lines."""
    found: list[tuple[str, str]] = []
    while at:
        if not lines[at - 1].strip() and at > 1 and lines[at - 2].rstrip().endswith("-->"):
            at -= 1
        if not lines[at - 1].rstrip().endswith("-->"):
            break
        start = at - 1
        while "<!--" not in lines[start]:
            start -= 1
        text = " ".join(line.strip() for line in lines[start:at])
        if told := _COMMENT.fullmatch(text.strip()):
            found.append((told[1], told[2]))
        at = start
    return found


def pages() -> list[Path]:
    """Every page that a reader may open: those at the top and those of the documentation."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
    return sorted(page for page in found if "_build" not in page.parts)
