"""The result of the last extraction, for one that would repeat it: nothing it reads has changed since.

A run over unchanged files looks up a record of each, labels them, and writes the data set that is there. All of that
follows from what a run can see from outside: the columns of the file list (size, times and inode of every file), the
options, and size, times and inodes of the workspace's own files. If a digest of these is that of a run before, which
encoded nothing and had nothing to say on the way, its result is this run's **[derived]**. The files are looked at all
the same, each of them, by the same rule.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import StoreError
from deltaoe.extraction.extract_result import ExtractResult
from deltaoe.extraction.options import ExtractOptions
from deltaoe.images.file_list import FileList
from deltaoe.images.labels import Labelling
from deltaoe.images.location_text import absolute
from deltaoe.images.walk import observed
from deltaoe.progress import Event, OnEvent
from deltaoe.store.atomic import write_bytes
from deltaoe.store.sealed import to_bytes, unseal, with_seal
from deltaoe.store.workspace import Workspace

_KEY = "deltaoe-run"
_RULE = 1  # of this module: another number makes all that was kept unknown
_BESIDE = frozenset(
    {"text", "zero-shot"}
)  # folders of a feature space that extraction takes no features from
_NAMES = ("class_names", "domain_names", "split_names")
_SAID = ("space", "model", "views", "precision", "decode", "notes", "assumed")
_COLUMNS = ("class_of", "domain_of", "split_of")


class Listener:
    """Passes progress on, and remembers what was said.

    Args:
        on: receives the events.

    Attributes:
        sentences: of the events.
    """

    def __init__(self, on: OnEvent) -> None:
        self._on = on
        self.sentences: list[str] = []

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if event.message:
            self.sentences.append(event.message)
        self._on(event)


@dataclass(frozen=True)
class Kept:
    """What a run found of n images that were all unchanged, without their paths.

    Attributes:
        labelling: class, domain and split of each, in words.
        digests: (n, 32) uint8, SHA-256 of each content.
        space: id of the feature space.
        model: the name of its model.
        views: number of augmented views of every image.
        precision: arithmetic of the image tower.
        decode: how JPEGs became pixels.
        notes: sentences that warn the user.
        assumed: sentences on what folders were taken for.
    """

    labelling: Labelling
    digests: npt.NDArray[np.uint8]
    space: str
    model: str
    views: int
    precision: str
    decode: str
    notes: list[str]
    assumed: list[str]

    @classmethod
    def of(cls, labelling: Labelling, result: ExtractResult) -> Kept:
        """What is to be kept of a result, and of the labelling that its data set has."""
        data = result.data
        return cls(
            labelling,
            data.digests,
            data.space_id,
            data.model,
            result.views,
            result.precision,
            result.decode,
            result.notes,
            result.assumed,
        )

    @classmethod
    def read(cls, path: Path) -> tuple[Kept, str]:
        """What :meth:`write` wrote, and the ``seen`` that was written with it. May raise any exception."""
        head, arrays, _ = unseal(path, _KEY)
        labels: dict[str, Any] = {name: tuple(head[name]) for name in _NAMES}
        labels |= {name: arrays[name] for name in _COLUMNS}
        labelling = Labelling(head["layout"], **labels)
        texts = {name: head[name] for name in _SAID}
        return cls(labelling, arrays["digests"], **texts), head["seen"]

    def write(self, path: Path, seen: str) -> None:
        """Write it, atomically. Raises StoreError."""
        head = {name: getattr(self.labelling, name) for name in ("layout", *_NAMES)}
        head |= {name: getattr(self, name) for name in _SAID}
        arrays = {"digests": self.digests} | {name: getattr(self.labelling, name) for name in _COLUMNS}
        write_bytes(path, to_bytes(_KEY, with_seal({**head, "seen": seen}, arrays), arrays))


class SameRun:
    """An extraction before its files are looked up: whether it would repeat one whose result was kept.

    Args:
        given: the inputs, as the user wrote them.
        files: the files of these inputs.
        workspace: has the features.
        source: the model.
        options: of the extraction.
    """

    def __init__(
        self,
        given: Sequence[str],
        files: FileList,
        workspace: Workspace,
        source: ModelSource,
        options: ExtractOptions,
    ) -> None:
        self._workspace = workspace
        self._space = ""
        if not _can_be_kept(given, files, options):
            return
        space = source.known_space()
        if space is None:
            return
        self._space = space.id
        self._features = self._features_seen()
        places = [absolute(one) for one in given]
        asked = (_RULE, given, places, options, str(source.ref), source.ref.fingerprint(), space.id)
        # One file for these inputs in this space, whatever the options and the files are.
        self._name = hashlib.sha256(
            repr((places, options.name, space.id)).encode("utf-8", "surrogatepass")
        ).hexdigest()
        digest = hashlib.sha256(repr(asked).encode("utf-8", "surrogatepass"))
        for part in _parts_of(files):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        self._digest = digest.hexdigest()

    def result(self) -> Kept | None:
        """What :meth:`keep` kept of a run that this one would repeat; None if there is none."""
        if not self._space:
            return None
        try:
            kept, seen = Kept.read(self._path)
        except Exception:  # a missing or damaged file is no loss
            return None
        return kept if seen == self._seen() else None

    def keep(self, kept: Kept) -> None:
        """Keep the result of this run, unless the features have changed while it ran. It is only a cache."""
        if self._space and self._features_seen() == self._features:
            with contextlib.suppress(StoreError):
                kept.write(self._path, self._seen())

    @property
    def _path(self) -> Path:
        return self._workspace.folder / "runs" / f"{self._name[:16]}.safetensors"

    def _features_seen(self) -> str:
        return _seen_below(self._workspace.folder / "features" / self._space)

    def _seen(self) -> str:
        """A digest of the run and of the workspace's files as they are now."""
        folder = self._workspace.folder
        state = (_seen_below(folder / "datasets"), _seen_file(folder / "workspace.json"))
        return hashlib.sha256(repr((self._digest, self._features, state)).encode()).hexdigest()


def _can_be_kept(given: Sequence[str], files: FileList, options: ExtractOptions) -> bool:
    """Whether the result depends on nothing but what is looked at here: of folders alone, whose files are all usable.

    Lists and tables of classes are files of their own; what cannot be read or listed today may be readable tomorrow.
    """
    said_by_lists = files.classes, files.domains, files.splits
    return (
        all(map(os.path.isdir, given))
        and not (files.problems or files.unlisted or files.secrets)
        and all(column is None for column in said_by_lists)
        and options.classes is None
        and options.ingest.cluster.cluster is None
        and not (options.ingest.recheck or options.ingest.retry_failed)
    )


def _parts_of(files: FileList) -> Iterator[bytes]:
    """All that a list says, as bytes."""
    for column in (files.root_of, files.size, files.mtime_ns, files.ctime_ns, files.inode):
        yield column.tobytes()
    yield "\0".join(files.relative).encode("utf-8", "surrogatepass")
    # Of the other files in a folder one is looked into.
    examples = [_seen_file(Path(one.example)) for one in files.without_images.values() if one.example]
    ignored = (files.ignored.hidden, files.ignored.other_files, files.ignored.repeated)
    rest = (
        *(
            files.roots,
            files.unsuffixed,
            files.assumed,
            files.notes,
            ignored,
            sorted(files.ignored.contradicted),
        ),
        *(files.without_images, examples, sorted(files.folders), files.containers),
    )
    yield repr(rest).encode("utf-8", "surrogatepass")


def _seen_below(folder: Path) -> str:
    """A digest of names, sizes, times and inodes of all files below a folder but locks."""
    lines = []
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _BESIDE]
        for name in names:
            if not name.endswith(".lock"):
                lines.append(f"{path}/{name}\0{_seen_file(Path(path, name))}")
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogatepass")).hexdigest()


def _seen_file(path: Path) -> object:
    try:
        return observed(os.stat(path))
    except OSError:
        return None
