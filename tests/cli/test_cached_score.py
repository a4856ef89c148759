"""Images whose features are stored are scored without the packages that take seconds to import."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Run, environment
from copied import copied_project

from deltaoe.scoring import parts
from deltaoe.scoring.detector import Detector
from deltaoe.store.workspace import Workspace

HEAVY = ["torch", "open_clip", "faiss", "sklearn", "scipy"]
# The command as installed, and then which of them it has imported.
PROBE = f"""
import atexit, sys
from deltaoe_cli.main import main
said = lambda: print("LOADED", *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
atexit.register(said)
main()
"""


def loaded(*arguments: str | Path, cwd: Path, model: Path) -> tuple[str, list[str]]:
    """What a command prints, and the heavy packages that it has imported."""
    command = [sys.executable, "-c", PROBE, *map(os.fspath, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment(model), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("LOADED"))
    return done.stdout, line.split()[1:]


@pytest.fixture(scope="module")
def scored(template: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A project in which tuned and zero-shot detectors have scored ``unknown`` once."""
    folder = tmp_path_factory.mktemp("cached") / "project"
    copied_project(template, folder)
    for arguments in ([], ["--zero-shot"], ["--zero-shot", "--evidence", "text"]):
        run("score", "unknown", *arguments, cwd=folder)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["unknown"],
        ["unknown/noise/0.png"],
        ["unknown", "--json"],
        ["unknown", "--report", "html", "--report", "json", "--out", "out"],
        ["unknown", "--evidence", "text"],
        ["unknown", "--evidence", "images"],
        ["unknown", "--per-class"],
        ["unknown", "--zero-shot"],
        ["unknown/noise/0.png", "--zero-shot", "--json"],
        ["unknown", "--zero-shot", "--evidence", "text"],
        ["data:later", "--json"],
    ],
    ids=" ".join,
)
def test_stored_images_need_no_torch(scored, tiny_model, run, arguments):
    (scored / "out").mkdir(exist_ok=True)
    if arguments[0] == "data:later":
        run("extract", "unknown", "--name", "later", "--layout", "flat", cwd=scored)
    printed, found = loaded("score", *arguments, cwd=scored, model=tiny_model)
    assert printed
    assert found == []


def test_the_probe_sees_what_is_loaded(scored, tiny_model, tmp_path):
    shutil.copytree(scored, tmp_path / "new")
    shutil.copy(tmp_path / "new/unknown/noise/0.png", tmp_path / "new/other.png")
    # Known by its content: nothing is encoded, but a model must be asked whether it still makes these features.
    _, found = loaded("score", "other.png", cwd=tmp_path / "new", model=tiny_model)
    assert "torch" in found


@pytest.mark.parametrize("arguments", [(), ("--zero-shot",), ("--zero-shot", "--evidence", "text")])
def test_numpy_and_pytorch_say_the_same(scored, monkeypatch, arguments):
    """Of the very images that calibrate, alone and together."""
    import deltaoe

    monkeypatch.chdir(scored)
    workspace, options = Workspace.locate(), deltaoe.ScoreOptions(zero_shot="--zero-shot" in arguments)
    if "text" in arguments:
        options = deltaoe.ScoreOptions(zero_shot=True, evidence="text")
    quick = deltaoe.score("images", workspace, options).table
    monkeypatch.setattr(parts, "FEW_COSINES", 0)
    slow = deltaoe.score("images", workspace, options).table
    assert (quick.scores != slow.scores).any()
    assert quick.scores == pytest.approx(slow.scores, rel=1e-4, abs=1e-5)
    assert np.array_equal(quick.p_values, slow.p_values)
    assert np.array_equal(quick.labels[:, 0], slow.labels[:, 0])
    assert quick.counts == slow.counts


def test_one_image_has_the_verdict_that_it_has_among_others(scored, run):
    together = json.loads(run("score", "unknown", "images", "--json", cwd=scored).stdout)["images"]
    for record in together[::9]:
        (alone,) = json.loads(run("score", record["path"], "--json", cwd=scored).stdout)["images"]
        for name in ("verdict", "class", "p_value"):
            assert alone[name] == record[name]


def test_the_saved_detector_calibrates_as_it_was_tuned(scored):
    """An image whose parts differ by rounding from those of a calibration image has its p-value."""
    workspace = Workspace(scored / ".deltaoe")
    detector = Detector.load(workspace.current_detector())
    assert len(detector.calibration)
    fused = detector.fused_scores(detector.part_calibration)
    nudged = detector.part_calibration * (1 + 1e-6) + 1e-9
    assert np.array_equal(detector.p_values(detector.fused_scores(nudged)), detector.p_values(fused))


def test_unchanged_files_are_extracted_without_them(scored, tiny_model):
    """Looked up in the store first, and then as a run that repeats the one before."""
    for _ in range(2):
        printed, heavy = loaded("extract", "images", "--json", cwd=scored, model=tiny_model)
        found = json.loads(printed)
        assert (found["encoded"], found["unchanged"], heavy) == (0, found["images"], [])
