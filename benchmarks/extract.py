"""Images per second of `deltaoe extract`, of the image tower alone, and of a well-tuned plain loop, in one run.

The plain loop is a good baseline implementation: open_clip's preprocess in a DataLoader with a worker per CPU, large
enough batches, channels-last, inference mode, np.save at the end. The bare model is the same image tower on the same
pictures, already decoded and cut: the limit of all. Each way runs in a process of its own, in turns. Times count from
the first encoded batch, so that neither loading nor the start of worker processes is counted on any side.

    python benchmarks/extract.py [--images 256] [--repeats 3]
    python benchmarks/extract.py --decode exact fast --megapixels 2 6 12 --model none --images 128
    python benchmarks/extract.py --decode exact fast gpu --megapixels 0.8 --model none --vit ViT-B-16 --device cuda \\
        --images 20000 --repeats 1

Two models: the one of --model, and a ViT with random weights, whose time is that of the real one. The photographs are
those of --photos as they are, or of --megapixels, made from these (see large_photos.py).
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

from large_photos import made, numbered
from shown import show

REPOSITORY = Path(__file__).resolve().parents[1]
DIFFERENT = 64  # photographs that are made; more are these with a number in a comment
DECODES = ("exact", "fast", "gpu")


def batch_size(device: str) -> int:
    """Pictures per call of the model."""
    return 32 if device == "cpu" else 256


def ours(model: str, folder: Path, count: int, device: str, decode: Any) -> float:
    """Seconds of :func:`deltaoe.extract` on a folder of ``count`` images, in an empty workspace."""
    from deltaoe.clip.options import ModelOptions
    from deltaoe.extraction.extract import extract
    from deltaoe.extraction.options import ExtractOptions
    from deltaoe.progress import Event
    from deltaoe.runtime import native_precision, resolve_device
    from deltaoe.store.workspace import Workspace

    begun: list[tuple[float, int]] = []

    def on(event: Event) -> None:
        if event.message:
            print(event.message, file=sys.stderr)
        if event.stage == "Encoding images" and event.done and not begun:
            begun.append((time.perf_counter(), event.done))

    precision: Any = native_precision(resolve_device(device))
    with tempfile.TemporaryDirectory() as place:
        options = ExtractOptions(
            model=ModelOptions(model=model, precision=precision, device=device, offline=True, decode=decode)
        )
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


def plain(model: str, folder: Path, count: int, device: str) -> float:
    """Seconds of the plain loop on a folder of ``count`` images."""
    import numpy as np
    import open_clip
    import torch
    from torch.utils.data import DataLoader

    from deltaoe.clip.precision import DTYPES
    from deltaoe.runtime import native_precision, resolve_device, usable_cpus

    dtype, size = DTYPES[native_precision(resolve_device(device))], batch_size(device)
    net, _, preprocess = open_clip.create_model_and_transforms(model)
    net.eval().to(device=device, dtype=dtype, memory_format=torch.channels_last)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    loader: Any = DataLoader(
        Pictures(files, preprocess),  # type: ignore[arg-type]
        batch_size=size,
        num_workers=usable_cpus(),
        pin_memory=device != "cpu",
    )
    rows, start, done = [], 0.0, 0
    with torch.inference_mode(), tempfile.TemporaryDirectory() as place:
        for pixels in loader:
            batch = pixels.to(
                device=device, dtype=dtype, memory_format=torch.channels_last, non_blocking=True
            )
            rows.append(net.encode_image(batch, normalize=True).float().cpu().numpy())
            done = done or len(pixels)
            start = start or time.perf_counter()
        np.save(Path(place) / "features.npy", np.concatenate(rows))
        return (time.perf_counter() - start) * count / (count - done)


def bare(model: str, folder: Path, count: int, device: str) -> float:
    """Seconds of FrozenClip's image tower alone, on the same pictures."""
    import numpy as np
    import torch

    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.clip.reference import ModelRef
    from deltaoe.images.decode import decode
    from deltaoe.runtime import keep_freed_memory, native_precision

    keep_freed_memory()
    where, size = torch.device(device), batch_size(device)
    clip = FrozenClip.load(ModelRef.parse(model), where, precision=native_precision(where), offline=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())[: max(DIFFERENT, size)]
    pixels = np.stack([clip.geometry.centred(decode(path.read_bytes())) for path in files])
    pixels = pixels[np.arange(size) % len(pixels)] if len(pixels) < size else pixels
    for _ in range(3):
        clip.encode_pixels(pixels[:size])
    start = time.perf_counter()
    for i in range(0, count, size):
        at = i % max(1, len(pixels) - size + 1)
        clip.encode_pixels(pixels[at : at + min(size, count - i)])
    return time.perf_counter() - start


def seconds_of(way: str, model: str, folder: Path, count: int, device: str) -> float:
    """Seconds that one way takes for a folder of ``count`` images."""
    if way in DECODES:
        return ours(model, folder, count, device, way)
    return (plain if way == "plain" else bare)(model, folder, count, device)


def random_vit(folder: Path, name: str) -> str:
    """Write a ViT with random weights as a ``local-dir:`` model."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net: Any = open_clip.create_model(name)
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(
        {k: v.contiguous() for k, v in net.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return f"local-dir:{folder}"


def measure(
    label: str, model: str, folder: Path, count: int, options: argparse.Namespace
) -> Iterator[list[str]]:
    """The table's rows for one model and one folder."""
    ways = [*options.decode, "plain", "bare"]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    words = ["--photos", str(folder), "--images", str(count), "--model", model, "--device", options.device]
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as the command sets it
    for _ in range(options.repeats):
        for way in ways:
            done = subprocess.run(
                [sys.executable, __file__, "--way", way, *words],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            seconds[way].append(float(done.stdout.split()[-1]))
    names = {way: f"deltaoe extract --decode {way}" for way in DECODES}
    names |= {"plain": "DataLoader + np.save", "bare": "bare model"}
    for way in ways:
        rate = count / statistics.median(seconds[way])
        ratios = [limit / mine for mine, limit in zip(seconds[way], seconds["bare"], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        yield [f"{label}: {names[way]}", f"{rate:.1f}", f"{statistics.median(ratios):.2f}", spread]


def written(files: list[Path], megapixels: float | None, count: int, folder: Path) -> Path:
    """A folder of ``count`` photographs: links to the files, or made from them."""
    folder.mkdir()
    if megapixels is None:
        for number, path in enumerate(files[:count]):
            (folder / f"{number}-{path.name}").symlink_to(path.resolve())
        return folder
    photographs = list(made(files, megapixels, min(DIFFERENT, count)))
    for number in range(count):
        name, data = photographs[number % len(photographs)]
        (folder / f"{number:06d}-{name}").write_bytes(numbered(data, number))
    return folder


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = REPOSITORY.parent / "shared"
    parser.add_argument("--photos", type=Path, default=shared / "data" / "photos" / "pacs-mini" / "photo")
    parser.add_argument("--model", default=f"local-dir:{shared / 'models' / 'photo-clip'}", help="or none")
    parser.add_argument("--vit", default="ViT-B-32", help="an architecture of open_clip")
    parser.add_argument("--decode", nargs="+", choices=DECODES, default=["exact"])
    parser.add_argument("--megapixels", nargs="+", type=float, help="of photographs made from those there")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    parser.add_argument("--way", choices=(*DECODES, "plain", "bare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(
            seconds_of(options.way, options.model, options.photos, options.images, options.device),
        )
        return 0
    batch = batch_size(options.device)
    files = sorted(path for path in options.photos.rglob("*") if path.is_file())
    available = options.images if options.megapixels else min(options.images, len(files))
    if not files or available < 2 * batch:
        print(f"fewer than {2 * batch} photographs: more --images, or --photos DIR", file=sys.stderr)
        return 2
    count = available // batch * batch
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as place:
        (vit := Path(place) / "vit").mkdir()
        models = {} if options.model == "none" else {Path(options.model).name: options.model}
        models[f"{options.vit}, random weights"] = random_vit(vit, options.vit)
        for size in options.megapixels or [None]:
            pictures = written(files, size, count, Path(place) / f"pictures-{size}")
            for name, model in models.items():
                label = name if size is None else f"{name}, {size:g} megapixels"
                rows += measure(label, model, pictures, count, options)
    columns = ("images/s", "bare = 1", "over the runs")
    title = f"{count} photographs on {options.device}, median of {options.repeats} runs in turns"
    show(title, columns, rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
