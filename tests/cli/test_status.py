"""``deltaoe status``: what is there, what would be used, and what is out of date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command import COMMAND, Fails, Run, contents, environment
from folders import only


def test_an_empty_folder_gets_the_first_command(tmp_path: Path, run: Run) -> None:
    done = run("status", cwd=tmp_path)
    assert "deltaoe extract ./images" in done.stdout and "deltaoe demo" in done.stdout
    told = run("status", "--json", cwd=tmp_path).json
    assert (told["data_sets"], told["features"], told["detectors"], told["out_of_date"]) == ([], [], [], [])
    assert list(tmp_path.iterdir()) == []


def test_what_is_there(project: Path, tiny_model: Path, run: Run) -> None:
    told = run("status", "--json", cwd=project).json
    (data,) = told["data_sets"]
    assert (data["title"], data["images"], data["current"]) == (str(project / "images"), 96, True)
    assert data["classes"] == ["blue waves", "green checks", "red stripes", "yellow dots"]
    assert data["model"] == f"local-dir:{tiny_model}" and data["extracted"][:2] == "20"
    (space,) = told["features"]
    shards = (project / ".deltaoe").glob("features/*/shard-*.h5")
    assert (space["images"], space["bytes"]) == (96, sum(path.stat().st_size for path in shards))
    (detector,) = told["detectors"]
    name = only(project, "detectors/*.safetensors").stem
    assert (detector["name"], detector["current"]) == (name, True)
    assert told["score_uses"] == f"the detector {name}"
    assert told["tune_uses"].startswith("the data set images (4 classes, 96 images)")
    shown = run("status", cwd=project).stdout
    assert f"score uses the detector {name}" in shown and "* images" in shown and f"* {name}" in shown


def test_without_detectors_and_without_classes(fresh: Path, run: Run) -> None:
    run("extract", "images/red_stripes", cwd=fresh)
    shown = run("status", cwd=fresh).stdout
    assert "score uses nothing yet" in shown and "tune uses nothing yet" in shown
    run("extract", "images", cwd=fresh)
    shown = run("status", cwd=fresh).stdout
    assert (
        "score uses zero-shot prompts for the classes of the data set images (4 classes, 96 images)" in shown
    )


def test_damage_is_listed_and_the_rest_is_shown(project: Path, run: Run, fails: Fails) -> None:
    run("store", "compact", cwd=project)
    listing = only(project, "datasets/*.h5")
    listing.write_bytes(listing.read_bytes()[:100])
    only(project, "detectors/*.safetensors").write_bytes(b"x")
    shard = only(project, "features/*/shard-*.h5")
    shard.write_bytes(b"x")
    told = run("status", "--json", cwd=project).json
    assert told["data_sets"][0]["images"] is None and told["detectors"][0]["damage"]
    said = "\n".join(told["out_of_date"])
    assert f"the data set {listing.name} is damaged" in said and "deltaoe store verify --repair" in said
    assert "deltaoe detectors rm" in said and "the features of " in said
    shown = run("status", cwd=project).stdout
    assert shown.count("out of date: ") == 3
    (project / ".deltaoe" / "workspace.json").write_text("{")
    fails("status", cwd=project, says=("cannot read", "workspace.json"))


def test_it_changes_nothing(project: Path, run: Run) -> None:
    before = contents(project)
    run("status", cwd=project)
    run("detectors", cwd=project)
    assert contents(project) == before


def test_it_loads_no_torch(project: Path, tmp_path: Path) -> None:
    """A ``torch`` that cannot be imported stands in front of the real one."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    for command in (["status"], ["detectors"], ["detectors", "use", "4-shots"]):
        done = subprocess.run(
            [sys.executable, COMMAND, *command],
            cwd=project,
            env=environment(None) | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and "torch" not in done.stderr, done.stderr
