"""Seconds from the start of a process to the first encoded batch, beside importing PyTorch and open_clip alone.

Each way is a process of its own that extracts a few photographs into a new workspace: as deltaoe does it, and with all
of open_clip's imports and random weights drawn first, as it was before. They take turns, after a first round that fills
the system's caches; the best run of each counts. Where others use the machine, compare CPU seconds, which are those of
the process itself, without the ones that decode.

    python benchmarks/startup.py [--images 32] [--repeats 3] [--device auto] [--model NAME] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shown import show

SHARED = Path(__file__).resolve().parents[2] / "shared"
PHOTOS, MODEL = SHARED / "data" / "photos", SHARED / "models" / "photo-clip"
# Extracts a folder, and says when the first batch was encoded.
EXTRACT = """
import json, sys, time
from pathlib import Path
from deltaoe.clip.options import ModelOptions
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions
from deltaoe.store.workspace import Workspace

start, folder, workspace, model, device, before = sys.argv[1:]
if before:
    from deltaoe.clip import loading, quick_import
    quick_import._failed = True
    loading.build = lambda create: create()
said = {}

def on(event):
    if event.stage == "Loading model" or (event.stage == "Encoding images" and event.done):
        said.setdefault(event.stage, [time.time() - float(start), time.process_time()])

how = ExtractOptions(model=ModelOptions(model=model, device=device, offline=True))
extract([folder], Workspace(Path(workspace)), how, on)
print(json.dumps(said))
"""
IMPORTS = """
import json, sys, time
for name in sys.argv[2:]:
    __import__(name)
print(json.dumps({"Encoding images": [time.time() - float(sys.argv[1]), time.process_time()]}))
"""
WAYS = {
    "deltaoe extract": ("extract", ""),
    "with all of open_clip": ("extract", "before"),
    "import torch, open_clip": ("import", "torch open_clip"),
    "import torch": ("import", "torch"),
}


def measured(way: str, options: argparse.Namespace, images: Path, scratch: Path) -> dict[str, list[float]]:
    """Stage → wall and CPU seconds since the process was started."""
    kind, what = WAYS[way]
    workspace = scratch / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    if kind == "import":
        command = [sys.executable, "-c", IMPORTS, str(time.time()), *what.split()]
    else:
        given = [str(images), str(workspace), options.model, options.device, what]
        command = [sys.executable, "-c", EXTRACT, str(time.time()), *given]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr}")
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=32, help="photographs; a batch on a CPU is 32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default=f"local-dir:{MODEL}")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    photos = sorted(options.photos.rglob("*.jpg"))[: options.images]
    if len(photos) < options.images or options.repeats < 1:
        print(f"there are not so many photographs in {options.photos}, or no repeats", file=sys.stderr)
        return 2
    runs: dict[str, list[dict[str, list[float]]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        for number, path in enumerate(photos):
            shutil.copy(path, images / f"{number:04d}.jpg")
        for turn in range(options.repeats + 1):
            for way in WAYS:
                found = measured(way, options, images, Path(folder))
                if turn:
                    runs[way].append(found)
    best = {
        way: [min(run["Encoding images"][column] for run in results) for column in (0, 1)]
        for way, results in runs.items()
    }
    limit = best["import torch, open_clip"]
    rows = [
        [way, *(f"{value:.2f}" for value in both), f"{both[1] / limit[1]:.2f}"] for way, both in best.items()
    ]
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    title = f"to the first batch of {options.images} photographs, {options.model}, {cpus} CPUs"
    show(title, ["seconds", "CPU", "CPU ÷ imports"], rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
