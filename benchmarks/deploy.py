"""What an exported detector saves: megabytes installed, seconds to the first verdict and milliseconds per image.

Both sides score the same new photographs with the same detector on the same machine, in turns: `deltaoe score` with
PyTorch, and `python -m deltaoe.lite` with ONNX Runtime. Megabytes are what the installed distributions list as their
files: of deltaoe with all that it requires here, and of deltaoe with the requirements of the export. "One at a time"
and "sixteen at a time" are calls of `ScoreStream` and of `deltaoe.lite` in one process after the first call; medians.
The last rows count the photographs, of those scored one at a time, on which both agree.

    python benchmarks/deploy.py [--images 64] [--repeats 3] [--model local-dir:DIR] [--precision fp32] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from shown import show
from stream import COMMAND, ENVIRONMENT, SHARED, prepare

DEFAULT = f"local-dir:{SHARED / 'models' / 'photo-clip'}"
TOGETHER = 16


def needed(names: Sequence[str]) -> dict[str, Distribution]:
    """The installed distributions that these require, and that those require, and so on."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # of another system
            continue
        for text in found[name].requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                waiting.append(wanted.name)
    return found


def megabytes(names: Sequence[str], alone: Sequence[str] = ()) -> float:
    """Size of the files of distributions and their requirements; of those in ``alone`` without their requirements."""
    every = needed(names) | {name: distribution(name) for name in alone}
    own = [path for path in (Path(__file__).parents[1] / "deltaoe").rglob("*") if path.suffix != ".pyc"]
    total = sum(path.stat().st_size for path in own if path.is_file())  # a checkout lists no files
    for name, one in every.items():
        paths = [] if name == "deltaoe" else [Path(str(one.locate_file(file))) for file in one.files or ()]
        total += sum(path.stat().st_size for path in paths if path.suffix != ".pyc" and path.is_file())
    return total / 1e6


def process(command: Sequence[str | Path], folder: Path) -> tuple[float, float]:
    """Seconds, and CPU seconds, of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_turns(
    files: Sequence[str], sides: Sequence[Callable[[list[str]], object]], together: int
) -> list[float]:
    """Median milliseconds per image of each side, which are given the same files in turns."""
    times: list[list[float]] = [[] for _ in sides]
    for start in range(0, len(files) - together + 1, together):
        part = list(files[start : start + together])
        for side, own in zip(sides, times, strict=True):
            begun = time.perf_counter()
            side(part)
            own.append(1000 * (time.perf_counter() - begun) / together)
    return [statistics.median(own) for own in times]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64, help=f"at least {TOGETHER}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photos", type=Path, default=SHARED / "data" / "photos")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if options.images < TOGETHER or options.repeats < 1:
        print(f"needs {TOGETHER} images at least, and one repeat", file=sys.stderr)
        return 2
    if not options.photos.is_dir():
        print(f"needs photographs: {options.photos} is not here", file=sys.stderr)
        return 2
    os.environ["DELTAOE_PRECISION"] = ENVIRONMENT["DELTAOE_PRECISION"] = options.precision
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        count = (
            options.repeats + 1 + 2 + 2 * options.images
        )  # processes, first calls, one by one and together
        files = prepare(folder, options.photos, options.model, count)
        return measured(options, folder, files)


def measured(options: argparse.Namespace, folder: Path, files: list[str]) -> int:
    """Print the table of a prepared project."""
    import deltaoe
    import deltaoe.lite
    from deltaoe.scoring.stream import ScoreStream
    from deltaoe.store.workspace import Workspace

    subprocess.run([COMMAND, "export-onnx", "gate", "--quiet"], cwd=folder, env=ENVIRONMENT, check=True)
    whole = megabytes(["deltaoe"])
    small = megabytes(["numpy", "onnxruntime", "pillow"], alone=["deltaoe"])
    starts: list[list[tuple[float, float]]] = [[], []]
    for number in range(options.repeats + 1):
        path = files.pop()
        commands: list[list[str | Path]] = [
            [COMMAND, "score", path, "--quiet"],
            [sys.executable, "-m", "deltaoe.lite", "gate", path],
        ]
        for own, command in zip(starts, commands, strict=True):
            took = process(command, folder)
            if number:
                own.append(took)
    first = [[min(run[column] for run in own) for own in starts] for column in (0, 1)]
    lite = deltaoe.lite.load(folder / "gate")
    model = deltaoe.ModelOptions(device="cpu", precision=options.precision)
    with ScoreStream(Workspace(folder / ".deltaoe"), deltaoe.ScoreOptions(model=model)) as stream:
        for path in files[:2]:
            stream.score(path)
            lite.score(path)
        ones, many = files[2 : 2 + options.images], files[2 + options.images :]
        sides = stream.score_many, lite.score_many
        single, several = in_turns(ones, sides, 1), in_turns(many, sides, TOGETHER)
        answers = [(stream.score(path), lite.score(path).to_dict()) for path in ones]
    same = [sum(one[key] == other[key] for one, other in answers) for key in ("verdict", "class", "p_value")]
    rows = [
        ["installed, MB", f"{whole:,.0f}", f"{small:,.0f}", f"{whole / small:.1f}"],
        *(
            [name, f"{one:.2f}", f"{other:.2f}", f"{one / other:.1f}"]
            for name, (one, other) in zip(
                ("first verdict, seconds", "first verdict, CPU seconds"), first, strict=True
            )
        ),
        *(
            [name, f"{one:.1f}", f"{other:.1f}", f"{one / other:.2f}"]
            for name, (one, other) in (
                ("one at a time, ms per image", single),
                ("sixteen at a time, ms per image", several),
            )
        ),
        ["same verdict", f"{len(answers)} images", str(same[0]), ""],
        ["same class", f"{len(answers)} images", str(same[1]), ""],
        ["same p-value", f"{len(answers)} images", str(same[2]), ""],
    ]
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    show(
        f"scoring with PyTorch and with ONNX Runtime: {options.model}, {options.precision}, {cpus} CPUs",
        ["PyTorch", "ONNX Runtime", "PyTorch ÷ ONNX Runtime"],
        rows,
        options.markdown,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
