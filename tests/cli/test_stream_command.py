"""``score --stream`` and ``--watch`` as a service would use them: a process that is asked, and answers."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import COMMAND, environment

from deltaoe.store.workspace import Workspace

WAIT = 120.0  # seconds for one answer on a machine that is busy


class Asked:
    """A running command: what it answers, line by line, and what it says to people."""

    def __init__(self, *arguments: str, cwd: Path, model: Path) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "score", *arguments],
            cwd=cwd,
            env=environment(model),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._said: list[bytes] = []
        self._threads = [
            threading.Thread(target=lambda: [self._lines.put(line) for line in self.process.stdout]),
            threading.Thread(target=lambda: self._said.extend(self.process.stderr)),
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, *paths: str | bytes, end: bytes = b"\n") -> None:
        for path in paths:
            self.process.stdin.write(os.fsencode(path) + end)
        self.process.stdin.flush()

    def answer(self) -> dict:
        return json.loads(self._lines.get(timeout=WAIT))

    def ended(self, rc: int) -> str:
        """What it has said to people, after it has ended with this code."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        assert self.process.wait(timeout=WAIT) == rc, b"".join(self._said).decode()
        for thread in self._threads:
            thread.join()
        assert self._lines.empty()
        said = b"".join(self._said).decode()
        assert "Traceback" not in said
        return said

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


@pytest.fixture
def asked(project, tiny_model) -> Iterator:
    started: list[Asked] = []

    def start(*arguments: str) -> Asked:
        started.append(Asked(*arguments, cwd=project, model=tiny_model))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def stored(project: Path) -> int:
    workspace = Workspace(project / ".deltaoe")
    return sum(len(workspace.store(space)) for space in workspace.spaces())


def test_each_path_is_answered_before_the_next_is_asked(asked, project, run):
    stream = asked("--stream")
    for path in ("unknown/noise/0.png", "unknown/red_stripes/00.png", "unknown/noise/0.png"):
        stream.ask(path)
        record = stream.answer()
        assert record["path"] == path and record["verdict"] in {"known", "unknown"}
    said = stream.ended(0)
    assert said.count("Loading model") == 1
    assert "tuned detector" in said
    # What was encoded is not encoded again, and a folder's run says the same.
    (again,) = run("score", "unknown/noise/0.png", "--json", cwd=project).json["images"]
    for name in ("verdict", "class", "p_value", "p_text", "p_images", "looks_like"):
        assert again[name] == record[name]


def test_a_broken_image_is_an_answer_and_not_the_end(asked):
    stream = asked("--stream", "--quiet", "-")
    stream.ask("missing.jpg\r", "", "unknown")
    for error in ("no such file", "a folder"):
        record = stream.answer()
        assert record["verdict"] == "failed" and error in record["error"]
    stream.ask("images/red_stripes/00.png", end=b"")  # a last line without an end
    stream.process.stdin.close()
    assert stream.answer()["verdict"] != "failed"
    assert stream.ended(0) == ""


@pytest.mark.parametrize(("arguments", "rc"), [([], 0), (["--fail-on-unknown"], 3), (["--strict"], 1)])
def test_the_exit_code_is_that_of_score(asked, project, arguments, rc):
    stream = asked("--stream", "--alpha", "0.6", *arguments)
    names = ["missing.jpg", *(f"images/red_stripes/{i:02}.png" for i in range(24))]
    stream.ask(*names)
    records = [stream.answer() for _ in names]
    assert any(record["verdict"] == "unknown" for record in records)
    assert "Loading model" not in stream.ended(rc)


def test_names_of_any_bytes(asked, project):
    name = b"a\nb \xff.png"
    shutil.copy(project / "unknown/noise/0.png", os.fsencode(project) + b"/" + name)
    (project / "broken.jpg").write_bytes(b"no picture")
    stream = asked("--stream", "-0")
    stream.ask(name, "broken.jpg", "unknown/noise/0.png", end=b"\0")
    first, broken, second = stream.answer(), stream.answer(), stream.answer()
    assert os.fsencode(first["path"]) == name
    assert first["p_value"] == second["p_value"]
    assert (broken["verdict"], broken["p_value"]) == ("failed", None) and "not an image" in broken["error"]
    stream.ended(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_what_was_encoded_is_kept(asked, project, number):
    before = stored(project)
    stream = asked("--stream")
    stream.ask(*(f"unknown/noise/{i}.png" for i in range(3)))
    for _ in range(3):
        stream.answer()
    stream.process.send_signal(number)
    stream.process.wait(timeout=WAIT)
    stream.ended(130)
    assert stored(project) == before + 3


def test_a_reader_that_goes_away_ends_it_in_silence(project, tiny_model):
    before = stored(project)
    names = "".join(f"unknown/{name}\n" for name in ("noise/0.png", "noise/1.png") * 5000)
    with subprocess.Popen(
        [COMMAND, "score", "--stream", "--quiet"],
        cwd=project,
        env=environment(tiny_model),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        feeding = threading.Thread(target=feed, args=(process.stdin, names.encode()))
        feeding.start()
        assert json.loads(process.stdout.readline())["path"] == "unknown/noise/0.png"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=WAIT) == 1
        feeding.join()
    assert stored(project) == before + 2


def feed(stream, data: bytes) -> None:
    try:
        stream.write(data)
        stream.close()
    except OSError:
        pass


def test_a_watched_folder_is_answered_as_images_come(asked, project):
    inbox = project / "inbox"
    inbox.mkdir()
    watch = asked("inbox", "--watch")
    content = (project / "unknown/noise/0.png").read_bytes()
    (inbox / "part.png").write_bytes(content[:200])
    with (inbox / "part.png").open("ab") as file:  # as a slow upload does
        for start in range(200, len(content), 400):
            file.write(content[start : start + 400])
            file.flush()
            time.sleep(0.05)
    assert watch.answer()["path"] == os.path.join("inbox", "part.png")
    shutil.copy(project / "unknown/red_stripes/00.png", inbox / "next.png")
    (inbox / "notes.txt").write_text("no picture")
    assert watch.answer()["path"] == os.path.join("inbox", "next.png")
    (inbox / "next.png").write_bytes(b"broken now")
    record = watch.answer()
    assert (record["path"], record["verdict"]) == (os.path.join("inbox", "next.png"), "failed")
    watch.process.send_signal(signal.SIGINT)
    watch.process.wait(timeout=WAIT)
    watch.ended(130)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stream", "--fdr", "0.1"], "--fdr"),
        (["--stream", "--report", "html"], "--report"),
        (["--stream", "--out", "out"], "--out"),
        (["--stream", "--print0", "unknown"], "--print0"),
        (["--stream", "--force"], "--force"),
        (["--stream", "--neighbours", "2", "--evidence", "text"], "--neighbours"),
        (["--stream", "unknown"], "standard input"),
        (["--watch"], "folders"),
        (["unknown", "--watch", "-0"], "folders"),
        (["missing", "--watch"], "missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_refused(fails, project, arguments, says):
    fails("score", *arguments, cwd=project, rc=1 if "missing" in arguments else 2, says=(says,))


@pytest.mark.parametrize("arguments", [[], ["unknown", "-0"]])
def test_usage(fails, project, arguments):
    fails("score", *arguments, cwd=project, rc=2, says=("--stream",))
