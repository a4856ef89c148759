"""Objects at URLs, by fsspec, which is optional: listed, observed and read, with a few tries each.

Nothing is fetched but what a user has named, or a list that the user has named. What is said of a URL never holds its
password or signature.
"""

from __future__ import annotations

import email.utils
import hashlib
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.location_text import without_secrets
from deltaoe.images.remote_errors import (
    RemoteError,
    asks_for_credentials,
    host_of,
    refused,
    remote_error,
    scheme_of,
    tried,
)
from deltaoe.images.walk import Observed

REMOTE_READERS = 32  # threads; they wait for answers
_CONNECT_SECONDS, _READ_SECONDS = 20, 60
_OBJECT_SECONDS = 300  # of one request: a server may send a byte now and then for ever
_DEPTH = 20  # of folders that a web server lists; it may list itself
_FIRST = 8  # objects of which one at least must be reachable
# Scheme → the package by which fsspec reads it; empty where it needs none.
SCHEMES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **dict.fromkeys(("ftp", "memory"), ""),
    "hf": "huggingface_hub",
}
_TAGS = (
    "ETag",
    "blob_id",
    "etag",
    "e_tag",
    "md5Hash",
    "crc32c",
    "generation",
    "Content-MD5",
    "content_md5",
    "Digest",
)
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created")
_T = TypeVar("_T")
# Observations by URL from the listing, until the object is read: older than what is read, as they must be.
_seen: dict[str, Observed] = {}
_MOST_SEEN = 500_000
# Host → how many questions in a row it has not answered, and when the last was asked. It is then let alone for a while,
# as each answer that does not come takes a minute, and a list may have a million of them.
_silent: dict[str, tuple[int, float]] = {}
_MOST_SILENT = 8
_PAUSE_SECONDS = 30.0


def check_known(url: str) -> None:
    """Raise ConfigError for a URL whose scheme is none of :data:`SCHEMES`, or that holds another one."""
    scheme = scheme_of(url)
    if scheme not in SCHEMES or "::" in url:
        known = ", ".join(f"{one}://" for one in SCHEMES if one != "memory")
        what = "URLs in URLs are" if "::" in url else f"{scheme}:// is"
        raise ConfigError(f"{without_secrets(url)}: {what} not read", hint=f"known are {known}")


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it.

    Raises:
        ConfigError: the scheme is none of :data:`SCHEMES`, or a package for it is not installed.
    """
    check_known(url)
    scheme = scheme_of(url)
    try:
        core = importlib.import_module("fsspec.core")
    except ImportError as cause:
        raise ConfigError(
            "URLs need fsspec, which is not installed", hint='pip install "deltaoe[remote]"'
        ) from cause
    options: dict[str, Any] = {}
    try:
        if scheme in ("http", "https"):
            timeout = importlib.import_module("aiohttp").ClientTimeout(
                total=_OBJECT_SECONDS, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS
            )
            options = {"client_kwargs": {"timeout": timeout}}
        system, path = core.url_to_fs(url, **options)
    except ImportError as cause:
        package = SCHEMES[scheme] or "a package"
        raise ConfigError(
            f"{scheme}:// needs {package}, which is not installed", hint=f"pip install {package}"
        ) from cause
    except Exception as cause:
        raise refused(url, cause) from cause
    return system, str(path)


def is_web(url: str) -> bool:
    """Whether it is of the web, where ``?`` begins a query and ``*`` is no pattern."""
    return scheme_of(url) in ("http", "https")


def find_objects(url: str, *, glob: bool = False) -> list[tuple[str, Observed | None]]:
    """The objects below a URL, or those that match it: their URLs, sorted, and how each is observed, if that is known.

    An object by itself is found, too.

    Raises:
        ConfigError: as for :func:`filesystem`.
        DataError: nothing can be listed there.
    """
    system, path = filesystem(url)
    path = path if glob else path.rstrip("/")
    try:
        if glob:
            found = tried(lambda: system.glob(path, detail=True))
            found = {name: info for name, info in found.items() if info.get("type") == "file"}
        elif is_web(url):
            found = tried(lambda: system.find(f"{path}/", detail=True, maxdepth=_DEPTH))
        else:
            found = tried(lambda: system.find(path, detail=True))
        if not found and not glob:
            found = _by_itself(system, path)  # which also says why nothing is found
    except Exception as cause:
        raise refused(url, cause) from cause
    start = url.rstrip("/")
    rows: list[tuple[str, Observed | None]] = []
    for name, info in sorted(found.items()):
        is_below = not glob and name.startswith(path)
        whole = start + name[len(path) :] if is_below else system.unstrip_protocol(name)
        seen = observed_from(info)
        rows.append((whole, seen if seen[2] else None))
    for whole, observed in rows:
        if observed is not None and len(_seen) < _MOST_SEEN:
            _seen[whole] = observed
    return rows


def _by_itself(system: Any, path: str) -> dict[str, Any]:
    """The object of a path; empty if there is none. Raises whatever else there is."""
    try:
        info = tried(lambda: system.info(path))
    except Exception as cause:
        if isinstance(cause, FileNotFoundError) and not remote_error(cause).unreachable:
            return {}
        raise
    return {} if info.get("type") == "directory" else {path: info}


def observe_all(urls: Sequence[str]) -> Iterator[Observed | RemoteError]:
    """How each object is observed now, in the order of the URLs, or why it is not.

    Raises:
        ConfigError: as for :func:`filesystem`.
        DataError: the first few are of a host that does not answer, or that asks for credentials.
    """

    def look(url: str) -> Observed | RemoteError:
        try:
            found = _observe(url)
        except RemoteError as cause:
            return cause
        if len(_seen) < _MOST_SEEN:
            _seen[url] = found
        return found

    with ThreadPoolExecutor(REMOTE_READERS, thread_name_prefix="deltaoe-look") as pool:
        first = list(pool.map(look, urls[:_FIRST]))
        lost = [one for one in first if isinstance(one, RemoteError) and one.unreachable]
        if first and len(lost) == len(first):
            raise DataError(f"cannot reach {host_of(urls[0])}", hint="check the address and the connection")
        yield from first
        for start in range(_FIRST, len(urls), 1024):
            yield from pool.map(look, urls[start : start + 1024])


def observe_object(url: str) -> Observed:
    """Size, times and tag of an object, as an observation of a file. Raises ImageError."""
    from deltaoe.images.decode import ImageError

    try:
        return _observe(url)
    except (RemoteError, ConfigError, DataError) as cause:
        raise ImageError(str(cause)) from cause


def _observe(url: str) -> Observed:
    system, path = filesystem(url)
    info = _answer(url, lambda: system.info(path))
    if info.get("type") == "directory":
        raise RemoteError("a folder, not a file")
    return observed_from(info)


def observed_from(info: dict[str, Any]) -> Observed:
    """What fsspec says of an object as size, modification time, change time and inode of a file.

    The change time stands for the object's tag (ETag, MD5, generation), or is the modification time where it has none;
    it is 0 where there is neither, and the object is read each time. There is no inode.
    """
    size = info.get("size")
    modified = next((_nanoseconds(info[name]) for name in _TIMES if info.get(name)), 0)
    tag = next((f"{name} {info[name]}" for name in _TAGS if info.get(name)), "")
    changed = modified
    if tag:
        digest = hashlib.sha256(tag.encode("utf-8", "surrogatepass")).digest()
        changed = (int.from_bytes(digest[:8], "big") >> 1) or 1
    return int(size) if isinstance(size, int) and 0 <= size < 2**63 else 0, modified, changed, 0


def _nanoseconds(when: Any) -> int:
    try:
        if isinstance(when, str):
            try:
                when = datetime.fromisoformat(when)
            except ValueError:
                when = email.utils.parsedate_to_datetime(when)
        if isinstance(when, datetime):
            when = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        found = int(float(when) * 10**9)
    except (ValueError, TypeError, OverflowError):
        return 0
    return found if 0 < found < 2**63 else 0


def read_object(url: str) -> tuple[bytes, Observed | None]:
    """The bytes of an object, and how it was observed before; None where nothing tells its states apart.

    Raises:
        ImageError: it cannot be had, or is too large for a picture.
    """
    from deltaoe.images.decode import MAX_FILE_BYTES, ImageError

    try:
        seen = _seen.pop(url, None) or _observe(url)
        if seen[0] > MAX_FILE_BYTES:
            raise ImageError(f"{seen[0] / 2**30:.1f} GiB, over the limit for one image file")
        data = read_bounded(url, MAX_FILE_BYTES)
    except (RemoteError, ConfigError, DataError) as cause:
        raise ImageError(str(cause)) from cause
    known = seen[2] != 0 and (seen[0] == len(data) or seen[0] == 0)
    return data, seen if known else None


def read_bounded(url: str, limit: int) -> bytes:
    """The bytes of an object.

    Raises:
        RemoteError: it cannot be had, or has more bytes than the limit.
        ConfigError: as for :func:`filesystem`.
        DataError: it asks for credentials.
    """
    system, path = filesystem(url)

    def read() -> bytes:
        parts, length = [], 0
        # Without blocks a web server sends the whole once, and a size saves a question before.
        options: dict[str, Any] = {"block_size": 0, "size": 1} if is_web(url) else {}
        with system.open(path, "rb", **options) as file:
            while length <= limit and (part := file.read(min(limit + 1 - length, 1 << 22))):
                parts.append(part)
                length += len(part)
        return b"".join(parts)

    data = _answer(url, read)
    if len(data) > limit:
        raise RemoteError(f"more than the {limit:,} bytes that such a file can have")
    return data


def _answer(url: str, ask: Callable[[], _T]) -> _T:
    """The answer about one object, unless its host is let alone for not answering.

    Raises:
        RemoteError: there is none.
        DataError: the host asks for credentials.
    """
    host = host_of(url)
    times, last = _silent.get(host, (0, 0.0))
    if times >= _MOST_SILENT and time.monotonic() - last < _PAUSE_SECONDS:
        raise RemoteError("cannot be fetched: the server does not answer", unreachable=True)
    try:
        found = tried(ask)
    except Exception as cause:
        if asks_for_credentials(cause):
            raise refused(url, cause) from cause
        error = remote_error(cause)
        if error.unreachable:
            _silent[host] = _silent.get(host, (0, 0.0))[0] + 1, time.monotonic()
        else:
            _silent.pop(host, None)
        raise error from cause
    _silent.pop(host, None)
    return found
