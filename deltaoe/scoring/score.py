"""``score``: images to a table of scores and verdicts, with a tuned detector or with zero-shot prompts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, MismatchError
from deltaoe.extraction.ingest import ingest
from deltaoe.extraction.picture_notes import picture_notes
from deltaoe.images.inputs import find_files
from deltaoe.images.lists import Wanted
from deltaoe.images.location_text import joined, tidied
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule, ScoreOptions
from deltaoe.scoring.resembling import with_names
from deltaoe.scoring.resolve import chosen_detector, saved_detector
from deltaoe.scoring.score_table import VERDICTS, ScoreTable, Verdict
from deltaoe.scoring.scorer import IMAGE_BLOCK, Scorer, score_stored, with_exact_scores
from deltaoe.scoring.staleness import data_behind, staleness, used_before
from deltaoe.scoring.verdicts import decide, rows_to_score_exactly, tabulated
from deltaoe.scoring.vocabulary import check_vocabulary, vocabulary_once, vocabulary_source
from deltaoe.short_repr import number_of_notes, short_repr
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.workspace import DATA_PREFIX, Workspace


class StoredFeatures(NamedTuple):
    """Where the features of N scored images are.

    Attributes:
        store: has them.
        digests: (N, 32) uint8, under which they are stored, in the order of the table.
        source: where their model can be loaded from.
    """

    store: FeatureStore
    digests: Digests
    source: ModelSource


@dataclass(frozen=True)
class ScoreResult:
    """A table of scored images, and the detector, rule and model that it was made with.

    Attributes:
        table: N scored images, and the files that failed.
        rule: the rule that the verdicts follow.
        files: N paths by which the images can be opened, in the order of the table; if ``claimed``, not to be opened.
        detector: the detector that the images were scored with.
        origin: where the detector comes from, in words.
        model: the model of the image features.
        encoded: number of images that were encoded now.
        reused: number of images whose features were in the store and whose files were not opened.
        notes: sentences for the user.
        features: where the images' features are; None if the result was not made by :func:`score`.
        whole_urls: location in ``files`` → the URL by which it can be opened, where that holds a password or signature.
        claimed: whether the images were imported. Their paths are what a file claims; whoever wrote it could name any
            file of this machine, and see it in a report or have it moved.
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
    features: StoredFeatures | None = None
    claimed: bool = False
    whole_urls: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The table's numbers, the rule and the origin of the detector; the files would fill the screen."""
        level = f"alpha = {self.rule.alpha:g}" if self.rule.fdr is None else f"fdr = {self.rule.fdr:g}"
        return short_repr(self, repr(self.table), level, self.origin, number_of_notes(self.notes))

    def files_of(self, verdict: Verdict) -> list[str]:
        """Paths by which the images of a verdict can be opened, in the order of the table."""
        wanted = self.table.verdict_numbers == VERDICTS.index(verdict)
        return [self.files[row] for row in np.flatnonzero(wanted).tolist()]

    def head(self) -> dict[str, Any]:
        """What ``scores.json`` says of the run before it lists the images, JSON values."""
        detector = self.detector
        return {
            "deltaoe": version("deltaoe"),
            **detector.score_settings,
            "alpha": self.table.alpha,
            "fdr": self.rule.fdr,
            "per_class": self.rule.per_class,
            "threshold": self.table.threshold,
            "calibration_images": len(detector.calibration),
            "detector": self.origin,
            "model": self.model,
            "feature_space": detector.space.id,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class _StoredImages:
    """N images whose features are in a store.

    Attributes:
        store: the feature store.
        digests: (N, 32) uint8, under which their features are stored.
        files: N paths by which they can be opened.
        names: N paths as the table shows them.
        failed: path and reason of the files that are no usable images, and of folders that cannot be listed.
        encoded, reused: as in :class:`ScoreResult`.
        notes: sentences on how inputs were read.
        whole_urls: as in :class:`ScoreResult`.
    """

    store: FeatureStore
    digests: Digests
    files: Sequence[str]
    names: Sequence[str]
    failed: list[tuple[str, str]]
    encoded: int
    reused: int
    notes: Sequence[str] = ()
    whole_urls: Mapping[str, str] = field(default_factory=dict)


def score(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    workspace: Workspace,
    options: ScoreOptions | None = None,
    on: OnEvent = silent,
    stdin: BinaryIO | None = None,
) -> ScoreResult:
    """Score images and decide which of them are known: what ``deltaoe score`` does.

    The detector is the first of these that applies: ``options.detector``; zero-shot prompts, if they are asked for or
    if labels, a template, text features or a data set are given; the last detector tuned in the workspace; zero-shot
    prompts of the last data set with classes.

    Args:
        inputs: one or several folders, image files, globs or lists; ``-`` for a list on ``stdin``; or one data set,
            ``data:NAME``.
        workspace: has the features and the detectors; new features are stored there.
        options: rule, detector or prompts, model; None for the defaults.
        on: receives progress.
        stdin: the stream that ``-`` reads.

    Raises:
        ConfigError: an option is out of range, or options exclude each other.
        DataError: there are no images, no usable images, no class names to score against, or no such detector.
        MismatchError: the detector belongs to another feature space than the images.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    options = options or ScoreOptions()
    options.check()
    given = [os.fspath(one) for one in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    data = _requested_data(given, workspace)
    saved = saved_detector(workspace, options)
    behind = data_behind(workspace, options, saved[0] if saved else None)
    stale = staleness(workspace, options, saved[0] if saved else None, behind, on)
    options, lacking = _for_neighbours(options, saved[0].fused if saved else bool(workspace.listings()))
    detector, origin, source, notes = chosen_detector(saved, data, workspace, options, on)
    lacking += notes
    check_vocabulary(vocabulary_source(detector, options))

    images = (
        _ingested(given, workspace, source, options, on, stdin)
        if data is None
        else _of_data_set(data, workspace, detector)
    )
    scorer = Scorer(
        detector,
        device=options.model.device,
        neighbours=options.neighbours,
        index=options.index,
        images=len(images.digests),
        folder=workspace.index_folder(detector.space),
    )
    scored = score_stored(scorer, images.store, images.digests, on)
    decisions = decide(detector, scored.scores, scored.labels[:, 0], options.rule)
    # Where the threshold lies between the bounds of a score, the score is computed exactly, so that no verdict depends
    # on the middle of two bounds. With --fdr the new scores can move the threshold, hence the loop.
    exact = np.zeros(len(scored.scores), dtype=bool)
    while len(rows := rows_to_score_exactly(scored.bounds, decisions.thresholds, exact)):
        scored = with_exact_scores(scored, rows, scorer, images.store, images.digests)
        decisions = decide(detector, scored.scores, scored.labels[:, 0], options.rule)
        exact[rows] = True
    table = tabulated(detector, options.rule, scored, decisions, images.names, images.failed)
    said: list[str] = []
    vocabulary = vocabulary_once(detector, options, source, workspace, on, said.append)
    if vocabulary is not None:
        table = with_names(
            table, lambda rows: images.store.blocks(images.digests[rows], rows=IMAGE_BLOCK), vocabulary
        )
    return ScoreResult(
        table=table,
        rule=options.rule,
        files=images.files,
        whole_urls=images.whole_urls,
        detector=detector,
        origin=origin,
        # The features of a data set are stored already: no model is used.
        model=str(source.ref) if data is None else detector.space.model,
        encoded=images.encoded,
        reused=images.reused,
        notes=list(images.notes)
        + stale
        + (picture_notes(images.names, images.store.notes.of(images.digests)) if data is None else [])
        + used_before(behind, detector, images.digests)
        + lacking
        + scorer.notes
        + _notes(detector, data, scorer.recall, exact)
        + decisions.notes
        + said,
        features=StoredFeatures(images.store, images.digests, source),
        claimed=data is not None and data.is_imported,
    )


def _for_neighbours(options: ScoreOptions, has_images: bool) -> tuple[ScoreOptions, list[str]]:
    """The options with text as the evidence if few labels are looked up, and a sentence if that leaves images out.

    Raises:
        ConfigError: image evidence is asked for as well.
    """
    if options.neighbours is None and options.index == "flat":
        return options, []
    flag = "--neighbours" if options.neighbours is not None else "--index"
    if options.evidence in ("images", "both"):
        raise ConfigError(
            f"{flag} looks up few labels, and image evidence compares with every class",
            hint=f"leave {flag} out, or use --evidence text",
        )
    said = [f"Only the prompts are asked: {flag} has no image evidence."] if has_images else []
    return dataclasses.replace(options, evidence="text"), said if options.evidence == "auto" else []


def _requested_data(given: Sequence[str], workspace: Workspace) -> DataSet | None:
    """The data set named by the inputs; None if they are files."""
    if not given:
        raise ConfigError("nothing to score", hint="name folders or image files: deltaoe score ./unknown")
    named = [one for one in given if one.startswith(DATA_PREFIX) and not os.path.lexists(one)]
    if not named:
        return None
    if len(given) > 1:
        raise ConfigError(f"{named[0]} can only be scored alone", hint="run deltaoe score once for each")
    return workspace.dataset(named[0])


def _ingested(
    given: Sequence[str],
    workspace: Workspace,
    source: ModelSource,
    options: ScoreOptions,
    on: OnEvent,
    stdin: BinaryIO | None,
) -> _StoredImages:
    """The images of these files, after those without stored features were encoded."""
    files = find_files(
        given,
        stdin=stdin,
        on_found=lambda n: on(Event("Listing files", n)),
        wanted=Wanted(labels=False),
    )
    result = ingest(files, workspace, source, on, options.ingest)
    opened = [files.shown(int(i)) for i in result.rows]
    return _StoredImages(
        store=result.store,
        digests=result.digests,
        files=opened,
        names=list(map(tidied, opened)),
        failed=[
            *((tidied(files.shown(i)), reason) for i, reason in result.failed.items()),
            *((os.path.join(os.path.normpath(one.path), ""), one.reason) for one in files.unlisted),
        ],
        encoded=result.encoded,
        reused=result.reused,
        notes=[*files.assumed, *files.notes],
        whole_urls={files.shown(row): url for row, url in files.secrets.items()},
    )


def _of_data_set(data: DataSet, workspace: Workspace, detector: Detector) -> _StoredImages:
    """The images of a data set. Raises MismatchError unless the detector belongs to its feature space."""
    store = workspace.features_of(data)
    space = store.space
    if space.id != detector.space.id:
        options = " ".join(
            f"{option} {theirs}" for option, (_, theirs) in detector.space.other_pixels(space).items()
        )
        raise MismatchError(
            f"{data.title} was made with {space.model}, the detector with {detector.space.model}: "
            + "; ".join(detector.space.differences(space)),
            hint=f"add {options}"
            if options
            else "use a detector of the same features, or extract them with the detector's model",
        )
    return _StoredImages(
        store=store,
        digests=data.digests,
        files=[joined(data.root, path) for path in data.paths],
        names=data.paths,
        failed=[],
        encoded=0,
        reused=len(data),
    )


def _notes(
    detector: Detector, data: DataSet | None, recall: float | None, exact: npt.NDArray[np.bool_]
) -> list[str]:
    """Sentences about scores computed exactly, an approximate index, and features of unknown origin."""
    notes = []
    if exact.any():
        notes.append(
            f"Scores computed exactly, because their bounds held the threshold: {exact.sum()} of {len(exact)}."
        )
    if recall is not None:
        notes.append(
            f"The approximate index finds {recall:.1%} of the nearest labels; scores are not certified."
        )
    if detector.space.is_imported and data is None:
        notes.append(
            f"The detector was made with features imported as {detector.space.model}; that they were made like "
            "those of these images is taken on trust."
        )
    return notes
