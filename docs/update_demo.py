"""Make the demo's table, docs/explanation/demo-table.md, anew from one run: ``python docs/update_demo.py``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent


def main() -> None:
    """Run the demo, write the table."""
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [sys.executable, "-m", "deltaoe_cli", "demo", "--json"],
            cwd=place,
            stdout=subprocess.PIPE,
            check=True,
        )
        table(json.loads(done.stdout), DOCS / "explanation" / "demo-table.md")


def table(told: dict[str, dict[str, dict[str, float]]], target: Path) -> None:
    """What the demo printed, as Markdown."""
    results = told["results"]
    lines = ["| | " + " | ".join(results) + " |", "|---" + "|---:" * len(results) + "|"]
    for number in next(iter(results.values())):
        lines.append(f"| {number} | " + " | ".join(f"{r[number]:.3f}" for r in results.values()) + " |")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
