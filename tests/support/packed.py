"""Tar and Parquet files of given contents, and a web server on this machine that counts what it is asked for."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def make_tar(path: Path | str, members: Mapping[str, bytes], format_: int = tarfile.PAX_FORMAT) -> None:
    """A tar of regular files, by name and content."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format_) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def files_below(folder: Path) -> dict[str, bytes]:
    """Content by path of all files below a folder, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


class Server:
    """What is served, by path without the first slash, and what was asked for.

    A value is the content, or a status that is answered instead of it. ``tags`` says whether answers have an ETag.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes | int] = {}
        self.asked: list[tuple[str, str]] = []
        self.failures: dict[str, int] = {}  # path → how many times it is answered with 503 first
        self.cut: set[str] = set()  # paths of which half the bytes arrive
        self.tags = True
        self.url = ""

    def asked_by(self, method: str) -> list[str]:
        return [path for how, path in self.asked if how == method]


@contextmanager
def serving() -> Iterator[Server]:
    """A web server on this machine, until the end of the block."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = self._head()
            if data is not None:
                cut = self.path[1:] in state.cut
                self.wfile.write(data[: len(data) // 2] if cut else data)

        def do_HEAD(self) -> None:
            self._head()

        def _head(self) -> bytes | None:
            path = self.path.partition("?")[0][1:]
            state.asked.append((self.command, self.path[1:]))
            found = state.files.get(path)
            if state.failures.get(path, 0) > 0:
                state.failures[path] -= 1
                found = 503
            if found is None:
                found = self._index(path)
            if isinstance(found, int):
                self.send_error(found)
                return None
            self.send_response(200)
            self.send_header("Content-Length", str(len(found)))
            self.send_header("Content-Type", "text/html" if found.startswith(b"<a ") else "image/png")
            if state.tags:
                self.send_header("ETag", f'"{hashlib.md5(found).hexdigest()}"')  # noqa: S324 - as servers do
            self.end_headers()
            return found

        def _index(self, path: str) -> bytes | int:
            start = f"{path.rstrip('/')}/" if path else ""
            names = {
                name[len(start) :].partition("/")[0] + ("/" if "/" in name[len(start) :] else "")
                for name in state.files
                if name.startswith(start)
            }
            links = "".join(f'<a href="{name}">{name}</a>\n' for name in sorted(names))
            return links.encode() if links else 404

        def log_message(self, *arguments: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
