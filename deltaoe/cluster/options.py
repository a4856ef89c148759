"""Which cluster works, as a user says it."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from typing import Annotated

from deltaoe.errors import ConfigError
from deltaoe.options import EXPERT, Option, Options

LOCAL, AUTO = "local", "auto"
_CLIENT = "ray://"
_ADDRESS = re.compile(r"[\w.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")


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
            "Encode on Ray: local (all GPUs, or else CPUs, of this machine), auto (the cluster that this machine is "
            "part of), or HOST:PORT.",
            panel=EXPERT,
        ),
    ] = None

    def check(self) -> None:
        """Raise ConfigError for what is no cluster, or if Ray is not installed."""
        super().check()
        if self.cluster is None:
            return
        if self.cluster.startswith(_CLIENT):
            raise ConfigError(
                f"--cluster {self.cluster}: Ray Data does not work through Ray's client",
                hint="run deltaoe on a machine of the cluster, with --cluster auto; or submit it there: ray job submit",
            )
        if self.cluster not in (LOCAL, AUTO) and not _ADDRESS.fullmatch(self.cluster):
            raise ConfigError(
                f"--cluster cannot be {self.cluster!r}",
                hint="local, auto, or the address that `ray start` has printed, such as 10.0.0.1:6379",
            )
        # Not of ray.data, which would import Ray before its environment is set.
        missing = [name for name in ("ray", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]
        if missing:
            what = "Ray" if "ray" in missing else "Ray Data"
            raise ConfigError(
                f"--cluster needs {what}, which is not installed", hint='pip install "deltaoe[ray]"'
            )
