"""The cache: what is not computed twice, and how a workspace is found."""

from __future__ import annotations

import shutil
from pathlib import Path

from command import Run, contents
from tiny import make_pictures


def test_only_what_is_new_is_encoded(project: Path, run: Run) -> None:
    again = run("extract", "./images", "--json", cwd=project)
    assert (again.json["encoded"], again.json["unchanged"], again.json["known_by_content"]) == (0, 96, 0)
    assert again.stderr.splitlines() == ["next: deltaoe tune --shots 16"]  # no model was loaded

    images = project / "images"
    make_pictures(project / "new" / "red_stripes", 2, seed=50)
    (images / "blue_waves" / "00.png").rename(images / "blue_waves" / "renamed.png")
    shutil.copy(project / "new" / "red_stripes" / "00.png", images / "red_stripes" / "00.png")  # changed
    shutil.copy(project / "new" / "red_stripes" / "01.png", images / "red_stripes" / "new.png")
    shutil.copyfile(images / "green_checks" / "00.png", images / "green_checks" / "copy.png")
    (images / "green_checks" / "01.png").touch()
    (images / "yellow_dots" / "00.png").unlink()
    told = run("extract", "./images", "--json", cwd=project).json
    assert (told["encoded"], told["unchanged"], told["known_by_content"]) == (2, 92, 3)
    assert told["images_per_class"] == {
        "blue waves": 24,
        "green checks": 25,
        "red stripes": 25,
        "yellow dots": 23,
    }


def test_a_moved_project_keeps_its_cache(project: Path, run: Run) -> None:
    moved = project.rename(project.parent / "moved")
    before = contents(moved / ".deltaoe" / "features")
    told = run("score", "./unknown", "--data", "./images", "--json", cwd=moved).json
    assert f"fitted on 48 images of {moved / 'images'}, calibrated on 48 others" in told["detector"]
    again = run("extract", "./images", "--json", cwd=moved)
    assert (again.json["encoded"], again.json["unchanged"]) == (0, 96)
    assert "Loading model" not in again.stderr
    after = contents(moved / ".deltaoe" / "features")
    assert {name: after[name] for name in before} == before


def test_found_from_a_folder_below(project: Path, run: Run) -> None:
    below = project / "images" / "red_stripes"
    told = run("score", "../../unknown/noise", "--json", "--out", ".", cwd=below).json
    assert told["counts"]["undecided"] == 0
    assert [record["path"] for record in told["images"]] == [f"../../unknown/noise/{i}.png" for i in range(3)]
    assert (below / "scores.csv").is_file() and not (below / ".deltaoe").exists()


def test_named_by_option_and_by_variable(fresh: Path, run: Run) -> None:
    by_variable = {"DELTAOE_WORKSPACE": "elsewhere/cache"}
    run("extract", "images", cwd=fresh, env=by_variable)
    assert (fresh / "elsewhere" / "cache" / "workspace.json").is_file()
    told = run("extract", "images", "--workspace", "elsewhere/cache", "--json", cwd=fresh).json
    assert (told["unchanged"], told["workspace"]) == (96, str(fresh / "elsewhere" / "cache"))
    other = {"DELTAOE_WORKSPACE": "unused"}
    told = run("extract", "images", "--workspace", "elsewhere/cache", "--json", cwd=fresh, env=other).json
    assert told["unchanged"] == 96
    assert sorted(path.name for path in fresh.iterdir()) == ["elsewhere", "images"]


def test_lost_notes_are_written_anew(project: Path, run: Run) -> None:
    (description,) = (project / ".deltaoe" / "features").glob("*/space.json")
    description.unlink()
    (project / ".deltaoe" / "workspace.json").unlink()
    told = run("extract", "images", "--json", cwd=project).json
    assert (told["encoded"], told["unchanged"]) == (0, 96)
    assert description.is_file()
    again = run("extract", "images", cwd=project)
    assert "Loading model" not in again.stderr


def test_another_model_does_not_disturb_the_first(project: Path, other_model: Path, run: Run) -> None:
    told = run("extract", "images", "--json", cwd=project, model=other_model).json
    assert told["encoded"] == 96
    assert len(list((project / ".deltaoe" / "features").iterdir())) == 2
    told = run("extract", "images", "--json", cwd=project).json
    assert told["unchanged"] == 96


def test_classes_csv_renames_and_joins(project: Path, run: Run) -> None:
    (project / "names.csv").write_text("folder,name\nred_stripes,striped\nblue_waves,striped\n")
    told = run("extract", "images", "--classes", "names.csv", "--json", cwd=project).json
    assert told["images_per_class"] == {"green checks": 24, "striped": 48, "yellow dots": 24}
    assert told["unchanged"] == 96
