"""What the commands take: files, globs, lists, standard input, several folders, in any mixture; hostile names."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Fails, Run
from folders import features

from deltaoe.store.workspace import Workspace

HOSTILE = [
    b"new\nline.png",
    b"carriage\rreturn.png",
    b"quo\"te'.png",
    b"<script>alert(1)<.png",
    b"=1+1,;\t.png",
    b"not-utf8-\xff\xfe.png",
    b"x" * 251 + b".png",
    b"\x1b[31mred.png",
    b"\xe2\x80\xa8 separates lines.png",
]


def listed(folder: Path, name: str) -> dict[str, str]:
    """Class of each path of a data set in this folder's workspace."""
    data = Workspace(folder / ".deltaoe").dataset(name)
    assert data is not None
    return {
        path: data.class_names[i] if i >= 0 else ""
        for path, i in zip(data.paths, data.class_of.tolist(), strict=True)
    }


def test_files_globs_and_several_folders(project: Path, run: Run) -> None:
    """All of these images are in the cache: no model is loaded for any of it."""
    files = ("images/red_stripes/00.png", "images/blue_waves/01.png")
    told = run("extract", *files, "--name", "two files", "--json", cwd=project).json
    assert (told["images"], told["unchanged"], told["layout"]) == (2, 2, "class")
    assert listed(project, "data:two files") == {
        "red_stripes/00.png": "red stripes",
        "blue_waves/01.png": "blue waves",
    }
    one = run("extract", "images/red_stripes/00.png", "--json", cwd=project)
    assert (one.json["images"], one.json["layout"]) == (1, "flat")
    assert "no class folders found" in one.stderr

    # In quotes, so that no shell has looked at them; some of what the second matches, the first has named.
    told = run("extract", "images/*/0[0-3].png", "images/**/[01]0.png", "--json", cwd=project)
    assert (told.json["images"], told.json["unchanged"], told.json["layout"]) == (20, 20, "class")
    assert set(told.json["images_per_class"].values()) == {5}
    assert "4 files are named more than once, but counted once" in told.stderr

    folders = (
        "images/red_stripes",
        "./images/blue_waves/",
        "images/red_stripes/05.png",
        "images/red_stripes",
    )
    told = run("extract", *folders, "--name", "folders", "--json", cwd=project)
    assert (told.json["images"], told.json["unchanged"]) == (48, 48)
    assert "25 files are named more than once" in told.stderr
    assert told.json["folder"] == str(project / "images")
    paths = listed(project, "data:folders")
    assert paths.keys() == {
        f"{name}/{i:02d}.png" for name in ("red_stripes", "blue_waves") for i in range(24)
    }
    assert "Loading model" not in told.stderr


def test_lists(project: Path, run: Run, fails: Fails) -> None:
    (project / "lists").mkdir()
    lines = [
        "../images/red_stripes/00.png",
        "",
        "../images/blue_waves/01.png",
        "../images/blue_waves/gone.png",
    ]
    (project / "lists" / "some.txt").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    told = run("extract", "lists/some.txt", "--json", "--strict", cwd=project, rc=1)
    assert (told.json["images"], told.json["unchanged"]) == (2, 2)
    assert told.json["images_per_class"] == {"blue waves": 1, "red stripes": 1}
    assert told.json["failed"] == [{"path": "blue_waves/gone.png", "error": "no such file or folder"}]
    assert "blue_waves/gone.png: no such file or folder" in told.stderr

    with (project / "lists" / "table.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(["class", "path", "domain", "remark"])
        for i in range(4):
            rows.writerow(["cat; tabby", f"../images/red_stripes/{i:02d}.png", "photo", ""])
            rows.writerow(["hund", f"../images/blue_waves/{i:02d}.png", "sketch" if i else "photo", '"!"'])
        rows.writerow(["", "../images/green_checks/00.png", "", ""])
    told = run("extract", "lists/table.csv", "images/yellow_dots", "--name", "t", "--json", cwd=project).json
    assert (told["layout"], told["domains"], told["unlabelled"]) == ("table", ["photo", "sketch"], 25)
    assert told["images_per_class"] == {"cat; tabby": 4, "hund": 4}
    assert (told["images"], told["unchanged"]) == (33, 33)
    classes = listed(project, "data:t")
    assert classes["red_stripes/03.png"] == "cat; tabby" and classes["yellow_dots/03.png"] == ""
    tuned = run(
        *("tune", "--data", "data:t", "--domain", "photo", "--shots", "1", "--epochs", "1"),
        *("--allow-undecided", "--out", "d", "--json"),
        cwd=project,
    ).json
    assert (tuned["data"], tuned["classes"]) == ("data:t", ["cat; tabby", "hund"])
    assert (tuned["shots"], tuned["calibration_images"]) == (2, 3)

    (project / "lists" / "bad.csv").write_text("name,class\nx,cat\n")
    says = ("lists/bad.csv, line 1: there is no column of paths (only: name, class)",)
    fails("extract", "lists/bad.csv", cwd=project, says=says)
    (project / "lists" / "gone.txt").write_text("gone.png\nalso-gone.png\n")
    says = ("none of the 2 image files can be used", "gone.png: no such file or folder")
    fails("extract", "lists/gone.txt", cwd=project, says=says)


def test_standard_input(project: Path, run: Run, fails: Fails) -> None:
    files = [f"images/{name}/{i:02d}.png" for name in ("red_stripes", "blue_waves") for i in range(5)]
    told = run("extract", "-", "--json", cwd=project, stdin="\n".join(files).encode()).json
    assert (told["images"], told["unchanged"], len(told["images_per_class"])) == (10, 10, 2)
    # As `find . -print0` writes it; scored in the order in which they come.
    zeros = b"".join(b"./" + name.encode() + b"\0" for name in reversed(files))
    told = run("score", "-", "--json", cwd=project, stdin=zeros).json
    assert [record["path"] for record in told["images"]] == files[::-1]
    assert told["counts"]["failed"] == 0
    fails("extract", "-", "images", "-", cwd=project, rc=2, says=("- is named twice",))
    fails("extract", "-", cwd=project, says=("standard input names no files",))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such file names")
def test_hostile_names_all_the_way(pictures: Path, tmp_path: Path, run: Run) -> None:
    """From a list on standard input into the cache, out of it, into another one, and into its scores."""
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    contents = (path.read_bytes() for path in sorted(pictures.rglob("*.png")))
    paths = []
    for folder in (b"plain", b"\xfe<b>\n"):
        os.makedirs(os.path.join(os.fsencode(here), b"images", folder))
        for name in HOSTILE:
            paths.append(os.path.join(b"images", folder, name))
            with open(os.path.join(os.fsencode(here), paths[-1]), "wb") as file:
                file.write(next(contents))
    missing = b"images/plain/gone-\xff\n.png"
    told = run(
        *("extract", "-", "--name", "hostile", "--json"),
        cwd=here,
        stdin=b"\0".join([*paths, missing]),
    )
    assert (told.json["encoded"], told.json["layout"]) == (2 * len(HOSTILE), "class")
    (failed,) = told.json["failed"]
    assert os.fsencode(failed["path"]) == missing.removeprefix(b"images/")
    names = [path.removeprefix(b"images/") for path in paths]

    texts = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    np.savez(there / "texts.npz", class_names=["=cmd", "b"], text_features=texts)
    expected = {
        os.fsdecode(name): row for name, row in zip(names, features(here, "data:hostile"), strict=True)
    }
    for kind in ("h5", "npz"):
        run("store", "export", f"../out.{kind}", "--data", "data:hostile", cwd=here)
        imported = run("store", "import", f"../out.{kind}", "--name", kind, "--json", cwd=there).json
        assert (imported["data"], imported["images"]) == (f"data:{kind}", len(names))
        assert list(listed(there, f"data:{kind}")) == list(expected)
        for row, right in zip(features(there, f"data:{kind}"), expected.values(), strict=True):
            assert np.abs(row - right).max() < 1e-3
        done = run("score", f"data:{kind}", "--text-features", "texts.npz", "--out", kind, cwd=there)
        assert "Loading model" not in done.stderr and "\x1b" not in done.stdout + done.stderr
        with (there / kind / "scores.csv").open(
            encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            rows = list(csv.DictReader(file))
        assert [os.fsencode(row["path"]) for row in rows] == names
        assert {row["class"] for row in rows} <= {"=cmd", "b"}
