"""Lists, tables and files of names as people have them, through the installed command."""

from __future__ import annotations

import csv
import os
import unicodedata
from pathlib import Path

import pytest
from command import Fails, Run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names of POSIX")


def files(folder: Path, *classes: str, each: int = 3) -> list[str]:
    return [
        os.path.relpath(file, folder)
        for name in classes
        for file in sorted((folder / "images" / name).iterdir())[:each]
    ]


def test_a_list_with_other_titles_and_boxes(fresh: Path, run: Run) -> None:
    """The labels are taken and said; a file under two of them counts for none, and rows repeat."""
    red, blue = files(fresh, "red_stripes"), files(fresh, "yellow_dots")
    rows = [(path, "train", 9, "red_stripes") for path in red] + [(path, "Test", 9, "dots") for path in blue]
    rows += [(red[0], "train", 8, "red stripes"), (red[1], "train", 7, "dots")]
    with (fresh / "boxes.csv").open("w", newline="") as out:
        csv.writer(out, delimiter=";").writerows([("img", "subset", "width", "species"), *rows])
    done = run("extract", "boxes.csv", "--json", cwd=fresh)
    assert done.json["images_per_class"] == {"dots": 3, "red stripes": 2}
    assert (done.json["layout"], done.json["unlabelled"]) == ("table", 1)
    assert done.json["assumed"][0] == (
        "boxes.csv: paths from 'img', classes from 'species', splits from 'subset'; not used: width"
    )
    assert {
        f"1 file is listed under several classes and counts for none: {red[1]} (red stripes, dots)",
        "2 files are named more than once, but counted once",
    } <= {*done.json["notes"]}
    assert "without a class" not in str(done.json["notes"])  # which the first sentence has said


def test_several_columns_are_asked_about(fresh: Path, run: Run, fails: Fails) -> None:
    paths = files(fresh, "red_stripes", "yellow_dots")
    rows = [f"{path},{path.split('/')[1]},{'odd' if i % 2 else 'even'}" for i, path in enumerate(paths)]
    (fresh / "l.csv").write_text("\n".join(["path,shape,parity", *rows]))
    fails("extract", "l.csv", cwd=fresh, rc=1, says=("several columns could be the classes: shape",))
    told = run("extract", "l.csv", "--label-column", "parity", "--json", cwd=fresh).json
    assert set(told["images_per_class"]) == {"even", "odd"}
    told = run("extract", "l.csv", "--label-column", "none", "--json", cwd=fresh).json
    assert set(told["images_per_class"]) == {"yellow dots", "red stripes"}
    fails("extract", "images", "--label-column", "parity", cwd=fresh, rc=2, says=("no input is a table",))
    run("score", "l.csv", "--background", "none", "--json", cwd=fresh)  # whose classes nobody needs


def test_splits_of_a_list_whose_folders_are_the_classes(fresh: Path, run: Run) -> None:
    paths = files(fresh, "red_stripes", "yellow_dots")
    rows = [f"{path},{'test' if i % 3 == 0 else 'train'}" for i, path in enumerate(paths)]
    (fresh / "l.csv").write_text("\n".join(["path,split", *rows]))
    told = run("extract", "l.csv", "--json", cwd=fresh).json
    assert set(told["images_per_class"]) == {"yellow dots", "red stripes"}
    from deltaoe.store.workspace import Workspace

    data = Workspace(fresh / ".deltaoe").dataset()
    assert data is not None
    assert [data.split_names[i] for i in data.split_of] == [row.rpartition(",")[2] for row in rows]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_either_normal_form(fresh: Path, run: Run, form: str) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    (fresh / "images" / "red_stripes").rename(fresh / "images" / unicodedata.normalize(form, "café"))
    given = unicodedata.normalize(other, "café")
    (fresh / "names.csv").write_text(f"{given},coffee house\n", encoding="utf-8")
    told = run("extract", "images", "--classes", "names.csv", "--json", cwd=fresh).json
    assert told["images_per_class"]["coffee house"] == 24
    (fresh / "l.csv").write_text(
        f"path,class\nimages/{given}/00.png,x\nimages/yellow_dots/00.png,y\n", encoding="utf-8"
    )
    told = run("extract", "l.csv", "--json", cwd=fresh).json
    assert (told["images"], told["failed"]) == (2, [])
    assert "found under another spelling" in told["notes"][0]


def test_names_for_folders(fresh: Path, run: Run, fails: Fails) -> None:
    (fresh / "names.txt").write_text("red_stripes barber pole, red\nabsent thing\nyellow_dots polka dots\n")
    told = run("extract", "images", "--classes", "names.txt", "--json", cwd=fresh).json
    assert {"barber pole, red", "polka dots"} < set(told["images_per_class"])
    assert told["notes"][0] == "names.txt: 1 row is of a folder without images: 'absent'"
    (fresh / "names.json").write_text('{"red_stripes": "barber pole"}')
    fails(
        "extract", "images", "--classes", "names.json", cwd=fresh, rc=2, says=("names.json is a JSON file",)
    )
    (fresh / "names.csv").write_text("red stripe;x\n")
    fails(
        "extract",
        "images",
        "--classes",
        "names.csv",
        cwd=fresh,
        rc=2,
        says=("names no folder that holds images",),
    )


def test_labels_of_any_text(fresh: Path, run: Run, fails: Fails) -> None:
    (fresh / "a.csv").write_text("index,name\n1,green_field\n0,red stripes\n")
    done = run("score", "images", "--labels", "a.csv", "--background", "none", "--json", cwd=fresh)
    assert {one["class"] for one in done.json["images"]} <= {"green field", "red stripes"}
    assert "a.csv: labels from 'name'." in done.json["notes"]
    for name, text, kind in (("b.json", '["dog"]', "JSON"), ("c.yaml", "names:\n  0: dog\n", "YOLO")):
        (fresh / name).write_text(text)
        fails("score", "images", "--labels", name, cwd=fresh, rc=2, says=(kind,))
    fails("score", "images", "--labels", "a.csv", "--vocabulary", "b.json", cwd=fresh, rc=2, says=("JSON",))


def test_pipes_are_no_files_of_names(fresh: Path, run: Run) -> None:
    os.mkfifo(fresh / "pipe.txt")
    for option in ("--classes", "--labels", "--background", "--vocabulary"):
        command = (
            ("extract", "images") if option == "--classes" else ("score", "images", "--labels", "labels.txt")
        )
        (fresh / "labels.txt").write_text("red stripes\nyellow dots\n")
        done = run(*command, option, "pipe.txt", cwd=fresh, rc=2)
        assert "cannot read pipe.txt: not a regular file" in done.stderr
    run("extract", "pipe.txt", cwd=fresh, rc=1)
    (fresh / "pipe.npy").symlink_to("pipe.txt")
    import numpy as np

    np.save(fresh / "features.npy", np.eye(3, dtype=np.float32))
    for option, name in (("--paths", "pipe.txt"), ("--labels", "pipe.npy"), ("--classes", "pipe.txt")):
        done = run("store", "import", "features.npy", option, name, "--model", "x", cwd=fresh, rc=1)
        assert "not a regular file" in done.stderr


def test_every_failed_file_can_be_listed(fresh: Path, run: Run) -> None:
    for number in range(14):
        (fresh / "images" / "red_stripes" / f"broken{number:02}.jpg").write_text("no image")
    for command in (("extract", "images"), ("store", "info")):
        done = run(*command, cwd=fresh)
        assert done.stderr.count("not an image") == 10
        assert "… and 4 more (--failed lists all)" in done.stderr
        done = run(*command, "--failed", cwd=fresh)
        assert done.stderr.count("not an image") == 14
        assert "more (" not in done.stderr
