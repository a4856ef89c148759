"""Milliseconds per new image of `deltaoe score --stream`, beside the bare encoder on the same files, in one run.

The stream is the installed command: it is asked for one photograph at a time, and the time runs from the path that is
written to its standard input to the line that it answers with. The bare encoder is the same model in a process of its
own: read the file, decode, preprocess, encode, one picture at a time. Both have answered one picture before. Then the
stream is given all paths at once, as from a pipe, in a workspace of its own; and all of them again, now stored.

    python benchmarks/stream.py [--images 100] [--repeats 3] [--model local-dir:DIR] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shown import show

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
COMMAND = Path(sys.executable).parent / "deltaoe"
CLASSES, PER_CLASS = 4, 12  # that the stream compares with
# Threads that wait in turns starve where others use the machine, as the command knows.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}


class Stream:
    """The command, waiting for paths."""

    def __init__(self, project: Path, model: str) -> None:
        self._process = subprocess.Popen(
            [COMMAND, "score", "--stream", "--quiet", "--model", model],
            cwd=project,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, paths: list[str]) -> float:
        """Seconds until all of these paths are answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        start = time.perf_counter()
        self._process.stdin.write("".join(f"{path}\n" for path in paths))
        self._process.stdin.flush()
        for path in paths:
            record = json.loads(self._process.stdout.readline())
            assert record["path"] == path and record["verdict"] in {"known", "unknown"}, record
        return time.perf_counter() - start

    def end(self) -> None:
        """Close its input and wait."""
        self._process.communicate()
        assert self._process.returncode == 0


def bare(model: str, files: list[str]) -> list[float]:
    """Seconds of each file through the encoder alone: read, decode, preprocess, encode."""
    import torch

    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.clip.reference import ModelRef
    from deltaoe.runtime import keep_freed_memory, native_precision

    keep_freed_memory()
    device = torch.device("cpu")
    clip = FrozenClip.load(ModelRef.parse(model), device, precision=native_precision(device), offline=True)
    found = []
    for file in files:
        start = time.perf_counter()
        clip.encode_pixels(clip.geometry.decode(Path(file).read_bytes(), bytes(32), (0,)))
        found.append(time.perf_counter() - start)
    return found


def prepare(project: Path, photos: Path, model: str, count: int) -> list[str]:
    """A project with a few classes of photographs, extracted; and the paths of ``count`` others."""
    folders = sorted(path for path in (photos / "pacs-mini" / "photo").iterdir() if path.is_dir())
    used = set()
    for folder in folders[:CLASSES]:
        (project / "images" / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:PER_CLASS]:
            shutil.copy(file, project / "images" / folder.name / file.name)
            used.add(file)
    command = [str(COMMAND), "extract", "images", "--model", model, "--quiet"]
    subprocess.run(command, cwd=project, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    first = [project / "images" / folders[0].name / file.name for file in sorted(folders[0].iterdir())[:1]]
    command = [str(COMMAND), "score", str(first[0]), "--model", model, "--quiet"]  # encodes the class names
    subprocess.run(command, cwd=project, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    others = [path for path in sorted(photos.rglob("*.jpg")) if path not in used]
    return [str(path) for path in others[:: max(1, len(others) // (count + 1))][: count + 1]]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photos", type=Path, default=SHARED / "data" / "photos")
    parser.add_argument("--model", default=f"local-dir:{SHARED / 'models' / 'photo-clip'}")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare(options.model, json.loads(options.bare.read_text(encoding="utf-8")))))
        return 0
    times: dict[str, list[float]] = {"bare": [], "one": [], "all": [], "stored": []}
    with tempfile.TemporaryDirectory() as place:
        project, listing = Path(place) / "project", Path(place) / "files.json"
        project.mkdir()
        files = prepare(project, options.photos, options.model, options.images)
        listing.write_text(json.dumps(files), encoding="utf-8")
        for _ in range(options.repeats):
            command = [sys.executable, __file__, "--bare", str(listing), "--model", options.model]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
            times["bare"].append(statistics.median(json.loads(done.stdout)[1:]))
            for way in ("one", "all"):
                fresh = Path(shutil.copytree(project, Path(place) / "fresh"))
                stream = Stream(fresh, options.model)
                stream(files[:1])
                if way == "one":
                    times["one"].append(statistics.median(stream([path]) for path in files[1:]))
                else:
                    times["all"].append(stream(files[1:]) / options.images)
                    times["stored"].append(stream(files[1:]) / options.images)
                stream.end()
                shutil.rmtree(fresh)
    best = {way: min(found) for way, found in times.items()}
    names = {
        "bare": "bare encoder, one at a time",
        "one": "stream, asked one at a time",
        "all": "stream, all paths at once",
        "stored": "stream, features stored",
    }
    rows = [
        [name, f"{1000 * best[way]:.2f}", f"{best[way] / best['bare']:.2f}"] for way, name in names.items()
    ]
    title = f"{options.images} photographs, best of {options.repeats}"
    show(title, ["ms per image", "÷ bare encoder"], rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
