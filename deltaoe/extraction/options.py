"""How images are extracted, as a user says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from deltaoe.clip.options import ModelOptions
from deltaoe.clip.reference import DEFAULT_MODEL
from deltaoe.cluster.options import ClusterOptions
from deltaoe.images.layout import Layout, check_layout
from deltaoe.options import EXPERT, Option, Options, Unset

MAX_VIEWS = 1000
# The largest picture that is accepted takes a few seconds, in any format.
IMAGE_SECONDS = 30.0


@dataclass(frozen=True)
class IngestOptions(Options):
    """How files become features.

    Attributes:
        views: augmented views per image to keep beside the picture itself.
        retry_failed: read files again that failed before.
        recheck: read every file again, whatever its size and times are.
        batch_size: pictures per model call, None for the device's usual; halved where memory runs out.
        workers: processes that decode, 0 for threads of this one, None for one per usable CPU; on a cluster, of each
            worker.
        image_seconds: how long a process may take to decode an image, per view, before the image counts as failed; 0
            for as long as it likes. Threads have no limit.
        cluster: where files are encoded.
    """

    views: Annotated[
        int,
        Option(
            "Augmented views per image (random resized crop and flip) to keep as well.",
            at_least=0,
            at_most=MAX_VIEWS,
        ),
    ] = 0
    retry_failed: Annotated[bool, Option("Read files again that failed before.")] = False
    recheck: Annotated[
        bool, Option("Read every file again, even if its size, times and inode are as recorded.")
    ] = False
    batch_size: Annotated[
        int | None,
        Option(
            "Images per model call: auto (32 on a CPU, 256 on a GPU), or a number.",
            panel=EXPERT,
            auto=True,
            at_least=1,
            hint="or auto",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Option(
            "Decoding processes: auto (one per usable CPU), or a number; 0 uses threads.",
            panel=EXPERT,
            auto=True,
            at_least=0,
            hint="or auto",
        ),
    ] = None
    image_seconds: Annotated[
        float,
        Option(
            "Seconds after which an image that is not decoded is given up; 0 waits for ever.",
            panel=EXPERT,
            at_least=0,
        ),
    ] = IMAGE_SECONDS
    cluster: ClusterOptions = field(default_factory=ClusterOptions)


@dataclass(frozen=True)
class ExtractOptions(Options):
    """How to extract; see ``deltaoe extract --help``.

    Attributes:
        layout: what the folders mean; None to recognise it.
        classes: a table that names class folders.
        keep_ids: do not name classes in words that are WordNet ids.
        label_column: title of the column of a list's classes, or ``none`` for the folders; None to find it.
        name: of the data set.
        model: which model.
        ingest: how files become features.
        dtype: how features are kept; None for as the cache has them, else ``float16``.
    """

    layout: Annotated[
        Layout | None,
        Option(
            "Levels of folders from the top: class, domain/class, split/class, class/split, */class …; flat: no "
            "classes; table: a list says them.",
            auto=True,
        ),
    ] = None
    classes: Annotated[Path | None, Option("Table with rows folder,name: class names for folders.")] = None
    keep_ids: Annotated[
        bool, Option("Keep WordNet ids (n02084071) as class names; they are named in words otherwise (dog).")
    ] = False
    label_column: Annotated[
        str | None,
        Option(
            "The column of a list, or the key beside images in a tar, that holds the classes; none: the folders do.",
            unset="found by its title",
        ),
    ] = None
    name: Annotated[str, Option("Name the data set, to find it as data:NAME.")] = ""
    model: Annotated[ModelOptions, Unset("model", f"that of the features here, else {DEFAULT_MODEL}")] = (
        field(default_factory=ModelOptions)
    )
    ingest: IngestOptions = field(default_factory=IngestOptions)
    dtype: Annotated[
        Literal["float16", "float32"] | None,
        Option(
            "Type of the numbers that are stored.", panel=EXPERT, unset="as the cache has them, else float16"
        ),
    ] = None

    def check(self) -> None:
        """Raise ConfigError for a value out of range, or a layout that is none."""
        super().check()
        if self.layout is not None:
            check_layout(self.layout)
