"""``deltaoe tune`` after kill -9 and Ctrl-C, with the installed command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import COMMAND, Run, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]
LONG = ("tune", "--shots", "8", "--steps", "4000", "--background", "none")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_goes_on_to_the_same_bytes(project: Path, tiny_model: Path, run: Run, how: signal.Signals) -> None:
    run(*LONG, "--out", "undisturbed", cwd=project)
    command = [COMMAND, *LONG, "--out", "resumed"]
    with subprocess.Popen(
        command, cwd=project, env=environment(tiny_model), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        end = time.monotonic() + 120
        while not list((project / ".deltaoe" / "tuning").glob("[!.]*.safetensors")):
            assert process.poll() is None, "it ended before a checkpoint was written"
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(how)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert not (project / "resumed").exists()
    if how == signal.SIGINT:
        assert "the best prompts so far are in" in said
        [kept] = (project / ".deltaoe" / "detectors").glob("interrupted-*")
        assert run("score", "unknown", "--detector", str(kept), cwd=project).rc == 0
    done = run(*LONG, "--out", "resumed", cwd=project)
    assert "goes on after step" in done.stderr
    assert (project / "resumed").read_bytes() == (project / "undisturbed").read_bytes()
    assert not list((project / ".deltaoe" / "tuning").glob("*.safetensors"))
