"""Repair of a workspace: damaged files are set aside, what can be proven whole is kept, descriptions are restored.

Nothing is deleted. What is set aside lies in a folder ``damaged`` beside where it was, and fits there again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors import safe_open

from deltaoe.errors import StoreError, os_reason
from deltaoe.files import read_small_file
from deltaoe.store.atomic import write_json
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.index_folder import FOLDER as INDEX
from deltaoe.store.lock import in_turn, writing
from deltaoe.store.read_errors import check_regular, listed, unlocked
from deltaoe.store.self_contained import check_entries
from deltaoe.store.shard_tables import ASIDE
from deltaoe.store.shards import IMPORTED, write_shard
from deltaoe.store.verification import SHARDS, Finding, look_of
from deltaoe.store.whole_rows import whole_rows
from deltaoe.store.workspace import DATA_PREFIX, Workspace

_LOCKS = ("writer.lock", "writer.json")


@dataclass
class Repaired:
    """What a repair did.

    Attributes:
        aside: where damaged files were moved to.
        notes: sentences on what was kept, and on what is lost and how to get it back.
    """

    aside: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def repair(workspace: Workspace, findings: Sequence[Finding]) -> Repaired:
    """Set damaged files aside, keep their whole rows, and restore descriptions of feature spaces.

    Args:
        workspace: the workspace.
        findings: of a verification. What is not damaged, or was replaced since, is left alone.

    Raises:
        StoreError: another process is writing, or a file cannot be moved or written.
    """
    done = Repaired()
    for one in sorted((one for one in findings if one.damaged), key=_order):
        home = one.path.parent.parent if one.path.parent.name == INDEX else one.path.parent
        of_space = home.parent == workspace.folder / "features"
        with _locked(workspace, one.path, home if of_space else None):
            if look_of(one.path) != one.look:
                done.notes.append(f"{one.path} was replaced meanwhile, and left alone")
                continue
            aside = _set_aside(one.path) if one.look else None
            if aside is not None:
                done.aside.append(aside)
            if of_space and one.path.name == "space.json":
                done.notes.append(_restore_description(workspace, one.path, aside))
            elif of_space and aside is not None and one.path.match(SHARDS):
                done.notes += _keep_whole_rows(workspace, one.path, aside)
        if (
            aside is not None
            and one.path.parent == workspace.folder / "datasets"
            and one.path.suffix == ".h5"
        ):
            done.notes.append(_lost_listing(aside))
    return done


def _order(one: Finding) -> int:
    """Without locks nothing can be repaired, and without a description a shard's rows are of no known space."""
    return 0 if one.path.name in _LOCKS else 1 if one.path.name == "space.json" else 2


def _locked(workspace: Workspace, path: Path, store: Path | None) -> AbstractContextManager[None]:
    """The lock of the store that a file is of, or of the data sets, or of the workspace; none for locks themselves."""
    if path.name in _LOCKS:
        return nullcontext()
    if store is not None:
        return writing(store)
    return in_turn(path.parent if path.parent == workspace.folder / "datasets" else workspace.folder)


def _set_aside(path: Path) -> Path:
    target = path.parent / ASIDE / path.name
    try:
        target.parent.mkdir(exist_ok=True)
        number = 1
        while os.path.lexists(target):
            number += 1
            target = target.with_name(f"{path.stem}-{number}{path.suffix}")
        path.rename(target)
    except OSError as cause:
        raise StoreError(f"cannot move {path}: {os_reason(cause)}", hint="check permissions") from cause
    return target


def _keep_whole_rows(workspace: Workspace, path: Path, aside: Path) -> list[str]:
    """Write what is whole of a shard that was set aside as a new shard, and say what is lost."""
    try:
        space = workspace.known_space(path.parent.name)
    except StoreError:
        space = None
    if space is None:
        return [f"{path.name}: nothing of it is kept, because its feature space is not known"]
    whole = whole_rows(aside, space)
    kept = len(whole.digests)
    of = "its features" if whole.total is None else f"its {whole.total} features"
    if kept:
        target = _next_shard(path.parent)
        write_shard(
            target,
            space,
            digests=whole.digests,
            views=whole.views,
            vectors=whole.vectors,
            paths=[],
            sizes=np.zeros(0, np.int64),
            mtimes=np.zeros(0, np.int64),
            ctimes=np.zeros(0, np.int64),
            inodes=np.zeros(0, np.uint64),
            file_digests=np.zeros((0, 32), np.uint8),
            problems=[],
            origin=whole.origin,
            decode_policy=whole.decode_policy,
        )
        notes = [
            f"{path.name}: {kept} of {of} are proven whole by their checksums, and kept in {target.name}"
        ]
    else:
        notes = [f"{path.name}: none of {of} can be proven whole"]
    if kept != whole.total and (space.is_imported or whole.origin == IMPORTED):
        if space.is_imported or kept:  # a whole row proves where it comes from
            said = f"its features of {space.model} were imported, and cannot be made anew here: import them again"
        else:
            said = (
                "if features in it were imported, import them again: extract makes only those of images anew"
            )
        notes.append(f"{path.name}: {said} (deltaoe store import)")
    return notes


def _next_shard(folder: Path) -> Path:
    """The name of the shard after all others in a folder, sound or not."""
    numbers = [
        path.stem.split("-")[1] for place in (folder, folder / ASIDE) for path in listed(place, SHARDS)
    ]
    number = 1 + max((int(one) for one in numbers if one.isdecimal()), default=0)
    return folder / f"shard-{number:08d}.h5"


def _restore_description(workspace: Workspace, path: Path, aside: Path | None) -> str:
    """Write a feature space's description again, as far as somebody has it; a sentence on that."""
    for space in _descriptions(workspace, path.parent, aside):
        if space.id == path.parent.name:
            write_json(path, space.to_dict())
            return f"{path}: restored"
    if not listed(path.parent, SHARDS):
        return f"{path}: not restored, but there are no features that need it"
    return (
        f"{path}: not restored, because nothing here describes that space; `deltaoe extract` with the model that made "
        "its features, or importing them again, writes it"
    )


def _descriptions(workspace: Workspace, folder: Path, aside: Path | None) -> Iterator[FeatureSpace]:
    """Whatever may describe the space of a folder. Its id tells whether it does."""
    shapes: set[tuple[int, str]] = set()
    for shard in listed(folder, SHARDS):
        for values, dim, dtype in _of_shard(shard):
            shapes.add((dim, dtype))
            yield from _space(values)
    for detector in (
        *listed(workspace.folder / "detectors", "*.safetensors"),
        *listed(folder / "zero-shot", "*.safetensors"),
    ):
        yield from _space(_of_detector(detector))
    for dim, dtype in shapes:
        for model in _models(workspace, folder.name):
            yield FeatureSpace.imported(model, dim, dtype)
        for values in _json_of(aside):
            yield from _space({**values, "dim": dim, "dtype": dtype})
            yield from _space({**values, "dim": dim, "dtype": dtype, "model": "unknown"})


def _space(values: Any) -> Iterator[FeatureSpace]:
    try:
        yield FeatureSpace.from_dict(values)
    except (StoreError, TypeError, ValueError, AttributeError):
        return


def _of_shard(path: Path) -> Iterator[tuple[Any, int, str]]:
    try:
        check_regular(path)
        with h5py.File(path, "r", **unlocked()) as file:
            check_entries(file.id, b"features")
            check_entries(file["features"].id, b"vector")
            vectors = file["features/vector"]
            found = json.loads(file.attrs.get("description", "{}")), int(vectors.shape[1]), str(vectors.dtype)
    except Exception:  # one that cannot be read describes nothing
        return
    yield found


def _of_detector(path: Path) -> Any:
    try:
        check_regular(path)
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})["deltaoe"])["space"]
    except Exception:
        return {}


def _json_of(aside: Path | None) -> Iterator[dict[str, Any]]:
    try:
        values = (
            None if aside is None else json.loads(read_small_file(aside, limit=1 << 20, error=StoreError))
        )
    except (StoreError, ValueError, RecursionError):
        return
    if isinstance(values, dict):
        yield values


def _models(workspace: Workspace, space_id: str) -> Iterator[str]:
    """Names of models by which data sets know the space of this id."""
    for path in workspace.listings():
        try:
            data = workspace.load_listing(path)
        except StoreError:
            continue
        if data.space_id == space_id:
            yield data.model


def _lost_listing(aside: Path) -> str:
    """A sentence on a data set that was set aside: what it was called, and how to have it again."""
    title, way = "a data set", "extract or import it again"
    try:
        check_regular(aside)
        with h5py.File(aside, "r", **unlocked()) as file:
            check_entries(file.id, b"root")
            head = json.loads(file.attrs["head"])
            title = f"{DATA_PREFIX}{head['name']}" if head["name"] else title
            imported = bytes(file["root"][()]) == b""
            way = "it was imported: import it again" if imported else "run the same deltaoe extract again"
    except Exception:  # noqa: S110 - then it says no more
        pass
    return f"{title} is no longer listed: {way}; its features are kept"
