"""Protocols that tune: every method on every split and seed, each run kept, then averaged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.data.dataset import DataSet
from deltaoe.data.detector import Detector
from deltaoe.data.evaluation import Evaluation, Measurement
from deltaoe.data.files import write_json
from deltaoe.data.workspace import Workspace
from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.gallery import Gallery
from deltaoe.functional.metrics import mean_interval
from deltaoe.functional.sampling import few_shot_split
from deltaoe.functional.scores import SCORES
from deltaoe.models.tuning import Recipe
from deltaoe.workflows.evaluate import EvaluateOptions, distinct_unknown, source_for
from deltaoe.workflows.gather import Gathered, gather
from deltaoe.workflows.measuring import KNOWN, Grading, Seen, grade, possible, see
from deltaoe.workflows.progress import Event, OnEvent
from deltaoe.workflows.recipes import Protocol
from deltaoe.workflows.source import ModelSource
from deltaoe.workflows.tune import TuneOptions, tune
from deltaoe.workflows.zero_shot import TEMPLATE, zero_shot_detector

SOURCE, HELD_OUT, REST = "source", "held-out", "held-out classes"
METHODS: Mapping[str, Recipe | None] = {
    "zero-shot": None,
    "CoOp (λ = 0)": Recipe(ebm_weight=0.0),
    "deltaoe": Recipe(),
}
_RUN_FORMAT = 1

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """What one run learns from and is judged on.

    Attributes:
        name: the held-out domain, or the draw.
        seed: of shots and start.
        data: the data set that is tuned on, with the classes that are known; kept in the workspace.
        domains: of it, to draw shots from; all if empty.
        shots, rest: rows of ``data``.
        shift: rows of ``data`` in another domain, or none.
        near: digests of images of classes that are not known, or none.
    """

    name: str
    seed: int
    data: DataSet
    domains: tuple[str, ...]
    shots: Indices
    rest: Indices
    shift: Indices
    near: npt.NDArray[np.uint8]


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
    options.check()
    source = source_for(workspace, options, None, on)
    known = gather(KNOWN, options.known, workspace, source, on, options.ingest)
    outside = {
        name: gather(name, place, workspace, source, on, options.ingest)
        for name, place in options.unknown.items()
    }
    own = set(known.data.keys())
    unknown = {}
    notes = [note for one in (known, *outside.values()) for note in one.notes]
    for name, one in outside.items():
        rows, shared = distinct_unknown(one, own, options.unknown_per_class.get(name), options.seed)
        unknown[name] = one.data.digests[rows]
        if shared:
            notes.append(f"{name}: {shared} images also lie among the known ones; left out")
    splits = list(_splits(protocol, known.data))
    runs: list[tuple[Split, list[Measurement]]] = []
    titles: dict[str, str] = {}
    count = len(splits) * len(METHODS)
    for split in splits:
        for method, recipe in METHODS.items():
            on(Event("Runs", len(runs), count, {"method": method, "split": split.name, "seed": split.seed}))
            run = _Run(workspace, protocol, options, source, known, outside, unknown, split, method, recipe)
            found, titles[method] = run.measured(out, on)
            runs.append((split, found))
    scores = {row.score for _, rows in runs for row in rows}
    return Evaluation(
        title=protocol.title,
        rows=list(_averaged(runs)),
        detectors=titles,
        scores={name: score.title for name, score in SCORES.items() if name in scores},
        alpha=options.alpha,
        convention=options.convention,
        notes=notes,
        manifest={
            "recipe": dataclasses.asdict(protocol),
            "options": dataclasses.asdict(options),
            "feature_space": known.store.space.to_dict(),
        },
    )


def _splits(protocol: Protocol, data: DataSet) -> Iterator[Split]:
    if protocol.kind == "leave-one-domain-out":
        if len(data.domain_names) < 2:
            raise DataError(
                f"{data.title} has no domains to leave out", hint="it needs folders domain/class/image"
            )
        for held in data.domain_names:
            domains = tuple(name for name in data.domain_names if name != held)
            inside, beyond = data.rows_in(domains), data.rows_in((held,))
            for seed in protocol.seeds:
                drawn = few_shot_split(
                    np.where(inside, data.class_of, -1).tolist(), data.keys(), protocol.shots, seed
                )
                judged = few_shot_split(np.where(beyond, data.class_of, -1).tolist(), data.keys(), 0, 0).rest
                seen = {data.digests[row].tobytes() for row in drawn.shots}
                shift = np.array([r for r in judged if data.digests[r].tobytes() not in seen], dtype=np.int64)
                yield Split(held, seed, data, domains, drawn.shots, drawn.rest, shift, data.digests[:0])
        return
    if len(data.class_names) < 4:
        raise DataError(f"{data.title} has too few classes to split", hint="it needs four or more")
    for seed in protocol.seeds:
        order = np.random.default_rng(seed).permutation(len(data.class_names))
        stays = np.sort(order[: (len(order) + 1) // 2])
        part = class_part(data, stays, f"{protocol.name}-{seed}")
        drawn = few_shot_split(part.class_of.tolist(), part.keys(), protocol.shots, seed)
        others = (data.class_of >= 0) & ~np.isin(data.class_of, stays)
        near = np.unique(data.digests[others], axis=0)
        none = np.zeros(0, dtype=np.int64)
        yield Split(f"draw {seed}", seed, part, (), drawn.shots, drawn.rest, none, near)


def class_part(data: DataSet, classes: Indices, name: str) -> DataSet:
    """The images of these classes alone, as a data set of another name."""
    rows = np.flatnonzero(np.isin(data.class_of, classes))
    return dataclasses.replace(
        data,
        name=name,
        inputs=(),
        class_names=tuple(data.class_names[i] for i in classes.tolist()),
        class_of=np.searchsorted(classes, data.class_of[rows]).astype(np.int64),
        domain_of=data.domain_of[rows],
        paths=tuple(data.paths[i] for i in rows.tolist()),
        digests=data.digests[rows],
        text_features=None if data.text_features is None else data.text_features[classes],
    )


@dataclass(frozen=True)
class _Run:
    """One method on one split."""

    workspace: Workspace
    protocol: Protocol
    options: EvaluateOptions
    source: ModelSource
    known: Gathered
    outside: Mapping[str, Gathered]
    unknown: Mapping[str, npt.NDArray[np.uint8]]
    split: Split
    method: str
    recipe: Recipe | None

    def measured(self, out: Path, on: OnEvent) -> tuple[list[Measurement], str]:
        """Its measurements, from ``out/runs`` if it was finished before, and its score in words."""
        path = out / "runs" / f"{self._key()}.json"
        kept = _read_run(path)
        if kept is None:
            detector = self._detector(out, on)
            rows = list(self._measure(detector, on))
            title = detector.score_title
            values = [dataclasses.asdict(row) for row in rows]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"format": _RUN_FORMAT, "title": title, "rows": values})
            return rows, title
        return kept

    def _key(self) -> str:
        digest = hashlib.sha256()
        options = dataclasses.asdict(self.options)
        for left_out in (
            "known",
            "unknown",
            "shifts",
            "ingest",
            "device",
            "offline",
            "model",
            "pretrained",
            "draws",
        ):
            del options[left_out]
        head = {
            "protocol": dataclasses.asdict(self.protocol) | {"known": "", "unknown": "", "shifts": ""},
            "options": options,
            "split": [self.split.name, self.split.seed, self.split.domains],
            "method": [self.method, dataclasses.asdict(self.recipe) if self.recipe else None],
            "space": self.known.store.space.id,
            "classes": self.split.data.class_names,
            "unknown": list(self.unknown),
        }
        digest.update(json.dumps(head, sort_keys=True, default=str).encode())
        data = self.split.data
        for array in (data.digests, data.class_of, data.domain_of, self.split.near, *self.unknown.values()):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:24]

    def _detector(self, out: Path, on: OnEvent) -> Detector:
        data, split = self.split.data, self.split
        if self.recipe is None:
            return zero_shot_detector(
                data.class_names,
                self.options.template or TEMPLATE,
                self.source,
                self.workspace,
                on,
                temperature=self.options.temperature,
                top_c=self.options.top_c,
                background=self.options.background,
            )
        path = out / "detectors" / f"{self._key()}.safetensors"
        if path.is_file():
            return Detector.load(path)
        self.workspace.save_dataset(data, current=False)
        wanted = f"data:{data.name}" if data.name else data.inputs[0]
        options = TuneOptions(
            shots=self.protocol.shots,
            seed=split.seed,
            context_length=self.protocol.context_length,
            recipe=dataclasses.replace(self.recipe, epochs=self.protocol.epochs),
            background=self.options.background,
            data=wanted,
            domains=split.domains,
            allow_fewer=True,
            model=self.options.model,
            pretrained=self.options.pretrained,
            out=path,
            device=self.options.device,
            offline=self.options.offline,
        )
        return tune(self.workspace, options, on).detector

    def _measure(self, detector: Detector, on: OnEvent) -> Iterator[Measurement]:
        data, split, store = self.split.data, self.split, self.known.store
        digests = data.digests[split.shots]
        gallery = Gallery(store.features(digests), data.class_of[split.shots])
        names, _ = possible(self.options.scores or tuple(SCORES), detector, gallery=True)

        def look(where: Gathered, wanted: npt.NDArray[np.uint8]) -> Seen:
            return see(detector, where.store, wanted, names, gallery, on, f"Scoring {where.name}")

        inside: dict[str, tuple[Seen, Indices, Mapping[str, npt.NDArray[np.bool_]]]] = {
            KNOWN: (look(self.known, data.digests[split.rest]), data.class_of[split.rest], {})
        }
        if len(split.shift):
            inside[HELD_OUT] = (
                look(self.known, data.digests[split.shift]),
                data.class_of[split.shift],
                {},
            )
        outside = {REST: look(self.known, split.near)} if len(split.near) else {}
        outside |= {name: look(self.outside[name], wanted) for name, wanted in self.unknown.items()}
        if not outside:
            raise ConfigError("there are no unknown images to evaluate against", hint="--ood NAME=DIR")
        grading = Grading(
            self.options.alpha, 0, self.options.seed, self.options.convention
        )  # intervals: over seeds
        for row in grade(self.method, inside, outside, grading):
            yield dataclasses.replace(row, known=SOURCE if row.known == KNOWN else row.known)


def _read_run(path: Path) -> tuple[list[Measurement], str] | None:
    """What a finished run has left; None if there is nothing, or nothing usable: it is then run again."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] != _RUN_FORMAT:
            return None
        return [Measurement(**row) for row in kept["rows"]], str(kept["title"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _averaged(runs: Sequence[tuple[Split, list[Measurement]]]) -> Iterator[Measurement]:
    """Means over splits for each seed, then over seeds; accuracy of every held-out domain by itself as well."""
    groups: dict[tuple[str, ...], dict[int, list[Measurement]]] = {}
    for split, rows in runs:
        for row in rows:
            names = [row.known]
            if row.known == HELD_OUT and row.metric == "accuracy":
                names.append(f"{HELD_OUT}/{split.name}")
            for known in names:
                key = (row.detector, row.score, known, row.unknown, row.metric)
                groups.setdefault(key, {}).setdefault(split.seed, []).append(row)
    for (detector, score, known, unknown, metric), by_seed in groups.items():
        values = [float(np.mean([row.value for row in rows])) for rows in by_seed.values()]
        mean, half = mean_interval(values)
        every = [row for rows in by_seed.values() for row in rows]
        low, high = np.clip([mean - half, mean + half], 0, 1).tolist()
        yield Measurement(
            detector,
            score,
            known,
            unknown,
            metric,
            mean,
            low,
            high,
            round(np.mean([row.n_known for row in every])),
            round(np.mean([row.n_unknown for row in every])),
        )
