"""Kill -9 at any moment: no row lost, torn or doubled, and the next run ends where an undisturbed one does.

Most of these kill forked children (see ``killing``), which costs a tenth of a second instead of three: at random
moments, and before each single change to the file system. The installed command is killed in ``test_interrupted``.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
from filelock import FileLock
from killing import Ended, Killer, killer

from deltaoe.store.maintenance import verify
from deltaoe.store.workspace import Workspace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks at /proc")

BROKEN = b"P6 no picture"
PENDING = 12  # pictures that are new to the store whenever a child starts

# (size, mtime, digest, problem) of a file
Record = tuple[int, int, bytes, str]


@pytest.fixture(scope="module")
def kill(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    with killer(tiny_model, str(tmp_path_factory.getbasetemp())) as found:
        yield found


@dataclass
class Images:
    """A folder of pictures that keeps changing, and every state that each file was ever in."""

    root: Path
    seed: int
    states: dict[bytes, set[tuple[int, int, bytes]]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._made = 0

    def _write(self, path: Path, content: bytes) -> None:
        self._made += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(self._made, 10**18 + self._made))  # never the same twice, though sizes are
        key = os.fsencode(path.relative_to(self.root.parent))
        self.states[key].add((len(content), 10**18 + self._made, hashlib.sha256(content).digest()))

    def _picture(self) -> bytes:
        return b"P6 8 8 255\n" + self._rng.randbytes(192)

    def paths(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_file())

    def digests(self) -> set[bytes]:
        """Of all usable pictures that lie there now."""
        contents = [path.read_bytes() for path in self.paths()]
        return {hashlib.sha256(content).digest() for content in contents if content != BROKEN}

    def add(self, count: int) -> None:
        for _ in range(count):
            self._write(self.root / "ab"[self._made % 2] / f"{self._made:03d}.ppm", self._picture())

    def change(self) -> None:
        """Somebody works in the folder: one file less, one that is another now, a copy, and a broken one."""
        paths = self.paths()
        gone, other, twin = self._rng.sample(paths, 3)
        gone.unlink()
        self._write(other, self._picture())
        # Right behind the other, so that both wait for the model at the same time if both are new.
        self._write(twin.with_name(f"{twin.stem}-{self._made}.ppm"), twin.read_bytes())
        self._write(self.root / "b" / f"broken-{self._made}.ppm", BROKEN)


@dataclass(frozen=True)
class Stored:
    """What shards hold, read without any code of ours: all rows, and of each file the latest record."""

    rows: dict[tuple[bytes, int], bytes]
    files: dict[bytes, Record]
    doubled: int

    def digests(self) -> set[bytes]:
        return {digest for digest, _ in self.rows}


def stored(workspace: Path) -> Stored:
    rows: dict[tuple[bytes, int], bytes] = {}
    files: dict[bytes, Record] = {}
    doubled = 0
    for shard in sorted(workspace.glob("features/*/shard-*.h5")):
        with h5py.File(shard) as file:
            part = file["features"]
            for digest, view, vector in zip(
                *(part[name][()] for name in ("digest", "view", "vector")), strict=True
            ):
                key = digest.tobytes(), int(view)
                doubled += key in rows
                assert rows.setdefault(key, vector.tobytes()) == vector.tobytes(), (
                    "two vectors of one content"
                )
            part = file["files"]
            paths, problems = (strings(part, name) for name in ("path", "problem"))
            columns = [part[name][()] for name in ("size", "mtime_ns", "digest")]
            for path, size, mtime, digest, problem in zip(paths, *columns, problems, strict=True):
                files[path] = int(size), int(mtime), digest.tobytes(), problem.decode()
    return Stored(rows, files, doubled)


def strings(group: h5py.Group, name: str) -> list[bytes]:
    whole = group[name][()].tobytes()
    return [whole[a:b] for a, b in itertools.pairwise(group[f"{name}_offsets"][()].tolist())]


def check_sound(workspace: Path) -> Stored:
    """Everything opens, nothing is damaged, and what our code sees is what lies there."""
    assert verify(Workspace(workspace)).damage == []
    assert len(Workspace(workspace).datasets()) <= 1
    now = stored(workspace)
    for space in Workspace(workspace).spaces():
        store = Workspace(workspace).store(space)
        assert store.feature_rows == len(now.rows)
        seen = store.files(list(now.files))
        assert seen.known.all()
        assert [bytes(digest) for digest in seen.digest] == [record[2] for record in now.files.values()]
    return now


def check_extracted(workspace: Path, before: Stored, images: Images, views: int) -> Stored:
    """Nothing that was stored is lost, nothing is doubled, and no record says what never was."""
    now = check_sound(workspace)
    assert now.doubled == 0
    assert before.rows.items() <= now.rows.items()
    assert before.files.keys() <= now.files.keys()
    for path, (size, mtime, digest, problem) in now.files.items():
        assert (size, mtime, digest) in images.states[path]
        if not problem:
            assert all((digest, view) in now.rows for view in range(views + 1))
    return now


def check_free(workspace: Path) -> None:
    assert not list(workspace.rglob(".deltaoe-tmp-*"))
    for path in workspace.rglob("writer.lock"):
        with FileLock(path, timeout=0):
            pass


def check_equal(resumed: Path, fresh: Path, images: Images) -> None:
    """Both workspaces tell the same of what lies there now, to the bit."""
    check_free(resumed)
    there = {os.fsencode(path.relative_to(images.root.parent)) for path in images.paths()}
    ours, theirs = stored(resumed), stored(fresh)
    assert theirs.files.keys() == there and theirs.digests() == images.digests()
    assert {path: ours.files[path] for path in there} == theirs.files
    assert theirs.rows.items() <= ours.rows.items()
    (mine,), (other,) = Workspace(resumed).datasets(), Workspace(fresh).datasets()
    for name in ("root", "inputs", "space_id", "layout", "class_names", "domain_names"):
        assert getattr(mine, name) == getattr(other, name)
    assert list(mine.paths) == list(other.paths)
    for name in ("digests", "class_of", "domain_of"):
        assert np.array_equal(getattr(mine, name), getattr(other, name))
    (listing,), (undisturbed,) = resumed.glob("datasets/*.h5"), fresh.glob("datasets/*.h5")
    assert listing.name == undisturbed.name
    assert (resumed / "workspace.json").read_text() == (fresh / "workspace.json").read_text()


def extract_to_the_end(kill: Killer, workspace: Path, images: Images, **options: int) -> Ended:
    ended = kill("extract", workspace, images=images.root, **options)
    assert not ended.killed
    return ended


def chain(kill: Killer, place: Path, seed: int, kills: int, workers: int, views: int) -> None:
    """Kill so many runs, one after the other, in one workspace."""
    rng = random.Random(seed)
    images, workspace = Images(place / "images", seed), place / ".deltaoe"
    options = {"workers": workers, "views": views}
    images.add(PENDING)
    whole = extract_to_the_end(kill, place / "measured", images, **options)
    moments = extract_to_the_end(kill, place / "counted", images, at=0, **options).moments
    now = stored(workspace)
    done = attempts = 0
    while done < kills:
        attempts += 1
        assert attempts < 5 * kills, "runs end before they are killed"
        images.add(max(0, PENDING - len(images.digests() - now.digests())))
        if rng.random() < 0.7:
            images.change()
        # In turns: at any time, at any time from the first batch on, and, however fast this machine is at the
        # moment, before some change to the disk.
        when: dict[str, float] = {"at": rng.randint(moments // 4, moments)}
        if attempts % 3 == 0:
            when = {"after": rng.uniform(0, whole.seconds)}
        elif attempts % 3 == 1:
            when = {"after": rng.uniform(0, whole.writing), "batch": True}
        ended = kill("extract", workspace, images=images.root, **when, **options)
        before, now = now, check_extracted(workspace, now, images, views)
        if ended.killed:
            done += 1
        else:
            whole = ended if ended.writing else whole
            assert images.digests() <= now.digests() and before.rows.items() <= now.rows.items()
    extract_to_the_end(kill, workspace, images, **options)
    check_extracted(workspace, now, images, views)
    extract_to_the_end(kill, place / "fresh", images, **options)
    check_equal(workspace, place / "fresh", images)
    # Without what is left of files that went or changed, nothing distinguishes the two.
    kill("compact", workspace)
    compacted, fresh = check_sound(workspace), stored(place / "fresh")
    assert (compacted.rows, compacted.files, compacted.doubled) == (fresh.rows, fresh.files, 0)


def kill_at_random(kill: Killer, place: Path, seed: int, chains: list[tuple[int, int, int]]) -> None:
    print("seed", seed)  # noqa: T201 - for whoever looks into a failure
    for number, (kills, workers, views) in enumerate(chains):
        folder = place / str(number)
        chain(kill, folder, 1000 * seed + number, kills, workers, views)
        shutil.rmtree(folder)


def test_extraction_is_killed_at_random(kill: Killer, tmp_path: Path) -> None:
    kill_at_random(kill, tmp_path, 1, [(5, 0, 0), (5, 0, 2), (5, 2, 0)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_extraction_is_killed_at_random_for_long(kill: Killer, tmp_path: Path, seed: int) -> None:
    kill_at_random(kill, tmp_path, seed, [(10, 0, 0)] * 3 + [(10, 0, 2), (10, 2, 0), (10, 2, 1)])


def kill_extraction_at_each(kill: Killer, place: Path, step: int) -> None:
    images = Images(place / "images", seed=0)
    images.add(5)
    images.change()
    extract_to_the_end(kill, place / "fresh", images)
    moments = kill("extract", place / "counted", images=images.root, at=0).moments
    assert moments > 50
    # Of the many alike that write shards a part; all at the end, where the list of images is written.
    killed = sorted({*range(1, moments + 1, step), *range(moments - 24, moments + 1)})
    middle = 0
    for moment in killed:
        workspace = place / f"killed-{moment}"
        assert kill("extract", workspace, images=images.root, at=moment).killed, moment
        now = check_extracted(workspace, Stored({}, {}, 0), images, views=0)
        partly = 0 < len(now.digests()) < len(images.digests())
        middle += partly or any(workspace.rglob(".deltaoe-tmp-*"))
        extract_to_the_end(kill, workspace, images)
        check_equal(workspace, place / "fresh", images)
    assert 4 * middle >= len(killed), f"only {middle} of {len(killed)} kills hit the middle of writing"


def test_extraction_is_killed_before_each_sixth_change_to_the_disk(kill: Killer, tmp_path: Path) -> None:
    kill_extraction_at_each(kill, tmp_path, step=6)


@pytest.mark.slow
def test_extraction_is_killed_before_every_change_to_the_disk(kill: Killer, tmp_path: Path) -> None:
    kill_extraction_at_each(kill, tmp_path, step=1)


class Compacting:
    """A workspace of many shards, some of them stale, and what must be left of it."""

    def __init__(self, kill: Killer, place: Path) -> None:
        self.kill, self.place, self.images = kill, place, Images(place / "images", seed=9)
        self.images.add(15)
        extract_to_the_end(kill, place / "template", self.images)
        for _ in range(2):
            self.images.change()
        self.images.add(3)
        extract_to_the_end(kill, place / "template", self.images)
        self.before = stored(place / "template")
        self.seconds = kill("compact", self.copy("whole")).seconds
        self.wanted = check_sound(place / "whole")
        assert len(list((place / "template").glob("features/*/shard-*.h5"))) >= 5
        assert self.wanted.rows.items() < self.before.rows.items() and self.wanted.doubled == 0
        assert self.wanted.files.items() < self.before.files.items()

    def copy(self, name: str) -> Path:
        """Beside the template: files are known by where they lie seen from there."""
        return Path(shutil.copytree(self.place / "template", self.place / name))

    def check_kept(self, workspace: Path) -> None:
        now = check_sound(workspace)
        assert self.wanted.rows.items() <= now.rows.items() <= self.before.rows.items()
        assert self.wanted.files.items() <= now.files.items() <= self.before.files.items()

    def check_the_end(self, workspace: Path) -> None:
        assert not self.kill("compact", workspace).killed
        now = check_sound(workspace)
        assert (now.rows, now.files, now.doubled) == (self.wanted.rows, self.wanted.files, 0)
        extract_to_the_end(self.kill, workspace, self.images)
        assert stored(workspace) == now
        check_free(workspace)


def kill_compaction_at_each(kill: Killer, place: Path, step: int) -> None:
    case = Compacting(kill, place)
    moments = kill("compact", case.copy("counted"), at=0).moments
    assert moments > 20
    for moment in range(1, moments + 1, step):
        workspace = case.copy(f"killed-{moment}")
        assert kill("compact", workspace, at=moment).killed
        case.check_kept(workspace)
        if (moment - 1) % (3 * step) == 0:
            case.check_the_end(workspace)


def test_compaction_is_killed_before_each_third_change_to_the_disk(kill: Killer, tmp_path: Path) -> None:
    kill_compaction_at_each(kill, tmp_path, step=3)


@pytest.mark.slow
def test_compaction_is_killed_before_every_change_to_the_disk(kill: Killer, tmp_path: Path) -> None:
    kill_compaction_at_each(kill, tmp_path, step=1)


def test_compaction_is_killed_at_random(kill: Killer, tmp_path: Path) -> None:
    case, rng = Compacting(kill, tmp_path), random.Random(3)
    for number in range(3):
        workspace = case.copy(f"killed-{number}")
        for _ in range(4):
            kill("compact", workspace, after=rng.uniform(0, case.seconds))
            case.check_kept(workspace)
        case.check_the_end(workspace)


def test_decoding_processes_end_with_a_run_that_was_killed(kill: Killer, tmp_path: Path) -> None:
    images = Images(tmp_path / "images", seed=4)
    images.add(40)
    # The first shard needs pictures that a process has decoded, so at its first byte one is alive.
    whole = kill("extract", tmp_path / "counted", images=images.root, workers=2, at=0)
    assert kill("extract", tmp_path / "cut", images=images.root, workers=2, at=whole.moments // 2).killed
    deadline = time.monotonic() + 20
    while kill.decoders() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert kill.decoders() == []
