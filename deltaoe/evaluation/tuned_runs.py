"""The runs of a protocol that tunes: every method on every split, each result stored."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DataError
from deltaoe.evaluation.evaluate import source_for
from deltaoe.evaluation.image_sets import load_image_sets, unknown_rows
from deltaoe.evaluation.measure import (
    TITLES,
    LabelledScores,
    MeasureOptions,
    ScoredImages,
    measurements,
    possible_scores,
    score_images,
)
from deltaoe.evaluation.options import KNOWN, EvaluateOptions
from deltaoe.evaluation.protocol import SOURCE, Protocol
from deltaoe.evaluation.results import Measurement
from deltaoe.evaluation.splits import EvaluationImages, Split, splits
from deltaoe.evaluation.zero_shot_detectors import WITH_IMAGES, ZERO_SHOT, with_shots
from deltaoe.files import read_small_file
from deltaoe.functional.gallery import Gallery
from deltaoe.progress import OnEvent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Evidence
from deltaoe.scoring.zero_shot import zero_shot_detector
from deltaoe.store.atomic import write_json
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.options import TuneOptions, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.tune import save_detector, tune_data

# Name → how it tunes; of a method that does not, the evidence beside its zero-shot prompts.
METHODS: Mapping[str, TuningOptions | Evidence] = {
    ZERO_SHOT: "text",
    WITH_IMAGES: "both",
    "CoOp": TuningOptions(recipe=Recipe.coop(), evidence="text"),
    "deltaoe": TuningOptions(),
}
# To be raised when stored runs no longer mean what new ones would.
_RUN_FORMAT = 5
_DIGEST = "sha256"  # entry of a stored run with the digest of the others


class PlannedRuns(NamedTuple):
    """All runs of a protocol.

    Attributes:
        runs: every method on every split.
        space: the feature space of the in-distribution images.
        notes: sentences about the image sets.
    """

    runs: list[MethodRun]
    space: FeatureSpace
    notes: list[str]


def planned_runs(
    workspace: Workspace, protocol: Protocol, options: EvaluateOptions, on: OnEvent
) -> PlannedRuns:
    """The runs of a protocol, after the features that they need are there. Raises like ``averaged_runs.run_tuned``."""
    _check(protocol, options)
    source = source_for(workspace, options, None, on)
    id_sets, ood_sets = (
        load_image_sets(given, workspace, source, on, options.ingest)
        for given in ({KNOWN: options.known, **options.shifts}, options.unknown)
    )
    notes = [note for image_set in (*id_sets.values(), *ood_sets.values()) for note in image_set.notes]
    rows, overlap_notes = unknown_rows(ood_sets, id_sets.values(), options.unknown_per_class, options.seed)
    unknown = {
        name: EvaluationImages.out_of_distribution(one.store, one.data.digests[rows[name]])
        for name, one in ood_sets.items()
    }
    known = id_sets.pop(KNOWN)
    runs = [
        MethodRun(workspace, protocol, options, source, split, method, tuning)
        for split in splits(protocol, known, id_sets, unknown)
        for method, tuning in METHODS.items()
    ]
    return PlannedRuns(runs, known.store.space, notes + overlap_notes)


def _check(protocol: Protocol, options: EvaluateOptions) -> None:
    """Raise ConfigError for options that have no usable value, or no meaning in a protocol that tunes."""
    options.check()
    for option, given, why in (
        ("--detector", options.detectors, "tunes its own detectors"),
        ("--gallery", options.gallery, "compares with the shots"),
        ("--shift", protocol.kind == "class-split" and options.shifts, "knows half of the classes only"),
    ):
        if given:
            raise ConfigError(f"the protocol {protocol.name} {why}", hint=f"leave {option} out")


@dataclass(frozen=True)
class RunResult:
    """The result of one run.

    Attributes:
        title: the score that the detector computes, with τ and c, in words.
        notes: sentences for the reader of the results.
        rows: the measurements, without intervals.
    """

    title: str
    notes: Sequence[str]
    rows: Sequence[Measurement]

    @classmethod
    def read(cls, path: Path) -> RunResult | None:
        """The stored result of a finished run; None if there is none or it cannot be used, so that it is run again."""
        try:
            stored = json.loads(read_small_file(path))
            if stored["format"] != _RUN_FORMAT:
                return None
            # Results of earlier versions have no digest.
            if (digest := stored.pop(_DIGEST, None)) is not None and digest != _whole_digest(stored):
                return None
            rows = [Measurement(**row) for row in stored["rows"]]
            return cls(str(stored["title"]), [str(note) for note in stored["notes"]], rows)
        except (DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


@dataclass(frozen=True)
class MethodRun:
    """One method on one split.

    Attributes:
        workspace: holds the features.
        protocol: sets shots, epochs and context length.
        options: set the scores, intervals, prompts and model.
        source: the model.
        split: what is learned from and evaluated on.
        method: a name in :data:`METHODS`.
        tuning: how the method tunes, or its evidence.
    """

    workspace: Workspace
    protocol: Protocol
    options: EvaluateOptions
    source: ModelSource
    split: Split
    method: str
    tuning: TuningOptions | Evidence

    def is_stored(self, out: Path) -> bool:
        """Whether :meth:`result` would read the result."""
        return RunResult.read(self._path(out)) is not None

    def result(self, out: Path, on: OnEvent) -> RunResult:
        """Read the result from ``out/runs``, or compute and store it there. Raises like ``averaged_runs.run_tuned``."""
        path = self._path(out)
        result = RunResult.read(path)
        if result is None:
            detector = self._detector(out, on)
            result = self._measure(detector, on)
            about = {
                "format": _RUN_FORMAT,
                "method": self.method,
                "split": self.split.name,
                "seed": self.split.seed,
                "detector": {"digest": detector.digest, "settings": dict(detector.settings)},
            }
            whole = json.loads(json.dumps(about | dataclasses.asdict(result)))  # as a reader will see it
            write_json(path, {**whole, _DIGEST: _whole_digest(whole)})
        return result

    def _path(self, out: Path) -> Path:
        return out / "runs" / f"{self._run_key()}.json"

    def _detector_key(self) -> str:
        """Digest of everything that the detector depends on, and of nothing else: a tuned detector is used again."""
        prompts = self.options.prompts
        background = dataclasses.asdict(prompts.background)
        if (source := prompts.background.source) and (path := Path(source)).is_file():
            background["content"] = hashlib.sha256(read_small_file(path)).hexdigest()
        key: dict[str, Any] = {"data": self.split.training_digest(), "background": background}
        if isinstance(self.tuning, str):
            key["prompts"] = [self.tuning, prompts.template, prompts.temperature, prompts.top_c]
        else:
            tuning = dataclasses.asdict(self._tune_options().tuning)
            key["tuning"] = {**tuning, "background": background}
        return _digest(key)

    def _run_key(self) -> str:
        """Digest of everything that the result depends on."""
        return _digest(
            {
                "format": _RUN_FORMAT,
                "method": self.method,
                "detector": self._detector_key(),
                "split": [self.protocol.kind, self.split.name, self.split.evaluation_digest()],
                "scores": self.options.scores or list(TITLES),
                "grading": [self.options.alpha, self.options.seed, self.options.convention],
            }
        )

    def _tune_options(self) -> TuneOptions:
        """The method's tuning options with the protocol's shots, epochs and context length, and the split's seed."""
        assert isinstance(self.tuning, TuningOptions)  # noqa: S101 - zero-shot is not tuned
        context, recipe = self.tuning.context, self.tuning.recipe
        if self.protocol.context_length is not None:
            context = dataclasses.replace(context, length=self.protocol.context_length)
        if self.protocol.epochs is not None:
            recipe = dataclasses.replace(recipe, epochs=self.protocol.epochs)
        return TuneOptions(
            tuning=dataclasses.replace(
                self.tuning,
                shots=self.protocol.shots,
                seed=self.split.seed,
                context=context,
                recipe=recipe,
                background=self.options.prompts.background,
            ),
            domains=self.split.domains,
            allow_fewer=True,
            allow_undecided=True,
            model=self.options.model,
        )

    def _detector(self, out: Path, on: OnEvent) -> Detector:
        """The zero-shot detector, or the tuned one: read from ``out/detectors``, or tuned and stored there."""
        if isinstance(self.tuning, str):
            how = self.options.prompts, self.source, self.workspace, on
            if self.tuning == "text":
                return zero_shot_detector(self.split.data.class_names, *how)
            return with_shots(self.split, self.protocol.shots, *how)
        path = out / "detectors" / f"{self._detector_key()}.safetensors"
        if path.is_file():
            return Detector.load(path)
        result = tune_data(self.split.data, self.workspace, self._tune_options(), on)
        return save_detector(result, self.workspace, path, on).detector

    def _measure(self, detector: Detector, on: OnEvent) -> RunResult:
        """The metrics of the detector on the split's images; the shots are the gallery."""
        data, store = self.split.data, self.split.id_images[KNOWN].store
        shots = data.digests[self.split.shots]
        gallery = Gallery(store.features(shots), data.class_of[self.split.shots])
        names, missing = possible_scores(self.options.scores, detector, gallery=True)

        def score(name: str, images: EvaluationImages) -> ScoredImages:
            stage = f"Scoring {name}"
            return score_images(detector, images.store, images.digests, names, gallery, on, stage)

        # No bootstrap draws: intervals are over seeds.
        settings = MeasureOptions(self.options.alpha, 0, self.options.seed, self.options.convention)
        id_scores = {
            name: LabelledScores(score(name, images), images.labels, {})
            for name, images in self.split.id_images.items()
        }
        ood_scores = {name: score(name, images) for name, images in self.split.ood_images.items()}
        # Where domains or classes are held out, the other images of the data set are called the source.
        known = KNOWN if self.protocol.kind == "fixed" else SOURCE
        rows = [
            dataclasses.replace(row, known=known if row.known == KNOWN else row.known)
            for row in measurements(self.method, id_scores, ood_scores, settings)
        ]
        return RunResult(detector.score_title, missing, rows)


def _whole_digest(value: object) -> str:
    """The SHA-256 of a JSON value, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest(value: object) -> str:
    """The first 24 hexadecimal digits of the SHA-256 of a JSON value."""
    return _whole_digest(value)[:24]
