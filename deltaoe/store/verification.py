"""Verification of a workspace: every byte is read, and what is damaged is told from what cannot be read just now."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deltaoe.errors import DamagedError, StoreError, UnreadableError
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import BLOCK_ROWS
from deltaoe.store.hdf5 import check_checksum, get_strings, opened
from deltaoe.store.index_file import SUFFIX, IndexFile
from deltaoe.store.index_folder import FOLDER as INDEX
from deltaoe.store.paged_table import IndexFileError
from deltaoe.store.read_errors import check_regular, listed, read_error
from deltaoe.store.shards import path_keys, read_index
from deltaoe.store.workspace import Workspace

FOLDERS = ("features", "datasets", "detectors")
SHARDS = "shard-*.h5"
_TRIES = 5
_PAUSE_SECONDS = 0.1
# Files that are made anew where they are damaged, but not where something else stands in their place.
_OTHERS = (
    ("", "writer.lock"),
    ("datasets", "writer.lock"),
    ("detectors", "*.safetensors"),
)
_OTHERS_OF_A_SPACE = (
    ("", "writer.lock"),
    ("", "writer.json"),
    ("text", "*.safetensors"),
    ("zero-shot", "*.safetensors"),
)

Look = tuple[int, ...]  # what changes when a file is replaced or written to; empty if there is none
Check = Callable[[Path], int]


@dataclass(frozen=True)
class Finding:
    """A file or folder that could not be verified.

    Attributes:
        path: where it is, or should be.
        error: a DamagedError, or an UnreadableError (InUseError) if it may be sound.
        look: the :func:`look_of` the file when it was read.
    """

    path: Path
    error: StoreError
    look: Look

    @property
    def damaged(self) -> bool:
        """Whether its content is proven not to be what was written."""
        return isinstance(self.error, DamagedError)


@dataclass
class Verification:
    """What was read of a workspace, and what is wrong with it.

    Attributes:
        shards: number of shards that were read.
        rows: number of features in the sound ones.
        findings: what could not be verified.
    """

    shards: int = 0
    rows: int = 0
    findings: list[Finding] = field(default_factory=list)


def look_of(path: Path) -> Look:
    """What a file looks like from outside; empty if there is none."""
    try:
        info = os.lstat(path)
    except OSError:
        return ()
    return (info.st_dev, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns)


def check_workspace(workspace: Workspace, on: OnEvent = silent) -> Verification:
    """Check the state, the descriptions of feature spaces, and every shard and data set of a workspace.

    Other processes may write and compact meanwhile: what was replaced or removed while it was read is looked for again.

    Args:
        workspace: the workspace.
        on: receives progress.
    """
    return _Run(workspace, on).result


class _Run:
    def __init__(self, workspace: Workspace, on: OnEvent) -> None:
        self._workspace, self._on = workspace, on
        self.result = Verification()
        for name in FOLDERS:
            self._must_be_folder(workspace.folder / name)
        self._check(lambda: {workspace.folder / "workspace.json": lambda _: len(workspace.state())})
        self._check(self._descriptions)
        rows = self._check(self._shards, on)
        self.result.shards = len(rows)
        self.result.rows = sum(count for path, count in rows.items() if os.path.lexists(path))
        self._check(
            lambda: dict.fromkeys(self._listed(workspace.folder / "datasets", "[!.]*.h5"), check_listing)
        )
        self._check(self._index_files)
        self._check(self._others)

    def _must_be_folder(self, path: Path) -> None:
        if os.path.lexists(path) and not path.is_dir():
            error = DamagedError(
                f"{path} is not a folder", hint="`deltaoe store verify --repair` moves it away"
            )
            self.result.findings.append(Finding(path, error, look_of(path)))

    def _listed(self, folder: Path, pattern: str) -> list[Path]:
        try:
            return listed(folder, pattern)
        except UnreadableError as error:
            if all(one.path != folder for one in self.result.findings):
                self.result.findings.append(Finding(folder, error, ()))
            return []

    def _space_folders(self) -> list[Path]:
        return [path for path in self._listed(self._workspace.folder / "features", "*") if path.is_dir()]

    def _check(self, wanted: Callable[[], Mapping[Path, Check]], on: OnEvent = silent) -> dict[Path, int]:
        """Check files until none has come that was not checked; path → the check's number, 0 where it failed."""
        numbers: dict[Path, int] = {}
        while todo := {path: check for path, check in wanted().items() if path not in numbers}:
            for path, check in todo.items():
                found = check_file(path, check)
                if isinstance(found, Finding):
                    self.result.findings.append(found)
                numbers[path] = found if isinstance(found, int) else 0
                on(Event("Verifying", len(numbers), len(numbers.keys() | todo.keys())))
        return {path: number for path, number in numbers.items() if os.path.lexists(path)}

    def _descriptions(self) -> dict[Path, Check]:
        checks: dict[Path, Check] = {}
        for folder in self._space_folders():
            path = folder / "space.json"
            if os.path.lexists(path):
                checks[path] = self._check_description
            elif self._listed(folder, SHARDS) and all(one.path != path for one in self.result.findings):
                error = DamagedError(
                    f"{path} is gone",
                    hint="`deltaoe store verify --repair` restores it from the shards; `deltaoe extract` with its "
                    "model writes it again, too",
                )
                self.result.findings.append(Finding(path, error, ()))
        return checks

    def _check_description(self, path: Path) -> int:
        return int(self._workspace.known_space(path.parent.name) is not None)

    def _shards(self) -> dict[Path, Check]:
        checks: dict[Path, Check] = {}
        for folder in self._space_folders():
            try:
                space = self._workspace.known_space(folder.name)
            except StoreError:
                space = None  # which was said already; whether the shards are whole can still be told
            check = functools.partial(check_shard, space=space)
            checks |= dict.fromkeys(self._listed(folder, SHARDS), check)
        return checks

    def _index_files(self) -> dict[Path, Check]:
        checks: dict[Path, Check] = {}
        for folder in self._space_folders():
            self._must_be_folder(folder / INDEX)
            checks |= dict.fromkeys(self._listed(folder / INDEX, f"*{SUFFIX}"), check_index)
        return checks

    def _others(self) -> dict[Path, Check]:
        places = [(self._workspace.folder / folder, pattern) for folder, pattern in _OTHERS]
        for folder in self._space_folders():
            places += [(folder / inner, pattern) for inner, pattern in _OTHERS_OF_A_SPACE]
            for inner in ("text", "zero-shot"):
                self._must_be_folder(folder / inner)
        return {path: check_place for folder, pattern in places for path in self._listed(folder, pattern)}


def check_file(path: Path, check: Check) -> int | Finding | None:
    """What a check says of a file: its number, or what is wrong; None if the file is gone.

    A file that was replaced meanwhile is checked again. One that seems damaged is read twice: once is no proof.
    """
    doubted: Look = ()
    for attempt in range(_TRIES):
        look = look_of(path)
        if not look:
            return None
        try:
            return check(path)
        except StoreError as cause:
            error = cause
        if look_of(path) == look:
            if not isinstance(error, DamagedError) or doubted == look:
                return Finding(path, error, look)
            doubted = look
        time.sleep(_PAUSE_SECONDS * attempt)
    return Finding(
        path, UnreadableError(f"{path} changes all the time", hint="run it again later"), look_of(path)
    )


def check_shard(path: Path, space: FeatureSpace | None) -> int:
    """Number of features in a shard; of its space only the checksum is looked at if that is not known.

    Raises:
        StoreError: it is damaged, or cannot be read.
    """
    with opened(path, "features") as file:
        check_checksum(file)
        if space is None:
            return len(file["features/digest"])
        index = read_index(file, space)
        vectors = file["features/vector"]
        for start in range(0, len(vectors), BLOCK_ROWS):
            block = vectors[start : start + BLOCK_ROWS].astype(np.float32)
            length = np.sqrt(np.einsum("ij,ij->i", block, block))
            wrong = ~(np.abs(length - 1) < 0.01)  # NaN is not less either
            if wrong.any():
                row = start + int(np.argmax(wrong))
                raise DamagedError(f"feature {row} has length {length[row - start]:g}, not 1")
        if not np.array_equal(path_keys(get_strings(file["files"], "path")), index.file_keys):
            raise DamagedError("its paths do not fit their keys")
    return len(index.row_keys)


def check_listing(path: Path) -> int:
    """Number of images in a data set. Raises StoreError if it is damaged, or cannot be read."""
    with opened(path, "dataset") as file:
        check_checksum(file)
    return len(DataSet.load(path))


def check_index(path: Path) -> int:
    """Number of shards that an index file covers, which may be others by now.

    Raises:
        StoreError: it is damaged, or cannot be read.
    """
    try:
        check_regular(path)
        file = IndexFile(path, path.parent.parent.name)
        file.check()
    except (OSError, StoreError) as cause:
        outside = cause.__cause__ if isinstance(cause.__cause__, OSError) else cause
        if isinstance(outside, IndexFileError):
            raise
        assert isinstance(outside, Exception)  # noqa: S101 - for the type checker
        raise read_error(path, outside, f"cannot read {path}") from cause
    return len(file.content.shards)


def check_place(path: Path) -> int:
    """Raise StoreError if what stands in a file's place is none."""
    try:
        check_regular(path)
    except (OSError, StoreError) as cause:
        raise read_error(path, cause, f"cannot read {path}") from cause
    return 0
