"""Data sets in sentences: what to call them, how to extract them again, and which one commands use from now on."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence

from deltaoe.errors import StoreError
from deltaoe.images.class_names import has_ids, in_words
from deltaoe.images.container_names import as_folders
from deltaoe.images.labels import label_paths
from deltaoe.images.layout import TABLE, levels_of
from deltaoe.images.layout_detection import detect_layout
from deltaoe.images.location_text import is_url
from deltaoe.images.walk import CONTAINER_SUFFIXES
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.workspace import DATA_PREFIX, Workspace

STDIN = "-"
_SHOWN = 3  # inputs that a sentence names


def short_title(data: DataSet) -> str:
    """What to call a data set: ``data:NAME``, or its inputs as one would write them in the current folder."""
    if data.name:
        return DATA_PREFIX + data.name
    inputs = [
        "standard input" if _is_stdin(given) else _from_here(given) for given in data.inputs or (data.root,)
    ]
    more = f" and {len(inputs) - _SHOWN} more inputs" if len(inputs) > _SHOWN else ""
    return ", ".join(inputs[:_SHOWN]) + more


def extract_command(data: DataSet, workspace: Workspace) -> str | None:
    """The command that extracts a data set again; None if it was read from standard input, or imported.

    Names, layout and model are in it where they would not be found without being named. What a file for ``--classes``
    was called is not known.
    """
    imported = not data.root or any(given.endswith(".h5") for given in data.inputs)
    if imported or not data.inputs or any(_is_stdin(given) for given in data.inputs):
        return None
    words = ["deltaoe", "extract", *(_as_argument(given) for given in data.inputs)]
    words += ["--name", data.name] if data.name else []
    spaces = _spaces(workspace)
    words += ["--model", data.model] if len(spaces) > 1 else []
    words += _pixel_options(data.space_id, spaces)
    if data.layout == TABLE:
        return shlex.join(words)
    paths = _below_inputs(data)
    if data.layout != detect_layout(paths):
        words += ["--layout", data.layout]
    words += ["--keep-ids"] if has_ids(data.class_names) else []
    names = label_paths(paths, data.layout).class_names
    renamed = data.class_names not in {names, tuple(sorted(in_words(names).names))}
    return shlex.join(words) + (" --classes FILE" if renamed else "")


def _below_inputs(data: DataSet) -> Sequence[str]:
    """The paths as ``extract`` reads them: below the folder of the input that they lie in, unless inputs are splits."""
    paths = as_folders(data.paths)
    folders = [one for one in data.inputs if not one.lower().endswith(CONTAINER_SUFFIXES) and not is_url(one)]
    if len(data.inputs) < 2 or not folders:
        return paths
    starts = [os.path.join(os.path.relpath(one, data.root), "").replace(os.sep, "/") for one in folders]
    starts = sorted((start for start in starts if not start.startswith(("./", "../"))), key=len, reverse=True)
    below = [next((path[len(one) :] for one in starts if path.startswith(one)), path) for path in paths]
    splits = ["split" in levels_of(detect_layout(one)) for one in (below, paths)]
    return paths if splits == [False, True] else below


def current_before(workspace: Workspace) -> DataSet | None:
    """The last data set with classes, before another may become it; None also if it cannot be read."""
    try:
        return workspace.dataset()
    except StoreError:
        return None


def replaced_current(before: DataSet | None, data: DataSet, workspace: Workspace) -> list[str]:
    """A sentence if another data set than before is the last one with classes, after ``data`` was saved.

    Args:
        before: what :func:`current_before` gave.
        data: the data set that was saved.
        workspace: has both.
    """
    if before is None or not data.labelled or workspace.listing(before) == workspace.listing(data):
        return []
    new, old = short_title(data), short_title(before)
    if new == old and data.model != before.model:
        new, old = f"{new} by {data.model}", f"{old} by {before.model}"
    spaces = _spaces(workspace)
    if new == old and {data.space_id, before.space_id} <= spaces.keys():
        two = {one.space_id: spaces[one.space_id] for one in (data, before)}
        new, old = (
            " ".join([title, "with", *options]) if (options := _pixel_options(one.space_id, two)) else title
            for title, one in ((new, data), (old, before))
        )
    command = extract_command(before, workspace)
    back = f"to go back: {command}" if command else f"--data {_data_argument(before)} names that one"
    return [f"tune, and score without a detector, use {new} from now on, not {old}; {back}"]


def _spaces(workspace: Workspace) -> dict[str, FeatureSpace]:
    """By their ids, the feature spaces here whose descriptions can be read."""
    found = {}
    for path in (workspace.folder / "features").glob("*/space.json"):
        with contextlib.suppress(StoreError):
            if (space := workspace.known_space(path.parent.name)) is not None:
                found[space.id] = space
    return found


def _pixel_options(space_id: str, spaces: Mapping[str, FeatureSpace]) -> list[str]:
    """The options, with their values, by which a space's pixels are made otherwise than another's of these."""
    words: list[str] = []
    if space_id in spaces:
        for option, values in (
            ("--sample-range", {one.id: one.sample_range for one in spaces.values()}),
            ("--decode", {one.id: one.decode for one in spaces.values()}),
        ):
            words += [option, values[space_id]] if len(set(values.values())) > 1 else []
    return words


def _data_argument(data: DataSet) -> str:
    if data.name:
        return shlex.quote(DATA_PREFIX + data.name)
    return STDIN if _is_stdin(data.inputs[0]) else shlex.quote(_from_here(data.inputs[0]))


def _as_argument(path: str) -> str:
    """A path from here, so that it cannot be taken for an option; a URL."""
    if is_url(path):
        return path
    path = _from_here(path)
    plain = os.path.isabs(path) or path.split(os.sep)[0] in (os.curdir, os.pardir)
    return path if plain else os.path.join(os.curdir, path)


def _is_stdin(given: str) -> bool:
    return os.path.basename(given) == STDIN and not is_url(given) and not os.path.lexists(given)


def _from_here(path: str) -> str:
    """A path relative to the current folder, if that is shorter; a URL as it is."""
    if is_url(path):
        return path
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # another drive, or the current folder is gone
        return path
    return min(relative, path, key=len)
