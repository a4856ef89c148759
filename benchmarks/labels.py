"""Time and memory of scoring over many labels, beside a plain torch implementation, in one run.

The plain implementation is a dense product, topk and logsumexp; it holds the cosines of as many images as fit into 2
GB. Each way runs in a process of its own, whose peak of memory counts above that of its labels and images alone. Labels
look like CLIP's text features: one common direction and noise, so that cosines to an image lie around 0.2 with a
standard deviation of 0.03. With --neighbours 64 FAISS looks up 64 labels per image and the score is bounded; the width
is upper less lower bound, in cosine units.

    python benchmarks/labels.py [--labels 1000 10000 100000 1000000] [--images 10000] [--device cuda] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shown import show

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from deltaoe.scoring.detector import Detector

DIM = 512
NEIGHBOURS = 64
TEMPERATURE = 0.1
HELD = 2 << 30
WIDTHS = (0.01, 0.1, 1.0)


def rows(count: int, common: float, seed: int) -> npt.NDArray[np.float32]:
    """(count, 512) unit rows around one common direction, whose weight is ``common``."""
    import numpy as np

    generator = np.random.default_rng(seed)
    out = generator.standard_normal((count, DIM), dtype=np.float32)
    out[:, 0] += common * DIM**0.5
    for start in range(0, count, 65536):
        part = out[start : start + 65536]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return out


def detector(labels: int, temperature: float) -> Detector:
    """A detector of so many labels at this τ."""
    import numpy as np

    from deltaoe.scoring.detector import Detector
    from deltaoe.store.feature_space import FeatureSpace

    space = FeatureSpace("benchmark", "w", "c", "{}", "fp32", 1, DIM)
    names = tuple(map(str, range(labels)))
    return Detector(names, rows(labels, 0.6, 1), temperature, 1, np.empty(0), space, 100.0)


def run(way: str, labels: int, images: int, device: str) -> dict[str, Any]:
    """Run one way in this process: seconds, peak memory in bytes (the GPU's on a GPU), and the widths of bounds."""
    import torch

    from deltaoe.scoring.scorer import IMAGE_BLOCK, Scorer

    known, pictures = detector(labels, TEMPERATURE), rows(images, 0.4, 2)
    found: dict[str, Any] = {}
    gpu = device != "cpu"
    if gpu:  # the context, and the library that multiplies
        warm = torch.ones(64, 64, device=device)
        (warm @ warm).sum().item()
    # Scorer moves the labels; the plain way's are moved in time as well.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if way == "plain":
        with torch.inference_mode():
            z, h = torch.from_numpy(known.text_features).to(device), torch.from_numpy(pictures)
            for first in range(0, images, max(1, HELD // (4 * labels))):
                cosines = h[first : first + max(1, HELD // (4 * labels))].to(device) @ z.T
                for values in cosines.topk(3, dim=-1):
                    values.cpu()
                torch.logsumexp(cosines / TEMPERATURE, dim=-1).cpu()
    elif way != "nothing":
        scorer = Scorer(known, device=device, neighbours=NEIGHBOURS if way == "bounded" else None)
        for first in range(0, images, IMAGE_BLOCK):
            scorer(pictures[first : first + IMAGE_BLOCK])
    found["seconds"] = time.perf_counter() - start
    found["peak"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if gpu:  # FAISS allocates for itself, so what it holds is not counted
        found["peak"] = torch.cuda.max_memory_allocated(device)
    if way == "bounded":
        for temperature in WIDTHS:
            near = Scorer(detector(labels, temperature), device=device, neighbours=NEIGHBOURS)
            bounds = near(pictures[:256]).bounds
            assert bounds is not None
            found[f"width {temperature:g}"] = float((bounds[:, 1] - bounds[:, 0]).max())
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(run(options.way, options.labels[0], options.images, options.device)))
        return 0
    table = []
    for labels in options.labels:
        found = {}
        for way in ("plain", "exact", "bounded"):
            command = [
                sys.executable,
                __file__,
                "--way",
                way,
                "--labels",
                str(labels),
                "--images",
                str(options.images),
                "--device",
                options.device,
            ]
            environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            found[way] = json.loads(done.stdout)
            print(f"{labels:,} labels, {way}: {found[way]}", file=sys.stderr)
        plain = found["plain"]
        table.append(
            [
                f"{labels:,}",
                *(f"{found[way]['seconds']:.2f}" for way in found),
                f"{found['exact']['seconds'] / plain['seconds']:.2f}",
                f"{found['bounded']['seconds'] / plain['seconds']:.2f}",
                *(f"{found[way]['peak'] / 1e6:,.0f}" for way in ("plain", "exact")),
                *(f"{found['bounded'][f'width {temperature:g}']:.1e}" for temperature in WIDTHS),
            ]
        )
    columns = ["plain, s", "exact, s", f"{NEIGHBOURS} neighbours, s", "exact ÷ plain", "bounded ÷ plain"]
    columns += ["plain, MB", "exact, MB", *(f"widest at τ={temperature:g}" for temperature in WIDTHS)]
    show(f"{options.images:,} images", columns, table, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
