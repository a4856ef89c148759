"""Images per second of `deltaoe extract`, beside a plain loop over the same files with the same model, in one run.

The plain loop is what one writes first: open, open_clip's preprocess, batches of 32, encode, append, np.save; one
process each, alternating, so that neither warms the other's caches or allocator. The bare model alone, on tensors
that are already there, is the limit of both.

    python benchmarks/extract.py [--images 256] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[1]
BATCH = 32


def ours(model: str, folder: Path, count: int) -> float:
    """Seconds of the extract workflow in an empty workspace, model loading not counted."""
    from deltaoe.data.workspace import Workspace
    from deltaoe.workflows.extract import ExtractOptions, extract
    from deltaoe.workflows.progress import Event

    begun: list[float] = []

    def on(event: Event) -> None:
        if event.stage == "Encoding images" and not begun:
            begun.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as place:
        result = extract(folder, Workspace(Path(place)), ExtractOptions(model=model, offline=True), on)
        # The first event comes after the first batch, so that batch is not counted on either side.
        seconds = time.perf_counter() - begun[0]
        assert result.encoded == count
    return seconds * count / (count - BATCH)


def plain(model: str, folder: Path, count: int) -> float:
    """Seconds of the plain loop, model loading not counted."""
    import numpy as np
    import open_clip
    import torch
    from PIL import Image

    net, _, preprocess = open_clip.create_model_and_transforms(model)
    net.eval()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rows, start = [], 0.0
    with torch.no_grad(), tempfile.TemporaryDirectory() as place:
        for i in range(0, len(files), BATCH):
            pixels = torch.stack(
                [preprocess(Image.open(path).convert("RGB")) for path in files[i : i + BATCH]]
            )
            rows.append(net.encode_image(pixels, normalize=True).numpy())
            start = start or time.perf_counter()
        np.save(Path(place) / "features.npy", np.concatenate(rows))
        return (time.perf_counter() - start) * count / (count - BATCH)


def bare(model: str, folder: Path, count: int) -> float:
    """Seconds of FrozenClip's image tower alone, on one batch over and over."""
    import torch

    from deltaoe.models.clip import FrozenClip
    from deltaoe.models.reference import ModelRef
    from deltaoe.runtime import keep_freed_memory

    keep_freed_memory()
    clip = FrozenClip.load(ModelRef.parse(model), torch.device("cpu"), offline=True)
    pixels = torch.randn(BATCH, 3, *clip.image_size)
    clip.encode_images(pixels)
    start = time.perf_counter()
    for _ in range(count // BATCH):
        clip.encode_images(pixels)
    return time.perf_counter() - start


WAYS = {"ours": ours, "plain": plain, "bare": bare}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = REPOSITORY.parent / "shared"
    parser.add_argument("--photos", type=Path, default=shared / "data" / "photos" / "pacs-mini" / "photo")
    parser.add_argument("--model", default=f"local-dir:{shared / 'models' / 'photo-clip'}")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(WAYS[options.way](options.model, options.photos, options.images))
        return 0
    files = sorted(path for path in options.photos.rglob("*") if path.is_file())[: options.images]
    if not files:
        print(f"no photographs in {options.photos}: pass --photos DIR", file=sys.stderr)
        return 2
    count = len(files) // BATCH * BATCH
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        for path in files[:count]:
            (Path(place) / path.name).symlink_to(path.resolve())
        for _ in range(options.repeats):
            for way in WAYS:
                command = [sys.executable, __file__, "--way", way, "--photos", place, "--images", str(count)]
                done = subprocess.run(
                    [*command, "--model", options.model], check=True, capture_output=True, text=True
                )
                seconds[way].append(float(done.stdout.split()[-1]))
    rate = {way: count / statistics.median(values) for way, values in seconds.items()}
    table = Table(title=f"{count} photographs, median of {options.repeats}")
    for column in ("", "images/s", "ours ÷ this"):
        table.add_column(column, justify="left" if not column else "right")
    for way, label in (("ours", "deltaoe extract"), ("plain", "plain loop"), ("bare", "model alone, ours")):
        table.add_row(label, f"{rate[way]:.1f}", f"{rate['ours'] / rate[way]:.2f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
