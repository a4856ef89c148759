"""The listing of an extracted folder: which images it holds, of which class and domain, and their digests."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from deltaoe.data.files import replacing
from deltaoe.data.hdf5 import created, get_digests, get_strings, opened, put_digests, put_strings
from deltaoe.data.labels import Layout
from deltaoe.errors import ConfigError, StoreError


@dataclass(frozen=True)
class DataSet:
    """Images of one folder in one feature space, as they were when last extracted.

    Attributes:
        root: the folder, absolute; in a file, relative to the workspace's parent if it lies there.
        space_id: id of the feature space that holds their features.
        model: what to load that space's model by.
        layout: ``class``, ``domain/class`` or ``flat``.
        class_names: K names, sorted; ``domain_names``: likewise, empty without domains.
        paths: n paths relative to ``root``, with ``/``.
        digests: n content digests, 32 bytes each.
        class_of: (n,) class index, −1 for images outside the class folders; ``domain_of``: likewise.
    """

    root: str
    space_id: str
    model: str
    layout: Layout
    class_names: tuple[str, ...]
    domain_names: tuple[str, ...]
    paths: tuple[str, ...]
    digests: tuple[bytes, ...]
    class_of: npt.NDArray[np.int64]
    domain_of: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    @property
    def labelled(self) -> bool:
        """Whether it has classes at all."""
        return bool(self.class_names)

    def rows_in(self, domains: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) mask of the images of these domains; of all images if none is named.

        Raises:
            ConfigError: there is no such domain.
        """
        if not domains:
            return np.ones(len(self), dtype=bool)
        for name in domains:
            if name not in self.domain_names:
                known = ", ".join(self.domain_names)
                raise ConfigError(
                    f"there is no domain {name!r}",
                    hint=f"the domains are: {known}"
                    if known
                    else f"leave --domain out: the layout is {self.layout}",
                )
        return np.isin(self.domain_of, [self.domain_names.index(name) for name in domains])

    def save(self, path: Path) -> None:
        """Write it as one HDF5 file, atomically. Raises StoreError."""
        head = {
            name: getattr(self, name)
            for name in ("space_id", "model", "layout", "class_names", "domain_names")
        }
        with replacing(path) as temporary, created(temporary, "dataset") as out:
            out.attrs["head"] = json.dumps(head)
            put_strings(out, "root", [os.fsencode(self.root)])
            put_strings(out, "path", [os.fsencode(p) for p in self.paths])
            put_digests(out, "digest", self.digests)
            out.create_dataset("class_of", data=self.class_of)
            out.create_dataset("domain_of", data=self.domain_of)

    @classmethod
    def load(cls, path: Path) -> DataSet:
        """Read what :meth:`save` wrote. Raises StoreError, naming the file, if it cannot be read."""
        with opened(path, "dataset") as file:
            head = json.loads(file.attrs["head"])
            data = cls(
                root=os.fsdecode(get_strings(file, "root")[0]),
                space_id=head["space_id"],
                model=head["model"],
                layout=head["layout"],
                class_names=tuple(head["class_names"]),
                domain_names=tuple(head["domain_names"]),
                paths=tuple(os.fsdecode(p) for p in get_strings(file, "path")),
                digests=tuple(get_digests(file, "digest")),
                class_of=file["class_of"][()],
                domain_of=file["domain_of"][()],
            )
            data._check()
        return data

    def _check(self) -> None:
        texts = (*self.class_names, *self.domain_names, self.model, self.space_id)
        columns = (self.class_of, self.class_names), (self.domain_of, self.domain_names)
        fits = (
            len(self.digests) == len(self)
            and self.layout in get_args(Layout)
            and all(isinstance(text, str) for text in texts)
            and all(index.shape == (len(self),) and index.dtype == np.int64 for index, _ in columns)
            and all(((index >= -1) & (index < len(names))).all() for index, names in columns)
        )
        if not fits:
            raise StoreError("its parts do not fit together")
