"""A data set: the images that were extracted or imported, with their classes, domains and digests."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.data_frame import categorical, data_frame, texts
from deltaoe.errors import ConfigError, DamagedError
from deltaoe.functional.sampling import distinct_rows
from deltaoe.images.layout import Layout, is_layout
from deltaoe.images.splits import SPLITS
from deltaoe.short_repr import counted, listed, of_classes, short_repr
from deltaoe.store.atomic import replacing

if TYPE_CHECKING:
    from deltaoe.data_frame import DataFrame


@dataclass(frozen=True)
class DataSet:
    """Images in one feature space, as they were when last extracted or imported.

    Attributes:
        root: the folder that the paths are relative to, absolute; in a file, relative to the workspace's parent if it
            lies there. Empty for imported features.
        space_id: id of the feature space that their features are of.
        model: the name to load that space's model by.
        layout: ``class``, ``domain/class``, ``flat``, or ``table`` if a table gave the classes.
        class_names: K names, sorted.
        domain_names: sorted; empty without domains.
        paths: n paths relative to ``root``, with ``/``.
        digests: (n, 32) uint8, SHA-256 of each image's content.
        class_of: (n,) int64, index into ``class_names``; −1 for an image without a class.
        domain_of: (n,) int64, index into ``domain_names``; −1 for an image without a domain.
        inputs: what the user named, absolute in memory and relative like ``root`` in a file. The data set is found
            by its inputs, its name and its space.
        name: the name that the user gave it, or empty.
        text_features: (K, D) float32 unit rows, of the classes' prompts; None unless they came with imported features.
        split_names: those of ``train``, ``val`` and ``test`` that there are, in this order; empty without splits.
        split_of: (n,) int64, index into ``split_names``; −1 for an image of no split.
    """

    root: str
    space_id: str
    model: str
    layout: Layout
    class_names: tuple[str, ...]
    domain_names: tuple[str, ...]
    paths: Sequence[str]
    digests: npt.NDArray[np.uint8]
    class_of: npt.NDArray[np.int64]
    domain_of: npt.NDArray[np.int64]
    inputs: tuple[str, ...] = ()
    name: str = ""
    text_features: npt.NDArray[np.float32] | None = None
    split_names: tuple[str, ...] = ()
    split_of: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        """Without splits no image has one."""
        if not self.split_names and not len(self.split_of):
            object.__setattr__(self, "split_of", np.full(len(self.paths), -1, dtype=np.int64))

    def __repr__(self) -> str:
        """Its name or inputs, and numbers of images and classes; the paths would fill the screen."""
        return short_repr(
            self,
            f"data:{self.name}" if self.name else listed(self.inputs or (self.root,)),
            counted(len(self), "image"),
            of_classes(self.class_names),
            counted(len(self.domain_names), "domain") if self.domain_names else "",
            "splits " + ", ".join(self.split_names) if self.split_names else "",
            f"features of {self.model}",
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    @property
    def title(self) -> str:
        """What to call it in a sentence: ``data:NAME``, or its inputs."""
        return f"data:{self.name}" if self.name else ", ".join(self.inputs) or self.root

    def keys(self) -> list[bytes]:
        """The n digests as byte strings."""
        raw = self.digests.tobytes()
        return [raw[i : i + 32] for i in range(0, len(raw), 32)]

    @property
    def is_imported(self) -> bool:
        """Whether it was imported: its paths are what a file claims, and name no files of this machine."""
        return not self.root

    @property
    def labelled(self) -> bool:
        """Whether it has classes."""
        return bool(self.class_names)

    def rows_in(self, domains: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) mask of the images of these domains; of all images if none is named.

        Raises:
            ConfigError: there is no such domain.
        """
        return rows_named(domains, self.domain_names, self.domain_of, what="domain", layout=self.layout)

    def part(self, rows: npt.NDArray[np.int64]) -> DataSet:
        """The images in these rows, with the same names of classes, domains and splits."""
        return dataclasses.replace(
            self,
            paths=tuple(self.paths[row] for row in rows.tolist()),
            digests=self.digests[rows],
            class_of=self.class_of[rows],
            domain_of=self.domain_of[rows],
            split_of=self.split_of[rows],
        )

    def distinct_rows(self, class_of: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Rows to count images by, (m,) int64, ascending: the first of each distinct image that has a class.

        Rows with equal digests are one image. An image that also appears under another class is left out.

        Args:
            class_of: (n,) other classes than the data set's own; −1 for images that do not count.
        """
        classes = self.class_of if class_of is None else class_of
        return distinct_rows(classes, self.digests)

    def to_pandas(self) -> DataFrame:
        """Path, class, domain, split and digest (hexadecimal) of each image as a data frame.

        Classes, domains and splits are categorical, and missing where an image has none.

        Raises:
            ConfigError: pandas is not installed.
        """
        raw = self.digests.tobytes().hex()
        return data_frame(
            {
                "path": texts(self.paths),
                "class": categorical(self.class_of, self.class_names),
                "domain": categorical(self.domain_of, self.domain_names),
                "split": categorical(self.split_of, self.split_names),
                "digest": texts([raw[i : i + 64] for i in range(0, len(raw), 64)]),
            }
        )

    def save(self, path: Path) -> None:
        """Write it as one HDF5 file, atomically. Raises StoreError."""
        from deltaoe.store.hdf5 import created, encoded, put_digests, put_strings  # it loads h5py

        head = {
            name: getattr(self, name)
            for name in ("space_id", "model", "layout", "class_names", "domain_names", "split_names", "name")
        }
        with replacing(path) as temporary, created(temporary, "dataset") as out:
            out.attrs["head"] = json.dumps(head)
            put_strings(out, "root", [os.fsencode(self.root)])
            put_strings(out, "inputs", [os.fsencode(given) for given in self.inputs])
            if self.text_features is not None:
                out.create_dataset("text_features", data=self.text_features)
            put_strings(out, "path", encoded(self.paths))
            put_digests(out, "digest", self.digests)
            out.create_dataset("class_of", data=self.class_of)
            out.create_dataset("domain_of", data=self.domain_of)
            if self.split_names:
                out.create_dataset("split_of", data=self.split_of)

    @classmethod
    def load(cls, path: Path) -> DataSet:
        """Read what :meth:`save` wrote. Raises StoreError, naming the file, if it cannot be read or was changed."""
        from deltaoe.store.hdf5 import check_checksum, get_digests, get_strings, opened

        with opened(path, "dataset") as file:
            check_checksum(file)
            head = json.loads(file.attrs["head"])
            root = os.fsdecode(get_strings(file, "root")[0])
            data = cls(
                root=root,
                inputs=tuple(os.fsdecode(p) for p in get_strings(file, "inputs"))
                if "inputs" in file
                else (root,),  # version 1 knew single folders only
                name=head.get("name", ""),
                text_features=file["text_features"][()] if "text_features" in file else None,
                space_id=head["space_id"],
                model=head["model"],
                layout=head["layout"],
                class_names=tuple(head["class_names"]),
                domain_names=tuple(head["domain_names"]),
                paths=tuple(os.fsdecode(p) for p in get_strings(file, "path")),
                digests=get_digests(file, "digest"),
                class_of=file["class_of"][()],
                domain_of=file["domain_of"][()],
                split_names=tuple(head.get("split_names", ())),
                **({"split_of": file["split_of"][()]} if "split_of" in file else {}),
            )
            data.check()
        return data

    def check(self) -> None:
        """Raise DamagedError unless its parts fit together."""
        texts = (*self.class_names, *self.domain_names, self.model, self.space_id, self.name)
        given = self.text_features
        columns = (
            (self.class_of, self.class_names),
            (self.domain_of, self.domain_names),
            (self.split_of, self.split_names),
        )
        fits = (
            len(self.digests) == len(self)
            and is_layout(self.layout)
            and all(isinstance(text, str) for text in texts)
            and self.split_names == tuple(split for split in SPLITS if split in self.split_names)
            and all(index.shape == (len(self),) and index.dtype == np.int64 for index, _ in columns)
            and (given is None or (given.dtype == np.float32 and given.ndim == 2))
            and (given is None or len(given) == len(self.class_names))
            and all(((index >= -1) & (index < len(names))).all() for index, names in columns)
        )
        if not fits:
            raise DamagedError("its parts do not fit together")


def rows_named(
    wanted: Sequence[str],
    names: Sequence[str],
    index: npt.NDArray[np.int64],
    *,
    what: str,
    layout: Layout,
    where: str = "",
) -> npt.NDArray[np.bool_]:
    """(n,) mask of the rows of some names; of all rows if none is wanted.

    Args:
        wanted: names.
        names: all names.
        index: (n,) index into ``names`` of each row.
        what: what they name, ``domain`` or ``split``, for the message and the option in its hint.
        layout: of the data set, for the hint where there are no names.
        where: added to the message.

    Raises:
        ConfigError: there is no such name.
    """
    if not wanted:
        return np.ones(len(index), dtype=bool)
    for name in wanted:
        if name not in names:
            known = ", ".join(names)
            raise ConfigError(
                f"there is no {what} {name!r}{where}",
                hint=f"the {what}s are: {known}" if known else f"leave --{what} out: the layout is {layout}",
            )
    return np.isin(index, [names.index(name) for name in wanted])
