"""Detectors by name: ``tune --name``, ``--detector``, and the subcommands of ``deltaoe detectors``."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from command import Fails, Run
from copied import copied_project
from folders import only

from deltaoe.scoring.detector import Detector

QUICK = ("--shots", "4", "--epochs", "4")


def detectors(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in (folder / ".deltaoe" / "detectors").glob("*.safetensors")}


def current(folder: Path, run: Run) -> str | None:
    """The name of the detector that the list marks as the current one."""
    told = run("detectors", "--json", cwd=folder).json
    marked = [one["name"] for one in told if one["current"]]
    assert len(marked) < 2
    return marked[0] if marked else None


@pytest.fixture(scope="module")
def two(template: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A project with the detectors shop-v1 (of 4 shots) and shop-v2 (of 2, current). Not to be changed: copy it."""
    folder = copied_project(template, tmp_path_factory.mktemp("two") / "project")
    run("detectors", "rename", "4-shots", "shop-v1", cwd=folder)
    run("tune", "--shots", "2", "--epochs", "3", "--seed", "5", "--name", "shop-v2", cwd=folder)
    return folder


@pytest.fixture
def project_of_two(two: Path, tmp_path: Path) -> Path:
    return copied_project(two, tmp_path / "project")


def test_tune_saves_under_the_name_and_makes_it_current(project: Path, run: Run) -> None:
    (first,) = detectors(project).values()
    before = first.read_bytes()
    told = run("tune", *QUICK, "--name", "shop-v2", "--json", cwd=project).json
    assert told["detector"] == str(project / ".deltaoe" / "detectors" / "shop-v2.safetensors")
    # The same settings give the same bytes, whatever the name: no name is in the file.
    assert Path(told["detector"]).read_bytes() == before == first.read_bytes()
    assert current(project, run) == "shop-v2"
    assert "shop-v2" in run("score", "unknown", "--json", cwd=project).json["detector"]
    again = run("tune", *QUICK, "--name", "shop-v2", cwd=project)
    assert "shop-v2.safetensors" in again.stdout


def test_a_taken_name_is_refused_before_the_work(project: Path, run: Run, fails: Fails) -> None:
    run("detectors", "rename", "4-shots", "mine", cwd=project)
    says = ("there is another detector named mine", "deltaoe detectors rm mine")
    done = fails("tune", "--shots", "2", "--epochs", "3", "--name", "mine", cwd=project, rc=2, says=says)
    assert "Loading model" not in done.stderr


def test_a_name_that_turns_out_to_be_taken_loses_no_work(project: Path, run: Run, fails: Fails) -> None:
    run("detectors", "rename", "4-shots", "mine", cwd=project)
    kept = detectors(project)["mine"].read_bytes()
    (project / "images" / "red_stripes" / "00.png").unlink()
    (project / "images" / "red_stripes" / "01.png").unlink()
    for image in sorted((project / "images" / "blue_waves").glob("*.png"))[:12]:
        image.unlink()
    run("extract", "images", cwd=project)
    # Same settings and classes, other images: that shows at the end only.
    done = run("tune", *QUICK, "--name", "mine", cwd=project, rc=2)
    assert "there is another detector named mine" in done.stderr
    assert detectors(project)["mine"].read_bytes() == kept
    (name,) = set(detectors(project)) - {"mine"}
    assert f"deltaoe detectors rename {name} NEW" in done.stderr
    assert current(project, run) == "mine"


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".a", "-a", "", " a", "a\nb", "x.safetensors", "a:b", "zero-shot", "n" * 200]
)
def test_impossible_names_are_refused(name: str, project: Path, fails: Fails) -> None:
    if name:
        fails("tune", f"--name={name}", cwd=project, rc=2, says=("a detector cannot be named",))
    fails("detectors", "rename", "--", "4", name, cwd=project, rc=2, says=("a detector cannot be named",))


def test_a_name_and_a_file_exclude_each_other(project: Path, fails: Fails) -> None:
    says = ("--name and --out exclude each other",)
    fails("tune", *QUICK, "--name", "a", "--out", "a.safetensors", cwd=project, rc=2, says=says)


def test_the_list(project_of_two: Path, run: Run) -> None:
    told = {one["name"]: one for one in run("detectors", "--json", cwd=project_of_two).json}
    assert set(told) == {"shop-v1", "shop-v2"}
    second = told["shop-v2"]
    assert (second["current"], told["shop-v1"]["current"]) == (True, False)
    assert second["classes"] == ["blue waves", "green checks", "red stripes", "yellow dots"]
    assert second["options"] == {"shots": 2, "seed": 5, "epochs": 3}
    assert second["calibration_images"] == 96 - 8
    assert (second["data"], second["interrupted"], second["damage"]) == ("images", False, None)
    shown = run("detectors", cwd=project_of_two).stdout
    assert "* shop-v2" in shown and "--shots 2 --seed 5 --epochs 3" in shown
    assert "4 classes, tuned on images" in shown


def test_damaged_and_interrupted_detectors_are_listed(project_of_two: Path, run: Run) -> None:
    folder = project_of_two / ".deltaoe" / "detectors"
    (folder / "bad.safetensors").write_bytes(b"nothing")
    good = Detector.load(folder / "shop-v1.safetensors")
    dataclasses.replace(good, facts={**good.facts, "interrupted": True}).save(
        folder / "interrupted-1.safetensors"
    )
    told = {one["name"]: one for one in run("detectors", "--json", cwd=project_of_two).json}
    assert told["bad"]["damage"].startswith("not a usable detector: ")
    assert told["interrupted-1"]["interrupted"] is True
    shown = run("detectors", cwd=project_of_two).stdout
    assert "damaged: not a usable detector" in shown and ", interrupted" in shown
    run("detectors", "rm", "bad", cwd=project_of_two)
    assert "bad" not in detectors(project_of_two)


def test_a_damaged_detector_is_not_made_the_current_one(project_of_two: Path, run: Run, fails: Fails) -> None:
    file = project_of_two / ".deltaoe" / "detectors" / "shop-v1.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    says = ("shop-v1.safetensors is not a usable detector", "its content has changed since it was written")
    fails("detectors", "use", "shop-v1", cwd=project_of_two, says=says)
    fails("score", "unknown", "--detector", "shop-v1", cwd=project_of_two, says=says)
    told = run("detectors", "--json", cwd=project_of_two).json
    assert {one["name"]: bool(one["damage"]) for one in told}["shop-v1"]


def test_names_paths_and_beginnings(project_of_two: Path, run: Run, fails: Fails) -> None:
    def scored_with(wanted: str) -> str:
        told = run("score", "unknown", "--json", "--detector", wanted, cwd=project_of_two).json
        return str(told["detector"])

    shutil.copy(detectors(project_of_two)["shop-v1"], project_of_two / "shop-v2.safetensors")
    assert scored_with("shop-v1") == "tuned detector shop-v1"
    assert scored_with("shop-v2.safetensors") == "tuned detector shop-v2.safetensors"  # ends like a path
    assert scored_with("./shop-v2.safetensors") == "tuned detector shop-v2.safetensors"
    assert scored_with(".deltaoe/detectors/shop-v1.safetensors").endswith("detectors/shop-v1.safetensors")
    run("detectors", "rename", "shop-v1", "shop", cwd=project_of_two)
    assert scored_with("shop") == "tuned detector shop"  # a whole name, though another begins so
    run("detectors", "rename", "shop", "old-one", cwd=project_of_two)
    assert scored_with("old") == "tuned detector old-one"
    run("detectors", "rename", "old", "shop-v1", cwd=project_of_two)
    says = ("2 detectors begin with shop", "name one of them: shop-v1, shop-v2")
    fails("score", "unknown", "--detector", "shop", cwd=project_of_two, says=says)
    says = ("there is no detector nope", "the detectors here are: shop-v1, shop-v2")
    fails("score", "unknown", "--detector", "nope", cwd=project_of_two, says=says)
    fails("detectors", "use", "nope", cwd=project_of_two, says=says)
    shutil.copy(detectors(project_of_two)["shop-v1"], project_of_two / "coop")
    says = ("there is no detector coop", "./coop is the file of that name")
    fails("score", "unknown", "--detector", "coop", cwd=project_of_two, says=says)
    assert scored_with("./coop") == "tuned detector coop"


def test_evaluate_takes_names(project_of_two: Path, run: Run) -> None:
    command = ("evaluate", "--id", "images", "--ood", "noise=unknown/noise", "--scores", "delta_energy")
    told = run(
        *command, "--detector", "shop-v1", "--detector", "zero-shot", "--json", cwd=project_of_two
    ).json
    assert set(told["detectors"]) == {"shop-v1", "zero-shot"}


def test_use_and_rename(project_of_two: Path, run: Run) -> None:
    before = {path.read_bytes() for path in detectors(project_of_two).values()}
    assert (
        "score uses the detector shop-v1 now" in run("detectors", "use", "shop-v1", cwd=project_of_two).stderr
    )
    assert current(project_of_two, run) == "shop-v1"
    run("detectors", "rename", "shop-v1", "best", cwd=project_of_two)
    assert current(project_of_two, run) == "best"
    assert {path.read_bytes() for path in detectors(project_of_two).values()} == before
    told = {one["name"]: one for one in run("detectors", "--json", cwd=project_of_two).json}
    assert told["best"]["data"] == "images"


def test_a_name_in_use_is_no_new_name(project_of_two: Path, fails: Fails) -> None:
    says = ("there is another detector named shop-v2",)
    fails("detectors", "rename", "shop-v1", "shop-v2", cwd=project_of_two, rc=2, says=says)


def test_rm_says_what_score_uses_then(project_of_two: Path, run: Run, fails: Fails) -> None:
    says = ("there is no detector nope",)
    fails("detectors", "rm", "shop-v1", "nope", cwd=project_of_two, says=says)  # all or nothing
    done = run("detectors", "rm", "shop-v2", cwd=project_of_two)
    assert "deleted: shop-v2" in done.stderr
    assert (
        "score uses zero-shot prompts for the classes of the data set images (4 classes, 96 images) now"
        in done.stderr
    )
    assert "deltaoe detectors use NAME chooses another: shop-v1" in done.stderr
    scored = run("score", "unknown", "--json", cwd=project_of_two)
    assert scored.json["detector"].startswith("zero-shot prompts")
    assert "no longer" not in scored.stderr  # the user has deleted it and was told
    run("detectors", "use", "shop", cwd=project_of_two)
    assert current(project_of_two, run) == "shop-v1"


def test_files_of_others_are_not_deleted(project_of_two: Path, fails: Fails) -> None:
    shutil.copy(detectors(project_of_two)["shop-v1"], project_of_two / "mine.safetensors")
    for command in (
        ("rm", "mine.safetensors"),
        ("use", "./mine.safetensors"),
        ("rename", "mine.safetensors", "x"),
    ):
        fails("detectors", *command, cwd=project_of_two, says=("mine.safetensors is no detector of",))


def test_compare_shows_what_differs(project_of_two: Path, run: Run) -> None:
    told = run("detectors", "compare", "shop-v1", "shop-v2", "--json", cwd=project_of_two).json
    differs = {one["what"]: one["values"] for one in told["differences"]}
    assert not told["equal"] and told["classes_added"] == told["classes_removed"] == []
    assert differs["--shots"] == ["4", "2"] and differs["--seed"] == ["default", "5"]
    assert differs["calibration images"] == ["80", "88"] and differs["images learned from"] == ["16", "8"]
    assert "model" not in differs and "images" not in told
    shown = run("detectors", "compare", "shop-v1", "shop-v2", cwd=project_of_two).stdout
    assert "--seed" in shown and "default" in shown
    same = run("detectors", "compare", "shop-v1", "shop-v1", cwd=project_of_two).stdout
    assert same == "They are equal, byte for byte.\n"


def test_compare_scores_the_same_images(project_of_two: Path, run: Run) -> None:
    both = {}
    for name in ("shop-v1", "shop-v2"):
        told = run("score", "unknown", "--detector", name, "--json", cwd=project_of_two).json
        both[name] = {one["path"]: (one["verdict"], one["class"]) for one in told["images"]}
    first, second = both["shop-v1"], both["shop-v2"]
    wanted = {path for path in first if first[path] != second[path]}
    told = run("detectors", "compare", "shop-v1", "shop-v2", "unknown", "--json", cwd=project_of_two).json[
        "images"
    ]
    assert told["scored"] == len(first) == 6
    assert {change["path"] for change in told["changes"]} == wanted
    assert told["verdict_differs"] == sum(first[path][0] != second[path][0] for path in first)
    assert told["class_differs"] == sum(first[path][1] != second[path][1] for path in first)
    for change in told["changes"]:
        path = change["path"]
        assert list(zip(change["verdicts"], change["classes"], strict=True)) == [first[path], second[path]]
    assert not (project_of_two / "scores.csv").exists()


def test_compare_reads_a_list_once_for_both(project_of_two: Path, run: Run) -> None:
    paths = "\n".join(str(path) for path in sorted((project_of_two / "unknown").rglob("*.png"))).encode()
    done = run("detectors", "compare", "shop-v1", "shop-v2", "-", "--json", cwd=project_of_two, stdin=paths)
    assert done.json["images"]["scored"] == 6


def test_compare_names_classes(project_of_two: Path, run: Run) -> None:
    shutil.rmtree(project_of_two / "images" / "blue_waves")
    run("extract", "images", cwd=project_of_two)
    run("tune", "--shots", "2", "--epochs", "3", "--name", "three", cwd=project_of_two)
    told = run("detectors", "compare", "shop-v1", "three", "--json", cwd=project_of_two).json
    assert (told["classes_added"], told["classes_removed"]) == ([], ["blue waves"])
    shown = run("detectors", "compare", "three", "shop-v1", cwd=project_of_two).stdout
    assert "only classes of this one" in shown and "blue waves" in shown


def test_options_before_a_subcommand_are_not_lost(project_of_two: Path, fails: Fails) -> None:
    says = ("options stand behind the subcommand use",)
    fails("detectors", "--workspace", "x", "use", "shop-v1", cwd=project_of_two, rc=2, says=says)


def test_a_workspace_of_an_earlier_version(project: Path, run: Run) -> None:
    """Its state names no data set of a detector: the shots tell which it was."""
    path = only(project, "workspace.json")
    state = json.loads(path.read_text())
    for name in ("tuned_on", "folders", "sha256"):
        state.pop(name)
    path.write_text(json.dumps(state))
    (told,) = run("detectors", "--json", cwd=project).json
    assert told["data"] == "images" and told["current"]
    assert run("status", cwd=project).stdout.splitlines()[-1] == "Nothing is out of date."
