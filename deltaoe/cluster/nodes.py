"""Looking at every machine of a cluster before work is given to it: does it have what a worker needs?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltaoe.cluster.connection import Cluster
from deltaoe.cluster.failures import INSTALL, cluster_error
from deltaoe.errors import ClusterError

_LOOK_SECONDS = 60.0  # in which a machine starts a process that looks
_PACKAGES = ("deltaoe", "torch", "numpy")
_SHARED = "put the workspace into a folder that all machines share, under one path: --workspace DIR"


@dataclass(frozen=True)
class Needs:
    """What a worker must find on its machine.

    Attributes:
        versions: package → its version here.
        probe: a file in the workspace.
        token: its content.
        samples: files that are to be read.
    """

    versions: Mapping[str, str]
    probe: str
    token: str
    samples: Sequence[str]


def versions_here(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """The versions of packages that are installed here."""
    nothing = Needs(dict.fromkeys(packages, ""), "", "", ())
    found: dict[str, str] = looker()(nothing.__dict__)["versions"]
    return found


def looker() -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function that looks for needs, given as a dictionary.

    It is made anew, and so it travels as code: a machine without this package can run it.
    """

    def look(needs: Mapping[str, Any]) -> dict[str, Any]:
        import importlib.metadata
        import os
        import platform

        versions = {}
        for name in needs["versions"]:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = ""
        try:
            with open(needs["probe"], encoding="ascii") as file:
                token = file.read()
        except (OSError, ValueError):
            token = ""
        missing = [one for one in needs["samples"] if not os.path.exists(one)]
        return {"host": platform.node(), "versions": versions, "token": token, "missing": missing}

    return look


def problem_of(found: Mapping[str, Any], needs: Needs) -> ClusterError | None:
    """What a machine lacks, by what :func:`looker` has found there; None if nothing."""
    host = found["host"]
    for name, wanted in needs.versions.items():
        has = found["versions"][name]
        if not has:
            return ClusterError(f"the worker on {host} has no {name}", hint=INSTALL)
        if has != wanted:
            return ClusterError(f"the worker on {host} has {name} {has}, this machine {wanted}", hint=INSTALL)
    if found["token"] != needs.token:
        return ClusterError(f"the worker on {host} does not see the workspace", hint=_SHARED)
    if found["missing"]:
        return ClusterError(
            f"the worker on {host} does not see {found['missing'][0]}",
            hint="put the images into a folder that all machines share, under one path",
        )
    return None


def check_nodes(cluster: Cluster, needs: Needs) -> None:
    """Look at every machine of a cluster at once. Raises ClusterError for the first that lacks something."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=1)(looker())
    nodes = cluster.nodes()
    looking = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            needs.__dict__
        )
        for node in nodes
    ]
    for node, one in zip(nodes, looking, strict=True):
        try:
            found = ray.get(one, timeout=_LOOK_SECONDS)
        except ray.exceptions.GetTimeoutError:
            raise ClusterError(
                f"the machine {node.host} of the cluster does not answer", hint="see `ray status`"
            ) from None
        except ray.exceptions.RayError as cause:
            raise cluster_error(cause) from cause
        problem = problem_of(found, needs)
        if problem is not None:
            raise problem
