"""The example unit of systemd: its command answers, and ends as the unit expects."""

from __future__ import annotations

import configparser
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from command import COMMAND, environment
from examples import EXAMPLES

UNIT = EXAMPLES / "watch" / "deltaoe-watch.service"
WAIT = 120.0  # seconds for a start on a machine that is busy


@pytest.mark.skipif(sys.platform == "win32", reason="a unit of systemd")
def test_the_command_of_the_unit_answers_and_ends_as_expected(project, tiny_model):
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]  # systemd's names have capitals
    unit.read(UNIT, encoding="utf-8")
    service = unit["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/deltaoe") and program.startswith("/")
    kind, _, file = service["StandardOutput"].partition(":")
    assert kind == "append" and file.startswith(service["ReadWritePaths"])
    inbox = project / "inbox"
    shutil.copytree(project / "images" / "red_stripes", inbox)
    # An image that is stored already, so that no model is loaded.
    for one in sorted(inbox.iterdir())[1:]:
        one.unlink()
    answers = project / "answers.jsonl"
    with (
        answers.open("ab") as out,
        subprocess.Popen(
            [COMMAND, *arguments],
            cwd=project,
            env=environment(tiny_model),
            stdout=out,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        until = time.monotonic() + WAIT
        while not answers.read_bytes().endswith(b"\n"):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)  # as systemctl stop does
        assert str(process.wait(WAIT)) == service["SuccessExitStatus"]
        assert process.stderr.read().startswith(b"interrupted")
    (record,) = map(json.loads, answers.read_text(encoding="utf-8").splitlines())
    assert record["path"].startswith("inbox") and record["verdict"] in ("known", "unknown")
