"""Score: images to verdicts, with the tuned detector or, before any tuning, with zero-shot prompts."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from deltaoe.data.dataset import DataSet
from deltaoe.data.detector import Detector
from deltaoe.data.exchange import read_texts
from deltaoe.data.features import Digests, FeatureStore
from deltaoe.data.inputs import find_files
from deltaoe.data.labels import check_template, read_labels
from deltaoe.data.table import ScoreTable
from deltaoe.data.workspace import DATA_PREFIX, Workspace
from deltaoe.errors import ConfigError, DataError, MismatchError
from deltaoe.functional.conformal import check_alpha, images_needed
from deltaoe.models.reference import DEFAULT_MODEL, ModelRef
from deltaoe.workflows.ingest import IngestOptions, ingest
from deltaoe.workflows.progress import Event, OnEvent, silent
from deltaoe.workflows.source import ModelSource


@dataclass(frozen=True)
class ScoreOptions:
    """How to score; see ``deltaoe score --help``."""

    alpha: float = 0.05
    detector: Path | None = None
    zero_shot: bool = False
    labels: Path | None = None
    data: str | None = None
    text_features: Path | None = None
    template: str | None = None
    temperature: float | None = None
    top_c: int | None = None
    model: str | None = None
    pretrained: str | None = None
    precision: str = "auto"
    ingest: IngestOptions = field(default_factory=IngestOptions)
    device: str = "auto"
    offline: bool = False


@dataclass(frozen=True)
class ScoreResult:
    """The table, and what it was made with.

    ``files`` are the paths to open the scored images by, in the table's order; ``origin`` says in words where the
    detector comes from; ``notes`` are the sentences a reader must see.
    """

    table: ScoreTable
    files: Sequence[str]
    detector: Detector
    origin: str
    model: str
    encoded: int
    reused: int
    notes: list[str]


@dataclass(frozen=True)
class _Scored:
    """Images whose features are in a store: how to open them, what to call them, and what was done for them."""

    store: FeatureStore
    digests: Digests
    files: Sequence[str]
    shown: Sequence[str]
    failed: list[tuple[str, str]]
    encoded: int
    reused: int


def score(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    workspace: Workspace,
    options: ScoreOptions | None = None,
    on: OnEvent = silent,
    stdin: BinaryIO | None = None,
) -> ScoreResult:
    """Score images: folders, files, globs, lists, ``-`` for a list on ``stdin``, or a data set (``data:NAME``).

    The detector is, in this order: ``options.detector``; zero-shot prompts if asked for or if labels, a template,
    text features or a data set are given; the workspace's last tuned detector; zero-shot prompts of the last data
    set with classes.

    Raises:
        ConfigError: an option does not fit.
        DataError: no images, none usable, no class names to score against, no such detector.
        MismatchError: the detector belongs to another model.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    options = options or ScoreOptions()
    check_alpha(options.alpha)
    options.ingest.check()
    given = [os.fspath(one) for one in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    listed = _data_set(given, workspace)
    chosen = _saved_detector(workspace, options)
    if chosen is not None:
        detector, origin = chosen
        source = _source(workspace, options, detector.space.model, on, detector)
    else:
        detector, origin, source = _zero_shot(workspace, options, on, listed)

    # Here, as in _zero_shot: torch takes seconds to import, and a mistake should be answered at once.
    from deltaoe.workflows.scoring import Scorer, score_stored

    scored = (
        _read(given, workspace, source, options, on, stdin)
        if listed is None
        else _known(listed, workspace, detector)
    )
    scores, labels, cosines = score_stored(Scorer(detector), scored.store, scored.digests, on)
    calibrated = len(detector.calibration) > 0
    table = ScoreTable(
        class_names=detector.class_names,
        paths=scored.shown,
        scores=scores,
        labels=labels,
        cosines=cosines,
        p_values=detector.p_values(scores) if calibrated else None,
        threshold=detector.threshold(options.alpha),
        alpha=options.alpha,
        failed=scored.failed,
    )
    return ScoreResult(
        table=table,
        files=scored.files,
        detector=detector,
        origin=origin,
        # The features of a data set were there: no model is used.
        model=str(source.ref) if listed is None else detector.space.model,
        encoded=scored.encoded,
        reused=scored.reused,
        notes=_notes(table, detector, listed),
    )


def _data_set(given: Sequence[str], workspace: Workspace) -> DataSet | None:
    """The one data set that is to be scored, or None where the inputs are files."""
    if not given:
        raise ConfigError("nothing to score", hint="name folders or image files: deltaoe score ./unknown")
    named = [one for one in given if one.startswith(DATA_PREFIX) and not os.path.lexists(one)]
    if not named:
        return None
    if len(given) > 1:
        raise ConfigError(f"{named[0]} can only be scored alone", hint="run deltaoe score once for each")
    return workspace.dataset(named[0])


def _read(
    given: Sequence[str],
    workspace: Workspace,
    source: ModelSource,
    options: ScoreOptions,
    on: OnEvent,
    stdin: BinaryIO | None,
) -> _Scored:
    files = find_files(given, stdin=stdin, on_found=lambda n: on(Event("Listing files", n)))
    result = ingest(files, workspace, source, on, options.ingest)
    opened = [files.path(int(i)) for i in result.rows]
    return _Scored(
        store=result.store,
        digests=result.digests,
        files=opened,
        shown=[os.path.normpath(path) for path in opened],
        failed=[(os.path.normpath(files.path(i)), reason) for i, reason in result.failed.items()],
        encoded=result.encoded,
        reused=result.reused,
    )


def _known(data: DataSet, workspace: Workspace, detector: Detector) -> _Scored:
    space = workspace.known_space(data.space_id)
    if space is None:
        raise MismatchError(
            f"the features of {data.title} are no longer in {workspace.folder}",
            hint="extract or import them again",
        )
    if space.id != detector.space.id:
        raise MismatchError(
            f"{data.title} was made with {space.model}, the detector with {detector.space.model}: "
            + "; ".join(detector.space.differences(space)),
            hint="use a detector of the same features, or extract them with the detector's model",
        )
    return _Scored(
        store=workspace.store(space),
        digests=data.digests,
        files=[os.path.join(data.root, path) for path in data.paths],
        shown=data.paths,
        failed=[],
        encoded=0,
        reused=len(data),
    )


def _saved_detector(workspace: Workspace, options: ScoreOptions) -> tuple[Detector, str] | None:
    own_prompts = {
        "--zero-shot": options.zero_shot,
        "--labels": options.labels is not None,
        "--template": options.template is not None,
        "--data": options.data is not None,
        "--text-features": options.text_features is not None,
    }
    asked = [name for name, given in own_prompts.items() if given]
    if options.detector is not None and asked:
        raise ConfigError(
            f"--detector and {asked[0]} exclude each other", hint="a detector has its own classes"
        )
    path = options.detector or (None if asked else workspace.current_detector())
    if path is None:
        return None
    changed = [
        name
        for name, value in (("--temperature", options.temperature), ("--top-c", options.top_c))
        if value is not None
    ]
    if changed:
        raise ConfigError(
            f"{changed[0]} is fixed in a tuned detector: its calibration was computed with it",
            hint=f"tune again with {changed[0]}, or score with --zero-shot",
        )
    return Detector.load(path), f"tuned detector {os.path.relpath(path)}"


def _zero_shot(
    workspace: Workspace, options: ScoreOptions, on: OnEvent, scored: DataSet | None
) -> tuple[Detector, str, ModelSource]:
    if options.template is not None:
        check_template(options.template)
    data = workspace.dataset(options.data)
    default = data.model if data else scored.model if scored else DEFAULT_MODEL
    source = _source(workspace, options, default, on, None)
    given = _given_texts(options, data)

    from deltaoe.workflows.zero_shot import (
        TEMPLATE,
        calibrate,
        distinct_rows,
        given_detector,
        zero_shot_detector,
    )

    settings: Any = {"temperature": options.temperature, "top_c": options.top_c}
    if given is not None:
        names, features, origin = given
        home = data if data is not None and options.text_features is None else scored or data
        space = workspace.known_space(home.space_id) if home else source.known_space() or source.space()
        detector = given_detector(names, features, space, **settings)
    else:
        names = read_labels(options.labels) if options.labels else data.class_names if data else ()
        if not names:
            raise DataError(
                "there are no class names to score against",
                hint="extract images with class folders first (deltaoe extract DIR), or pass --labels FILE, "
                "one name per line",
            )
        template = options.template or TEMPLATE
        if scored is not None and (space := workspace.known_space(scored.space_id)) and space.is_imported:
            raise DataError(
                f"there are no text features to score {scored.title} against: it was imported",
                hint="pass --text-features FILE, or import the classes' text features with the images'",
            )
        detector = zero_shot_detector(names, template, source, workspace, on, **settings)
        origin = f"zero-shot prompts {template!r}"
    if data is not None and _calibrates(data, detector):
        detector = calibrate(detector, data, workspace.store(detector.space), distinct_rows(data), on)
        origin += f", calibrated on {data.title}"
    return detector, origin, source


def _given_texts(
    options: ScoreOptions, data: DataSet | None
) -> tuple[tuple[str, ...], npt.NDArray[np.float32], str] | None:
    """Class names and text features that need no text tower, and where they come from."""
    if options.text_features is not None:
        if options.labels is not None or options.template is not None:
            raise ConfigError(
                "--text-features excludes --labels and --template", hint="the file has its own names"
            )
        names, features = read_texts(options.text_features)
        return names, features, f"text features of {options.text_features}"
    if data is None or data.text_features is None or options.labels or options.template:
        return None
    return data.class_names, data.text_features, f"text features imported with {data.title}"


def _calibrates(data: DataSet, detector: Detector) -> bool:
    """Whether the extracted images are in-distribution for these prompts, in the same feature space.

    With labels of the user's own they are if every class of theirs is among the labels.
    """
    return (
        data.labelled
        and data.space_id == detector.space.id
        and set(data.class_names) <= set(detector.class_names)
    )


def _source(
    workspace: Workspace, options: ScoreOptions, default: str, on: OnEvent, detector: Detector | None
) -> ModelSource:
    return ModelSource(
        ModelRef.parse(options.model or default, options.pretrained),
        workspace,
        device=options.device,
        offline=options.offline,
        on=on,
        precision=options.precision,
        expected=detector.space if detector else None,
    )


def _notes(table: ScoreTable, detector: Detector, listed: DataSet | None) -> list[str]:
    notes = []
    if detector.space.is_imported and listed is None:
        notes.append(
            f"The detector was made with features imported as {detector.space.model}; that they were made like "
            "those of these images is taken on trust."
        )
    return notes + _calibration_notes(table, detector)


def _calibration_notes(table: ScoreTable, detector: Detector) -> list[str]:
    n, needed = len(detector.calibration), images_needed(table.alpha)
    if n == 0:
        return [
            "There is no calibration, so nothing is called known or unknown: extract images of the known "
            "classes first, or pass a tuned detector. Scores and their order are valid."
        ]
    if table.threshold is None:
        return [
            f"Calibration has {n} images; alpha {table.alpha:g} needs at least {needed}, so nothing is called known "
            f"or unknown. Extract more images, or use --alpha {math.ceil(10_000 / (n + 1)) / 10_000:g} or larger."
        ]
    return []
