"""The feature store as it grows: seconds, µs and memory per row of each operation, from ten thousand rows on.

Each operation is a process of its own, so that its peak memory is its own; a process that only imports the same
modules gives what to subtract. Beside each stands what the machine takes for the same bytes or keys, measured in the
same run. Features are generated; every row has an observation of a file. An operation *bends* where it takes half as
much again per row as at the size before, the smallest (whose times are those of starting) aside. Where others use the
machine, CPU seconds say more than the clock.

    python benchmarks/scale.py [--rows 10000 100000 1000000] [--dim 32] [--only NAME ...] [--folder DIR]
        [--markdown FILE]

Ten million rows of dimension 32 need 6 GB of disk.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scale_parts import AGAIN, APART, FEW, WAYS, ScalePlace
from shown import show
from store_parts import BLOCK, LABELS

BENDS = 1.5
KINDS = ("shard-*.h5", "*.index")
FILES = (10_000, 100_000)
LEAST_BYTES = 20  # per row, of which a growth counts


class Measured(NamedTuple):
    """Wall seconds, CPU seconds and peak memory above that of the imports, in bytes."""

    seconds: float
    cpu: float
    peak: float


Results = dict[str, Measured]
# Operation → its label, whose imports its memory is above, and the operation of the machine beside it.
PLAN = {
    "append": ("append", "import_store", "bytes_copied"),
    "open_store": ("open", "import_store", ""),
    "open_bare": ("open, without index files", "import_store", ""),
    "find_few": (f"open, look up {FEW:,}", "import_store", ""),
    "find_all": ("look up all", "import_store", "find_npy"),
    "verify": ("verify", "import_maintenance", "bytes_hashed"),
    "export": ("export", "import_maintenance", "bytes_copied"),
    "score": (f"score against {LABELS:,} labels", "import_scorer", "product"),
    "compact": ("compact", "import_maintenance", "bytes_copied"),
    "open_store again": ("open, compacted", "import_store", ""),
    "find_few again": (f"open, look up {FEW:,}, compacted", "import_store", ""),
    "find_all again": ("look up all, compacted", "import_store", "find_npy"),
}
MACHINE = {
    "bytes_hashed": "read them, SHA-256",
    "bytes_copied": "read and write them, fsync",
    "find_npy": "np.load, np.searchsorted of all",
    "product": f"cosines with {LABELS:,} labels alone",
}


def run(way: str, place: ScalePlace) -> int:
    """Run one part in this process, and print its wall and CPU seconds and its peak memory in bytes, as JSON."""
    import resource

    spent = (WAYS | APART)[way](place)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps([*spent, peak]))
    return 0


def measured(way: str, place: ScalePlace) -> Measured:
    """One part, in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(place.folder)]
    command += ["--rows", str(place.rows), "--dim", str(place.dim)]
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as the command sets it
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return Measured(*json.loads(done.stdout))


def measure(place: ScalePlace, wanted: Sequence[str]) -> Results:
    """Part → times and peak memory, above that of the imports for those of the plan; of some operations of the plan."""
    parts = {part for way in wanted for part in (way, *PLAN[way][1:])} | {"append"}
    if "export" in parts:
        parts.add("listing")
    if "find_npy" in parts:
        parts.add("keys_npy")
    plan = [way for way in (*WAYS, *(f"{way} again" for way in AGAIN)) if way in parts]
    raw: Results = {}
    for way in plan:
        raw[way] = measured(way.removesuffix(" again"), place)
        print(f"{place.rows:,} rows, {way}: {raw[way].seconds:.1f} s", file=sys.stderr)
    floors = {way: floor for way, (_, floor, _) in PLAN.items()}
    return {
        way: one._replace(peak=max(0.0, one.peak - raw[floors[way]].peak) if way in wanted else one.peak)
        for way, one in raw.items()
    }


def table(results: dict[int, Results]) -> list[list[str]]:
    """A row for each operation and number of rows."""
    rows: list[list[str]] = []
    for way, (label, _, beside) in PLAN.items():
        for count, found in results.items():
            if way not in found:
                continue
            one = found[way]
            cells = [f"{label}, {count:,} rows", f"{one.seconds:.3f}", f"{one.cpu:.3f}"]
            cells += [
                f"{one.seconds / count * 1e6:.2f}",
                f"{one.peak / 1e6:,.1f}",
                f"{one.peak / count:,.0f}",
            ]
            ratio = f"{one.cpu / found[beside].cpu:.1f}× {MACHINE[beside]}" if beside else ""
            rows.append([*cells, ratio])
    for way, label in MACHINE.items():
        for count, found in results.items():
            if way not in found:
                continue
            one = found[way]
            cells = [f"machine: {label}, {count:,} rows", f"{one.seconds:.3f}", f"{one.cpu:.3f}"]
            rows.append([*cells, f"{one.cpu / count * 1e6:.2f}", "", "", ""])
    return rows


def bends(results: dict[int, Results]) -> list[str]:
    """Sentences on what grows faster than the number of rows, from each number to the next."""
    counts = sorted(results)
    found = []
    for less, more in itertools.pairwise(counts[1:]):
        for way, (label, _, _) in PLAN.items():
            if way not in results[less] or way not in results[more]:
                continue
            before, after = results[less][way], results[more][way]
            factor = after.cpu / more / (before.cpu / less)
            if factor > BENDS and after.cpu > 1:
                found.append(
                    f"{label}: {factor:.1f} times the CPU seconds per row from {less:,} to {more:,} rows"
                )
            grown = (after.peak - before.peak) / (more - less)
            if grown > LEAST_BYTES:
                found.append(
                    f"{label}: {grown:,.0f} bytes more of memory per row from {less:,} to {more:,} rows"
                )
    return found


def main() -> int:
    """Print the table, and where it bends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--only", nargs="+", choices=PLAN, default=list(PLAN), help="some operations alone")
    parser.add_argument("--folder", type=Path, help="where to put the files, which are removed at the end")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--way", choices=WAYS | APART, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way in APART:
        return run(options.way, ScalePlace(options.folder, options.rows[0], options.dim))
    if min(options.rows) < BLOCK or options.dim < 1:
        parser.error(f"--rows must be at least {BLOCK}, --dim at least 1")
    if options.way:
        return run(options.way, ScalePlace(options.folder, options.rows[0], options.dim))
    results: dict[int, Results] = {}
    for rows in sorted(options.rows):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            needed, free = 2.2 * rows * (options.dim * 2 + 230), shutil.disk_usage(folder).free
            if free < needed:
                print(f"{needed / 1e9:.1f} GB are needed in {folder}: pass --folder DIR", file=sys.stderr)
                return 2
            results[rows] = measure(ScalePlace(Path(folder), rows, options.dim), options.only)
            stored = [sum(path.stat().st_size for path in Path(folder).rglob(kind)) for kind in KINDS]
    said = [f"{size / max(options.rows):.0f} in {kind}" for kind, size in zip(KINDS, stored, strict=True)]
    title = f"rows of {options.dim} float16 with observations of files, files cached"
    columns = ["seconds", "CPU", "CPU µs/row", "MB above start", "bytes/row", "CPU beside the machine"]
    show(title, columns, table(results), options.markdown)
    print(*(bends(results) or ["nothing grows faster than the number of rows"]), sep="\n")
    print(f"bytes on disk per row, of {max(options.rows):,}: {', '.join(said)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for count in FILES:
            spent = measured("list_shards", ScalePlace(Path(folder), count, options.dim))
            print(f"a folder of {count:,} shards is listed, and each looked at, in {spent.cpu:.2f} CPU s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
