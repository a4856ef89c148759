"""Score: images to verdicts, with the tuned detector or, before any tuning, with zero-shot prompts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, MismatchError
from deltaoe.extraction.ingest import ingest
from deltaoe.images.inputs import find_files
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule, ScoreOptions
from deltaoe.scoring.resolve import saved_detector, zero_shot
from deltaoe.scoring.score_table import ScoreTable
from deltaoe.scoring.verdicts import judge, undecided
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.workspace import DATA_PREFIX, Workspace


@dataclass(frozen=True)
class ScoreResult:
    """The table, and what it was made with.

    ``files`` are the paths to open the scored images by, in the table's order; ``origin`` says in words where the
    detector comes from; ``notes`` are the sentences a reader must see.
    """

    table: ScoreTable
    rule: Rule
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
    options.check()
    given = [os.fspath(one) for one in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    listed = _data_set(given, workspace)
    chosen = saved_detector(workspace, options)
    if chosen is not None:
        detector, origin = chosen
        source = ModelSource(options.model, workspace, detector.space.model, on=on, expected=detector.space)
    else:
        detector, origin, source = zero_shot(workspace, options, on, listed)

    # Here, as in zero_shot: torch takes seconds to import, and a mistake should be answered at once.
    from deltaoe.scoring.scorer import Scorer, made_exact, score_stored

    scored = (
        _read(given, workspace, source, options, on, stdin)
        if listed is None
        else _known(listed, workspace, detector)
    )
    scorer = Scorer(detector, device=options.model.device, neighbours=options.neighbours, index=options.index)
    found = score_stored(scorer, scored.store, scored.digests, on)
    judged = judge(detector, found.scores, found.labels[:, 0], options.rule)
    # A verdict is never that of the bounds' middle: where they hold the threshold, all labels are looked at. With --fdr
    # that can move the threshold in turn.
    exact = np.zeros(len(found.scores), dtype=bool)
    while len(rows := undecided(found.bounds, judged.thresholds, exact)):
        found = made_exact(found, rows, scorer, scored.store, scored.digests)
        judged = judge(detector, found.scores, found.labels[:, 0], options.rule)
        exact[rows] = True
    table = ScoreTable(
        class_names=detector.class_names,
        paths=scored.shown,
        scores=found.scores,
        labels=found.labels,
        cosines=found.cosines,
        p_values=judged.p_values,
        threshold=judged.threshold,
        alpha=options.rule.alpha,
        failed=scored.failed,
        thresholds=judged.thresholds,
        bounds=found.bounds,
    )
    return ScoreResult(
        table=table,
        rule=options.rule,
        files=scored.files,
        detector=detector,
        origin=origin,
        # The features of a data set were there: no model is used.
        model=str(source.ref) if listed is None else detector.space.model,
        encoded=scored.encoded,
        reused=scored.reused,
        notes=_notes(detector, listed, scorer.recall, exact) + judged.notes,
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
    store = workspace.features_of(data)
    space = store.space
    if space.id != detector.space.id:
        raise MismatchError(
            f"{data.title} was made with {space.model}, the detector with {detector.space.model}: "
            + "; ".join(detector.space.differences(space)),
            hint="use a detector of the same features, or extract them with the detector's model",
        )
    return _Scored(
        store=store,
        digests=data.digests,
        files=[os.path.join(data.root, path) for path in data.paths],
        shown=data.paths,
        failed=[],
        encoded=0,
        reused=len(data),
    )


def _notes(
    detector: Detector, listed: DataSet | None, recall: float | None, exact: npt.NDArray[np.bool_]
) -> list[str]:
    notes = []
    if exact.any():
        notes.append(
            f"Scores computed exactly, because their bounds held the threshold: {exact.sum()} of {len(exact)}."
        )
    if recall is not None:
        notes.append(
            f"The approximate index finds {recall:.1%} of the nearest labels; scores are not certified."
        )
    if detector.space.is_imported and listed is None:
        notes.append(
            f"The detector was made with features imported as {detector.space.model}; that they were made like "
            "those of these images is taken on trust."
        )
    return notes
