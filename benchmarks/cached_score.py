"""Time and memory of `deltaoe score photo.jpg` whose features are stored, beside `import torch`, in one run.

Each way is a whole process, start-up included, and has run once before. They take turns; the run with the fewest CPU
seconds counts, and peak memory is that of the process. *By PyTorch* is the same command made to score by PyTorch.

Then NumPy's and PyTorch's computation of the same parts (text, joint, images; 512 dimensions, 500 background labels), a
process each: loading counts, so that it shows from how many cosines on (`FEW_COSINES` of `deltaoe/scoring/parts.py`)
PyTorch is worth its import.

    python benchmarks/cached_score.py [--demo DIR] [--repeats 5] [--cosines 1e5 1e6 4e6 1e7] [--markdown FILE]

`--demo` names the folder of a `deltaoe demo` that has run already.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from shown import show

COMMAND = Path(sys.executable).parent / "deltaoe"
CLASSES, BACKGROUND, DIM = 100, 500, 512
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "HF_HUB_OFFLINE": "1"}
BY_TORCH = (
    "import sys, torch; from deltaoe.scoring import parts; parts.FEW_COSINES = -1; "
    "from deltaoe_cli.main import main; main()"
)


class Run(NamedTuple):
    """One process: wall seconds, CPU seconds, and peak memory in bytes."""

    seconds: float
    cpu: float
    peak: int


def run(command: list[str], folder: Path) -> Run:
    """Run a process to its end. Exits with a message if it fails."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(command[:4])} failed")
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def prepare(project: Path) -> str:
    """One of the demo's images, stored; the demo is run if there is none in that folder."""
    if not (project / "unknown").is_dir():
        run([str(COMMAND), "demo", "--out", str(project)], project.parent)
    image = next(iter(sorted((project / "unknown").rglob("*.jpg"))))
    return str(image.relative_to(project))


def compute(way: str, cosines: int) -> None:
    """Score so many images that images × labels are ``cosines``."""
    import numpy as np

    from deltaoe.scoring.detector import Detector
    from deltaoe.scoring.parts import SideTensors
    from deltaoe.store.feature_space import FeatureSpace

    generator = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        drawn = generator.standard_normal((count, DIM), dtype=np.float32)
        drawn[:, 0] += 14  # text features have one direction in common
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    detector = Detector(
        tuple(map(str, range(CLASSES))),
        rows(CLASSES),
        0.1,
        1,
        np.empty(0),
        FeatureSpace("benchmark", "w", "c", "{}", "fp32", 1, DIM),
        100.0,
        background=rows(BACKGROUND),
        background_names=tuple(map(str, range(BACKGROUND))),
        means=rows(CLASSES),
        mean_classes=np.arange(CLASSES),
        root=20 * np.eye(DIM, dtype=np.float32),
        image_weight=0.02,
        parts=("text", "joint", "images"),
        part_weights=np.ones(3) / 3,
    )
    sides = SideTensors(detector, detector.parts, detector.prompts, None if way == "NumPy" else "cpu")
    images = rows(max(1, cosines // (CLASSES + BACKGROUND)))
    for start in range(0, len(images), 2048):
        sides(images[start : start + 2048], 3)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cosines", type=float, nargs="*", default=[1e5, 1e6, 4e6, 1e7])
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        compute(options.way, int(options.cosines[0]))
        return 0
    with tempfile.TemporaryDirectory() as place:
        project = (options.demo or Path(place) / "demo").absolute()
        image = prepare(project)
        ways = {
            "deltaoe score, stored image": [str(COMMAND), "score", image],
            "the same, zero-shot": [str(COMMAND), "score", image, "--zero-shot"],
            "the same by PyTorch": [sys.executable, "-c", BY_TORCH, "score", image],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
            "deltaoe --version": [str(COMMAND), "--version"],
        }
        found: dict[str, list[Run]] = {name: [] for name in ways}
        for command in ways.values():
            run(command, project)
        for _ in range(options.repeats):
            for name, command in ways.items():
                found[name].append(run(command, project))
        best = {name: min(runs, key=lambda one: one.cpu) for name, runs in found.items()}
        table = [[name, *_cells(one)] for name, one in best.items()]
        columns = ["wall, s", "CPU, s", "peak, MB"]
        show(f"best of {options.repeats}", columns, table, options.markdown)
        table = []
        for cosines in options.cosines:
            row = [f"{int(cosines):,} cosines"]
            for way in ("NumPy", "PyTorch"):
                command = [sys.executable, __file__, "--way", way, "--cosines", str(cosines)]
                one = min((run(command, project) for _ in range(options.repeats)), key=lambda one: one.cpu)
                row += _cells(one)
            table.append(row)
        show("parts by", [f"{way}, {what}" for way in ("NumPy", "PyTorch") for what in columns], table, None)
    return 0


def _cells(one: Run) -> list[str]:
    return [f"{one.seconds:.2f}", f"{one.cpu:.2f}", f"{one.peak / 1e6:,.0f}"]


if __name__ == "__main__":
    sys.exit(main())
