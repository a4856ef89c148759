"""Writing ``scores.csv``: by columns, beside one dictionary per row, and beside writing the same bytes to the disk.

python benchmarks/scores_csv.py [--rows N]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deltaoe.scoring.score_table import ScoreTable

CLASSES = 100
RUNS = 3


def made_up(rows: int) -> ScoreTable:
    """A table of as many images, with three parts and the names of unknown images."""
    r = np.random.default_rng(0)
    p = r.random((rows, 3))
    unknown = r.random(rows) < 0.2
    return ScoreTable(
        class_names=[f"class {i}" for i in range(CLASSES)],
        paths=[f"folder {i % 97}/image-{i:07d}.jpg" for i in range(rows)],
        scores=r.normal(size=rows),
        labels=r.integers(0, CLASSES, (rows, 3)),
        cosines=r.random((rows, 3), dtype=np.float32),
        p_values=p[:, 0],
        threshold=-0.8,
        alpha=0.05,
        failed=[],
        parts=("text", "joint", "images"),
        part_p_values=p,
        looks_like=["a name" if one else "" for one in unknown.tolist()],
        looks_like_cosines=np.where(unknown, r.random(rows), np.nan).astype(np.float32),
    )


def by_rows(table: ScoreTable, path: Path) -> None:
    """The peer: ``csv.DictWriter`` over the table's records."""
    ranks = range(1, table.labels.shape[1] + 1)
    names = [*table.column_names, *(f"{c}_{i}" for i in ranks for c in ("class", "cosine")), "error"]
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, names)
        out.writeheader()
        for record in table.records():
            top = record.pop("top")
            for i, pair in enumerate(top, start=1):
                record[f"class_{i}"], record[f"cosine_{i}"] = pair["class"], pair["cosine"]
            out.writerow(record)


def fastest(work: Callable[[], object]) -> float:
    """The shortest of a few runs, in seconds."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    table = made_up(rows)
    with tempfile.TemporaryDirectory() as folder:
        ours, peer, raw = (Path(folder, name) for name in ("columns.csv", "rows.csv", "raw"))
        by_columns = fastest(lambda: table.write_csv(ours))
        by_row = fastest(lambda: by_rows(table, peer))
        content = ours.read_bytes()
        limit = fastest(lambda: raw.write_bytes(content))
    print(f"{rows:,} rows, {len(content) / 1e6:.0f} MB, fastest of {RUNS}")
    print(f"by columns      {by_columns:6.2f} s")
    print(f"by dictionaries {by_row:6.2f} s, {by_row / by_columns:.1f} times as long")
    print(f"the bytes alone {limit:6.2f} s, {limit / by_columns:.2f} of the time")


if __name__ == "__main__":
    main()
