"""Threads that wait for each other leave the cores to others, whoever imports PyTorch first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def printed(code: str, **environment: str) -> list[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("first", "given", "found"),
    [
        ("pass", {}, "PASSIVE"),
        ("pass", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ("import torch", {}, "None"),  # too late, and processes started later need not inherit it
    ],
)
def test_importing_the_package_sets_the_policy_in_time(first, given, found):
    code = f"{first}\nimport os, deltaoe\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    assert printed(code, **given) == [found]


COUNTS = """
import threading, torch
torch.set_num_threads({threads})
import deltaoe
from deltaoe.threads import spinning_little

def count():
    return len(__import__("os").listdir("/proc/self/task")), torch.get_num_threads()

torch.ones(1 << 20).sum()
before = count()
with spinning_little():
    inside = count()
print(inside[0] - before[0], inside[1] - before[1], threading.active_count())
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux lists them")
@pytest.mark.parametrize(
    ("threads", "given", "added"),
    [(2, {}, 2), (1, {}, 0), (2, {"OMP_WAIT_POLICY": "ACTIVE"}, 0)],
)
def test_a_second_team_sleeps_while_it_is_needed(threads, given, added):
    """One thread that holds it and one of its own; none for a single thread, nor against the user's word."""
    assert printed(COUNTS.format(threads=threads), **given) == [str(added), "0", "1"]


USES = """
import sys, threading
import torch
torch.set_num_threads(2)
import numpy, deltaoe
seen = {{}}
def on(event):
    seen.setdefault(event.stage.split(",")[0], set()).update(thread.name for thread in threading.enumerate())
model = deltaoe.ModelOptions("local-dir:{model}")
workspace = deltaoe.Workspace.locate()
extracted = deltaoe.extract("{pictures}", workspace, deltaoe.ExtractOptions(model=model), on)
recipe = deltaoe.Recipe(epochs=1)
deltaoe.tune_workspace(workspace, deltaoe.TuneOptions(tuning=deltaoe.TuningOptions(shots=2, recipe=recipe)), on)
for stage in ("Encoding images", "Tuning"):
    print("deltaoe-idle-team" in seen[stage])
"""


def test_encoding_and_tuning_spin_little(tiny_model, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert printed(USES.format(model=tiny_model, pictures=pictures), HF_HUB_OFFLINE="1") == ["True", "True"]


def test_the_team_ends_with_an_error():
    code = """
import threading, torch
torch.set_num_threads(2)
import deltaoe
from deltaoe.threads import spinning_little
try:
    with spinning_little():
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print(threading.active_count())
"""
    assert printed(code) == ["1"]
