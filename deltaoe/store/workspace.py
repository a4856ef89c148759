"""The workspace: the folder ``.deltaoe`` with the features, data sets and detectors of one project."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltaoe.errors import DamagedError, DataError, MismatchError, StoreError
from deltaoe.images.location_text import absolute, joined, tidied, without_secrets
from deltaoe.store.atomic import TEMPORARY_PREFIX, cannot_write
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.lock import in_turn
from deltaoe.store.place import workspace_folder
from deltaoe.store.read_errors import listed
from deltaoe.store.state_file import MEND, as_written, read_json, read_state, write_state

if TYPE_CHECKING:
    from deltaoe.images.inputs import FileList
    from deltaoe.store.feature_store import FeatureStore

DATA_PREFIX = "data:"
_UNTIDY = ("..", "//", "./")


class Workspace:
    """The files of one workspace, and its state: the last data set and detector, and what belongs to what.

    The state file is a convenience: losing it loses no features.

    Args:
        folder: the workspace's folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))  # files are remembered by names relative to its parent

    def __repr__(self) -> str:
        return f"Workspace({str(self.folder)!r})"

    @classmethod
    def locate(cls, override: Path | None = None) -> Workspace:
        """The workspace to use: ``override``, else $DELTAOE_WORKSPACE, else ``.deltaoe`` here or above, else a new one.

        Nothing is created before something is written.

        Raises:
            StoreError: a file is in the way.
        """
        return cls(workspace_folder(override))

    def check_writable(self) -> None:
        """Create the folder if need be and write a file into it, before hours of work rely on that.

        Raises:
            StoreError: the folder cannot be written.
        """
        probe = self.folder / f"{TEMPORARY_PREFIX}{os.getpid()}-probe"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as cause:
            raise cannot_write(self.folder, cause) from cause

    def file_key(self, path: str | Path) -> str:
        """The name that a file is recorded under: relative to the workspace's parent if it lies there, else absolute.

        So a project folder that moves as a whole needs no new extraction.
        """
        base = os.path.join(os.path.dirname(self.folder), "")
        return absolute(without_secrets(os.fspath(path))).removeprefix(base)

    def file_keys(self, files: FileList) -> list[bytes]:
        """:meth:`file_key` of each of n files, as bytes."""
        from deltaoe.store.hdf5 import encoded

        starts = [os.fsencode(os.path.join(absolute(root), "")) for root in files.roots]
        here = os.fsencode(os.path.join(os.path.dirname(self.folder), ""))
        if any(here.startswith(start) for start in starts):
            # The whole path decides: a root may lie above the workspace, and some of its files beside it.
            keys = [
                (starts[root] + relative).removeprefix(here)
                for root, relative in zip(files.root_of, encoded(files.relative), strict=True)
            ]
        else:
            starts = [start.removeprefix(here) for start in starts]
            keys = [
                starts[root] + relative
                for root, relative in zip(files.root_of, encoded(files.relative), strict=True)
            ]
        joined = "\0".join(files.relative)
        if os.sep != "/" or any(untidy in joined for untidy in _UNTIDY):
            for i, relative in enumerate(files.relative):
                if os.sep != "/" or any(untidy in relative for untidy in _UNTIDY):
                    keys[i] = os.fsencode(self.file_key(files.shown(i)))
        return keys

    def spaces(self) -> list[FeatureSpace]:
        """All feature spaces that have a store here. Raises StoreError if a description is damaged."""
        spaces = (self.known_space(folder.name) for folder in listed(self.folder / "features", "*"))
        return [space for space in spaces if space is not None]

    def store(self, space: FeatureSpace) -> FeatureStore:
        """The feature store of a space, empty if there is none yet. Raises StoreError if it is damaged."""
        from deltaoe.store.feature_store import FeatureStore  # it loads h5py

        return FeatureStore(self.folder / "features" / space.id, space)

    def features_of(self, data: DataSet) -> FeatureStore:
        """The store that holds the features of a data set.

        Raises:
            MismatchError: they are no longer in this workspace.
            StoreError: the store or the description of its space is damaged.
        """
        space = self.known_space(data.space_id)
        if space is None:
            raise MismatchError(
                f"the features of {data.title} are no longer in {self.folder}",
                hint="extract or import them again",
            )
        return self.store(space)

    def known_space(self, space_id: str) -> FeatureSpace | None:
        """The feature space of this id; None if it has no store here. Raises StoreError if its file is damaged."""
        path = self.folder / "features" / space_id / "space.json"
        if not os.path.lexists(path):
            return None
        values = read_json(path)
        try:
            space = FeatureSpace.from_dict(values)
        except StoreError as cause:
            raise DamagedError(f"{path}: {cause}", hint=MEND) from cause
        if space.id != space_id:
            raise DamagedError(
                f"{path} describes another feature space", hint=f"{MEND}; or move that folder away"
            )
        return space

    def text_file(self, space: FeatureSpace, key: str) -> Path:
        """The file of the text features of prompts with this :func:`deltaoe.store.text_cache.prompts_key`."""
        return self.folder / "features" / space.id / "text" / f"{key}.safetensors"

    def zero_shot_file(self, space: FeatureSpace, key: str) -> Path:
        """File of a zero-shot detector with image evidence, which may be deleted: it is made again."""
        return self.folder / "features" / space.id / "zero-shot" / f"{key}.safetensors"

    def index_folder(self, space: FeatureSpace) -> Path:
        """The folder of indexes of labels, :mod:`deltaoe.store.index_cache`; they may be deleted."""
        return self.folder / "features" / space.id / "labels"

    def save_dataset(self, data: DataSet, *, current: bool = True) -> None:
        """Write a data set; one with classes becomes the last data set, :meth:`dataset`, if it is ``current``.

        Raises:
            StoreError: it cannot be written.
        """
        stored = dataclasses.replace(
            data,
            root=self.file_key(data.root) if data.root else "",
            inputs=tuple(self.file_key(given) for given in data.inputs),
        )
        path = self.listing(data)
        with in_turn(path.parent):
            stored.save(path)
        if data.labelled and current:
            self.remember(dataset=path.name)

    def listing(self, data: DataSet) -> Path:
        """The file that lists a data set; it need not exist."""
        name = _dataset_name([self.file_key(given) for given in data.inputs], data.name, data.space_id)
        return self.folder / "datasets" / name

    def dataset(self, wanted: str | Path | None = None) -> DataSet | None:
        """A data set of this workspace.

        Args:
            wanted: an input that was extracted, or a name, ``data:NAME``; None for the last data set with classes.

        Returns:
            The data set; None only if none is named and there is no last one.

        Raises:
            DataError: there is no such data set here.
            StoreError: it cannot be read.
        """
        if wanted is None:
            return self._listed(self.state().get("dataset"))
        text = os.fspath(wanted)
        named = text.removeprefix(DATA_PREFIX)
        spaces = [folder.name for folder in listed(self.folder / "features", "*")]
        listings = [
            self.folder / "datasets" / _dataset_name(inputs, name, space)
            for inputs, name in (((), named), ((self.file_key(text),), ""), ((self.file_key(named),), ""))
            for space in spaces
        ]
        latest = max(
            (p for p in listings if os.path.lexists(p)), key=lambda p: p.lstat().st_mtime_ns, default=None
        )
        if latest is None:
            names = ", ".join(DATA_PREFIX + name for name in self.dataset_names())
            raise DataError(
                f"{text} has not been extracted or imported in {self.folder}",
                hint=f"run: deltaoe extract {text}" + (f"; named data sets are {names}" if names else ""),
            )
        return self.load_listing(latest)

    def datasets(self) -> list[DataSet]:
        """All data sets. Raises StoreError if one cannot be read."""
        return [self.load_listing(path) for path in self.listings()]

    def listings(self) -> list[Path]:
        """The files of all data sets, without the temporary files of writers."""
        return listed(self.folder / "datasets", "[!.]*.h5")

    def dataset_names(self) -> list[str]:
        """The names that users gave to data sets, sorted. Raises StoreError if a data set cannot be read."""
        return sorted({data.name for data in self.datasets() if data.name})

    def _listed(self, name: object) -> DataSet | None:
        """The data set that the state names by its file; None if there is no such file any more."""
        path = self.folder / "datasets" / str(name)
        return self.load_listing(path) if name and os.path.isfile(path) else None

    def load_listing(self, path: Path) -> DataSet:
        """The data set that a file of :meth:`listings` lists. Raises StoreError if it cannot be read."""
        data, base = DataSet.load(path), os.path.dirname(self.folder)
        return dataclasses.replace(
            data,
            root=tidied(joined(base, data.root)) if data.root else "",
            inputs=tuple(joined(base, given) for given in data.inputs),
        )

    def detector_file(self, name: str) -> Path:
        """The file of the detector of this name."""
        return self.folder / "detectors" / f"{name}.safetensors"

    def detector_names(self) -> list[str]:
        """The names of all detectors, sorted."""
        return [path.stem for path in listed(self.folder / "detectors", "[!.]*.safetensors")]

    def current_detector(self) -> Path | None:
        """The file of the last tuned detector; None if there is none any more."""
        name = self.state().get("detector")
        path = self.detector_file(str(name))
        return path if name and os.path.isfile(path) else None

    def lost_detector(self) -> str | None:
        """The name of the last tuned detector if its file is gone, though nobody has asked deltaoe to delete it."""
        name = self.state().get("detector")
        return name if isinstance(name, str) and name and self.current_detector() is None else None

    def tuned_on(self, name: str) -> DataSet | None:
        """The data set that the detector of this name was tuned on, as it is now; None if that is not known any more.

        Raises:
            StoreError: it cannot be read.
        """
        return self._listed(self.state().get("tuned_on", {}).get(name))

    def is_noted(self, name: str) -> bool:
        """Whether it was noted which data set the detector of this name was tuned on."""
        return name in self.state().get("tuned_on", {})

    def folders_seen(self, data: DataSet) -> str | None:
        """The :func:`deltaoe.images.folders.fingerprint` of a data set's folders when it was extracted, if known."""
        seen = self.state().get("folders", {}).get(self.listing(data).name)
        return seen if isinstance(seen, str) else None

    def named_models(self) -> set[str]:
        """The models that the user has named in this workspace, in their one-line names."""
        return set(self.state().get("named", {}))

    def note_named_model(self, name: str) -> None:
        """Note that the user has named this model here: it may be loaded though only a file names it again."""
        self.remember_in("named", {name: True})

    def state(self) -> dict[str, Any]:
        """The state file's content; empty if there is no file. Raises StoreError if it is damaged."""
        return read_state(self.folder / "workspace.json")

    def remember(self, **values: Any) -> None:
        """Change entries of the state file, atomically. Raises StoreError if that fails."""
        self.change_state(lambda state: {**state, **values})

    def remember_in(self, table: str, entries: Mapping[str, Any]) -> None:
        """Add entries to a table of the state file; those of other processes stay. Raises StoreError if that fails."""
        self.change_state(lambda state: {**state, table: {**state.get(table, {}), **entries}})

    def change_state(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Write what ``change`` makes of the state, if that differs from it. Raises StoreError if that fails.

        Args:
            change: called with the state as it is while no other process changes it; must not modify its argument.
        """
        if as_written(change(state := self.state())) != state:
            with in_turn(self.folder):
                write_state(self.folder / "workspace.json", change(self.state()))


def _dataset_name(inputs: Sequence[str], name: str, space_id: str) -> str:
    """The file name of a data set: a digest of its name, or else its inputs, and its space."""
    # A single folder without a name is digested as in version 1, so that its file is found again.
    key = (
        f"data:{name}".encode("utf-8", "surrogateescape") if name else b"\0\0".join(map(os.fsencode, inputs))
    )
    return f"{hashlib.sha256(key + bytes(1) + space_id.encode()).hexdigest()[:16]}.h5"
