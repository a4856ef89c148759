"""Make the picture of the demo's report anew: ``python docs/update_demo.py``. Needs chromium.

Writes docs/report.png from one run of ``deltaoe demo``.
"""

from __future__ import annotations

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
    """Run the demo and take the picture."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("there is no chromium on the path")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "deltaoe-demo")
        subprocess.run([sys.executable, "-m", "deltaoe_cli", "demo", "--quiet"], cwd=place, check=True)
        shot = Path(place, "shot.png")
        profile = f"--user-data-dir={Path(place, 'profile')}"
        page = (folder / "report.html").as_uri()
        subprocess.run([browser, *FLAGS, profile, f"--screenshot={shot}", page], check=True)
        # A palette makes a third of the file, and no eye sees it.
        Image.open(shot).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            DOCS / "report.png", optimize=True
        )


if __name__ == "__main__":
    main()
