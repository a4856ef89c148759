"""What goes wrong with URLs, in words, and what is tried again. Nothing here says a password or signature."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from deltaoe.errors import DataError, first_line
from deltaoe.images.location_text import masked, without_secrets

_TRIES = 3
_PAUSE = 0.5  # seconds before the second try, twice as many before the third
_LOGIN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run aws configure (public bucket: FSSPEC_S3_ANON=true)",
    "gs": "run gcloud auth application-default login (public bucket: FSSPEC_GS_TOKEN=anon)",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_T = TypeVar("_T")


class RemoteError(Exception):
    """An object cannot be had. The message says why, in words that fit into a table cell.

    Attributes:
        unreachable: whether its host does not answer, so that others of it will not either.
    """

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


def scheme_of(url: str) -> str:
    """The scheme, in lower case."""
    return url.partition("://")[0].lower()


def host_of(url: str) -> str:
    """Scheme and host, or bucket, without a password."""
    return "/".join(without_secrets(url).split("/")[:3])


def tried(ask: Callable[[], _T]) -> _T:
    """The answer, of the third try at the latest. What will not be better then is not tried again."""
    for number in range(_TRIES - 1):
        try:
            return ask()
        except Exception as cause:
            if not _may_pass(cause):
                raise
            time.sleep(_PAUSE * 2**number)
    return ask()


def _chain(cause: BaseException) -> Iterator[BaseException]:
    """An error and what has caused it: fsspec says that a file is not there whatever has happened to its question."""
    step: BaseException | None = cause
    while step is not None:
        yield step
        step = step.__cause__ or step.__context__


def _status(cause: BaseException) -> int:
    found = (getattr(one, "status", None) for one in _chain(cause))
    return next((status for status in found if isinstance(status, int)), 0)


def _may_pass(cause: BaseException) -> bool:
    status = _status(cause)
    if status:
        return status >= 500 or status in (408, 425, 429)
    return (
        _is_unreachable(cause)
        or type(cause).__name__ == "ClientPayloadError"
        or (isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError | PermissionError))
    )


def _is_unreachable(cause: BaseException) -> bool:
    names = {type(one).__name__ for one in _chain(cause)}
    known = {
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "EndpointConnectionError",
        "ServerDisconnectedError",
    }
    known |= {"FSTimeoutError", "ServerTimeoutError", "SocketTimeoutError", "ConnectionTimeoutError"}
    return bool(names & known) or any(
        isinstance(one, ConnectionError | TimeoutError) for one in _chain(cause)
    )


def asks_for_credentials(cause: BaseException) -> bool:
    """Whether an error is of credentials that are not there, or not taken."""
    return any(
        "Credential" in type(one).__name__ or "Authentication" in type(one).__name__ for one in _chain(cause)
    )


def remote_error(cause: BaseException) -> RemoteError:
    """What fsspec or a library below it has raised, in words."""
    status = _status(cause)
    if status and status != 404:
        return RemoteError(f"cannot be fetched: the server answers {status}")
    if _is_unreachable(cause):
        return RemoteError("cannot be fetched: the server does not answer", unreachable=True)
    if isinstance(cause, FileNotFoundError):
        return RemoteError("no such file")
    if isinstance(cause, PermissionError):
        return RemoteError("no permission to read it")
    if type(cause).__name__ == "ClientPayloadError":
        return RemoteError("cannot be fetched: the connection broke off")
    return RemoteError(f"cannot be fetched: {masked(first_line(cause, 120))}")


def refused(url: str, cause: BaseException) -> DataError:
    """The error for a URL that a user has named, with what to do."""
    shown = without_secrets(url)
    if asks_for_credentials(cause):
        kind = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}.get(scheme_of(url), scheme_of(url))
        return DataError(f"no credentials for {host_of(url)}", hint=_LOGIN.get(kind, "log in there first"))
    error = remote_error(cause)
    if error.unreachable:
        return DataError(f"cannot reach {host_of(url)}", hint="check the address and the connection")
    if isinstance(cause, PermissionError) or _status(cause) in (401, 403):
        return DataError(
            f"no permission to list {shown}", hint="check the credentials and what they may read"
        )
    return DataError(
        f"cannot list {shown}: {error}", hint="check the address; a list (.txt, .csv) can name the images"
    )
