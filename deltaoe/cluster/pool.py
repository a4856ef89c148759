"""Work in chunks on a pool of workers, each of which keeps what it has loaded: Ray Data's pool of actors."""

from __future__ import annotations

import contextlib
import pickle
import platform
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from deltaoe import errors
from deltaoe.cluster.connection import check_alive
from deltaoe.cluster.failures import AGAIN, cluster_error
from deltaoe.cluster.silence import quiet_logging
from deltaoe.cluster.tally import Reading, Reporter, Tally
from deltaoe.cluster.worker_plan import WorkerPlan
from deltaoe.errors import ClusterError, DeltaoeError, first_line

_POLL_SECONDS = 0.5
_STOP_SECONDS = 20.0  # in which workers write what they have done
_ANSWER_SECONDS = 30.0  # of the tally, on a busy machine
_SPARE_STARTS = 20  # workers that may be started in place of others, and as many again per worker

# From a chunk, and what is called with (done, failed) and raises StoppedError, to its result.
Work = Callable[[Any, Callable[[int, int], None]], Any]
# From a specification, and what takes sentences for the user, to the work of one worker.
Factory = Callable[[Any, Callable[[str], None]], Work]


class StoppedError(Exception):
    """The run ends early: a worker writes what it has, and leaves the rest."""


class Answer(NamedTuple):
    """The result of a chunk, by its number; None where the worker left it."""

    chunk: int
    result: Any


class _Failure(NamedTuple):
    """An error of a worker, on its way to the driver."""

    kind: str
    message: str
    hint: str


class WorkerProcess:
    """What runs in a worker: made once, then called with each chunk. No error of ours leaves it as an exception.

    Args:
        factory: makes the work.
        spec: is given to it.
        tally: of the run.
    """

    def __init__(self, factory: Factory, spec: Any, tally: Any) -> None:
        self._host = platform.node()
        self._reporter = Reporter(tally, self._host)
        made = self._attempt(lambda: factory(spec, self._reporter.say))
        self._problem = made if isinstance(made, _Failure) else None
        self._work: Work = made

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The answer to one chunk, as Ray Data takes it."""
        chunk = int(batch["chunk"][0])
        answer = self._problem or self._attempt(lambda: self._worked(chunk, batch["payload"][0]))
        return {"chunk": np.array([chunk]), "answer": [pickle.dumps(answer)]}

    def _worked(self, chunk: int, payload: bytes) -> Any:
        done = failed = 0

        def tell(now_done: int, now_failed: int) -> None:
            nonlocal done, failed
            done, failed = now_done, now_failed
            if self._reporter.tell(done, failed):
                raise StoppedError

        stopped = self._reporter.begin(chunk)
        try:
            return None if stopped else self._work(pickle.loads(payload), tell)  # noqa: S301 - of this run's driver
        except StoppedError:
            return None
        finally:
            self._reporter.end(done, failed)

    def _attempt(self, act: Callable[[], Any]) -> Any:
        where = f"worker on {self._host}"
        try:
            return act()
        except DeltaoeError as cause:
            return _Failure(type(cause).__name__, f"{where}: {cause}", cause.hint)
        except Exception as cause:
            said = f"{where}: {type(cause).__name__}: {first_line(cause)}"
            return _Failure(
                "ClusterError", said, "the same command without --cluster shows if it is the cluster"
            )


class Pool:
    """The workers of one run over chunks.

    Args:
        plan: how many workers, and what each gets.
        factory: makes the work in each; it can be imported there.
        spec: is given to it; it can be pickled.
    """

    def __init__(self, plan: WorkerPlan, factory: Factory, spec: Any) -> None:
        import ray

        self._plan, self._factory, self._spec = plan, factory, spec
        self._tally: Any = ray.remote(num_cpus=0, max_restarts=-1)(Tally).remote()
        self._found: queue.SimpleQueue[Answer | BaseException | None] = queue.SimpleQueue()

    def events(self, chunks: Sequence[Any]) -> Iterator[Answer | Reading]:
        """An answer to each chunk as they come, in any order, and readings of how far all are, twice a second.

        Raises:
            DeltaoeError: an error of a worker, in its own kind; or ClusterError, also if a chunk was left.
        """
        left = len(chunks)
        threading.Thread(target=self._run, args=(chunks,), name="deltaoe-cluster", daemon=True).start()
        read = 0.0
        while True:
            if time.monotonic() - read > _POLL_SECONDS:
                reading = self._reading()
                if reading is not None:
                    yield reading
                read = time.monotonic()
            try:
                found = self._found.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                check_alive()
                continue
            if found is None:
                if left:
                    raise ClusterError(f"{left} parts of the work have no result", hint=AGAIN)
                return
            if isinstance(found, BaseException):
                raise cluster_error(found) from found
            if isinstance(found.result, _Failure):
                raise _raised(found.result)
            if found.result is None:
                raise ClusterError("a worker has left its work", hint=AGAIN)
            left -= 1
            yield found

    def stop(self) -> None:
        """Have the workers write what they have done, and wait for that, within bounds."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._tally.stop.remote(), timeout=_ANSWER_SECONDS)
        until = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < until:
            reading = self._reading()
            if reading is None or not reading.busy:
                return
            time.sleep(_POLL_SECONDS / 5)

    def _reading(self) -> Reading | None:
        import ray

        try:
            reading: Reading = ray.get(self._tally.read.remote(), timeout=_ANSWER_SECONDS)
        except ray.exceptions.RayError:
            return None
        if reading.started > self._plan.size + _SPARE_STARTS + self._plan.size:
            raise ClusterError(
                f"workers end again and again, the last on {reading.host}: {reading.started} were started for "
                f"{self._plan.size}",
                hint="often their memory runs out: a smaller model, or --workers 1; the same command goes on",
            )
        return reading

    def _run(self, chunks: Sequence[Any]) -> None:
        try:
            for answer in self._answers(chunks):
                self._found.put(answer)
        except BaseException as cause:
            self._found.put(cause)
        else:
            self._found.put(None)

    def _answers(self, chunks: Sequence[Any]) -> Iterator[Answer]:
        import ray.data

        rows = [{"chunk": i, "payload": pickle.dumps(chunk)} for i, chunk in enumerate(chunks)]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        done = data.map_batches(
            WorkerProcess,
            fn_constructor_kwargs={"factory": self._factory, "spec": self._spec, "tally": self._tally},
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(
                size=min(self._plan.size, len(rows)), max_tasks_in_flight_per_actor=2
            ),
            num_cpus=self._plan.cpus,
            num_gpus=self._plan.gpus or None,
        )
        quiet_logging()  # of the modules that were loaded meanwhile
        for batch in done.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for chunk, answer in zip(batch["chunk"], batch["answer"], strict=True):
                yield Answer(int(chunk), pickle.loads(answer))  # noqa: S301 - of this run's workers


def _raised(failure: _Failure) -> DeltaoeError:
    kind = getattr(errors, failure.kind, ClusterError)
    error: DeltaoeError = kind(failure.message, hint=failure.hint)
    return error
