"""Make the picture of the demo's report, and its table, anew: ``python docs/update_demo.py``. Needs chromium.

Writes docs/report.png and docs/explanation/demo-table.md from one run of ``deltaoe demo``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
WIDTH, HEIGHT = 1180, 1620
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    *("--force-device-scale-factor=1", f"--window-size={WIDTH},{HEIGHT}", "--virtual-time-budget=3000"),
)


def main() -> None:
    """Run the demo, take the picture, write the table."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("there is no chromium on the path")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "deltaoe-demo")
        done = subprocess.run(
            [sys.executable, "-m", "deltaoe_cli", "demo", "--json"],
            cwd=place,
            stdout=subprocess.PIPE,
            check=True,
        )
        table(json.loads(done.stdout), DOCS / "explanation" / "demo-table.md")
        shot = Path(place, "shot.png")
        profile = f"--user-data-dir={Path(place, 'profile')}"
        page = (folder / "report.html").as_uri()
        subprocess.run([browser, *FLAGS, profile, f"--screenshot={shot}", page], check=True)
        # A palette makes a third of the file, and no eye sees it.
        Image.open(shot).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            DOCS / "report.png", optimize=True
        )


def table(told: dict[str, dict[str, dict[str, float]]], target: Path) -> None:
    """What the demo printed, as Markdown."""
    results = told["results"]
    lines = ["| | " + " | ".join(results) + " |", "|---" + "|---:" * len(results) + "|"]
    for number in next(iter(results.values())):
        lines.append(f"| {number} | " + " | ".join(f"{r[number]:.3f}" for r in results.values()) + " |")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
