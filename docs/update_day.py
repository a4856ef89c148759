"""Run the commands of docs/day.md and write what they print into the page: ``python docs/update_day.py``.

The demo is run first, which takes minutes. ``replay`` does the same without writing, for the test.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent / "day.md"
SET_UP = ("deltaoe demo", "cd deltaoe-demo")  # shown without their output
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_PROGRESS = re.compile(r"(Loading|Listing|Encoding|Scoring|Grouping|Finding|Tuning|Copying|Drawing)\b")


class Step(NamedTuple):
    """A command, and the lines that it printed: in a page, or now."""

    command: str
    lines: list[str]


def steps(page: str) -> list[Step]:
    """All commands of a page with the lines under each."""
    found = []
    for block in _BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.rstrip("\n").split("\n")
            found.append(Step(command, lines))
    return found


def in_a_process(arguments: list[str], folder: Path) -> tuple[int, str]:
    """Run the installed ``deltaoe`` in a folder; returns its exit code and what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("DELTAOE_")}
    done = subprocess.run(
        [Path(sys.executable).parent / "deltaoe", *arguments],
        cwd=folder,
        env=env | {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    return done.returncode, done.stdout


def replay(
    page: str, folder: Path, run: Callable[[list[str], Path], tuple[int, str]] = in_a_process
) -> Iterator[Step]:
    """Run the commands of a page in the demo's folder, without those that set it up.

    Args:
        page: its text.
        folder: the demo's folder, in which ``deltaoe demo`` has run.
        run: what runs ``deltaoe``, as :func:`in_a_process`.
    """
    code = 0
    for step in steps(page):
        if step.command in SET_UP:
            continue
        if step.command == "echo $?":
            yield Step(step.command, [str(code)])
            continue
        name, *arguments = shlex.split(step.command)
        if name != "deltaoe":
            raise ValueError(f"only deltaoe is run: {step.command}")
        code, text = run(arguments, folder)
        place = str(folder.resolve().parent)
        printed = (line.rstrip().replace(place, "…") for line in text.splitlines())
        yield Step(step.command, [line for line in printed if not _PROGRESS.match(line)])


def main() -> None:
    """Run the demo and the day, and write the page."""
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as place:
        code, told = in_a_process(["demo", "--quiet"], Path(place))
        if code:
            raise SystemExit(told)
        printed = iter([*replay(page, Path(place, "deltaoe-demo"))])

    def filled(block: re.Match[str]) -> str:
        lines = []
        for step in steps(block[0]):
            lines.append(f"$ {step.command}")
            if step.command not in SET_UP:
                lines += next(printed).lines
        return "```console\n" + "\n".join(lines) + "\n```"

    PAGE.write_text(_BLOCK.sub(filled, page), encoding="utf-8")


if __name__ == "__main__":
    main()
