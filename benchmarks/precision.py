"""Speed and accuracy of half precision: photographs encoded in fp32, bf16 and fp16.

In-distribution are the photographs of pacs-mini with its seven class names as prompts, out-of-distribution all of
ood-mini. The image tower alone is timed, on pixels that are already there. Changes are against fp32 kept as float32: of
a feature's direction (1 − cosine to the fp32 one), of ΔEnergy relative to its standard deviation over the images, and
of the AUROC. The last column changes nothing but how fp32 features are stored.

    python benchmarks/precision.py [--images 700] [--device auto] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from shown import show

from deltaoe.clip.batching import BatchEncoder
from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import ModelRef
from deltaoe.functional.energy import delta_energy
from deltaoe.functional.metrics import auroc
from deltaoe.images.decode import decode
from deltaoe.images.geometry import Geometry
from deltaoe.images.walk import SUFFIXES
from deltaoe.runtime import PRECISIONS, keep_freed_memory, native_precision, resolve_device

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATE = "a photo of a {}."
SETTINGS = ((0.1, 1), (1.0, 2))  # τ and c
ROWS = [
    "images/s",
    "direction, largest",
    "direction, RMS",
    *(f"ΔEnergy τ={tau:g} c={c}, RMS ÷ SD" for tau, c in SETTINGS),
    *(f"AUROC τ={tau:g} c={c}, change" for tau, c in SETTINGS),
]


class Encoded(NamedTuple):
    """Unit features (n, D) of all images in float64, and the rate in images per second."""

    features: torch.Tensor
    rate: float


def photographs(folder: Path, most: int) -> list[Path]:
    """The image files below a folder in order, thinned out evenly to at most ``most``."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [files[i] for i in np.linspace(0, len(files) - 1, min(most, len(files))).astype(int)]


def cut(files: Sequence[Path], geometry: Geometry) -> NDArray[np.uint8]:
    """Pixels (n, H, W, 3) of the files, decoded, resized and cropped for the model."""
    return np.stack([geometry.centred(decode(path.read_bytes())) for path in files])


def encode(clip: FrozenClip, pixels: NDArray[np.uint8], repeats: int) -> Encoded:
    """Encode images, and take the fastest of ``repeats`` runs; the first batch is encoded before to warm up."""
    encoder = BatchEncoder(clip)
    encoder(pixels[: encoder.batch_size])
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        features = encoder(pixels)
        seconds.append(time.perf_counter() - start)
    return Encoded(torch.from_numpy(features).double(), len(pixels) / min(seconds))


def stored(features: torch.Tensor) -> torch.Tensor:
    """Features (n, D) as a store of float16 rows returns them: rounded, then scaled to unit length again."""
    return torch.nn.functional.normalize(features.to(torch.float16).double(), dim=-1)


def changes(features: torch.Tensor, exact: torch.Tensor, text: torch.Tensor, inside: int) -> list[str]:
    """The cells of one precision below its rate.

    Args:
        features: (n, D), of that precision; ``exact``: (n, D), of fp32.
        text: (K, D), the class prompts.
        inside: number of in-distribution images, which are the first rows.
    """
    # Of unit vectors, half the squared distance: 1 − cosine would lose what it is about to rounding.
    turned = (features - exact).square().sum(dim=1).numpy() / 2
    energies, areas = [], []
    for tau, c in SETTINGS:
        mine, theirs = (delta_energy(rows @ text.T, tau, c).numpy() for rows in (features, exact))
        energies.append(f"{np.sqrt(np.mean((mine - theirs) ** 2)) / np.std(theirs):.1e}")
        areas.append(f"{auroc(mine[:inside], mine[inside:]) - auroc(theirs[:inside], theirs[inside:]):+.5f}")
    return [f"{turned.max():.1e}", f"{np.sqrt(np.mean(turned**2)):.1e}", *energies, *areas]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = REPOSITORY.parent / "shared"
    parser.add_argument("--photos", type=Path, default=shared / "data" / "photos")
    parser.add_argument("--model", default=f"local-dir:{shared / 'models' / 'photo-clip'}")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--images", type=int, default=730, help="at most, of both kinds together (%(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=1, help="runs per precision, of which the best counts")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    known, unknown = options.photos / "pacs-mini" / "photo", options.photos / "ood-mini"
    inside = photographs(known, options.images // 2)
    outside = photographs(unknown, options.images - len(inside))
    if not inside or not outside:
        print(
            f"no photographs in {known} or {unknown}: pass --photos DIR (with pacs-mini/ and ood-mini/)",
            file=sys.stderr,
        )
        return 2
    device, ref = resolve_device(options.device), ModelRef.parse(options.model)
    keep_freed_memory()
    names = sorted(path.name for path in known.iterdir() if path.is_dir())
    columns: dict[str, list[str]] = {}
    for precision in PRECISIONS:
        clip = FrozenClip.load(ref, device, precision=precision, offline=True)
        if precision == "fp32":
            pixels = cut([*inside, *outside], clip.geometry)
            text = clip.encode_text([TEMPLATE.format(name) for name in names]).double()
            exact = encode(clip, pixels, options.repeats)
            columns["fp32"] = [f"{exact.rate:.1f}", *["0"] * (len(ROWS) - 1)]
            continue
        found = encode(clip, pixels, options.repeats)
        cells = changes(found.features, exact.features, text, len(inside))
        columns[precision] = [f"{found.rate:.1f}", *cells]
        print(f"{precision}: done", file=sys.stderr)
    kept = changes(stored(exact.features), exact.features, text, len(inside))
    columns["fp32, kept as float16"] = [f"{exact.rate:.1f}", *kept]
    rows = [[name, *cells] for name, *cells in zip(ROWS, *columns.values(), strict=True)]
    auto = native_precision(device)
    title = f"{len(inside)} known and {len(outside)} unknown photographs on {device}, where auto is {auto}"
    show(title, list(columns), rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
