"""Which cluster works, as a user says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from deltaoe.options import EXPERT, Option, Options


@dataclass(frozen=True)
class ClusterOptions(Options):
    """Where work is spread over workers.

    Attributes:
        cluster: ``local``: all GPUs, or else CPUs, of this machine; ``auto``: the cluster that this machine is part
            of; ``HOST:PORT``: that of this address. None for this process alone.
    """

    cluster: Annotated[
        str | None,
        Option(
            "Spread the work by Ray: local (all GPUs, or else CPUs, of this machine), auto (the cluster that this "
            "machine is part of), or HOST:PORT.",
            panel=EXPERT,
        ),
    ] = None

    def check(self) -> None:
        """Raise ConfigError for what is no cluster, or if Ray is not installed."""
        super().check()
        if self.cluster is not None:
            # Here, as what only a cluster needs is loaded for it alone.
            from deltaoe.cluster.address import check_address

            check_address(self.cluster)

    def check_reachable(self) -> None:
        """As :meth:`check`, and raise ClusterError if no cluster answers at the address."""
        self.check()
        if self.cluster is not None:
            from deltaoe.cluster.address import check_answers

            check_answers(self.cluster)
