"""A reader who types the commands of a page, one after the other, in one folder.

``deltaoe`` runs warm (``warm.py``), also at the end of a pipe and with its output sent to a file; everything else, and
what only a shell understands, is given to one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from command import COMMAND, Finished, Run, environment
from documented import Block, Command

_ONLY_A_SHELL = re.compile(r"[`*?;]|\$\(|\$\{|&&|\|\||<<|(?<!\d)&(?!\d)")
# A command that fails is noticed wherever it stands: before a semicolon and within a pipe.
_SHELL = ("bash", "-e", "-o", "pipefail", "-c")
SHORT = {"DELTAOE_EPOCHS": "3"}
# Said wherever such a command is typed as a page has it, and explained in words of its own.
SAID_ANYWAY = re.compile(
    r"warning: (tune, and score without a detector, use .* from now on, not .*"
    r"|NegLabel: left out, there are no background labels.*"
    r"|# tar files? read like (a folder|folders), without unpacking: # images"
    r"|# files were added to .* since extract: .*"
    r"|.* compare with # images of id; no score is evaluated on them .*)"
)
_NUMBER = re.compile(r"\b[0-9a-f]{8,64}\b|\d[\d.,:]*")


class Reader:
    """Types commands in a folder.

    Args:
        folder: where the page's commands begin.
        run: the warm ``deltaoe``.
        model: the folder of the model that stands for the default one.
        env: more variables. Where none are given, tuning is short.
    """

    def __init__(self, folder: Path, run: Run, model: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder, self.code = folder, 0
        self._run, self._model = run, model
        self._env = SHORT | dict(env or {})

    def type(self, block: Block, command: Command) -> None:
        """Run one command, which must end as the page says and print what the page shows.

        It ends with 0 unless an error is shown below it, and prints no warning that is not shown.
        """
        place = f"{block.page.name}:{command.line}: {command.text}"
        refused = any(line.startswith("error:") for line in command.shown)
        try:
            done = self._given(command.text, None if refused else 0)
        except (AssertionError, subprocess.SubprocessError) as problem:
            raise AssertionError(f"{place}\n{problem}") from problem
        self.code = done.rc
        assert bool(done.rc) == refused, f"{place}\nexit code {done.rc}\n{done.stdout}\n{done.stderr}"
        printed = [masked(line) for line in (done.stdout + "\n" + done.stderr).splitlines()]
        told = [line for line in printed if line.startswith(("warning:", "error:"))]
        shown = [masked(line) for line in command.shown if line.strip() not in ("", "…", "...")]
        for line in told:
            assert SAID_ANYWAY.fullmatch(line) or any(agrees(one, line) for one in shown), (
                f"{place}\nis not told of on the page: {line}"
            )
        for line in shown:
            assert any(agrees(line, one) for one in printed), (
                f"{place}\nis shown, but not printed: {line}\nprinted:\n{done.stdout}\n{done.stderr}"
            )

    def _given(self, text: str, rc: int | None) -> Finished:
        words = shlex.split(text, comments=True)
        if words == ["echo", "$?"]:
            return Finished(0, f"{self.code}\n", "")
        if words[0] == "cd" and len(words) == 2:
            self.folder = (self.folder / words[1]).resolve(strict=True)
            return Finished(0, "", "")
        quoted = re.sub(r"'[^']*'|\"[^\"$`]*\"", "", re.sub(r"(^|\s)#.*$", "", text))
        before, bar, last = quoted.rpartition("|")
        if _ONLY_A_SHELL.search(last) or "$" in last or not last.split() or last.split()[0] != "deltaoe":
            return self._in_a_shell(text)
        stdin = b""
        if bar:
            piped = text[: text.rindex("|")]
            assert before
            given = subprocess.run(
                [*_SHELL, piped], cwd=self.folder, env=self._variables(), capture_output=True, check=True
            )
            stdin, words = given.stdout, shlex.split(text[text.rindex("|") + 1 :], comments=True)
        out = None
        if ">" in words:
            out, words = words[words.index(">") + 1], words[: words.index(">")]
        done = self._run(*words[1:], cwd=self.folder, rc=rc, stdin=stdin, model=self._model, env=self._env)
        if out:
            (self.folder / out).write_text(done.stdout, encoding="utf-8")
        return done

    def _variables(self) -> dict[str, str]:
        env = environment(self._model) | self._env
        return env | {"PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"}

    def _in_a_shell(self, text: str) -> Finished:
        done = subprocess.run(
            [*_SHELL, text],
            cwd=self.folder,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)


def masked(line: str) -> str:
    """A line without its numbers, digests and the width of its gaps and rules."""
    line = _NUMBER.sub("#", line)
    line = re.sub(r"#(?:[\s,/-]*#)+", "#", line)
    return re.sub(r"[\s─━│┃]+", " ", line).strip()


def agrees(shown: str, printed: str) -> bool:
    """Whether a masked line of a page is the printed one; … stands for whatever the author left out."""
    pattern = ".*".join(re.escape(part.strip()) for part in re.split(r"…|\.\.\.", shown))
    return re.fullmatch(pattern, printed) is not None
