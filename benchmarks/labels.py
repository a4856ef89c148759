"""Time, memory, certified width and recall of scoring over many labels, beside a plain torch implementation.

The plain implementation is a dense product, topk and logsumexp; it holds the cosines of as many images as fit into 2
GB. Each way runs in a process of its own, one after the other; on a CPU its CPU seconds count, which others on the
machine disturb less than the clock, on a GPU the clock's. Peak memory is that above labels and images alone.

- *exact*: all labels in single precision, as without options;
- *bounded*: ``--neighbours 64``: all labels in 8 bits, the nearest in single precision; the score has bounds;
- *FAISS flat*: a search for 64 labels alone, without scores, by FAISS's exact index;
- *ivf*, *hnsw*: ``--index``: approximate, without bounds.

*Open* is the share of images whose bounds hold the threshold of 500 calibration images at alpha = 0.05; ``score``
computes them exactly. *Width* is upper less lower bound, as a share of ΔEnergy, the median over images. Indexes are
built once, kept in a file, and loaded from it.

Labels are one common direction and noise, so that cosines to an image lie around 0.2 with a standard deviation of 0.03.
No label is near another, which is the worst case of an index. With --around FILE they are CLIP's text features in an
.npz file and noise, and images its image features and noise.

    python benchmarks/labels.py [--labels 1000 10000 100000 1000000] [--images 2048] [--device cuda] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
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
WIDTHS = (0.01, 0.1)
CALIBRATION = 500
PROBED = 256  # images that widths are measured on
WAYS = ("plain", "exact", "bounded", "faiss flat", "ivf", "hnsw")


def rows(count: int, common: float, seed: int) -> npt.NDArray[np.float32]:
    """(count, 512) unit rows around one common direction, whose weight is ``common``."""
    import numpy as np

    generator = np.random.default_rng(seed)
    out = generator.standard_normal((count, DIM), dtype=np.float32)
    out[:, 0] += common * DIM**0.5
    return unit(out)


def around(features: npt.NDArray[Any], count: int, seed: int) -> npt.NDArray[np.float32]:
    """(count, 512) unit rows, each one of these features and as much noise as half its length."""
    import numpy as np

    generator = np.random.default_rng(seed)
    out = generator.standard_normal((count, DIM), dtype=np.float32)
    out *= 0.5 / DIM**0.5
    for start in range(0, count, 65536):
        part = out[start : start + 65536]
        part += unit(features.astype(np.float32))[generator.integers(0, len(features), len(part))]
    return unit(out)


def unit(out: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The rows, in place, with length 1."""
    import numpy as np

    for start in range(0, len(out), 65536):
        part = out[start : start + 65536]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return out


def made(labels: int, images: int, file: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Features of labels and of images."""
    import numpy as np

    if not file:
        return rows(labels, 0.6, 1), rows(images, 0.4, 2)
    with np.load(file, allow_pickle=False) as content:
        return around(content["text_features"], labels, 1), around(content["features"], images, 2)


def detector(text: npt.NDArray[np.float32], temperature: float) -> Detector:
    """A detector of these labels at this τ."""
    import numpy as np

    from deltaoe.scoring.detector import Detector
    from deltaoe.store.feature_space import FeatureSpace

    space = FeatureSpace("benchmark", "w", "c", "{}", "fp32", 1, DIM)
    names = tuple(map(str, range(len(text))))
    return Detector(names, text, temperature, 1, np.empty(0), space, 100.0)


def run(way: str, labels: int, images: int, device: str, file: str) -> dict[str, Any]:
    """Run one way in this process: seconds, peak memory in bytes (the GPU's on a GPU), widths, recall."""
    import torch

    from deltaoe.scoring.label_index import LabelIndex
    from deltaoe.scoring.scorer import IMAGE_BLOCK, Scorer

    text, pictures = made(labels, images, file)
    known = detector(text, TEMPERATURE)
    found: dict[str, Any] = {}
    gpu = device != "cpu"
    clock = time.perf_counter if gpu else time.process_time
    if gpu:  # the context, and the library that multiplies
        warm = torch.ones(64, 64, device=device)
        (warm @ warm).sum().item()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        kept: dict[str, Any] = {"device": device, "folder": Path(folder)}
        if way in ("bounded", "ivf", "hnsw"):
            kept |= {"neighbours": NEIGHBOURS, "index": way if way != "bounded" else "flat"}
            start = clock()
            Scorer(known, **kept)
            found["build"] = clock() - start
        start = clock()
        if way == "plain":
            z = torch.from_numpy(text).to(device)
        elif way == "faiss flat":
            index = LabelIndex(text)
        else:
            scorer = Scorer(known, **kept)
        if gpu:
            torch.cuda.synchronize()
        found["load"] = clock() - start
        if way in ("ivf", "hnsw"):  # recall is measured with the first images
            scorer(pictures[:PROBED])
            found["recall"] = scorer.recall
        start = clock()
        if way == "plain":
            plain(z, torch.from_numpy(pictures), device)
        for first in range(0, images if way != "plain" else 0, IMAGE_BLOCK):
            part = pictures[first : first + IMAGE_BLOCK]
            index.search(part, NEIGHBOURS) if way == "faiss flat" else scorer(part)
        found["seconds"] = clock() - start
        found["peak"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if gpu:
            found["peak"] = torch.cuda.max_memory_allocated(device)
        if way == "bounded":
            found |= widths(text, pictures, kept)
    return found


def plain(z: Any, h: Any, device: str) -> None:
    """A dense product, topk and logsumexp."""
    import torch

    step = max(1, HELD // (4 * len(z)))
    with torch.inference_mode():
        for first in range(0, len(h), step):
            cosines = h[first : first + step].to(device) @ z.T
            for values in cosines.topk(3, dim=-1):
                values.cpu()
            torch.logsumexp(cosines / TEMPERATURE, dim=-1).cpu()


def widths(
    text: npt.NDArray[np.float32], pictures: npt.NDArray[np.float32], kept: dict[str, Any]
) -> dict[str, float]:
    """The width of bounds and the share of images that they leave open, for each τ."""
    import numpy as np

    from deltaoe.functional.conformal import threshold
    from deltaoe.scoring.scorer import Scorer

    found = {}
    for temperature in WIDTHS:
        scorer = Scorer(detector(text, temperature), **kept)
        near = scorer(pictures[-PROBED:])
        assert near.bounds is not None
        low, high = near.bounds.T
        limit = threshold(scorer.exact(pictures[:CALIBRATION]).scores, 0.05)
        assert limit is not None
        found[f"width {temperature:g}"] = float(np.median((high - low) / np.abs(near.scores)))
        found[f"open {temperature:g}"] = float(((low < limit) & (limit <= high)).mean())
    return found


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument(
        "--most-hnsw", type=int, default=100_000, help="build no hnsw of more labels: it takes long"
    )
    parser.add_argument("--around", default="", help="an .npz file with text_features and features")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        given = options.labels[0], options.images, options.device, options.around
        print(json.dumps(run(options.way, *given)))
        return 0
    table = []
    for labels in options.labels:
        first = None
        for way in options.ways:
            if way == "hnsw" and labels > options.most_hnsw:
                continue
            found = in_process(way, labels, options)
            first = first or found["seconds"]
            table.append(row(way, labels, found, first))
            print(" | ".join(table[-1]), file=sys.stderr)
    columns = ["labels", "way", "seconds", f"{options.ways[0]} ÷ this", "build, s", "load, s", "MB", "recall"]
    for temperature in WIDTHS:
        columns += [f"width, τ={temperature:g}", "open"]
    show(f"{options.images:,} images on {options.device}", columns[1:], table, options.markdown)
    return 0


def in_process(way: str, labels: int, options: argparse.Namespace) -> dict[str, Any]:
    """What :func:`run` finds in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--labels", str(labels)]
    command += ["--images", str(options.images), "--device", options.device, "--around", options.around]
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(way: str, labels: int, found: dict[str, Any], first: float) -> list[str]:
    """A row of the table."""

    def cell(name: str, form: str) -> str:
        return format(found[name], form) if name in found else ""

    cells = [f"{labels:,}", way, cell("seconds", ".2f"), f"{first / found['seconds']:.2f}"]
    cells += [cell("build", ".1f"), cell("load", ".1f"), f"{found['peak'] / 1e6:,.0f}", cell("recall", ".1%")]
    for temperature in WIDTHS:
        cells += [cell(f"width {temperature:g}", ".2%"), cell(f"open {temperature:g}", ".1%")]
    return cells


if __name__ == "__main__":
    sys.exit(main())
