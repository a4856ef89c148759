"""The demo's numbers over several render seeds: zero-shot, CoOp and deltaoe on the small world of pictures.

What ``deltaoe demo`` measures for one seed, with the spread over others: accuracy by style, AUROC against other
objects (near) and patterns (far), and the share called unknown at α = 0.05. No seed here is one that pretraining drew
from.

    python benchmarks/demo.py [--seeds 1 2 3 4 5] [--results DIR] [--markdown FILE] [--write]

``--results`` keeps each seed's numbers in a folder and takes those that are there. ``--write`` makes
deltaoe/demo/measured_seeds.py anew, from which the demo says what is gained over seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from shown import show

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE = REPOSITORY / "deltaoe" / "demo" / "measured_seeds.py"
HEADER = '''"""Numbers of the demo over render seeds, 0 … 1, by ``python benchmarks/demo.py --write``."""

from __future__ import annotations

COMMAND = "python benchmarks/demo.py"
'''


def demo(seed: int, results: Path | None) -> dict[str, dict[str, float]]:
    """Method → number → value, of one run of ``deltaoe demo --json`` with this render seed."""
    kept = results / f"{seed}.json" if results else None
    if kept and kept.is_file() and kept.stat().st_size:
        told = kept.read_text(encoding="utf-8")
    else:
        with tempfile.TemporaryDirectory() as folder:
            told = subprocess.run(
                [sys.executable, "-m", "deltaoe_cli", "demo", "--out", folder, "--seed", str(seed), "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=True,
                text=True,
            ).stdout
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(told, encoding="utf-8")
    measured: dict[str, dict[str, float]] = json.loads(told)["results"]
    return measured


def module(seeds: list[int], values: dict[str, dict[str, list[float]]]) -> str:
    """The text of the module with all seeds' numbers, method → number → one value for each seed."""
    lines = [f"SEEDS = {tuple(seeds)}", "RESULTS = {"]
    for method, numbers in values.items():
        lines.append(f'    "{method}": {{')
        for number, found in numbers.items():
            lines.append(f'        "{number}": {tuple(round(value, 4) for value in found)},')
        lines.append("    },")
    return HEADER + "\n".join(lines) + "\n}\n"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    values: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        for method, numbers in demo(seed, options.results).items():
            for number, value in numbers.items():
                values.setdefault(method, {}).setdefault(number, []).append(value)
        print(f"seed {seed}: done", file=sys.stderr)
    rows = [
        [
            number,
            *(
                f"{np.mean(v[number]):.3f} ({min(v[number]):.3f} to {max(v[number]):.3f})"
                for v in values.values()
            ),
        ]
        for number in next(iter(values.values()))
    ]
    show(f"mean (lowest to highest) over render seeds {options.seeds}", list(values), rows, options.markdown)
    if options.write:
        MODULE.write_text(module(options.seeds, values), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
