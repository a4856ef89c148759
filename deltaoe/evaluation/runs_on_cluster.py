"""The runs of a protocol on a cluster: workers tune and evaluate, and store the results, which are then read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deltaoe.cluster.connection import connected
from deltaoe.cluster.nodes import check_nodes
from deltaoe.cluster.options import ClusterOptions
from deltaoe.cluster.pool import Pool
from deltaoe.cluster.tally import Reading
from deltaoe.cluster.worker_plan import plan_workers
from deltaoe.errors import ConfigError, os_reason
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.evaluation.protocol import Protocol
from deltaoe.evaluation.tuned_runs import PlannedRuns, planned_runs
from deltaoe.extraction.on_cluster import needs_of, wants_gpus
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.store.workspace import Workspace

_STAGE = "Runs of the protocol"


@dataclass(frozen=True)
class RunsSpec:
    """What every worker is told.

    Attributes:
        folder: the current folder of the driver, to which paths may be relative.
        workspace: the workspace's folder; it has all features.
        protocol: the protocol.
        options: of the evaluation, without the cluster.
        out: the folder of the results.
    """

    folder: str
    workspace: str
    protocol: Protocol
    options: EvaluateOptions
    out: str


class RunWorker:
    """The work of one worker: one run at a time, by its number.

    Args:
        spec: of the evaluation.
        say: takes sentences for the user.

    Raises:
        ConfigError: the driver's folder is not here.
        DeltaoeError: as for :func:`~deltaoe.evaluation.averaged_runs.run_tuned`.
    """

    def __init__(self, spec: RunsSpec, say: Callable[[str], None]) -> None:
        try:
            os.chdir(spec.folder)
        except OSError as cause:
            raise ConfigError(
                f"cannot use the folder {spec.folder}: {os_reason(cause)}",
                hint="run the command in a folder that all machines share, under one path",
            ) from cause
        self._say, self._out = say, Path(spec.out)
        self._planned = planned_runs(Workspace(Path(spec.workspace)), spec.protocol, spec.options, silent)

    def __call__(self, number: int, tell: Callable[[int, int], None]) -> bool:
        """Compute the result of a run and store it."""

        def on(event: Event) -> None:
            if event.message:
                self._say(event.message)
            tell(0, 0)  # the end of all work shows here

        self._planned.runs[number].result(self._out, on)
        return True


def run_on_cluster(planned: PlannedRuns, out: Path, on: OnEvent) -> None:
    """Have the runs that are not stored yet computed by the workers of a cluster.

    Raises:
        ClusterError: the cluster cannot be used, or a worker lacks something.
        DeltaoeError: of a run, as for :func:`~deltaoe.evaluation.averaged_runs.run_tuned`.
    """
    missing = [number for number, run in enumerate(planned.runs) if not run.is_stored(out)]
    if not missing:
        return
    first = planned.runs[0]
    workspace, options = first.workspace, first.options
    asked = options.ingest.cluster
    model = first.source.portable
    spec = RunsSpec(
        folder=os.getcwd(),
        workspace=str(workspace.folder.absolute()),
        protocol=first.protocol,
        options=dataclasses.replace(
            options, model=model, ingest=dataclasses.replace(options.ingest, cluster=ClusterOptions())
        ),
        out=str(out.absolute()),
    )
    on(Event(_STAGE, message=f"cluster {asked.cluster}: connecting"))
    with connected(asked) as cluster:
        plan = plan_workers(
            cluster.nodes(), gpus=wants_gpus(model.device), cpus=options.ingest.workers or None
        )
        if not cluster.is_own:
            with needs_of(workspace, ()) as needs:
                check_nodes(cluster, needs)
        on(Event(_STAGE, message=f"cluster {asked.cluster}: {plan.sentence()}"))
        pool = Pool(plan, RunWorker, spec)
        try:
            _follow(pool, missing, len(planned.runs), on)
        except BaseException:
            pool.stop()
            raise


def _follow(pool: Pool, missing: list[int], count: int, on: OnEvent) -> None:
    done = count - len(missing)
    on(Event(_STAGE, done, count))
    for event in pool.events(missing):
        if isinstance(event, Reading):
            for sentence in event.said:
                on(Event(_STAGE, message=sentence))
        else:
            done += 1
            on(Event(_STAGE, done, count))
