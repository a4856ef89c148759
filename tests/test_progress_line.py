"""Progress from Python: drawn where one asks for it, and nothing otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import deltaoe
from deltaoe.progress import Event
with deltaoe.rich_progress() as on:
    for done in range(4):
        on(Event("Scoring [red]\\x1b[31mset", done, 3, {"loss": 0.12345, "of": "a\\x07b"}))
    on(Event("Scoring", message="loaded [bold]model\\x1b"))
    on(Event("Listing files", 1200))
"""


PLAIN = [
    "Scoring [red]\\x1b[31mset  loss 0.123  of a\\x07b",
    "Scoring [red]\\x1b[31mset 3/3  loss 0.123  of a\\x07b",
    "loaded [bold]model\\x1b",
    "Listing files 1200",
]


def drawn(script: str = SCRIPT, **environment: str) -> str:
    plain = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**plain, "TERM": "xterm", "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_off_a_terminal_stages_are_plain_lines():
    assert drawn().splitlines() == PLAIN


def test_on_a_terminal_one_line_is_drawn_and_cleared():
    told = drawn(FORCE_COLOR="1")
    assert "\x1b[2K" in told  # a line is drawn again in place
    assert "0/3" in told and "1200/?" in told
    assert "[red]\\x1b[31mset" in told and "\x1b[31mset" not in told
    assert "\x1b[2Kloaded [bold]model\\x1b\n" in told  # on a line of its own, above the live one


def test_without_a_block_it_is_plain_lines():
    script = SCRIPT.replace("with deltaoe.rich_progress() as on:", "on = deltaoe.rich_progress()\nif True:")
    assert drawn(script, FORCE_COLOR="1").splitlines() == PLAIN
