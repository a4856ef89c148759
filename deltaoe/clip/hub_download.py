"""Files of a model hub, brought into the hub's own cache: resumed where they broke off, and checked before they count.

huggingface_hub would start a download anew whose process ended, and compares sizes only. Here a file grows as
``<digest>.part`` in the cache's folder of blobs, and gets its name there when its content has the digest that the hub
announced; huggingface_hub then finds it and links it into its snapshot. Where the cache is, which hub is asked
(``HF_ENDPOINT``), tokens, proxies and certificates are huggingface_hub's own affair.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deltaoe.clip.hub_errors import cannot_write, explained, hub_name, is_timeout, no_room
from deltaoe.errors import ModelError, first_line

T = TypeVar("T")

_CHUNK = 1 << 16  # bytes
_BUSY = frozenset({408, 429, 500, 502, 503, 504})  # answers of a server that may pass
_PAUSES = (1.0, 3.0)  # seconds before the same is asked again
_LONGEST_PAUSE = 15.0  # seconds, whatever the server asks for
_TRIES = 4  # connections in a row that bring nothing, before a download is given up


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, as the hub describes it.

    Attributes:
        repository: ``ORG/REPO``.
        name: path in the repository.
        size: bytes; None where the hub does not say.
        etag: SHA-256 of a large file, git's SHA-1 of a small one, both in hex; of another hub whatever it names files
            by.
    """

    repository: str
    name: str
    size: int | None
    etag: str


def cached(repository: str, name: str) -> Path | None:
    """The file in the cache, as of the last download; None if it is not there.

    Raises:
        ConfigError: no repository can have that name.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        found = huggingface_hub.try_to_load_from_cache(repository, name)
    except HFValidationError as cause:
        raise explained(cause, repository, name) from cause
    return Path(found) if isinstance(found, str) else None


def describe(repository: str, name: str) -> HubFile:
    """Ask the hub for a file's size and digest.

    Raises:
        NoFileError: the repository has no such file.
        ModelError: there is no such repository, no access to it, or no usable answer.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repository, name, endpoint=constants.ENDPOINT)
    found = _asked(lambda: get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT), repository, name)
    etag = found.etag or ""
    if not found.commit_hash or not re.fullmatch(r"\w[\w.-]*", etag):
        raise ModelError(
            f"{hub_name()} does not answer as a model hub does",
            hint="check HF_ENDPOINT, and whether a proxy or a log-in page of the network answers in its place",
        )
    return HubFile(repository, name, found.size, etag)


def file_names(repository: str) -> list[str]:
    """The paths of all files of a repository. Raises ModelError as :func:`describe` does."""
    import huggingface_hub
    from huggingface_hub import constants

    info = _asked(
        lambda: huggingface_hub.HfApi(endpoint=constants.ENDPOINT).model_info(repository, timeout=30),
        repository,
        "",
    )
    return [one.rfilename for one in info.siblings or []]


def fetch(file: HubFile, on_bytes: Callable[[int], None]) -> Path:
    """Download a file into the cache, from where an earlier download broke off.

    Args:
        file: as the hub described it.
        on_bytes: called with the number of bytes that are there.

    Returns:
        Its path in the cache.

    Raises:
        ModelError: the download broke off, what arrived has another digest, or the cache cannot hold it.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    cache = Path(constants.HF_HUB_CACHE)
    folder = cache / repo_folder_name(repo_id=file.repository, repo_type="model")
    blob = folder / "blobs" / file.etag
    lock = cache / ".locks" / folder.name / f"{file.etag}.lock"
    try:
        blob.parent.mkdir(parents=True, exist_ok=True)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with _utils().WeakFileLock(lock):  # the one that huggingface_hub takes
            if not blob.exists():
                blob.unlink(missing_ok=True)  # a link to nothing
                _fill(blob, file, on_bytes)
    except OSError as cause:
        raise cannot_write(cause, cache, file.name) from cause
    linked = _asked(
        lambda: huggingface_hub.hf_hub_download(file.repository, file.name), file.repository, file.name
    )
    return Path(linked)


def is_damaged(path: Path) -> bool:
    """Whether a file of the cache has another content than the hub announced; False where that cannot be told."""
    blob = path.resolve()
    try:
        return _digest(blob, blob.name) not in ("", blob.name)
    except OSError:
        return False


def _fill(blob: Path, file: HubFile, on_bytes: Callable[[int], None]) -> None:
    """Download a blob. Raises ModelError; OSError only of the file system."""
    part = blob.with_name(f"{blob.name}.part")
    with part.open("ab") as out:
        if file.size is not None:
            if out.tell() > file.size:
                _empty(out)
            free = shutil.disk_usage(part.parent).free
            if file.size - out.tell() > free:
                raise no_room(file.name, file.size, free, part.parent)
        on_bytes(out.tell())
        tries = 0
        while file.size is None or out.tell() < file.size:
            before = out.tell()
            why = _append(out, file, on_bytes)
            out.flush()
            if file.size is None and not why:
                break
            if file.size is not None and out.tell() > file.size:
                _empty(out)
                why = "more arrived than the hub had announced"
            if out.tell() == file.size:
                break
            tries = tries + 1 if out.tell() <= before else 0
            if tries >= _TRIES:
                size = "" if file.size is None else f" of {file.size:,}"
                raise ModelError(
                    f"the download of {file.name} from {hub_name()} broke off after {out.tell():,}{size} bytes: "
                    f"{why or 'the server closed the connection'}",
                    hint="run the same command again: it goes on from there",
                )
            time.sleep(float(tries))
    if _digest(part, file.etag) not in ("", file.etag):
        part.unlink()
        raise ModelError(
            f"{file.name} of {file.repository} arrived damaged: its digest is not the one that {hub_name()} announced",
            hint="it was thrown away: run the same command again, and if that does not help, without the proxy or "
            "mirror in between",
        )
    os.replace(part, blob)


def _empty(out: Any) -> None:
    out.seek(0)
    out.truncate()


def _append(out: Any, file: HubFile, on_bytes: Callable[[int], None]) -> str:
    """Append what one connection brings; why it ended early, or an empty text."""
    for chunk in (stream := _Stream(file, out.tell())):
        if stream.from_start and out.tell():
            _empty(out)  # the server does not know ranges
        stream.from_start = False
        out.write(chunk)
        if file.size is not None and out.tell() > file.size:
            break  # it might go on until the disk is full
        on_bytes(out.tell())
    if stream.from_start and stream.overlong:
        _empty(out)
    return stream.ended


class _Stream:
    """The bytes of a file from an offset on, over one connection.

    Attributes:
        from_start: whether the server sends the file from its beginning, whatever was asked for.
        overlong: whether the server says that the offset lies behind the end.
        ended: why the connection ended early; empty if it did not.
    """

    def __init__(self, file: HubFile, offset: int) -> None:
        self._file, self._offset = file, offset
        self.from_start, self.overlong, self.ended = False, False, ""

    def __iter__(self) -> Iterator[bytes]:
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError

        file, utils = self._file, _utils()
        url = hf_hub_url(file.repository, file.name, endpoint=constants.ENDPOINT)
        headers = {**utils.build_hf_headers(), "Accept-Encoding": "identity"}
        if self._offset:
            headers["Range"] = f"bytes={self._offset}-"
        session = utils.get_session()
        wait = constants.HF_HUB_DOWNLOAD_TIMEOUT
        try:
            # httpx in newer releases, requests in older ones; both give the token to no other host
            opened = (
                session.stream("GET", url, headers=headers, timeout=wait, follow_redirects=True)
                if callable(session.stream)
                else session.get(url, headers=headers, timeout=wait, stream=True)
            )
            with opened as response:
                self.from_start = response.status_code != 206
                self.overlong = response.status_code == 416
                utils.hf_raise_for_status(response)
                read = getattr(response, "iter_bytes", None) or response.iter_content
                yield from read(_CHUNK)
        except HfHubHTTPError as cause:
            status = cause.response.status_code
            if status not in _BUSY and not self.overlong:
                raise explained(cause, file.repository, file.name) from cause
            self.ended = f"the server answered with {status}"
        except Exception as cause:  # of whichever package made the connection
            self.ended = "nothing came any more" if is_timeout(cause) else first_line(cause)


def _asked(ask: Callable[[], T], repository: str, name: str) -> T:
    """An answer of the hub; asked again where the server is busy. Raises ModelError."""
    from huggingface_hub.errors import HfHubHTTPError

    for pause in (*_PAUSES, None):
        try:
            return ask()
        except HfHubHTTPError as cause:
            if pause is None or cause.response.status_code not in _BUSY:
                raise explained(cause, repository, name) from cause
            with suppress(ValueError):
                pause = max(pause, float(cause.response.headers.get("Retry-After", "")))
            time.sleep(min(pause, _LONGEST_PAUSE))
        except Exception as cause:
            raise explained(cause, repository, name) from cause
    raise AssertionError("the last pause is None")


def _utils() -> Any:
    """``huggingface_hub.utils``, whose names are public and not exported to type checkers."""
    return importlib.import_module("huggingface_hub.utils")


def _digest(path: Path, etag: str) -> str:
    """The digest of a file's content, of the kind that the hub names it by; empty for a name of another kind."""
    if re.fullmatch("[0-9a-f]{64}", etag):
        digest = hashlib.sha256()
    elif re.fullmatch("[0-9a-f]{40}", etag):
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode())  # noqa: S324 - git's name of a file
    else:
        return ""
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
