"""Pages in headless chromium: what is in the document after its script ran."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from pages import Page

from deltaoe.report.render import content_security_policy

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=2000",
    "--dump-dom",
)


def dump_dom(html: str, folder: Path) -> Page:
    """The document after its script ran in headless chromium."""
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", file.as_uri()],
        capture_output=True,
        timeout=180,
        check=True,
    )
    return Page(done.stdout.decode("utf-8"))


def with_script(html: str, more: str) -> str:
    """``html`` with statements added to its script, and its policy renewed for them."""
    page = Page(html)
    [(_, style)] = page.find("style")
    [script] = [text for attrs, text in page.find("script") if not attrs]
    new = script + more
    old_policy, policy = (content_security_policy(style, s).replace("'", "&#39;") for s in (script, new))
    assert html.count(script) == html.count(old_policy) == 1
    return html.replace(script, new).replace(old_policy, policy)


class Tab:
    """A page in headless chromium that takes real keys, by the DevTools protocol over a pipe; a context manager.

    ``page`` is HTML, or a file of it. A page of ours is loaded once its script ran, another once the browser says so.
    """

    def __init__(self, page: str | Path, folder: Path, width: int = 1280, *, dark: bool = False) -> None:
        self._file, self._profile, self._width = folder / "page.html", folder / "tab-profile", width
        self._dark = dark
        if isinstance(page, Path):
            self._file = page
        else:
            self._file.write_text(page, encoding="utf-8")
        self._number = 0
        self._session: str | None = None

    def __enter__(self) -> Tab:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # The protocol wants 3 and 4, which may be in use here.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (commands, answers)]

        def connect() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        flags = [flag for flag in FLAGS if flag not in {"--dump-dom", "--virtual-time-budget=2000"}]
        self._browser = subprocess.Popen(
            [CHROMIUM, *flags, "--remote-debugging-pipe", f"--user-data-dir={self._profile}"],
            preexec_fn=connect,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (commands, answers, *high):
            os.close(end)
        self._received = os.fdopen(self._answers, "rb")
        try:
            self._open()
        except BaseException:
            self._browser.kill()
            raise
        return self

    def _open(self) -> None:
        target = self._send("Target.createTarget", url="about:blank")
        self._session = self._send("Target.attachToTarget", targetId=target["targetId"], flatten=True)[
            "sessionId"
        ]
        size = {"width": self._width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])
        self.load()

    def load(self, other: Path | None = None) -> None:
        """Load the page, anew if it is there, or another file, and wait for its script."""
        self._file = other or self._file
        self._send("Page.navigate", url=self._file.as_uri())
        ran = "document.documentElement?.dataset.script === 'ran'"
        if 'dataset.script = "ran"' not in self._file.read_text(encoding="utf-8"):
            ran = f"document.readyState === 'complete' && location.href === {json.dumps(self._file.as_uri())}"
        while not self.run(ran):
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._session = None
        self._send("Browser.close")
        self._browser.wait(30)
        os.close(self._commands)
        self._received.close()

    def run(self, expression: str) -> Any:
        """The JSON value of an expression in the page."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, such as ``Tab``, ``ArrowRight``, ``Escape``, ``Enter`` or a space."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowRight": 39, "End": 35}
        for key in keys:
            text = {"Enter": "\r", " ": " "}.get(key, "")
            about = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key]}
            self._send("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
            self._send("Input.dispatchKeyEvent", type="keyUp", **about)
            # What a key sets off, such as the end of a dialog, comes in a task of its own.
            self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def _send(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:  # events come in between
            answer = json.loads(self._next())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> bytes:
        found = bytearray()
        while (byte := self._received.read(1)) != b"\0":
            assert byte, "the browser has ended"
            found += byte
        return bytes(found)
