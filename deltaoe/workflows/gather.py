"""What an evaluation is given (folders, lists, data sets) as features with classes and domains."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.data.dataset import DataSet
from deltaoe.data.features import FeatureStore
from deltaoe.data.workspace import DATA_PREFIX, Workspace
from deltaoe.errors import DataError, MismatchError
from deltaoe.workflows.extract import ExtractOptions, extract
from deltaoe.workflows.ingest import IngestOptions
from deltaoe.workflows.progress import OnEvent
from deltaoe.workflows.source import ModelSource


@dataclass(frozen=True)
class Gathered:
    """One collection: its name in tables, its images, and where their features are.

    ``notes`` are sentences about it that a reader must see; ``failed`` is how many files were no images.
    """

    name: str
    data: DataSet
    store: FeatureStore
    failed: int
    notes: tuple[str, ...]

    def rows_of(self, class_names: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """(n,) index into ``class_names`` of each image, −1 where it has no class.

        Raises:
            DataError: it has no classes, or one that is not among these names.
        """
        if not self.data.labelled:
            raise DataError(
                f"{self.name}: {self.data.title} has no classes", hint="it needs one folder per class"
            )
        place = {name: i for i, name in enumerate(class_names)}
        missing = [name for name in self.data.class_names if name not in place]
        if missing:
            listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            raise DataError(
                f"{self.name}: the detector knows no class {listed}",
                hint="name its folders like the detector's classes; a .csv list with a column class can say it, too",
            )
        table = np.array([*(place[name] for name in self.data.class_names), -1], dtype=np.int64)
        return table[self.data.class_of]


def gather(
    name: str, given: str, workspace: Workspace, source: ModelSource, on: OnEvent, ingest: IngestOptions
) -> Gathered:
    """The images of a folder, list, glob or file, extracted as far as they are not, or of a data set (``data:NAME``).

    Raises:
        DataError: there is no such input or data set, or no usable image in it.
        MismatchError: its features are of another model.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    if given.startswith(DATA_PREFIX) and not os.path.lexists(given):
        data = workspace.dataset(given)
        assert data is not None  # noqa: S101 - only asked without a name it may be None
        space = workspace.known_space(data.space_id)
        if space is None:
            raise MismatchError(
                f"the features of {data.title} are no longer in {workspace.folder}",
                hint="extract or import them again",
            )
        return Gathered(name, data, workspace.store(space), 0, ())
    result = extract(given, workspace, ExtractOptions(ingest=ingest), on, source=source, keep=False)
    notes = (f"{name}: {len(result.failed)} files could not be used",) if result.failed else ()
    space = workspace.known_space(result.data.space_id)
    assert space is not None  # noqa: S101 - it was just written
    return Gathered(name, result.data, workspace.store(space), len(result.failed), notes)
