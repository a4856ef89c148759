"""Protocols that tune: every method on every split and seed, each run kept, then averaged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError
from deltaoe.evaluation.evaluate import source_for
from deltaoe.evaluation.image_sets import load_image_sets, unknown_rows
from deltaoe.evaluation.measure import (
    MeasureOptions,
    ScoredImages,
    measurements,
    possible_scores,
    score_images,
)
from deltaoe.evaluation.options import KNOWN, EvaluateOptions, option_values
from deltaoe.evaluation.protocol import HELD_OUT, SOURCE, Protocol
from deltaoe.evaluation.results import Evaluation, Measurement
from deltaoe.evaluation.splits import Images, Split, splits
from deltaoe.functional.gallery import Gallery
from deltaoe.functional.metrics import mean_interval
from deltaoe.functional.scores import SCORES
from deltaoe.progress import Event, OnEvent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.zero_shot import zero_shot_detector
from deltaoe.store.atomic import write_json
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.options import TuneOptions, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.tune import save_detector, tune_data

METHODS: Mapping[str, TuningOptions | None] = {
    "zero-shot": None,
    "CoOp": TuningOptions(recipe=Recipe.coop(), select="off"),
    "deltaoe": TuningOptions(),
}
# To be raised when kept runs no longer mean what new ones would.
_RUN_FORMAT = 3


def run_tuned(
    workspace: Workspace, protocol: Protocol, options: EvaluateOptions, out: Path, on: OnEvent
) -> Evaluation:
    """All runs of a protocol, and their means.

    Every number is the mean over splits for each seed, then over seeds; the interval is Student's over the seeds. A
    finished run lies in ``out/runs`` and is not repeated, nor is a tuned detector in ``out/detectors``.

    Raises:
        DataError: the data has not the domains or classes that the protocol needs.
        ConfigError, MismatchError, ModelError, StoreError: as for tuning and evaluating.
    """
    _check(protocol, options)
    source = source_for(workspace, options, None, on)

    inside, outside = (
        load_image_sets(given, workspace, source, on, options.ingest)
        for given in ({KNOWN: options.known, **options.shifts}, options.unknown)
    )
    known = inside.pop(KNOWN)
    notes = [note for one in (known, *inside.values(), *outside.values()) for note in one.notes]
    rows, left_out = unknown_rows(outside, (known, *inside.values()), options.unknown_per_class, options.seed)
    notes += left_out
    unknown = {name: Images.unknown(one.store, one.data.digests[rows[name]]) for name, one in outside.items()}
    every = list(splits(protocol, known, inside, unknown))
    runs: list[tuple[Split, _Result]] = []
    titles: dict[str, str] = {}
    count = len(every) * len(METHODS)
    for split in every:
        notes += split.notes
        for method, tuning in METHODS.items():
            run = _Run(workspace, protocol, options, source, split, method, tuning)
            result = run.result(out, _numbered(on, len(runs) + 1, count, run))
            runs.append((split, result))
            titles[method] = result.title
            notes += result.notes
    rows_, lacking = _averaged([(split, result.rows) for split, result in runs])
    scores = {row.score for row in rows_}
    return Evaluation(
        title=protocol.title,
        rows=rows_,
        detectors=titles,
        scores={name: score.title for name, score in SCORES.items() if name in scores},
        alpha=options.alpha,
        convention=options.convention,
        notes=list(dict.fromkeys(notes + lacking)),
        manifest={
            "recipe": dataclasses.asdict(protocol),
            "options": option_values(options),
            "feature_space": known.store.space.to_dict(),
        },
    )


def _check(protocol: Protocol, options: EvaluateOptions) -> None:
    options.check()
    for option, given, why in (
        ("--detector", options.detectors, "tunes its own detectors"),
        ("--gallery", options.gallery, "compares with the shots"),
        ("--shift", protocol.kind == "class-split" and options.shifts, "knows half of the classes only"),
    ):
        if given:
            raise ConfigError(f"the recipe {protocol.name} {why}", hint=f"leave {option} out")


def _numbered(on: OnEvent, number: int, count: int, run: _Run) -> OnEvent:
    stage = f"Run {number}/{count}"
    on(Event(stage, info={"method": run.method, "split": run.split.name or "all", "seed": run.split.seed}))
    return lambda event: on(dataclasses.replace(event, stage=f"{stage}: {event.stage}"))


@dataclass(frozen=True)
class _Result:
    """What a run has found: its detector's score in words, sentences, and measurements."""

    title: str
    notes: Sequence[str]
    rows: Sequence[Measurement]

    @classmethod
    def read(cls, path: Path) -> _Result | None:
        """What a finished run has left; None if there is nothing, or nothing usable: it is then run again."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["format"] != _RUN_FORMAT:
                return None
            rows = [Measurement(**row) for row in kept["rows"]]
            return cls(str(kept["title"]), [str(note) for note in kept["notes"]], rows)
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class _Run:
    """One method on one split."""

    workspace: Workspace
    protocol: Protocol
    options: EvaluateOptions
    source: ModelSource
    split: Split
    method: str
    tuning: TuningOptions | None

    def result(self, out: Path, on: OnEvent) -> _Result:
        """Its result, from ``out/runs`` if it was finished before."""
        path = out / "runs" / f"{self._run_key()}.json"
        result = _Result.read(path)
        if result is None:
            detector = self._detector(out, on)
            result = self._measured(detector, on)
            about = {
                "format": _RUN_FORMAT,
                "method": self.method,
                "split": self.split.name,
                "seed": self.split.seed,
                "detector": {"digest": detector.digest, "settings": dict(detector.settings)},
            }
            write_json(path, about | dataclasses.asdict(result))
        return result

    def _detector_key(self) -> str:
        """Digest of everything that the detector depends on; of nothing else, for tuning is what takes long."""
        prompts = self.options.prompts
        background = dataclasses.asdict(prompts.background)
        if (source := prompts.background.source) and (path := Path(source)).is_file():
            background["content"] = hashlib.sha256(path.read_bytes()).hexdigest()
        head: dict[str, Any] = {"data": self.split.learned_from(), "background": background}
        if self.tuning is None:
            head["prompts"] = [prompts.template, prompts.temperature, prompts.top_c]
        else:
            tuning = dataclasses.asdict(self._tune_options().tuning)
            head["tuning"] = {**tuning, "fixed": sorted(tuning["fixed"]), "background": background}
        return _digest(head)

    def _run_key(self) -> str:
        return _digest(
            {
                "format": _RUN_FORMAT,
                "method": self.method,
                "detector": self._detector_key(),
                "split": [self.protocol.kind, self.split.name, self.split.judged_on()],
                "scores": self.options.scores or list(SCORES),
                "grading": [self.options.alpha, self.options.seed, self.options.convention],
            }
        )

    def _tune_options(self) -> TuneOptions:
        assert self.tuning is not None  # noqa: S101 - zero-shot is not tuned
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
            model=self.options.model,
        )

    def _detector(self, out: Path, on: OnEvent) -> Detector:
        if self.tuning is None:
            names = self.split.data.class_names
            return zero_shot_detector(names, self.options.prompts, self.source, self.workspace, on)
        path = out / "detectors" / f"{self._detector_key()}.safetensors"
        if path.is_file():
            return Detector.load(path)
        result = tune_data(self.split.data, self.workspace, self._tune_options(), on)
        return save_detector(result, self.workspace, path, on).detector

    def _measured(self, detector: Detector, on: OnEvent) -> _Result:
        data, store = self.split.data, self.split.inside[KNOWN].store
        shots = data.digests[self.split.shots]
        gallery = Gallery(store.features(shots), data.class_of[self.split.shots])
        names, lacking = possible_scores(self.options.scores or tuple(SCORES), detector, gallery=True)

        def look(name: str, one: Images) -> ScoredImages:
            return score_images(detector, one.store, one.digests, names, gallery, on, f"Scoring {name}")

        # Intervals are over seeds: no bootstrap here.
        grading = MeasureOptions(self.options.alpha, 0, self.options.seed, self.options.convention)
        domains: Mapping[str, npt.NDArray[np.bool_]] = {}
        inside = {name: (look(name, one), one.truth, domains) for name, one in self.split.inside.items()}
        outside = {name: look(name, one) for name, one in self.split.outside.items()}
        word = KNOWN if self.protocol.kind == "fixed" else SOURCE
        found = measurements(self.method, inside, outside, grading)
        rows = [dataclasses.replace(row, known=word if row.known == KNOWN else row.known) for row in found]
        return _Result(detector.score_title, lacking, rows)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def _averaged(runs: Sequence[tuple[Split, Sequence[Measurement]]]) -> tuple[list[Measurement], list[str]]:
    """Means over splits for each seed, then over seeds; accuracy on every held-out domain by itself as well.

    What not all runs could measure has no mean that could be compared: it is left out, and a sentence says so.
    """
    groups: dict[tuple[str, ...], dict[int, list[Measurement]]] = {}
    for split, rows in runs:
        for row in rows:
            names = [row.known]
            if row.known == HELD_OUT and row.metric == "accuracy":
                names.append(f"{HELD_OUT}/{split.name}")
            for known in names:
                key = (row.detector, row.score, known, row.unknown, row.metric)
                groups.setdefault(key, {}).setdefault(split.seed, []).append(row)
    expected = {(split.seed, split.name) for split, _ in runs}
    found: list[Measurement] = []
    partial: set[str] = set()
    for (detector, score, known, unknown, metric), by_seed in groups.items():
        every = [row for rows in by_seed.values() for row in rows]
        domain = known.removeprefix(f"{HELD_OUT}/")
        wanted = [pair for pair in expected if domain == known or pair[1] == domain]
        if len(every) < len(wanted):
            partial.add(metric)
            continue
        values = [float(np.mean([row.value for row in rows])) for rows in by_seed.values()]
        mean, half = mean_interval(values)
        low, high = np.clip([mean - half, mean + half], 0, 1).tolist()
        counts = (round(np.mean([getattr(row, n) for row in every])) for n in ("n_known", "n_unknown"))
        found.append(Measurement(detector, score, known, unknown, metric, mean, low, high, *counts))
    order = list(METHODS)
    why = "left out where some runs have too few images to measure it"
    notes = [f"{metric.replace('_', ' ')}: {why}" for metric in sorted(partial)]
    return sorted(found, key=lambda row: order.index(row.detector)), notes
