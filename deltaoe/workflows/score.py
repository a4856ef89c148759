"""Score: images to verdicts, with the tuned detector or, before any tuning, with zero-shot prompts."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deltaoe.data.dataset import DataSet
from deltaoe.data.detector import Detector
from deltaoe.data.images import ImageFile, find_images
from deltaoe.data.labels import check_template, read_labels
from deltaoe.data.table import ScoreTable
from deltaoe.data.workspace import Workspace
from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.conformal import check_alpha, images_needed
from deltaoe.models.reference import DEFAULT_MODEL, ModelRef
from deltaoe.workflows.extract import check_batch_size, list_folder
from deltaoe.workflows.ingest import ingest
from deltaoe.workflows.progress import OnEvent, silent
from deltaoe.workflows.source import ModelSource


@dataclass(frozen=True)
class ScoreOptions:
    """How to score; see ``deltaoe score --help``."""

    alpha: float = 0.05
    detector: Path | None = None
    zero_shot: bool = False
    labels: Path | None = None
    data: Path | None = None
    template: str | None = None
    temperature: float | None = None
    top_c: int | None = None
    model: str | None = None
    pretrained: str | None = None
    retry_failed: bool = False
    batch_size: int | None = None
    device: str = "auto"
    offline: bool = False


@dataclass(frozen=True)
class ScoreResult:
    """The table, and what it was made with.

    ``files`` are the scored images, in the table's order; ``origin`` says in words where the detector comes from;
    ``notes`` are the sentences a reader must see.
    """

    table: ScoreTable
    files: Sequence[ImageFile]
    detector: Detector
    origin: str
    model: str
    encoded: int
    reused: int
    notes: list[str]


def score(
    inputs: Sequence[Path], workspace: Workspace, options: ScoreOptions | None = None, on: OnEvent = silent
) -> ScoreResult:
    """Score folders and single files.

    The detector is, in this order: ``options.detector``; zero-shot prompts if asked for or if labels, a template
    or a data set are given; the workspace's last tuned detector; zero-shot prompts of the last extracted data.

    Raises:
        ConfigError: an option does not fit.
        DataError: no images, none usable, no class names to score against, no such detector.
        MismatchError: the detector belongs to another model.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    options = options or ScoreOptions()
    check_alpha(options.alpha)
    check_batch_size(options.batch_size)
    files, shown = _list(inputs, on)
    chosen = _saved_detector(workspace, options)
    if chosen is not None:
        detector, origin = chosen
        source = _source(workspace, options, detector.space.model, on, detector)
    else:
        detector, origin, source = _zero_shot(workspace, options, on)

    # Here, as in _zero_shot: torch takes seconds to import, and a mistake should be answered at once.
    from deltaoe.workflows.scoring import Scorer, score_stored

    result = ingest(
        files, workspace, source, on, batch_size=options.batch_size, retry_failed=options.retry_failed
    )
    scores, labels, cosines = score_stored(Scorer(detector), result.store, result.digests, on)
    calibrated = len(detector.calibration) > 0
    table = ScoreTable(
        class_names=detector.class_names,
        paths=[shown[file.path] for file in result.files],
        scores=scores,
        labels=labels,
        cosines=cosines,
        p_values=detector.p_values(scores) if calibrated else None,
        threshold=detector.threshold(options.alpha),
        alpha=options.alpha,
        failed=[(shown[file.path], reason) for file, reason in result.failed],
    )
    return ScoreResult(
        table=table,
        files=result.files,
        detector=detector,
        origin=origin,
        model=str(source.ref),
        encoded=result.encoded,
        reused=result.reused,
        notes=_notes(table, detector),
    )


def _list(inputs: Sequence[Path], on: OnEvent) -> tuple[list[ImageFile], dict[Path, str]]:
    """All image files of the inputs, once each, and the path to show for each: the input's, then what is below."""
    if not inputs:
        raise ConfigError("nothing to score", hint="name folders or image files: deltaoe score ./unknown")
    shown: dict[Path, str] = {}
    files: list[ImageFile] = []
    seen: set[str] = set()
    for given in inputs:
        found = list_folder(given, on)[0] if given.is_dir() else list(find_images(given))
        for file in found:
            spelled_out = os.path.abspath(file.path)
            if spelled_out not in seen:
                seen.add(spelled_out)
                shown[file.path] = os.path.normpath(file.path)
                files.append(file)
    return files, shown


def _saved_detector(workspace: Workspace, options: ScoreOptions) -> tuple[Detector, str] | None:
    own_prompts = {
        "--zero-shot": options.zero_shot,
        "--labels": options.labels is not None,
        "--template": options.template is not None,
        "--data": options.data is not None,
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


def _zero_shot(workspace: Workspace, options: ScoreOptions, on: OnEvent) -> tuple[Detector, str, ModelSource]:
    if options.template is not None:
        check_template(options.template)
    data = workspace.dataset(options.data)
    names = read_labels(options.labels) if options.labels else data.class_names if data else ()
    if not names:
        raise DataError(
            "there are no class names to score against",
            hint="extract images with class folders first (deltaoe extract DIR), or pass --labels FILE, "
            "one name per line",
        )

    from deltaoe.workflows.zero_shot import TEMPLATE, calibrate, distinct_rows, zero_shot_detector

    template = options.template or TEMPLATE
    source = _source(workspace, options, data.model if data else DEFAULT_MODEL, on, None)
    detector = zero_shot_detector(
        names, template, source, workspace, on, temperature=options.temperature, top_c=options.top_c
    )
    origin = f"zero-shot prompts {template!r}"
    if data is not None and _calibrates(data, detector, options):
        detector = calibrate(detector, data, workspace.store(detector.space), distinct_rows(data), on)
        origin += f", calibrated on {data.root}"
    return detector, origin, source


def _calibrates(data: DataSet, detector: Detector, options: ScoreOptions) -> bool:
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
        expected=detector.space if detector else None,
    )


def _notes(table: ScoreTable, detector: Detector) -> list[str]:
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
