"""The feature store at a million rows: time, bytes and memory, beside one .npy file of the same rows, in one run.

Each part is a process of its own, so that its peak memory is its own; a process that only imports the same modules
gives what to subtract. Ours and its peers take turns. Files are in the system's cache, where writing left them.
Rates are compared, ours ÷ the peer's, by the clock and by CPU seconds: where others use the machine, the latter
say more.

    python benchmarks/store.py [--rows 1000000] [--dim 512] [--repeats 3] [--folder DIR] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from shown import show
from store_parts import IMAGE_BLOCK, LABELS, MEASURED_ABOVE, PICKED, WAYS, Place, Spent


def run(way: str, place: Place) -> int:
    """Run one part in this process, and print its wall and CPU seconds and its peak memory in bytes, as JSON."""
    import resource

    seconds = WAYS[way](place)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps([*seconds, peak]))
    return 0


def measure(place: Place, repeats: int) -> tuple[dict[str, Spent], dict[str, float]]:
    """Part → least times, and part → highest peak memory in bytes, over ``repeats`` rounds of all parts."""
    spent: dict[str, list[Spent]] = {way: [] for way in WAYS}
    peaks: dict[str, list[float]] = {way: [] for way in WAYS}
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as the command sets it
    for _ in range(repeats):
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--folder", str(place.folder)]
            command += ["--rows", str(place.rows), "--dim", str(place.dim)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            seconds, cpu, peak = json.loads(done.stdout)
            spent[way].append(Spent(seconds, cpu))
            peaks[way].append(peak)
    return (
        {way: Spent(*map(min, zip(*values, strict=True))) for way, values in spent.items()},
        {way: max(values) for way, values in peaks.items()},
    )


def time_rows(place: Place, spent: dict[str, Spent]) -> list[list[str]]:
    """The table of times: each operation of the store, then its peers."""
    picks = min(PICKED, place.rows)
    plan = (
        ("append with file records", "append", place.rows, "rows/s"),
        (".npy, fsync per 8192 rows", "append_npy_blocks", place.rows, "rows/s"),
        (".npy, one fsync", "append_npy_once", place.rows, "rows/s"),
        ("open", "open_store", place.rows, "rows/s"),
        ("read all in order", "read", place.rows, "rows/s"),
        ("mapped .npy, widened", "read_npy", place.rows, "rows/s"),
        ("mapped .npy, copied", "copy_npy", place.rows, "rows/s"),
        (f"read {picks:,} in random order", "pick", picks, "rows/s"),
        ("mapped .npy, widened", "pick_npy", picks, "rows/s"),
        (f"score against {LABELS:,} labels", "score", place.rows, "images/s"),
        ("cosines alone", "product", place.rows, "images/s"),
    )
    table: list[list[str]] = []
    ours = Spent(0.0, 0.0)
    for label, way, count, unit in plan:
        is_peer = "npy" in way or way == "product"
        took = spent[way]
        ours = ours if is_peer else took
        rate = count / took.seconds
        width = f"{rate * place.dim * 2 / 1e9:.2f}" if way != "open_store" else ""
        ratios = [f"{took.seconds / ours.seconds:.2f}", f"{took.cpu / ours.cpu:.2f}"] if is_peer else ["", ""]
        name = f"  {label}" if is_peer else label
        table.append(
            [
                name,
                f"{took.seconds:.3f}",
                f"{rate:,.0f} {unit}",
                width,
                ratios[0],
                f"{took.cpu:.3f}",
                ratios[1],
            ]
        )
    return table


def memory_rows(place: Place, peaks: dict[str, float]) -> list[list[str]]:
    """The table of sizes: peak memory above that of the imports, bytes on disk, and arrays that are never held."""
    sizes = [
        (f"{way.removesuffix('_store')}: peak above imports", peaks[way] - peaks[floor])
        for way, floor in MEASURED_ABOVE.items()
    ]
    stored = sum(path.stat().st_size for path in place.store.rglob("*") if path.is_file())
    sizes += [
        ("on disk, with file records", stored),
        ("on disk, float16 vectors alone", place.rows * place.dim * 2),
        (f"never held: images × {LABELS:,} labels, float32", place.rows * LABELS * 4),
    ]
    return [[label, f"{size / 1e6:,.1f}", f"{size / place.rows:,.1f}"] for label, size in sizes]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put the files, which are removed at the end")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rows < IMAGE_BLOCK or options.dim < 1 or options.repeats < 1:
        parser.error(f"--rows must be at least {IMAGE_BLOCK}, --dim and --repeats at least 1")
    if options.way:
        return run(options.way, Place(options.folder, options.rows, options.dim))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Place(Path(folder), options.rows, options.dim)
        needed, free = 3 * place.rows * place.dim * 2, shutil.disk_usage(folder).free
        if free < needed:
            print(f"{needed / 1e9:.1f} GB are needed in {folder}: pass --folder DIR", file=sys.stderr)
            return 2
        spent, peaks = measure(place, options.repeats)
        title = f"{place.rows:,} rows of {place.dim} float16, best of {options.repeats}, files cached"
        times, memory = time_rows(place, spent), memory_rows(place, peaks)
    show(title, ["seconds", "rate", "GB/s", "ours ÷", "CPU", "ours ÷"], times, options.markdown)
    above = options.markdown.read_text(encoding="utf-8") if options.markdown else ""
    show("memory and disk", ["MB", "bytes per row"], memory, options.markdown)
    if options.markdown:
        below = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(f"{above}\n{below}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
