"""Make the README's picture, the report of photographs, anew: ``python docs/update_report.py``. Needs chromium.

Classes are learned by README's three commands from the shared photographs (``--images``, a folder per class or per
domain and class; ``--model``), which are not copied into the repository. What is scored and shown are the freely
licensed photographs in docs/photographs. Writes docs/report.webp, the report's head and its whole gallery without the
histogram and the controls between them, and docs/photographs/verdicts.csv. ``--images DIR --no-picture`` only prints
the verdicts with images of your choice.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

DOCS = Path(__file__).parent
PHOTOGRAPHS = DOCS / "photographs"
VERDICTS = PHOTOGRAPHS / "verdicts.csv"
SHARED = DOCS.parents[1] / "shared"
WIDTH, ROWS_OF_PIXELS = 1180, 4000  # higher than any page here: the empty rest is cut off
MARGIN = 24
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    *("--force-device-scale-factor=1", f"--window-size={WIDTH},{ROWS_OF_PIXELS}"),
    "--virtual-time-budget=3000",
)
# Added to a copy of the page, whose security policy would not let it in.
SHOWN = """
<style>
main > section:not(#images-section), #images-heading, #tools, .about, .pager, footer { display: none !important; }
#gallery { margin-top: 1.5rem; }
</style>
"""


def scored(images: Path, model: Path, place: Path) -> Path:
    """The folder with ``report.html`` and ``scores.csv`` of docs/photographs, made by the installed command."""
    for name, target in (("images", images), ("photo-clip", model)):
        (place / name).symlink_to(target.resolve(), target_is_directory=True)
    shutil.copytree(PHOTOGRAPHS, place / "photographs", ignore=shutil.ignore_patterns("*.md", "*.csv"))
    for command in (
        # Single precision, so that the picture is the same on every machine.
        ("extract", "images", "--model", "local-dir:photo-clip", "--offline", "--precision", "fp32"),
        ("tune", "--shots", "16"),
        ("score", "photographs", "--report", "html"),
    ):
        env = {name: value for name, value in os.environ.items() if not name.startswith("DELTAOE_")}
        subprocess.run(
            [sys.executable, "-m", "deltaoe_cli", *command], cwd=place, env=env, check=True, stdout=sys.stderr
        )
    return place


def verdicts(table: Path) -> str:
    """File name, verdict, class and p-value of each row of a ``scores.csv``, by name, as CSV."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = sorted(
            (Path(row["path"]).name, row["verdict"], row["class"], row["p_value"])
            for row in csv.DictReader(file)
        )
    return "".join(",".join(row) + "\n" for row in [("file", "verdict", "class", "p_value"), *rows])


def picture(browser: str, page: Path, target: Path) -> None:
    """Take the picture of a report's head and gallery."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    copy = page.with_name("shown.html")
    copy.write_text(text.replace("</body>", f"{SHOWN}</body>"), encoding="utf-8")
    shot, profile = page.with_name("shot.png"), page.with_name("profile")
    place = [f"--user-data-dir={profile}", f"--screenshot={shot}", copy.as_uri()]
    subprocess.run([browser, *FLAGS, *place], check=True)
    taken = Image.open(shot).convert("RGB")
    ground = Image.new("RGB", taken.size, taken.getpixel((0, taken.height - 1)))
    box = ImageChops.difference(taken, ground).getbbox()
    if box is None:
        raise SystemExit("the page is empty")
    cut = taken.crop((0, 0, WIDTH, min(box[3] + MARGIN, taken.height)))
    cut.save(target, quality=80, method=6)


def main() -> None:
    """Score the photographs, print the verdicts, take the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=SHARED / "data" / "photos" / "pacs-mini")
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "photo-clip")
    parser.add_argument("--no-picture", action="store_true", help="only print the verdicts")
    options = parser.parse_args()
    if not options.images.is_dir() or not options.model.is_dir():
        raise SystemExit(f"no images in {options.images}, or no model in {options.model}: see --help")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None and not options.no_picture:
        raise SystemExit("there is no chromium on the path")
    with tempfile.TemporaryDirectory() as place:
        folder = scored(options.images, options.model, Path(place))
        found = verdicts(folder / "scores.csv")
        sys.stdout.write(found)
        if browser and not options.no_picture:
            VERDICTS.write_text(found, encoding="utf-8")
            picture(browser, folder / "report.html", DOCS / "report.webp")


if __name__ == "__main__":
    main()
