"""The address of a cluster: whether it can be one, and whether a cluster answers there."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import sys
from pathlib import Path

from deltaoe.errors import ClusterError, ConfigError, os_reason

LOCAL, AUTO = "local", "auto"
_CLIENT = "ray://"
_ADDRESS = re.compile(r"[\w.-]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
_CONNECT_SECONDS = 5.0
_JOIN = "start one here with `ray start --head`, join one with `ray start --address=HOST:6379`, or use --cluster local"
_START = "start one there with `ray start --head`, or use --cluster local"


def check_address(cluster: str) -> None:
    """Raise ConfigError for what is neither ``local``, ``auto`` nor an address, or if Ray is not installed."""
    if cluster.startswith(_CLIENT):
        raise ConfigError(
            f"--cluster {cluster}: Ray Data does not work through Ray's client",
            hint="run deltaoe on a machine of the cluster, with --cluster auto; or submit it there: ray job submit",
        )
    if cluster not in (LOCAL, AUTO) and not _ADDRESS.fullmatch(cluster):
        raise ConfigError(
            f"--cluster cannot be {cluster!r}",
            hint="local, auto, or the address that `ray start` has printed, such as 10.0.0.1:6379",
        )
    # Not of ray.data, which would import Ray before its environment is set.
    missing = [name for name in ("ray", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]
    if missing:
        what = "Ray" if "ray" in missing else "Ray Data"
        raise ConfigError(
            f"--cluster needs {what}, which is not installed", hint='pip install "deltaoe[ray]"'
        )


def check_answers(cluster: str) -> None:
    """Raise ClusterError if nothing, or something else, answers at the address of a cluster; in a few seconds."""
    if cluster == LOCAL:
        return
    address = _recorded() if cluster == AUTO else cluster
    if address is None:
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            return
        raise ClusterError("--cluster auto: this machine is part of no Ray cluster", hint=_JOIN)
    check_address(address)
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS) as stream:
            speaks = os.environ.get("RAY_USE_TLS", "0") != "0" or _speaks_http2(stream)
    except (OSError, OverflowError, ValueError) as cause:
        reason = os_reason(cause) if isinstance(cause, OSError) else "no such port"
        raise ClusterError(f"no Ray cluster answers at {address}: {reason}", hint=_START) from cause
    if not speaks:
        raise ClusterError(f"what answers at {address} is no Ray cluster", hint=_START)


def _speaks_http2(stream: socket.socket) -> bool:
    """Whether the other end speaks HTTP/2, as gRPC and so Ray does: it answers settings with settings (RFC 9113)."""
    stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    answer = b""
    while len(answer) < 4 and (more := stream.recv(4 - len(answer))):
        answer += more
    return answer[3:4] == b"\4"


def _recorded() -> str | None:
    """The address of the cluster that this machine is part of, from where `ray start` notes it."""
    if os.environ.get("RAY_ADDRESS", AUTO) not in ("", AUTO):
        return os.environ["RAY_ADDRESS"]
    with contextlib.suppress(OSError):
        noted = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "ray_current_cluster")  # noqa: S108 - Ray's choice
        return noted.read_text(encoding="utf-8").strip() or None
    return None
