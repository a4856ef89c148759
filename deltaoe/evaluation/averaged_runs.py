"""A protocol that tunes: its runs, here or on a cluster, and their averages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from deltaoe.evaluation.averaging import mean_measurements
from deltaoe.evaluation.conclusions import with_conclusions
from deltaoe.evaluation.measure import TITLES
from deltaoe.evaluation.options import EvaluateOptions, option_values
from deltaoe.evaluation.protocol import Protocol
from deltaoe.evaluation.results import Evaluation
from deltaoe.evaluation.splits import Split
from deltaoe.evaluation.tuned_runs import METHODS, MethodRun, RunResult, planned_runs
from deltaoe.progress import Event, OnEvent
from deltaoe.store.workspace import Workspace


def run_tuned(
    workspace: Workspace, protocol: Protocol, options: EvaluateOptions, out: Path, on: OnEvent
) -> Evaluation:
    """All runs of a protocol, averaged.

    Every number is the mean over splits for each seed, then over seeds; its interval is Student's over the seeds.

    Args:
        workspace: holds the features.
        protocol: the splits, the seeds and the tuning options that it sets.
        options: the image sets, scores, prompts and model.
        out: folder whose ``runs`` and ``detectors`` hold what is finished; neither is computed again.
        on: called with progress.

    Raises:
        DataError: the data does not have the domains or classes that the protocol needs.
        ConfigError, MismatchError, ModelError, StoreError: as for tuning and evaluating.
    """
    planned = planned_runs(workspace, protocol, options, on)
    if options.ingest.cluster.cluster is not None:
        from deltaoe.evaluation.runs_on_cluster import run_on_cluster

        run_on_cluster(planned, out, on)
    notes = list(planned.notes)
    results: list[tuple[Split, RunResult]] = []
    titles: dict[str, str] = {}
    for number, run in enumerate(planned.runs, start=1):
        result = run.result(out, _with_run_number(on, number, len(planned.runs), run))
        results.append((run.split, result))
        titles[run.method] = result.title
        notes += [*run.split.notes, *result.notes]
    means, partial_notes = mean_measurements([(split, result.rows) for split, result in results])
    order, measured = list(METHODS), {row.score for row in means}
    evaluation = Evaluation(
        title=protocol.title,
        rows=sorted(means, key=lambda row: order.index(row.detector)),
        detectors=titles,
        scores={name: title for name, title in TITLES.items() if name in measured},
        alpha=options.alpha,
        convention=options.convention,
        notes=list(dict.fromkeys(notes + partial_notes)),
        manifest={
            "recipe": dataclasses.asdict(protocol),
            "options": option_values(options),
            "feature_space": planned.space.to_dict(),
        },
    )
    return with_conclusions(evaluation)


def _with_run_number(on: OnEvent, number: int, count: int, run: MethodRun) -> OnEvent:
    """Announce a run, and return a callback that puts its number before every stage."""
    stage = f"Run {number}/{count}"
    on(Event(stage, info={"method": run.method, "split": run.split.name or "all", "seed": run.split.seed}))
    return lambda event: on(dataclasses.replace(event, stage=f"{stage}: {event.stage}"))
