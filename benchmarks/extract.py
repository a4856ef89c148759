"""Images per second of `deltaoe extract`, of the image tower alone, and of a well-tuned plain loop, in one run.

The plain loop is a good baseline implementation: open_clip's preprocess in a DataLoader with a worker per CPU, batches
of 32, channels-last, inference mode, np.save at the end. The bare model is the same image tower on the same pictures,
already decoded and cut: the limit of both. Each way runs in a process of its own, in turns. Times count from the first
encoded batch, so that neither loading nor the start of worker processes is counted on any side.

    python benchmarks/extract.py [--images 256] [--repeats 3]

Two models: the one of --model, and a ViT-B/32 with random weights, whose time is that of the real one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shown import show

REPOSITORY = Path(__file__).resolve().parents[1]
BATCH = 32
VIT = "ViT-B/32, random weights"


def ours(model: str, folder: Path, count: int) -> float:
    """Seconds of :func:`deltaoe.extract` on a folder of ``count`` images, in an empty workspace."""
    from deltaoe.clip.options import ModelOptions
    from deltaoe.extraction.extract import extract
    from deltaoe.extraction.options import ExtractOptions
    from deltaoe.progress import Event
    from deltaoe.store.workspace import Workspace

    begun: list[tuple[float, int]] = []

    def on(event: Event) -> None:
        if event.stage == "Encoding images" and event.done and not begun:
            begun.append((time.perf_counter(), event.done))

    with tempfile.TemporaryDirectory() as place:
        options = ExtractOptions(model=ModelOptions(model=model, precision="fp32", offline=True))
        result = extract(folder, Workspace(Path(place)), options, on)
        start, done = begun[0]
        seconds = time.perf_counter() - start
        assert result.encoded == count
    return seconds * count / (count - done)


class Pictures:
    """A PyTorch data set: each file decoded and transformed by open_clip's preprocess."""

    def __init__(self, files: list[Path], preprocess: Any) -> None:
        self.files, self.preprocess = files, preprocess

    def __len__(self) -> int:
        """Number of files."""
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        """The pixels of one file, as open_clip prepares them."""
        from PIL import Image

        return self.preprocess(Image.open(self.files[i]).convert("RGB"))


def plain(model: str, folder: Path, count: int) -> float:
    """Seconds of the plain loop on a folder of ``count`` images."""
    import numpy as np
    import open_clip
    import torch
    from torch.utils.data import DataLoader

    from deltaoe.runtime import usable_cpus

    net, _, preprocess = open_clip.create_model_and_transforms(model)
    net.eval().to(memory_format=torch.channels_last)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    loader: Any = DataLoader(Pictures(files, preprocess), batch_size=BATCH, num_workers=usable_cpus())  # type: ignore[arg-type]
    rows, start = [], 0.0
    with torch.inference_mode(), tempfile.TemporaryDirectory() as place:
        for pixels in loader:
            rows.append(
                net.encode_image(pixels.to(memory_format=torch.channels_last), normalize=True).numpy()
            )
            start = start or time.perf_counter()
        np.save(Path(place) / "features.npy", np.concatenate(rows))
        return (time.perf_counter() - start) * count / (count - BATCH)


def bare(model: str, folder: Path, count: int) -> float:
    """Seconds of FrozenClip's image tower alone, on the same pictures."""
    import numpy as np
    import torch

    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.clip.reference import ModelRef
    from deltaoe.images.decode import decode
    from deltaoe.runtime import keep_freed_memory

    keep_freed_memory()
    clip = FrozenClip.load(ModelRef.parse(model), torch.device("cpu"), offline=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    pixels = np.stack([clip.geometry.centred(decode(path.read_bytes())) for path in files])
    clip.encode_pixels(pixels[:BATCH])
    start = time.perf_counter()
    for i in range(BATCH, count, BATCH):
        clip.encode_pixels(pixels[i : i + BATCH])
    return (time.perf_counter() - start) * count / (count - BATCH)


WAYS = {"ours": ours, "plain": plain, "bare": bare}


def random_vit(folder: Path) -> str:
    """Write a ViT-B/32 with random weights as a ``local-dir:`` model."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net: Any = open_clip.create_model("ViT-B-32")
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(
        {k: v.contiguous() for k, v in net.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return f"local-dir:{folder}"


def measure(label: str, model: str, folder: Path, count: int, repeats: int) -> Iterator[list[str]]:
    """The table's rows for one model."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            command = [
                sys.executable,
                __file__,
                "--way",
                way,
                "--photos",
                str(folder),
                "--images",
                str(count),
            ]
            environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as the command sets it
            done = subprocess.run(
                [*command, "--model", model], check=True, stdout=subprocess.PIPE, text=True, env=environment
            )
            seconds[way].append(float(done.stdout.split()[-1]))
    for way, name in (("ours", "deltaoe extract"), ("plain", "DataLoader + np.save"), ("bare", "bare model")):
        rate = count / statistics.median(seconds[way])
        ratios = [theirs / mine for mine, theirs in zip(seconds["ours"], seconds[way], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        yield [f"{label}: {name}", f"{rate:.1f}", f"{statistics.median(ratios):.2f}", spread]


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
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(WAYS[options.way](options.model, options.photos, options.images))
        return 0
    files = sorted(path for path in options.photos.rglob("*") if path.is_file())[: options.images]
    if len(files) < 2 * BATCH:
        print(f"fewer than {2 * BATCH} photographs in {options.photos}: pass --photos DIR", file=sys.stderr)
        return 2
    count = len(files) // BATCH * BATCH
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as place:
        pictures, vit = Path(place) / "pictures", Path(place) / "vit"
        pictures.mkdir()
        vit.mkdir()
        for number, path in enumerate(files[:count]):
            (pictures / f"{number}-{path.name}").symlink_to(path.resolve())
        for label, model in (("photo-clip", options.model), (VIT, random_vit(vit))):
            rows += measure(label, model, pictures, count, options.repeats)
    columns = ("images/s", "ours ÷ this", "over the runs")
    show(f"{count} photographs, median of {options.repeats} runs in turns", columns, rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
