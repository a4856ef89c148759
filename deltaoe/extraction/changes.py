"""What has happened to the files of a data set since it was extracted."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltaoe.errors import DataError, MismatchError, StoreError
from deltaoe.images.containers import add_containers, containers_of
from deltaoe.images.file_list import FileList
from deltaoe.images.folders import fingerprint, fingerprint_of_walk
from deltaoe.images.lists import Wanted
from deltaoe.images.location_text import absolute, is_url
from deltaoe.images.passed_over import Unlisted
from deltaoe.images.walk import FileCollector
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.short_repr import counted
from deltaoe.store.dataset import DataSet
from deltaoe.store.sentences import extract_command, short_title
from deltaoe.store.workspace import Workspace


@dataclass(frozen=True)
class Changes:
    """Numbers of image files that a data set does not know, or knows otherwise.

    Attributes:
        added: files that it does not list, without those that are known to be no usable images.
        removed: files that it lists and that are not there.
        changed: files with another size or modification time than when they were read; counted on request.
        touched: files of that size and time that may have changed nevertheless; counted on request.
        unlisted: folders that cannot be listed now; whether their files were removed is not known.
        problem: why the folders could not be looked at; empty if they could.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    touched: int = 0
    unlisted: tuple[str, ...] = ()
    problem: str = ""


def fingerprint_of(inputs: Sequence[str], files: FileList | None = None) -> str:
    """The fingerprint of the folders among inputs; empty unless all of them are folders.

    Args:
        inputs: as the user wrote them.
        files: the list of the files of these inputs, if it has been made: the fingerprint is then of the folders as
            they were before their entries were listed.
    """
    folders = [absolute(one) for one in inputs]
    if not folders or not all(map(os.path.isdir, folders)):
        return ""
    return fingerprint(folders) if files is None else fingerprint_of_walk(files.folders)


def remember_folders(workspace: Workspace, data: DataSet, seen: str) -> None:
    """Keep the fingerprint that a data set's folders had before they were walked. Raises StoreError."""
    if seen:
        name = workspace.listing(data).name
        workspace.change_state(lambda state: {**state, "folders": {**state.get("folders", {}), name: seen}})


def changes(
    data: DataSet, workspace: Workspace, *, thorough: bool = False, on: OnEvent = silent
) -> Changes | None:
    """What has happened to the files of a data set's folders since they were extracted.

    Cheap if nothing was added or removed: then only folders are looked at, whose fingerprint the workspace keeps.

    Args:
        data: a data set of the workspace.
        workspace: has the data set and the records of its files.
        thorough: look at every file, and count the changed ones, too.
        on: receives progress.

    Returns:
        None if the inputs are not all folders (lists, globs and imported features are left alone), or if nothing was
        added or removed by the fingerprint.

    Raises:
        StoreError: the state of the workspace is damaged.
    """
    if not data.root or not data.inputs or is_url(data.root):  # nothing is fetched to say what is out of date
        return None
    if data.inputs == (data.root,) and not os.path.lexists(data.root):
        return Changes(problem=f"{short_title(data)} is not there")
    below = os.path.join(data.root, "")
    if not all(os.path.join(one, "").startswith(below) and os.path.isdir(one) for one in data.inputs):
        return None
    seen = fingerprint_of(data.inputs)
    if not thorough and seen == workspace.folders_seen(data):
        return None
    collector = FileCollector(lambda found: on(Event("Listing files", found)))
    for number, folder in enumerate(data.inputs):
        collector.files.roots.append(folder)
        try:
            collector.walk(number, folder)
        except DataError as error:
            return Changes(problem=str(error))
    add_containers(collector, list(containers_of(collector)), Wanted(labels=False))
    found = _compared(data, workspace, collector.files, thorough)
    if not found.added and not found.removed and not found.unlisted:
        with contextlib.suppress(StoreError):  # the next time it would take longer, and nothing else
            remember_folders(workspace, data, seen)
    return found


def _compared(data: DataSet, workspace: Workspace, files: FileList, thorough: bool) -> Changes:
    """Numbers of added and removed files, and of changed ones if asked for."""
    start = os.path.join(data.root, "")
    listed = {start + path for path in data.paths}
    starts = [os.path.join(root, "") for root in files.roots]
    pairs = zip(files.root_of, files.relative, strict=True)
    rows = {starts[root] + relative: row for row, (root, relative) in enumerate(pairs)}
    unknown = (rows[path] for path in rows.keys() - listed)
    new = [row for row in unknown if row not in files.problems and _is_readable(files, row)]
    old = [rows[path] for path in rows.keys() & listed] if thorough else []
    folders = tuple(one.path for one in files.unlisted)
    removed = sum(not path.startswith(folders) for path in listed - rows.keys())
    if not new and not old:
        return Changes(removed=removed, unlisted=folders)
    part = files.part([*new, *old])
    try:
        records = workspace.features_of(data).files(workspace.file_keys(part))
    except (
        MismatchError,
        StoreError,
    ):  # what the records would say is not known: commands that need them say what is wrong
        return Changes(added=len(new), removed=removed, unlisted=folders)
    alike = records.as_sized_and_dated(part)
    same = records.unchanged(part) | (
        alike & ~records.has_change_time
    )  # of these nobody can say more, unread
    added = int(np.count_nonzero(~(records.failed & same)[: len(new)]))
    changed = int(np.count_nonzero(~alike[len(new) :]))
    touched = int(np.count_nonzero((alike & ~same)[len(new) :]))
    return Changes(added, removed, changed, touched, folders)


def _is_readable(files: FileList, row: int) -> bool:
    return files.root_of[row] in files.containers or os.access(files.path(row), os.R_OK)


def out_of_sight(data: DataSet, workspace: Workspace, unlisted: Sequence[Unlisted]) -> list[str]:
    """A sentence if images that a data set has listed lie in folders that cannot be listed now.

    Args:
        data: the data set that is about to take the place of the one of before.
        workspace: has the one of before, if there is one.
        unlisted: the folders.
    """
    path = workspace.listing(data)
    if not unlisted or not path.is_file():
        return []
    try:
        before = workspace.load_listing(path)
    except StoreError:  # it is about to be replaced
        return []
    folders = tuple(os.path.join(os.path.abspath(one.path), "") for one in unlisted)
    gone = sum(os.path.join(before.root, path).startswith(folders) for path in before.paths)
    if not gone:
        return []
    return [
        f"{counted(gone, 'image')} of {short_title(data)} in folders that cannot be listed now: no longer in the data "
        "set, but the features are kept; make the folders readable and extract again"
    ]


def added_since_extract(data: DataSet, workspace: Workspace, on: OnEvent = silent) -> list[str]:
    """A sentence, with the next command, if files were added to a data set's folders or removed since extraction."""
    found = changes(data, workspace, on=on)
    if found is None or found.problem:
        return []
    return changes_in_words(dataclasses.replace(found, unlisted=()), data, workspace)


def changes_in_words(found: Changes, data: DataSet, workspace: Workspace) -> list[str]:
    """A sentence with the next command, and one about folders that cannot be listed; none if nothing has changed."""
    what = (
        ("added", "to", found.added),
        ("removed", "from", found.removed),
        ("changed", "in", found.changed),
        ("touched (of the same size and time, but perhaps another image)", "in", found.touched),
    )
    counts = [one for one in what if one[2]]
    sentences = []
    if found.unlisted:
        more = f" and {len(found.unlisted) - 1} more folders" if len(found.unlisted) > 1 else ""
        sentences.append(
            f"{found.unlisted[0]}{more} cannot be listed now: what has become of the images in it is not known"
        )
    if not counts:
        return sentences
    (verb, where, number), *others = counts
    said = f"{_files(number)} {verb} {where} {short_title(data)}"
    said += "".join(f", {number} {verb}" for verb, _, number in others)
    return [f"{said} since extract: run {extract_command(data, workspace)}", *sentences]


def _files(number: int) -> str:
    return "1 file was" if number == 1 else f"{number} files were"
