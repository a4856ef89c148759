"""What the string says that names a picture: its location.

A location is the path of a file; or a path that goes on inside a container, as if that were a folder
(``shards/000.tar/cat/a.jpg``, ``train.parquet/17/cat.jpg``); or a URL (``s3://bucket/cat/a.jpg``). Nothing is opened
here: :mod:`deltaoe.images.locations` reads what lies there.
"""

from __future__ import annotations

import itertools
import os
import re

PARQUET = ".parquet"
_SEPARATOR = "/" if os.sep == "/" else r"[/\\]"
_GOES_ON = re.compile(rf"\.(?:tar|parquet)(?={_SEPARATOR})", re.IGNORECASE)
# Parameters of a URL that grant access, and those that say for how long and to what, where one of them signs it.
_GRANTS = re.compile(
    r"(?:access_?token|auth|auth_?token|token|password|secret|api_?key|access_?key|x-amz-.*|x-goog-.*|sig|signature"
    r"|awsaccesskeyid|googleaccessid|key-pair-id)=",
    re.IGNORECASE,
)
_SIGNS = re.compile(r"(?:x-amz-signature|x-goog-signature|sig|signature)=", re.IGNORECASE)
_SIGNED = re.compile(r"(?:expires|policy|s[ekprtv]|spr|sip|skoid|sktid|sks|skv|ske|skt)=", re.IGNORECASE)
_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>)\]]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:// is a drive


def is_url(location: str) -> bool:
    """Whether a location, or an input, is a URL.

    Example:
        >>> [is_url(one) for one in ("s3://bucket/a.jpg", "shards/0.tar/a.jpg", "C:/a.jpg")]
        [True, False, False]
    """
    return "://" in location and _URL.match(location) is not None


def inside(location: str) -> tuple[str, str] | None:
    """The container's path and what the location says inside it, with ``/``; None if it goes on inside none.

    The first part of a path that is a regular file with a container's suffix is the container; a folder of such a name
    is a folder.
    """
    if is_url(location):
        return None
    for found in _GOES_ON.finditer(location):
        container, rest = location[: found.end()], location[found.end() + 1 :]
        if rest and os.path.isfile(container):
            return container, rest if os.sep == "/" else rest.replace(os.sep, "/")
    return None


def without_secrets(location: str) -> str:
    """A location without the password and the signature that a URL can hold.

    Example:
        >>> without_secrets("https://me:pw@host/a.jpg?id=7&X-Amz-Expires=60&X-Amz-Signature=ab12")
        'https://host/a.jpg?id=7'
    """
    if not is_url(location):
        return location
    start, _, rest = location.partition("://")
    host, slash, path = rest.partition("/")
    path, mark, query = path.partition("?")
    parameters = query.split("&") if mark else []
    kept = [one for one in parameters if not _GRANTS.match(one)]
    if any(map(_SIGNS.match, parameters)):
        kept = [one for one in kept if not _SIGNED.match(one)]
    end = f"?{'&'.join(kept)}" if any(kept) else ""
    return f"{start}://{host.rpartition('@')[2]}{slash}{path}{end}"


def masked(text: str) -> str:
    """A text, such as an error of a library, in which no URL has a password or signature."""
    return _ANY_URL.sub(lambda found: without_secrets(found[0]), text)


def absolute(location: str) -> str:
    """The absolute path of a location or of the current folder, ``""``; a URL is that already."""
    return location if is_url(location) else os.path.abspath(location or os.curdir)


def joined(folder: str, location: str) -> str:
    """A location that is relative to a folder or a URL; a URL and an absolute path as they are."""
    if is_url(location):
        return location
    return f"{folder}/{location}" if is_url(folder) else os.path.join(folder, location)


def tidied(location: str) -> str:
    """``os.path.normpath`` of a path; a URL as it is."""
    return location if is_url(location) else os.path.normpath(location)


def common_folder(folders: list[str]) -> str:
    """The deepest folder that holds all of these absolute paths or URLs.

    Of several hosts, and of URLs and paths together, it is the root of this system, below which :func:`joined` finds
    each of them; of several drives of Windows it is empty.
    """
    if not any(map(is_url, folders)):
        try:
            return os.path.commonpath(folders)
        except ValueError:  # several drives
            return ""
    parts = [folder.rstrip("/").split("/") for folder in folders]
    levels = zip(*parts, strict=False)
    shared = [level[0] for level in itertools.takewhile(lambda level: len(set(level)) == 1, levels)]
    return "/".join(shared) if len(shared) > 2 else os.path.abspath(os.sep)  # "s3:", "" and a bucket at least
