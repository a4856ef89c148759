"""The workspace: the folder ``.deltaoe``, where features, listings and detectors of one project live."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from deltaoe.data.dataset import DataSet
from deltaoe.data.features import FeatureStore
from deltaoe.data.files import cannot_write, write_json
from deltaoe.data.space import FeatureSpace
from deltaoe.errors import DataError, StoreError

NAME = ".deltaoe"
VARIABLE = "DELTAOE_WORKSPACE"
_FORMAT = 1


class Workspace:
    """Paths and the small state file of one workspace.

    The state remembers what "the last extracted data set" and "the last detector" are, and which feature space
    a model had when it was last loaded. It is a convenience: losing it loses no features.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))  # files are remembered by names relative to its parent

    @classmethod
    def locate(cls, override: Path | None = None) -> Workspace:
        """``override``, else $DELTAOE_WORKSPACE, else ``.deltaoe`` here or above, else a new one here.

        Nothing is created before something is written.

        Raises:
            StoreError: a file is in the way.
        """
        given = override or (Path(value) if (value := os.environ.get(VARIABLE)) else None)
        if given is not None:
            folder = given
        else:
            here = Path.cwd()
            folder = next((p / NAME for p in (here, *here.parents) if (p / NAME).is_dir()), here / NAME)
        if folder.exists() and not folder.is_dir():
            raise StoreError(
                f"{folder} is a file, not a workspace folder", hint="move it away or pass --workspace DIR"
            )
        return cls(folder)

    def check_writable(self) -> None:
        """Create the folder if need be and prove that it takes files, before hours of work rely on it.

        Raises:
            StoreError: it does not.
        """
        probe = self.folder / f"writable-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as cause:
            raise cannot_write(self.folder, cause) from cause

    def file_key(self, path: Path) -> str:
        """The name a file is remembered by: relative to the workspace's parent if inside it, else absolute.

        A project folder that moves as a whole keeps its cache.
        """
        absolute, base = os.path.abspath(path), os.path.join(os.path.dirname(self.folder), "")
        return absolute.removeprefix(base)

    def store(self, space: FeatureSpace) -> FeatureStore:
        """The feature store of a space, empty if there is none yet. Raises StoreError if it is damaged."""
        return FeatureStore(self.folder / "features" / space.id, space)

    def known_space(self, space_id: str) -> FeatureSpace | None:
        """The space stored under this id, if there is one. Raises StoreError if its description is damaged."""
        path = self.folder / "features" / space_id / "space.json"
        if not path.is_file():
            return None
        space = FeatureSpace.from_dict(_read_json(path))
        if space.id != space_id:
            raise StoreError(f"{path} describes another feature space", hint="move that folder away")
        return space

    def text_file(self, space: FeatureSpace, key: str) -> Path:
        """Where the text features of a set of prompts are kept."""
        return self.folder / "features" / space.id / "text" / f"{key}.safetensors"

    def save_dataset(self, data: DataSet) -> None:
        """Keep a listing; if it has classes, it becomes what ``tune`` and ``score`` use by default."""
        name = self._dataset_name(data.root, data.space_id)
        dataclasses.replace(data, root=self.file_key(Path(data.root))).save(self.folder / "datasets" / name)
        if data.labelled:
            self.remember(dataset=name)

    def dataset(self, root: Path | None = None) -> DataSet | None:
        """The last extracted data set with classes; or the last listing of the folder ``root``.

        Raises:
            DataError: ``root`` was never extracted here.
        """
        state = self.state()
        if root is None:
            name = state.get("dataset")
            path = self.folder / "datasets" / str(name)
            return self._load(path) if name and os.path.isfile(path) else None
        absolute = os.path.abspath(root)  # not resolved: links stay as the user wrote them
        listings = [
            self.folder / "datasets" / self._dataset_name(absolute, folder.name)
            for folder in (self.folder / "features").glob("*")
        ]
        found = max((p for p in listings if p.is_file()), key=lambda p: p.stat().st_mtime_ns, default=None)
        if found is None:
            raise DataError(
                f"{root} has not been extracted in {self.folder}", hint=f"run: deltaoe extract {root}"
            )
        return self._load(found)

    def _load(self, path: Path) -> DataSet:
        data = DataSet.load(path)
        return dataclasses.replace(data, root=os.path.join(os.path.dirname(self.folder), data.root))

    def detector_file(self, name: str) -> Path:
        """Where a detector of this name is kept."""
        return self.folder / "detectors" / f"{name}.safetensors"

    def current_detector(self) -> Path | None:
        """The last tuned detector, if it is still there."""
        name = self.state().get("detector")
        path = self.detector_file(str(name))
        return path if name and os.path.isfile(path) else None

    def state(self) -> dict[str, Any]:
        """The state file's content; empty if there is none. Raises StoreError if it is not what we wrote."""
        path = self.folder / "workspace.json"
        if not path.is_file():
            return {}
        state = _read_json(path)
        if state.get("format") != _FORMAT:
            raise StoreError(
                f"{path} was written by another version of deltaoe", hint="use --workspace for a new one"
            )
        if not isinstance(state.get("spaces", {}), dict):
            raise _damaged(path)
        return state

    def remember(self, **values: Any) -> None:
        """Change entries of the state file, atomically. Raises StoreError."""
        write_json(self.folder / "workspace.json", {**self.state(), **values, "format": _FORMAT})

    def _dataset_name(self, root: str, space_id: str) -> str:
        key = os.fsencode(self.file_key(Path(root)))
        digest = hashlib.sha256(key + b"\0" + space_id.encode()).hexdigest()
        return f"{digest[:16]}.h5"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        raise StoreError(
            f"cannot read {path}: {cause}", hint="move that file away and run the command again"
        ) from cause
    if not isinstance(value, dict):
        raise _damaged(path)
    return value


def _damaged(path: Path) -> StoreError:
    return StoreError(f"{path} is damaged", hint="move that file away and run the command again")
