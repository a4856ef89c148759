"""Seconds of `deltaoe extract` on a folder that has not changed, beside a bare walk over its files, in one run.

The folder holds many tiny images, and the workspace all of their features and records, so that no model is needed.
Every way is a whole process, start-up included. They take turns, after a first round that fills the system's
caches; the best run of each counts. Where others use the machine, compare CPU seconds. Exits with 1 if a file is
not found unchanged.

    python benchmarks/warm.py [--files 100000] [--repeats 5] [--keep DIR] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import selectors
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from shown import show

from deltaoe.clip.reference import LOCAL_DIR, ModelRef
from deltaoe.images.walk import observed
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace

CLASSES = 100
DIM = 512
BLOCK = 8192
GOAL = 2.0
# Of a model that is never loaded; its tokenizer is, in the first round.
CONFIG = {"model_cfg": {"embed_dim": DIM, "vision_cfg": {}, "text_cfg": {}}, "preprocess_cfg": {}}
WALK = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        os.stat(os.path.join(folder, name))
"""


class Place(NamedTuple):
    """The folder of the benchmark, and the paths in it."""

    folder: Path

    @property
    def images(self) -> Path:
        """The folder of class folders."""
        return self.folder / "images"

    @property
    def model(self) -> str:
        """A model reference that can be resolved but not loaded."""
        return f"{LOCAL_DIR}{self.folder / 'model'}"

    @property
    def workspace(self) -> Path:
        """The workspace."""
        return self.folder / "workspace"

    @property
    def note(self) -> Path:
        """The file that says how many images were made; written last."""
        return self.folder / "made.json"


class Run(NamedTuple):
    """One process: wall seconds, CPU seconds, seconds to its first output, and what it wrote to stdout."""

    seconds: float
    cpu: float
    first: float
    output: bytes


def png(number: int) -> bytes:
    """A PNG file of two pixels that differs for every number."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">IH", number, 0), 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    """A JPEG file of 8 × 8 grey pixels."""
    out = io.BytesIO()
    Image.new("L", (8, 8), 128).save(out, "JPEG")
    return out.getvalue()


def pictures(count: int) -> Iterator[tuple[str, bytes]]:
    """Relative path and content of each file: JPEG and PNG alternating."""
    grey = jpeg()
    for i in range(count):
        kind = "png" if i % 2 else "jpg"
        # A JPEG's number stands in a comment, which decoders pass over.
        content = png(i) if i % 2 else grey[:2] + b"\xff\xfe" + struct.pack(">HI", 6, i) + grey[2:]
        yield f"class_{i % CLASSES:03d}/img_{i:07d}.{kind}", content


def make(place: Place, count: int) -> None:
    """Write the image files, the model's folder, and a workspace with a feature and a record of every file."""
    for number in range(CLASSES):
        (place.images / f"class_{number:03d}").mkdir(parents=True)
    model = ModelRef.parse(place.model).local_folder
    assert model is not None
    model.mkdir()
    (model / "open_clip_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (model / "open_clip_model.safetensors").write_bytes(bytes(8))
    space = FeatureSpace(place.model, "w" * 64, "c" * 64, '{"size":224}', "fp32", 1, DIM)
    workspace = Workspace(place.workspace)
    store = FeatureStore(workspace.folder / "features" / space.id, space)
    rows = np.random.default_rng(1).standard_normal((BLOCK, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with store.writer() as writer:
        for i, (name, content) in enumerate(pictures(count)):
            path = place.images / name
            path.write_bytes(content)
            info = path.stat()
            size, modified, changed, inode = observed(info)
            record = FileRecord(size, modified, hashlib.sha256(content).digest(), "", changed, inode)
            writer.add(os.fsencode(workspace.file_key(path)), record, rows[i % BLOCK])
            if writer.pending >= BLOCK:
                writer.flush()
    workspace.remember(spaces={ModelRef.parse(place.model).fingerprint(): space.id})
    place.note.write_text(json.dumps({"files": count}), encoding="utf-8")


def run(command: list[str]) -> Run:
    """Run a process, reading both of its outputs as they come. Exits with a message if it fails."""
    start, first, output = time.perf_counter(), 0.0, bytearray()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        errors = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ, output)
            ready.register(process.stderr, selectors.EVENT_READ, errors)
            while ready.get_map():
                for key, _ in ready.select():
                    chunk = os.read(key.fd, 1 << 16)
                    first = first or (time.perf_counter() - start if chunk else 0.0)
                    key.data.extend(chunk)
                    if not chunk:
                        ready.unregister(key.fileobj)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(command[:2])} failed:\n{errors.decode(errors='replace')}")
    return Run(seconds, used.ru_utime + used.ru_stime, first, bytes(output))


def all_unchanged(result: Run, count: int) -> bool:
    """Whether extract reports every file as unchanged."""
    found = json.loads(result.output)
    return bool(found["unchanged"] == found["images"] == count and not found["failed"])


def measure(place: Place, count: int, repeats: int) -> dict[str, list[Run]] | None:
    """Way → its runs; None if extract does not find every file unchanged."""
    ours = str(Path(sys.executable).with_name("deltaoe"))
    extract = [
        ours,
        "extract",
        str(place.images),
        "--model",
        place.model,
        "--workspace",
        str(place.workspace),
    ]
    ways = {
        "extract": [*extract, "--offline", "--json"],
        "walk": [sys.executable, "-c", WALK, str(place.images)],
        "help": [ours, "--help"],
        "python": [sys.executable, "-c", "pass"],
    }
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    for turn in range(repeats + 1):
        for way, command in ways.items():
            result = run(command)
            if way == "extract" and not all_unchanged(result, count):
                print(f"not every file was found unchanged: {result.output[:2000]!r}", file=sys.stderr)
                return None
            if turn:
                runs[way].append(result)
    return runs


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the files here, or use the ones made here before")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if options.files < 1 or options.repeats < 1:
        parser.error("--files and --repeats must be at least 1")
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = Place(folder.resolve())
        if not place.note.is_file():
            if place.images.exists():
                print(f"{place.images} is there, and not whole: remove it", file=sys.stderr)
                return 2
            make(place, options.files)
        count: int = json.loads(place.note.read_text(encoding="utf-8"))["files"]
        if count != options.files:
            print(f"{folder} holds {count} files, not {options.files}: pass --files {count}", file=sys.stderr)
            return 2
        runs = measure(place, count, options.repeats)
    if runs is None:
        return 1
    best = {way: min(run.seconds for run in results) for way, results in runs.items()}
    cpu = {way: min(run.cpu for run in results) for way, results in runs.items()}
    first = {way: min(run.first for run in results) for way, results in runs.items()}
    labels = {
        "extract": "deltaoe extract",
        "walk": "walk and stat",
        "help": "deltaoe --help",
        "python": "python -c pass",
    }
    rows = [
        [
            label,
            f"{best[way]:.3f}",
            f"{first[way]:.3f}" if first[way] else "",
            f"{best['extract'] / best[way]:.2f}",
            f"{cpu[way]:.3f}",
            f"{cpu['extract'] / cpu[way]:.2f}",
        ]
        for way, label in labels.items()
    ]
    title = f"{count:,} files, best of {options.repeats}; goal: extract at most {GOAL:g} times the walk"
    show(
        title,
        ["seconds", "to output", "extract ÷", "CPU", "extract ÷"],
        rows,
        options.markdown,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
