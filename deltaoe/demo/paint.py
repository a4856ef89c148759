"""The world's pictures as files: drawn once, never over a file that is somebody else's."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from deltaoe.demo.patterns import PATTERNS
from deltaoe.demo.picture import draw, generators
from deltaoe.demo.world import Picture, pictures
from deltaoe.errors import DataError, StoreError, os_reason
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.runtime import process_pool
from deltaoe.store.atomic import write_bytes, write_json

SIZE = 160
_QUALITY = 92
_LEDGER = "pictures.json"
_CHUNK = 16


@dataclass(frozen=True)
class Painted:
    """How many pictures were drawn now, were there already, or were removed as another version's."""

    drawn: int
    there: int
    removed: int


def render(picture: Picture, seed: int) -> bytes:
    """The picture as a JPEG file."""
    key = ("demo", picture.group, seed, picture.number)
    if picture.kind in PATTERNS:
        image = PATTERNS[picture.kind](SIZE, *generators(picture.kind, *key))
    else:
        image, _ = draw(picture.kind, picture.style, SIZE, *key, mess=picture.mess, reach=picture.reach)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def paint(folder: Path, seed: int, on: OnEvent = silent) -> Painted:
    """Draw the whole world into ``folder``; pictures that are there already are left alone.

    Pictures that an earlier call drew for another seed are replaced. Any other file is nobody's to overwrite.

    Raises:
        DataError: the folder is somebody's project, or a file of theirs stands where a picture must go.
        StoreError: the folder cannot be read or written.
    """
    _check_place(folder)
    seed_before, ours = _read_ledger(folder / _LEDGER)
    wanted = {picture.path: picture for picture in pictures()}
    if seed_before == seed:
        there = {path for path in wanted if path in ours and _digest(folder / path) == ours[path]}
    else:
        there = set()
    todo = [picture for path, picture in wanted.items() if path not in there]
    digests = {path: ours[path] for path in there} | _paint(folder, seed, todo, ours, on)
    stale = [path for path in ours if path not in wanted and _digest(folder / path) == ours[path]]
    for path in stale:  # drawn by another version of this demo
        (folder / path).unlink()
    if (seed, digests) != (seed_before, ours):
        write_json(folder / _LEDGER, {"seed": seed, "sha256": digests})
    return Painted(len(todo), len(there), len(stale))


def _check_place(folder: Path) -> None:
    """Refuse a folder where somebody's own project is; mark one that is free as the demo's."""
    if (folder / _LEDGER).exists():
        return
    for name in ("images", "unknown", ".deltaoe"):
        if (folder / name).exists():
            raise DataError(
                f"{folder / name} exists and is not the demo's", hint="choose another folder with --out"
            )
    write_json(folder / _LEDGER, {"seed": None, "sha256": {}})


def painted(folder: Path) -> bool:
    """Whether the demo's pictures are there, changed or not."""
    return all((folder / name).exists() for name in (_LEDGER, "images", "unknown"))


def _paint(
    folder: Path, seed: int, todo: Sequence[Picture], ours: Mapping[str, str], on: OnEvent
) -> dict[str, str]:
    """Draw pictures in all CPUs that this process may use; return their digests by path."""
    chunks = [todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)]
    digests: dict[str, str] = {}
    if not chunks:
        return digests
    with process_pool() as pool:
        jobs = [
            pool.submit(
                _paint_some, folder, seed, chunk, {p.path: ours[p.path] for p in chunk if p.path in ours}
            )
            for chunk in chunks
        ]
        try:
            for job in jobs:
                digests |= job.result()
                on(Event("Drawing pictures", len(digests), len(todo)))
        except BrokenProcessPool as cause:
            raise DataError(
                "a process that draws was killed", hint="check the free memory, then run it again"
            ) from cause
        finally:
            pool.shutdown(cancel_futures=True)
    return digests


def _paint_some(folder: Path, seed: int, some: Sequence[Picture], ours: Mapping[str, str]) -> dict[str, str]:
    digests = {}
    for picture in some:
        content, target = render(picture, seed), folder / picture.path
        digest = hashlib.sha256(content).hexdigest()
        there = _digest(target)
        # A run that was killed has left pictures that no ledger names: they are as this one would draw them.
        if there not in {None, digest, ours.get(picture.path)}:
            raise DataError(
                f"{target} is not as the demo drew it",
                hint="--keep uses the pictures as they are; or choose an empty folder with --out",
            )
        if there != digest:
            write_bytes(target, content)
        digests[picture.path] = digest
    return digests


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, None if there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise StoreError(
            f"cannot read {path}: {os_reason(cause)}", hint="choose another folder with --out"
        ) from cause


def _read_ledger(path: Path) -> tuple[int | None, dict[str, str]]:
    """Seed and digests of the pictures drawn before; nothing where there is no ledger that can be read."""
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
        return int(ledger["seed"]), {str(name): str(digest) for name, digest in ledger["sha256"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None, {}
