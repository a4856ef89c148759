"""How features made elsewhere are read, as a user says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from deltaoe.options import Option, Options
from deltaoe.store.feature_space import UNNAMED


@dataclass(frozen=True)
class ImportOptions(Options):
    """How to read a file of features and what to call them.

    Attributes:
        name: of the data set, used as ``data:NAME``; empty for the file's path.
        model: of the model that made the features, as in ``hf-hub:ORG/REPO``; only features of one model are compared.
        paths: a list of the images' names.
        labels: an array's name, or a list of labels.
        features: an array's name; None for the one of a usual name.
        classes: a list of class names.
        keep_ids: do not name classes in words that are WordNet ids.
        dtype: in which the workspace keeps them.

    Lists and arrays are those of :func:`deltaoe.interchange.reading.read_features`.
    """

    name: Annotated[str, Option("Name the data set, to find it as data:NAME.")] = ""
    model: Annotated[
        str, Option("The model that made them, as extract names it; tune needs its text tower.", fact=True)
    ] = UNNAMED
    paths: Annotated[Path | None, Option("File with the images' paths, one per line.", fact=True)] = None
    labels: Annotated[
        str | None, Option("Name of the labels' array, or a file with them.", fact=True, path=True)
    ] = None
    features: Annotated[str | None, Option("Name of the features' array in the file.", fact=True)] = None
    classes: Annotated[Path | None, Option("File with class names, one per line.", fact=True)] = None
    keep_ids: Annotated[
        bool, Option("Keep WordNet ids (n02084071) as class names; they are named in words otherwise (dog).")
    ] = False
    dtype: Annotated[Literal["float16", "float32"], Option("How the features are kept.")] = "float16"
