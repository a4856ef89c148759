"""A stand-in of the model hub on the loopback interface: what huggingface_hub asks of it, and every way to disappoint.

It answers ``HEAD`` and ``GET`` of ``/ORG/REPO/resolve/REVISION/FILE`` as the hub does (commit, linked digest and size,
a redirect of large files to a second host, ranges) and ``/api/models/ORG/REPO``. It keeps a log of what was asked.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 100_000  # bytes; larger files are kept apart, are redirected, and go by their SHA-256
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass
class Repository:
    """A model repository.

    Attributes:
        files: name → content.
        refusal: status and ``X-Error-Code`` (or ``X-Error-Message``, which has blanks) for whoever asks without the
            token; None if it is public.
        token: opens a repository with a refusal.
    """

    files: dict[str, bytes]
    refusal: tuple[int, str] | None = None
    token: str = "hf_opens"  # noqa: S105 - opens nothing else


@dataclass
class Fault:
    """What happens to the next requests instead of an answer.

    Attributes:
        method: ``HEAD`` or ``GET``.
        times: so many requests are affected; None for all.
        status: an answer without content.
        cut: the connection is closed after so many bytes.
        hang: seconds without a byte, after ``cut`` bytes if that is given.
        headers: of the answer with that status.
    """

    method: str = "GET"
    times: int | None = 1
    status: int | None = None
    cut: int | None = None
    hang: float = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A request: its method, path without the query, and headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class Hub:
    """The stand-in; made by :func:`serving`.

    Attributes:
        repositories: name → repository.
        faults: file's name → what befalls it.
        spoilt: names of files that arrive with a changed byte in their middle.
        log: the requests so far.
        knows_ranges: whether a range is answered with that range.
    """

    def __init__(self, port: int, cdn_port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.cdn = f"http://localhost:{cdn_port}"  # another host, which must not get the token
        self.repositories: dict[str, Repository] = {}
        self.faults: dict[str, Fault] = {}
        self.spoilt: set[str] = set()
        self.log: list[Asked] = []
        self.knows_ranges = True

    def add(self, name: str, files: dict[str, bytes] | Path, **more: Any) -> Repository:
        """Publish files, or all of a folder."""
        if isinstance(files, Path):
            files = {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()}
        self.repositories[name] = Repository(files, **more)
        return self.repositories[name]

    def environment(self, home: Path | str) -> dict[str, str]:
        """Variables that make this the hub of a process, whose cache is below ``home``."""
        off = {name: "" for kind in PROXIES for name in (kind, kind.upper())}
        return off | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_HUB_ETAG_TIMEOUT": "2",
            "HF_HUB_DOWNLOAD_TIMEOUT": "2",
            "HF_TOKEN": "",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def asked(self, method: str = "") -> list[str]:
        """The paths that were asked for, in order."""
        return [one.path for one in self.log if method in ("", one.method)]


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on two free ports, for as long as the context lasts."""
    servers = [_Server(("127.0.0.1", 0), _Handler) for _ in range(2)]
    hub = Hub(*(server.server_port for server in servers))
    for server in servers:
        server.hub = hub
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def digest(content: bytes) -> str:
    """The name that the hub gives to a content: SHA-256 of a large one, git's SHA-1 of a small one."""
    if len(content) > LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of those who hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def _handle(self) -> None:
        hub = self.server.hub
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        hub.log.append(Asked(self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            self._describe(hub, found[1])
        elif found := re.fullmatch(r"/(cdn/)?([^/]+/[^/]+)/(?:resolve/[^/]+/)?(.+)", path):
            self._give(hub, found[2], found[3], on_cdn=bool(found[1]))
        else:
            self._answer(404, {"X-Error-Code": "RepoNotFound"})

    def _refused(self, hub: Hub, name: str) -> bool:
        repository = hub.repositories.get(name)
        if repository is None:
            self._answer(401, {"X-Error-Code": "RepoNotFound"})
        elif repository.refusal and self.headers.get("Authorization") != f"Bearer {repository.token}":
            status, code = repository.refusal
            self._answer(status, {"X-Error-Message" if " " in code else "X-Error-Code": code} if code else {})
        else:
            return False
        return True

    def _describe(self, hub: Hub, name: str) -> None:
        if not self._refused(hub, name):
            siblings = [{"rfilename": one} for one in sorted(hub.repositories[name].files)]
            document = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
            self._answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _give(self, hub: Hub, name: str, file: str, *, on_cdn: bool) -> None:
        if not on_cdn and self._refused(hub, name):
            return
        fault = hub.faults.get(file)
        if fault is not None and fault.method == self.command and fault.times != 0:
            if self.command == "HEAD" or on_cdn or len(hub.repositories[name].files.get(file, b"")) <= LARGE:
                fault.times = None if fault.times is None else fault.times - 1
            else:
                fault = None  # it befalls what the redirect leads to
        else:
            fault = None
        if fault is not None and fault.status is not None:
            self._answer(fault.status, fault.headers, fault=fault)
            return
        content = hub.repositories[name].files.get(file)
        if content is None:
            self._answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(content)}"', "Accept-Ranges": "bytes"}
        if len(content) > LARGE and not on_cdn:
            linked = {
                "X-Linked-Etag": headers["ETag"],
                "X-Linked-Size": str(len(content)),
                "ETag": '"other"',
                "Location": f"{hub.cdn}/cdn/{name}/{file}",
            }
            self._answer(302, headers | linked, fault=fault)
            return
        if file in hub.spoilt:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        status, start = 200, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and hub.knows_ranges:
            start = int(wanted[1])
            if start >= len(content):
                self._answer(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(status, headers, content[start:], fault)

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes = b"", fault: Fault | None = None
    ) -> None:
        if fault is not None and fault.hang and fault.cut is None:
            time.sleep(fault.hang)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.cut is not None:
            content, self.close_connection = content[: fault.cut], True
        try:
            self.wfile.write(content)
            if fault is not None and fault.cut is not None and fault.hang:
                self.wfile.flush()
                time.sleep(fault.hang)
        except OSError:
            self.close_connection = True  # whoever asked is gone


def use_here(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this the hub of the running process, whatever its environment said when huggingface_hub was imported."""
    from huggingface_hub import constants, file_download

    for name, value in hub.environment(home).items():
        monkeypatch.setenv(name, value)
    here = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_ETAG_TIMEOUT": 0.5,
        "HF_HUB_DOWNLOAD_TIMEOUT": 0.5,
    }
    for name, value in here.items():
        monkeypatch.setattr(constants, name, value)
        if hasattr(file_download, name):  # older releases keep copies
            monkeypatch.setattr(file_download, name, value)
