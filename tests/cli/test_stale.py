"""What is out of date is said in one line with the next command, and nothing is said where nothing is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import Run
from copied import copied_project
from folders import only
from tiny import make_pictures

ADDED = "added to images since extract: run deltaoe extract ./images"


def warnings(stderr: str) -> list[str]:
    return [line.removeprefix("warning: ") for line in stderr.splitlines() if line.startswith("warning: ")]


def scored(folder: Path, run: Run, *more: str, cwd: Path | None = None) -> list[str]:
    """The warnings of scoring what is cached already."""
    place = cwd or folder
    return warnings(run("score", str(folder / "unknown"), "--json", *more, cwd=place).stderr)


@pytest.fixture
def judged(template: Path, tmp_path: Path) -> Path:
    return copied_project(template, tmp_path / "project")


def test_nothing_is_said_of_a_project_that_is_up_to_date(judged: Path, run: Run) -> None:
    assert scored(judged, run) == []
    assert run("status", cwd=judged).stdout.splitlines()[-1] == "Nothing is out of date."
    again = run("extract", "./images", cwd=judged)
    assert warnings(again.stderr) == [] and "from now on" not in again.stderr


def test_a_lost_detector(judged: Path, run: Run) -> None:
    path = only(judged, "detectors/*.safetensors")
    run("tune", "--shots", "2", "--epochs", "2", "--name", "other", cwd=judged)
    (judged / ".deltaoe" / "detectors" / "other.safetensors").unlink()
    (said,) = scored(judged, run)
    assert said == (
        "the detector other is no longer in .deltaoe/detectors, zero-shot prompts are used instead: "
        f"run deltaoe detectors use NAME ({path.stem}), or deltaoe tune"
    )
    assert f"out of date: {said}" in run("status", cwd=judged).stdout
    # Not where the user has asked for prompts, or named a detector.
    assert scored(judged, run, "--zero-shot") == []
    assert scored(judged, run, "--detector", path.stem) == []
    run("detectors", "use", path.stem, cwd=judged)
    assert scored(judged, run) == []


def test_a_class_added_and_one_removed_after_tuning(judged: Path, run: Run) -> None:
    name = only(judged, "detectors/*.safetensors").stem
    shutil.move(judged / "images" / "blue_waves", judged / "images" / "dark_waves")
    assert scored(judged, run) == [
        "24 files were added to images, 24 removed since extract: run deltaoe extract ./images"
    ]
    run("extract", "images", cwd=judged)
    (said,) = scored(judged, run)
    assert said == (
        f"the detector {name} does not know the class dark waves that images has now, "
        "and has the class blue waves that images has no more: run deltaoe tune"
    )
    assert f"out of date: {said}" in run("status", cwd=judged).stdout
    assert scored(judged, run, "--zero-shot") == []
    # Another data set with other classes is no reason to say anything about the detector's own.
    make_pictures(judged / "more" / "red_stripes", 3, seed=60)
    run("tune", "--shots", "2", "--epochs", "2", cwd=judged)
    run("extract", "more", cwd=judged)
    assert scored(judged, run) == []


def test_files_added_and_removed(judged: Path, run: Run) -> None:
    images = judged / "images"
    make_pictures(judged / "new" / "red_stripes", 3, seed=50)
    for i in range(3):
        shutil.copy(judged / "new" / "red_stripes" / f"0{i}.png", images / "red_stripes" / f"new{i}.png")
    assert scored(judged, run) == [f"3 files were {ADDED}"]
    assert scored(judged, run, "--zero-shot") == [f"3 files were {ADDED}"]
    streamed = run("score", "--stream", cwd=judged, stdin=b"unknown/noise/0.png\n")
    assert warnings(streamed.stderr) == [f"3 files were {ADDED}"]
    told = run("tune", "--shots", "2", "--epochs", "2", "--name", "b", "--json", cwd=judged).json
    assert f"3 files were {ADDED}" in told["notes"]
    for i in range(2):
        (images / "red_stripes" / f"new{i}.png").unlink()
    assert scored(judged, run) == [f"1 file was {ADDED}"]
    run("extract", "./images", cwd=judged)
    assert scored(judged, run) == []
    (images / "yellow_dots" / "00.png").unlink()
    said = "1 file was removed from images since extract: run deltaoe extract ./images"
    assert scored(judged, run) == [said]
    (images / "blue_waves" / "00.png").write_bytes((images / "blue_waves" / "01.png").read_bytes())
    shown = run("status", cwd=judged).stdout
    both = "1 file was removed from images, 1 changed since extract: run deltaoe extract ./images"
    assert f"out of date: {both}" in shown  # which looks at every file


def test_a_file_in_a_folder_that_was_empty(fresh: Path, run: Run) -> None:
    (fresh / "images" / "new class").mkdir()
    run("extract", "images", cwd=fresh)
    shutil.copy(fresh / "images" / "red_stripes" / "00.png", fresh / "images" / "new class" / "a.png")
    make_pictures(fresh / "unknown" / "red_stripes", 3, seed=10)
    assert f"1 file was {ADDED}" in scored(fresh, run)


def test_what_is_no_image_or_a_known_failure_is_not_added(judged: Path, run: Run) -> None:
    images = judged / "images"
    (images / "red_stripes" / "broken.png").write_bytes(b"no picture")
    run("extract", "images", cwd=judged)
    (images / "red_stripes" / "scores.csv").write_text("path,verdict\n")
    (images / ".hidden").mkdir()
    (images / "red_stripes" / "._a.png").write_bytes(b"x")
    (images / "red_stripes" / "loose.png").symlink_to("nowhere.png")
    shutil.copy(images / "red_stripes" / "00.png", images / ".hidden" / "a.png")
    assert scored(judged, run) == []
    (images / "red_stripes" / "broken.png").write_bytes(b"no picture, but another one")
    assert run("status", cwd=judged).stdout.splitlines()[-1].endswith(ADDED)


def test_a_folder_that_is_gone_or_unreadable_costs_nothing(judged: Path, run: Run, mortal: bool) -> None:
    inner = judged / "images" / "red_stripes"
    (judged / "images" / "x").touch()  # so that the folders are walked
    inner.chmod(0)
    try:
        done = run("score", "unknown", "--json", cwd=judged, mortal=mortal)
        shown = run("status", cwd=judged, mortal=mortal).stdout
    finally:
        inner.chmod(0o755)
    assert warnings(done.stderr) == []
    assert f"{inner}/ cannot be listed now" in shown and "removed" not in shown
    shutil.move(judged / "images", judged / "elsewhere")
    assert scored(judged, run) == []
    assert "files of images cannot be compared: images is not there" in run("status", cwd=judged).stdout


def test_lists_and_standard_input_are_left_alone(judged: Path, run: Run) -> None:
    listed = "\n".join(str(path) for path in sorted((judged / "images").rglob("*.png"))).encode()
    done = run("extract", "-", cwd=judged, stdin=listed)
    (said,) = warnings(done.stderr)
    assert said == (
        "tune, and score without a detector, use standard input from now on, not images; "
        "to go back: deltaoe extract ./images"
    )
    make_pictures(judged / "images" / "more" / "red_stripes", 1, seed=50)
    assert scored(judged, run, "--zero-shot") == []
    told = run("status", "--json", cwd=judged).json
    assert told["tune_uses"].startswith("the data set standard input (4 classes, 96 images)")
    assert [one["current"] for one in told["data_sets"]] == [True, False]
    # And back, by the command that was named.
    (said,) = warnings(run("extract", "./images", cwd=judged).stderr)
    assert said.endswith("use images from now on, not standard input; --data - names that one")


def test_the_way_back_has_the_options_that_it_needs(judged: Path, other_model: Path, run: Run) -> None:
    run(
        "extract", "images", "--name", "pets", "--layout", "flat", cwd=judged
    )  # without classes: not the current one
    assert run("status", "--json", cwd=judged).json["tune_uses"].startswith("the data set images (4 classes")
    make_pictures(judged / "deep" / "blue_waves" / "red_stripes", 2, seed=1)
    make_pictures(judged / "deep" / "blue_waves" / "green_checks", 2, seed=2)
    run("extract", "deep", "--layout", "class", "--name", "deep", cwd=judged)
    (said,) = warnings(run("extract", "images", cwd=judged).stderr)
    assert said.endswith("to go back: deltaoe extract ./deep --name deep --layout class")
    (judged / "names.csv").write_text("blue_waves,sea\n")
    run("extract", "images", "--classes", "names.csv", cwd=judged)
    (said,) = warnings(run("extract", "deep", cwd=judged).stderr)
    assert said.endswith("to go back: deltaoe extract ./images --classes FILE")
    done = run("extract", "deep", cwd=judged, model=other_model)
    (said,) = warnings(done.stderr)
    assert f"use deep by local-dir:{other_model} from now on, not deep by " in said and " --model " in said


def test_imported_features_become_the_current_data_set(judged: Path, run: Run) -> None:
    run("store", "export", "out.npz", cwd=judged)
    done = run("store", "import", "out.npz", "--name", "mine", cwd=judged)
    assert any(
        "use data:mine from now on, not images; to go back: deltaoe extract ./images" in one
        for one in warnings(done.stderr)
    )
    (said,) = warnings(run("extract", "images", cwd=judged).stderr)
    assert said.endswith("--data data:mine names that one")


def test_a_workspace_in_a_folder_above_is_named(judged: Path, run: Run) -> None:
    below = judged / "images"
    for command in (("score", "../unknown"), ("status",), ("detectors",)):
        done = run(*command, "--json", cwd=below)
        assert done.stderr.splitlines().count("workspace: ../.deltaoe") == 1
    assert "workspace:" not in run("status", "--workspace", "../.deltaoe", cwd=below).stderr
    assert "workspace:" not in run("status", cwd=below, env={"DELTAOE_WORKSPACE": "../.deltaoe"}).stderr
    assert "workspace:" not in run("status", cwd=judged).stderr


def test_a_moved_project_has_nothing_out_of_date(judged: Path, run: Run) -> None:
    moved = judged.rename(judged.parent / "moved")
    assert scored(moved, run) == []
    assert run("status", cwd=moved).stdout.splitlines()[-1] == "Nothing is out of date."
