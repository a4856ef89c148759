"""What Ray raises, as one message with the next action."""

from __future__ import annotations

from deltaoe.errors import ClusterError, DeltaoeError, first_line

INSTALL = (
    'install the same versions of Python, ray, torch and deltaoe on all machines: pip install "deltaoe[ray]"'
)
AGAIN = "run the same command again: what is finished is kept"


def cluster_error(cause: BaseException) -> DeltaoeError:
    """The error to raise for an exception of Ray, whatever it is; one of ours stays itself.

    Example:
        >>> print(cluster_error(RuntimeError("lost a node\\nTraceback …")))
        the cluster failed: lost a node
    """
    if isinstance(cause, DeltaoeError):
        return cause
    text = str(cause)
    if "No module named" in text:
        name = text.partition("No module named ")[2].split("\n")[0].strip(" '\"")
        return ClusterError(f"a worker of the cluster has no module {name}", hint=INSTALL)
    if "OutOfMemory" in type(cause).__name__ or "memory" in text.lower():
        return ClusterError(
            f"a worker of the cluster has run out of memory: {first_line(cause)}",
            hint="a smaller model, or --workers 1",
        )
    kind = type(cause).__name__
    said = first_line(cause)
    if kind in ("ActorDiedError", "ActorUnavailableError", "RayActorError"):
        said = f"a worker has ended ({said})"
    return ClusterError(f"the cluster failed: {said}", hint=AGAIN)
