"""A connection to a Ray cluster: one that is started on this machine and ended with the run, or one that runs."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltaoe.cluster.address import AUTO, LOCAL
from deltaoe.cluster.options import ClusterOptions
from deltaoe.cluster.silence import no_news, nothing_printed, quiet_environment, quiet_logging
from deltaoe.errors import ClusterError, ConfigError, first_line
from deltaoe.runtime import usable_cpus

_OBJECT_STORE_BYTES = 256 * 2**20  # what workers get and give is small, and spilled to disk beyond that
_LONGEST_FOLDER = 40  # characters; the names of Ray's sockets below it must fit into 107
_FOLDER = "deltaoe-ray-"
# Read when Ray is imported and started. Nobody else on this machine can use what this process starts, and finding that
# what answers at an address is no Ray cluster takes seconds; a busy machine may take a minute to start one.
_OWN = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_NUM_REDIS_GET_RETRIES": "60",
}
_OTHERS = {"RAY_NUM_REDIS_GET_RETRIES": "1"}


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        id: Ray's name of it.
        host: its own name.
        cpus: number of its CPUs, as Ray counts them.
        gpus: number of its GPUs, likewise; perhaps a fraction.
    """

    id: str
    host: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        is_own: whether it was started by this process, on this machine alone.
        here: Ray's name of this machine.
    """

    is_own: bool
    here: str

    def nodes(self) -> list[Node]:
        """The machines that are alive now."""
        import ray

        return [
            Node(
                one["NodeID"],
                str(one.get("NodeManagerHostname") or one.get("NodeManagerAddress")),
                float(one["Resources"].get("CPU", 0)),
                float(one["Resources"].get("GPU", 0)),
            )
            for one in ray.nodes()  # type: ignore[no-untyped-call]
            if one["Alive"]
        ]


@contextlib.contextmanager
def connected(options: ClusterOptions) -> Iterator[Cluster]:
    """Connect to a cluster, or start one on this machine; what was started ends with the context.

    A program that is connected already stays so, and ``auto`` uses that connection. Call it in the thread that lives
    longest: what is started on Linux ends with that thread, even if it is killed.

    Raises:
        ConfigError: no cluster is asked for, or this program is connected to another.
        ClusterError: it cannot be reached or started.
    """
    options.check_reachable()
    own = options.cluster == LOCAL
    quiet_environment()
    with _set(_OWN if own else _OTHERS):
        yield from _connected(options, own=own)


def _connected(options: ClusterOptions, *, own: bool) -> Iterator[Cluster]:
    """As :func:`connected`, once Ray's environment is set."""
    import ray

    if options.cluster is None:
        raise ConfigError("no cluster is asked for")
    if ray.is_initialized():
        if options.cluster != AUTO:
            raise ConfigError(
                "this program is connected to a Ray cluster already", hint="use --cluster auto, or disconnect"
            )
        quiet_logging()
        yield _described(own=False)
        return
    with contextlib.ExitStack() as left:
        left.enter_context(_signals_kept())
        left.enter_context(no_news())
        if own:
            folder = left.enter_context(_session_folder())
            how: dict[str, Any] = {
                "num_cpus": usable_cpus(),
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        else:
            how = {}
        try:
            with nothing_printed():
                ray.init(address=options.cluster, log_to_driver=False, logging_level=logging.CRITICAL, **how)
        except (Exception, SystemExit) as cause:
            with contextlib.suppress(Exception):
                ray.shutdown()
            raise _cannot_connect(options.cluster, cause) from cause
        left.callback(_disconnect)
        quiet_logging()
        yield _described(own=own)


def _described(*, own: bool) -> Cluster:
    import ray

    return Cluster(own, ray.get_runtime_context().get_node_id())


def check_alive() -> None:
    """Raise ClusterError if a process of Ray's own that this program has started has ended, as for want of memory.

    Ray ends the whole program some seconds later, without a word; there is no public way to ask for it earlier.
    """
    import ray._private.worker as place

    node = getattr(place, "_global_node", None)
    try:
        ended = [] if node is None else [str(name) for name, _ in node.dead_processes()]
    except Exception:  # another version of Ray
        return
    if ended:
        raise ClusterError(
            f"Ray has ended on this machine ({', '.join(ended)}), often because memory ran out",
            hint="run the same command again: what is finished is kept; fewer --workers need less memory",
        )


def _disconnect() -> None:
    import ray

    with contextlib.suppress(Exception):  # there is nothing left to lose
        ray.shutdown()


def _cannot_connect(address: str, cause: BaseException) -> ClusterError:
    reason = first_line(cause.__cause__ if cause.__cause__ is not None else cause)
    if address == LOCAL:
        return ClusterError(
            f"Ray cannot be started on this machine: {reason}",
            hint="leave --cluster out to encode in this process",
        )
    if "ersion mismatch" in str(cause):
        versions = " ".join(" ".join(str(cause).split()).split()[:40])
        return ClusterError(
            f"the cluster at {address} runs other versions of Ray or Python ({versions})",
            hint="install the same versions of Python, ray and deltaoe on all machines",
        )
    if "Auth" in f"{cause} {cause.__cause__}":
        return ClusterError(
            f"the Ray cluster at {address} asks for a token",
            hint="set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token",
        )
    if "Traceback" in reason:  # of attempts to speak with it
        reason = "it does not answer as this version of Ray expects"
    return ClusterError(
        f"cannot join the Ray cluster at {address}: {reason}",
        hint="run deltaoe on a machine of that cluster, with --cluster auto",
    )


@contextlib.contextmanager
def _set(variables: dict[str, str]) -> Iterator[None]:
    """These environment variables, unless the user has set the first of them."""
    new = {} if next(iter(variables)) in os.environ else variables
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep this program's own answer to SIGTERM and Ctrl-C, which Ray would replace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def _session_folder() -> Iterator[str]:
    """A folder for what Ray writes on this machine, removed at the end; also those of runs that were killed."""
    place = tempfile.gettempdir()
    if len(place) > _LONGEST_FOLDER - len(_FOLDER):
        place = "/tmp"  # noqa: S108 - the name below it is new, and closed to others
    for left in Path(place).glob(f"{_FOLDER}*-*"):
        number = left.name.removeprefix(_FOLDER).partition("-")[0]
        if number.isdecimal() and left.is_dir() and not left.is_symlink() and not _runs(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
