"""The demo's numbers over several render seeds: zero-shot, CoOp and deltaoe on the small world of pictures.

What ``deltaoe demo`` prints for one seed, with the spread over others: accuracy by style, AUROC against other objects
(near) and patterns (far), and the share called unknown at α = 0.05. No seed here is one that pretraining drew from.

    python benchmarks/demo.py [--seeds 1 2 3 4 5] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from shown import show

REPOSITORY = Path(__file__).resolve().parents[1]


def demo(seed: int) -> dict[str, dict[str, float]]:
    """Method → number → value, of one run of ``deltaoe demo --json`` with this render seed."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "deltaoe_cli", "demo", "--out", folder, "--seed", str(seed), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    results: dict[str, dict[str, float]] = json.loads(done.stdout)["results"]
    return results


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in options.seeds:
        for method, numbers in demo(seed).items():
            for number, value in numbers.items():
                values[number][method].append(value)
        print(f"seed {seed}: done", file=sys.stderr)
    methods = list(next(iter(values.values())))
    rows = [
        [number, *(f"{np.mean(v[m]):.3f} ({min(v[m]):.3f} to {max(v[m]):.3f})" for m in methods)]
        for number, v in values.items()
    ]
    show(f"mean (lowest to highest) over render seeds {options.seeds}", methods, rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
