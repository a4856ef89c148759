"""How faithful the faster ways to decode are: features, ΔEnergy, classes and verdicts beside those of exact decoding.

Photographs of --photos as they are, and made of 2 to 12 megapixels from these (see large_photos.py), are scored by a
detector that was tuned on the photographs of the seven classes of --known, exactly decoded. Pixels and cosines are
compared photograph by photograph; the threshold is the detector's own.

    python benchmarks/decode_fidelity.py [--decode fast] [--megapixels 2 6 12] [--images 48]
    python benchmarks/decode_fidelity.py --decode fast gpu --device cuda
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from large_photos import made
from shown import show

REPOSITORY = Path(__file__).resolve().parents[1]
BATCH = 32
ALPHA = 0.05  # of the verdicts


def pixels_by(way: str, clip: Any, files: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """Pixels (n, H, W, 3) uint8 of n files, decoded in one way; ``gpu`` also works on a CPU, by its decoder."""
    jobs = [SimpleNamespace(data=data, digest=hashlib.sha256(data).digest(), views=(0,)) for data in files]
    if way != "gpu":
        geometry = dataclasses.replace(clip.geometry, decode_mode=way)
        return np.concatenate([geometry.decode(job.data, job.digest, job.views) for job in jobs])
    from deltaoe.clip.jpegs_on_device import JpegsOnDevice

    device = JpegsOnDevice(clip.geometry, clip.device)
    heads = [device.head(job.data) for job in jobs]
    found = device(jobs, [head for head in heads if head is not None])
    assert len(found) == len(jobs) and None not in found, dict(device.left_out)
    return np.concatenate([views.pixels.cpu().numpy() for views in found if views is not None])


def detector_of(model: str, known: Path, place: Path) -> Any:
    """A calibrated detector, tuned on the photographs of a folder of class folders, all exactly decoded."""
    from deltaoe.clip.options import ModelOptions
    from deltaoe.extraction.extract import extract
    from deltaoe.extraction.options import ExtractOptions
    from deltaoe.store.workspace import Workspace
    from deltaoe.tuning.options import TuneOptions
    from deltaoe.tuning.tune import tune_data

    workspace = Workspace(place)
    chosen = ModelOptions(model=model, precision="fp32", offline=True, decode="exact")
    data = extract(known, workspace, ExtractOptions(model=chosen)).data
    return tune_data(data, workspace, TuneOptions(model=chosen)).detector


def compared(
    way: str, clip: Any, detector: Any, files: Sequence[bytes], exact: npt.NDArray[np.uint8]
) -> list[str]:
    """A row of the table: one way beside exact decoding, on the same files."""

    def encoded(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        batches = [clip.encode_pixels(pixels[i : i + BATCH]).numpy() for i in range(0, len(pixels), BATCH)]
        return np.concatenate(batches)

    found = pixels_by(way, clip, files)
    before, after = encoded(exact), encoded(found)
    cosines = (before.astype(np.float64) * after).sum(axis=1)
    text = detector.parts.index("text")
    energy, other = (detector.part_values(rows).values[:, text] for rows in (before, after))
    moved = np.abs(other - energy) / energy.std()
    classes, verdicts = (
        int((detector.predict(before, alpha) != detector.predict(after, alpha)).sum())
        for alpha in (None, ALPHA)
    )
    return [
        f"{np.abs(found.astype(np.int16) - exact).mean():.2f}",
        *(f"{value:.5f}" for value in (cosines.min(), np.quantile(cosines, 0.01), np.median(cosines))),
        f"{np.median(moved):.3f}",
        f"{moved.max():.3f}",
        f"{classes} / {verdicts} of {len(files)}",
    ]


def main() -> int:
    """Print the table."""
    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.clip.reference import ModelRef
    from deltaoe.runtime import resolve_device

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = REPOSITORY.parent / "shared"
    photos = shared / "data" / "photos"
    parser.add_argument("--photos", type=Path, default=photos)
    parser.add_argument("--known", type=Path, default=photos / "pacs-mini" / "photo")
    parser.add_argument("--model", default=f"local-dir:{shared / 'models' / 'photo-clip'}")
    parser.add_argument("--decode", nargs="+", choices=("fast", "gpu"), default=["fast"])
    parser.add_argument("--megapixels", nargs="*", type=float, default=[2, 6, 12])
    parser.add_argument(
        "--images", type=int, default=48, help="made of each size; four times as many as they are"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    options = parser.parse_args()
    files = sorted(options.photos.rglob("*.jpg"))
    if not files or not options.known.is_dir():
        print(f"no photographs in {options.photos} or {options.known}", file=sys.stderr)
        return 2
    # From all folders alike, and in an order that has nothing to do with them.
    mixed = [files[i] for i in np.random.default_rng(0).permutation(len(files)).tolist()]
    with tempfile.TemporaryDirectory() as place:
        detector = detector_of(options.model, options.known, Path(place))
    device = resolve_device(options.device)
    clip = FrozenClip.load(ModelRef.parse(options.model), device, offline=True)
    rows = []
    for size in (None, *options.megapixels):
        if size is None:
            name, data = "as they are", [path.read_bytes() for path in mixed[: 4 * options.images]]
        else:
            name, data = f"{size:g} megapixels", [one for _, one in made(mixed, size, options.images)]
        exact = pixels_by("exact", clip, data)
        rows += [[f"{name}: {way}", *compared(way, clip, detector, data, exact)] for way in options.decode]
    columns = (
        "pixels",
        "cosine: lowest",
        "1 %",
        "median",
        "ΔEnergy: median",
        "most",
        "classes / verdicts changed",
    )
    show(
        "Beside exact decoding: mean difference of pixels (of 255), cosines of features, ΔEnergy in standard "
        "deviations of the photographs' own",
        columns,
        rows,
        options.markdown,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
