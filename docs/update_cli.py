"""Write docs/reference/cli.md from the commands' own help: ``python docs/update_cli.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TARGET = Path(__file__).parent / "reference" / "cli.md"
COMMANDS = (
    (),
    ("extract",),
    ("tune",),
    ("score",),
    ("discover",),
    ("undo",),
    ("evaluate",),
    ("status",),
    ("export-onnx",),
    ("detectors",),
    ("detectors", "use"),
    ("detectors", "rename"),
    ("detectors", "rm"),
    ("detectors", "compare"),
    ("export-onnx",),
    ("background",),
    ("store",),
    ("store", "info"),
    ("store", "verify"),
    ("store", "compact"),
    ("store", "export"),
    ("store", "import"),
    ("demo",),
)
# A terminal's width and colours must not matter.
ENVIRONMENT = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "TERMINAL_WIDTH": "100"}


def in_a_process(*arguments: str) -> str:
    """What the command prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DELTAOE")} | ENVIRONMENT
    done = subprocess.run(
        [Path(sys.executable).parent / "deltaoe", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def reference(run: Callable[..., str] = in_a_process) -> str:
    """The page's text; ``run`` is what runs ``deltaoe`` with :data:`ENVIRONMENT`, as :func:`in_a_process`."""
    parts = [
        "# Command line\n\n"
        "Results go to stdout; messages, progress and errors to stderr. Colours and bars appear on a terminal only, "
        "and `NO_COLOR` is honoured. `deltaoe --install-completion` sets up your shell. [Variables and a defaults "
        "file](../how-to/configuration.md) can set each option, too.\n"
    ]
    for command in COMMANDS:
        shown = "\n".join(line.rstrip() for line in run(*command, "--help").splitlines())
        parts.append(f"## deltaoe {' '.join(command)}".rstrip() + f"\n\n```text\n{shown.strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
