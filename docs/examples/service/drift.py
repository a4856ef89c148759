"""Whether images still look to the detector as they did before: compares p-values, a window of images at a time.

``python drift.py --calibration-images 500 < answers.jsonl`` reads the lines of JSON that the service, ``deltaoe score
--stream`` and ``deltaoe.lite`` print. Images like those of the calibration have evenly spread p-values. A stream in
which some images are always unknown is compared with itself: ``--earlier FILE`` takes the lines of a good week.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

CHANCE = 0.001  # that a window without drift is called one


def p_values(lines: Iterable[str]) -> np.ndarray:
    """The p-values in lines of JSON; failed images have none. Other lines, such as one that was cut, are counted."""
    found, others = [], 0
    for line in filter(str.strip, lines):
        try:
            value = json.loads(line)["p_value"]
            if value is not None and not 0 < value <= 1:
                raise ValueError(value)
        except (ValueError, KeyError, TypeError):
            others += 1
            continue
        found += [] if value is None else [value]
    if others:
        sys.stderr.write(f"{others} lines left out, which are no answers of deltaoe\n")
    return np.array(found)


def gap(earlier: np.ndarray, latest: np.ndarray) -> float:
    """The largest difference between two samples' shares of values up to any point (Kolmogorov and Smirnov)."""
    points = np.concatenate([earlier, latest])
    shares = [np.searchsorted(np.sort(one), points, side="right") / len(one) for one in (earlier, latest)]
    return float(np.abs(shares[0] - shares[1]).max())


def largest_by_chance(earlier: int, latest: int) -> float:
    """The gap that samples of these sizes from one source exceed with probability CHANCE (Smirnov's limit)."""
    return math.sqrt(-math.log(CHANCE / 2) / 2 * (1 / earlier + 1 / latest))


def main() -> int:
    """Print a line per window; the exit code is 1 if the last one has drifted, and 2 if that cannot be told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--calibration-images", type=int, metavar="N", help="as deltaoe tune said")
    source.add_argument("--earlier", type=Path, metavar="FILE", help="lines of a time without drift")
    parser.add_argument("--window", type=int, default=500, metavar="N", help="images per window")
    given = parser.parse_args()
    if given.window < 1 or (1 if given.calibration_images is None else given.calibration_images) < 1:
        parser.error("--window and --calibration-images must be at least 1")
    if given.earlier is None:
        earlier = np.arange(1, given.calibration_images + 2) / (given.calibration_images + 1)
    else:
        try:
            earlier = p_values(given.earlier.read_text(encoding="utf-8", errors="replace").splitlines())
        except OSError as cause:
            parser.error(f"cannot read {given.earlier}: {cause.strerror}")
        if not len(earlier):
            parser.error(f"{given.earlier} has no p-values")
    latest = p_values(sys.stdin.buffer.read().decode("utf-8", "replace").splitlines())
    drifted = False
    for start in range(0, len(latest) - given.window + 1, given.window):
        part = latest[start : start + given.window]
        found, bound = gap(earlier, part), largest_by_chance(len(earlier), len(part))
        drifted = found > bound
        words = "DRIFT" if drifted else "as before"
        sys.stdout.write(
            f"{start + 1}..{start + len(part)}: gap {found:.3f}, by chance {bound:.3f}: {words}\n"
        )
    if len(latest) < given.window:
        sys.stdout.write(f"{len(latest)} images, fewer than one window of {given.window}\n")
    return int(drifted)


if __name__ == "__main__":
    sys.exit(main())
