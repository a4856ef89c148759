"""A folder that nobody can look into costs itself: it is named and counted like a failed file, and the run goes on."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from command import Run
from tiny import make_noise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="paths as long as Linux has them")

DEPTH, NAME = 20, "d" * 220  # beyond PATH_MAX


def deepen(folder: Path) -> None:
    """Make folders within folders until their path is too long to be opened, whoever asks."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir(NAME, dir_fd=here)
        below = os.open(NAME, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.fixture
def deep(fresh: Path) -> Path:
    (fresh / "images" / "red_stripes" / "deep").mkdir()
    deepen(fresh / "images" / "red_stripes" / "deep")
    return fresh


def test_folders_deeper_than_any_path(deep: Path, run: Run) -> None:
    done = run("extract", "images", "--json", cwd=deep)
    (failed,) = done.json["failed"]
    assert done.json["images"] == 96
    assert failed["path"].startswith("red_stripes/deep/ddd") and failed["path"].endswith("d/")
    assert failed["error"] == "cannot be listed: file name too long"
    assert "warning: 1 folder could not be used:\n  red_stripes/deep/ddd" in done.stderr
    assert run("extract", "images", "--strict", "--json", cwd=deep, rc=1).json["images"] == 96
    told = run("score", "images", "--zero-shot", "--json", "--out", "o", cwd=deep)
    assert told.json["counts"]["failed"] == 1
    assert "cannot be listed: file name too long" in (deep / "o" / "scores.csv").read_text()
    make_noise(deep / "other", 8)
    evaluated = run(
        "evaluate", "--id", "images", "--ood", "o=other", "--scores", "msp", "--bootstrap", "0", cwd=deep
    )
    assert "id: 1 folder could not be used" in evaluated.stderr


def test_a_folder_without_permissions(fresh: Path, run: Run, mortal: bool) -> None:
    """Its images were known: that they are no longer listed is said, and so is what can be done."""
    run("extract", "images", cwd=fresh)
    locked = fresh / "images" / "red_stripes"
    count = len(list(locked.iterdir()))
    locked.chmod(0)
    try:
        status = run("status", cwd=fresh, mortal=mortal)
        assert "cannot be listed now" in " ".join((status.stdout + status.stderr).split())
        assert "removed" not in status.stdout + status.stderr
        done = run("extract", "images", "--json", cwd=fresh, mortal=mortal)
    finally:
        locked.chmod(0o755)
    assert done.json["images"] == 96 - count
    assert done.json["failed"] == [{"path": "red_stripes/", "error": "cannot be listed: permission denied"}]
    assert any(f"{count} images of" in note and "cannot be listed now" in note for note in done.json["notes"])
    again = run("extract", "images", "--json", cwd=fresh)
    assert (again.json["images"], again.json["encoded"], again.json["failed"]) == (96, 0, [])
    locked.chmod(0)
    try:
        refused = run("extract", "images/red_stripes", cwd=fresh, mortal=mortal, rc=1)
    finally:
        locked.chmod(0o755)
    assert "error: cannot list images/red_stripes: permission denied" in refused.stderr


def test_a_link_into_a_folder_without_permissions(fresh: Path, run: Run, mortal: bool) -> None:
    """Whether it leads to a folder cannot be told, so it is not passed over as a file of another kind."""
    make_noise(fresh / "elsewhere" / "inner", 2)
    shutil.copytree(fresh / "images" / "red_stripes", fresh / "some" / "red")
    (fresh / "some" / "linked").symlink_to(fresh / "elsewhere" / "inner")
    (fresh / "elsewhere").chmod(0)
    try:
        done = run("extract", "some", "--json", cwd=fresh, mortal=mortal)
    finally:
        (fresh / "elsewhere").chmod(0o755)
    assert done.json["failed"] == [{"path": "linked/", "error": "cannot be listed: permission denied"}]
