"""How many workers a cluster gets, and how many CPUs and GPUs each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from deltaoe.cluster.connection import Node
from deltaoe.errors import ClusterError

_MOST_CPUS = 4  # of a worker without a GPU: more threads help one model less than a second model does


class WorkerPlan(NamedTuple):
    """The workers of a run.

    Attributes:
        size: number of workers.
        cpus: CPUs of each.
        gpus: GPUs of each: 1, the fraction that the machines have, or 0.
    """

    size: int
    cpus: int
    gpus: float

    def sentence(self) -> str:
        """The plan in words.

        Example:
            >>> WorkerPlan(4, 8, 1.0).sentence(), WorkerPlan(1, 2, 0.0).sentence()
            ('4 workers, each with 1 GPU and 8 CPUs', '1 worker with 2 CPUs')
        """
        each = f"{self.cpus} CPU" + "s" * (self.cpus != 1)
        if self.gpus:
            each = f"{self.gpus:g} GPU and {each}"
        return f"{self.size} workers, each with {each}" if self.size > 1 else f"1 worker with {each}"


def plan_workers(nodes: Sequence[Node], *, gpus: bool | None, cpus: int | None) -> WorkerPlan:
    """One worker per GPU, with its share of the CPUs; where there is none, one per up to four CPUs.

    Args:
        nodes: the machines.
        gpus: whether workers compute on GPUs; None for on GPUs if there are any.
        cpus: CPUs of each worker; None for a share of its machine's.

    Raises:
        ClusterError: no machine has what a worker needs.

    Example:
        >>> plan_workers([Node("a", "a", 16, 4), Node("b", "b", 64, 0)], gpus=None, cpus=None)
        WorkerPlan(size=4, cpus=4, gpus=1.0)
        >>> plan_workers([Node("a", "a", 16, 0), Node("b", "b", 2, 0)], gpus=None, cpus=None)
        WorkerPlan(size=18, cpus=1, gpus=0.0)
    """
    with_gpus = [node for node in nodes if node.gpus > 0]
    if gpus or (gpus is None and with_gpus):
        share = min([1.0, *(node.gpus for node in with_gpus)])
        used = with_gpus
        per_node = [math.floor(node.gpus / share + 1e-9) for node in used]
    else:
        share, used = 0.0, [node for node in nodes if node.cpus >= 1]
        per_node = [math.floor(node.cpus) for node in used]  # each needs one at least
    if not used:
        raise ClusterError(
            "no machine of the cluster has a GPU, as Ray counts them"
            if gpus
            else "no machine of the cluster has a CPU",
            hint="`ray status` shows what it has; --device cpu computes on CPUs"
            if gpus
            else "see `ray status`",
        )
    if cpus is None:
        shares = [
            node.cpus / workers if share else min(_MOST_CPUS, node.cpus / 2)
            for node, workers in zip(used, per_node, strict=True)
        ]
        cpus = max(1, math.floor(min(shares)))
    size = sum(
        min(workers, math.floor(node.cpus / cpus)) for node, workers in zip(used, per_node, strict=True)
    )
    if not size:
        raise ClusterError(
            f"no machine of the cluster has {cpus} CPUs for a worker",
            hint="--workers N says how many CPUs each gets, for decoding",
        )
    return WorkerPlan(size, cpus, share)
