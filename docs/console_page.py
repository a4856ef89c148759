"""A page whose console blocks show what their commands print: what update_day.py and update_tutorial.py share."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_PROGRESS = re.compile(r"(Loading|Listing|Encoding|Scoring|Grouping|Finding|Tuning|Copying|Drawing)\b")
Run = Callable[[list[str], Path], tuple[int, str]]


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


def replay(page: str, folder: Path, unshown: tuple[str, ...], run: Run = in_a_process) -> Iterator[Step]:
    """Run the commands of a page in a folder.

    Args:
        page: its text.
        folder: where they run.
        unshown: commands that are shown without output, and not run.
        run: what runs ``deltaoe``, as :func:`in_a_process`.

    Raises:
        ValueError: a command is neither ``deltaoe`` nor ``echo $?``.
    """
    code = 0
    for step in steps(page):
        if step.command in unshown:
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


def rewrite(path: Path, folder: Path, unshown: tuple[str, ...]) -> None:
    """Run the commands of the page at ``path``, as :func:`replay` does, and write what they print into it."""
    page = path.read_text(encoding="utf-8")
    printed = iter([*replay(page, folder, unshown)])

    def filled(block: re.Match[str]) -> str:
        lines = []
        for step in steps(block[0]):
            lines.append(f"$ {step.command}")
            if step.command not in unshown:
                lines += next(printed).lines
        return "```console\n" + "\n".join(lines) + "\n```"

    path.write_text(_BLOCK.sub(filled, page), encoding="utf-8")
