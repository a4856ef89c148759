"""``deltaoe discover``: unknown images become groups, groups become classes, and then they are known."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from command import Fails, Run
from outputs import table
from PIL import Image

COLUMNS = [
    *("path", "group", "class", "rank", "closeness", "duplicate_of"),
    *("looks_like", "looks_like_cosine", "score", "p_value"),
]

# The features of the tiny model, which nobody trained, lie closer together than those of a trained one.
TINY = ("--distance", "0.3", "--duplicates", "0.9998")


def fill(folder: Path, source: Path, classes: list[str]) -> None:
    """Put the pictures of class folders into one folder, their class in front of their names."""
    folder.mkdir()
    for name in classes:
        for file in sorted((source / name).iterdir()):
            shutil.copy(file, folder / f"{name}-{file.name}")


@pytest.fixture
def inbox(fresh: Path, run: Run) -> Path:
    """A project that knows two of four classes; the pictures of the others lie in ``inbox``."""
    held = ["red_stripes", "yellow_dots"]
    fill(fresh / "inbox", fresh / "images", held)
    for name in held:
        shutil.rmtree(fresh / "images" / name)
    shutil.copy(fresh / "inbox/red_stripes-00.png", fresh / "inbox/zz-same.png")
    with Image.open(fresh / "inbox/red_stripes-01.png") as picture:
        picture.save(fresh / "inbox/zz-near.jpg", quality=95)
    run("extract", "images", cwd=fresh)
    return fresh


def test_held_out_classes_are_discovered_added_and_known(inbox: Path, run: Run) -> None:
    done = run("discover", "inbox", "--alpha", "0.1", *TINY, cwd=inbox)
    rows = table(inbox / "discovered.csv")
    assert list(rows[0]) == COLUMNS
    counted = re.search(
        r"(\d+) unknown images of 50: (\d+) in (\d+) groups, (\d+) single images; (\d+)", done.stdout
    )
    assert counted is not None, done.stdout
    unknown, grouped, groups, singles, repeats = map(int, counted.groups())
    assert unknown == len(rows) == grouped + singles
    assert sum(row["group"] != "" for row in rows) == grouped
    assert sum(row["duplicate_of"] != "" for row in rows) == repeats >= 2
    # One class or the other, hardly both, in each group.
    by_group = {n: [r["path"] for r in rows if r["group"] == str(n)] for n in range(1, groups + 1)}
    pure = sum(
        max(sum("red" in p for p in paths), sum("yellow" in p for p in paths)) for paths in by_group.values()
    )
    assert pure >= 0.8 * grouped
    sizes = [len(paths) for paths in by_group.values()]
    assert sizes == sorted(sizes, reverse=True) and min(sizes) >= 3
    for row in rows:
        assert (row["class"] == "") == (row["duplicate_of"] != "" or row["group"] == "")
        assert (row["rank"] == "") == (row["closeness"] == "") == (row["group"] == "")
    first = [row["path"] for row in rows if row["group"] == "1" and not row["duplicate_of"]][:3]
    line = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["1"])
    assert line.rstrip().endswith(", ".join(map(os.path.basename, first)))

    choice = ",".join(
        f"{n}={'red' if sum('red' in p for p in paths) > len(paths) / 2 else 'yellow'}"
        for n, paths in by_group.items()
    )
    options = ("--alpha", "0.1", *TINY, "--as-classes", "images", "--groups", choice)
    dry = run("discover", "inbox", *options, "--dry-run", cwd=inbox)
    assert len(re.findall("^inbox.* -> images", dry.stdout, re.MULTILINE)) == sum(
        r["class"] != "" for r in rows
    )
    assert sorted(os.listdir(inbox / "images")) == ["blue_waves", "green_checks"]
    done = run("discover", "inbox", *options, cwd=inbox)
    assert "next: deltaoe extract images; deltaoe tune" in done.stderr
    made = {p.name for name in ("red", "yellow") for p in (inbox / "images" / name).iterdir()}
    assert made == {os.path.basename(row["path"]) for row in rows if row["class"]}

    run("extract", "images", cwd=inbox)
    run("tune", "--shots", "4", "--epochs", "4", cwd=inbox)
    told = run("score", "inbox", "--alpha", "0.1", "--json", cwd=inbox).json
    assert told["counts"]["unknown"] < unknown / 2
    right = [
        r["class"] == os.path.basename(r["path"]).split("_")[0]
        for r in told["images"]
        if r["verdict"] == "known"
    ]
    assert sum(right) > 0.8 * len(right)


def test_new_classes_lie_within_a_domain(inbox: Path, run: Run, fails: Fails) -> None:
    (inbox / "images").rename(inbox / "drawn")
    for domain in ("ink", "wash"):
        shutil.copytree(inbox / "drawn", inbox / "images" / domain)
    run("extract", "images", cwd=inbox)
    options = ("discover", "inbox", "--alpha", "0.1", *TINY)
    assert "--as-classes images/ink --groups 1" in run(*options, cwd=inbox).stderr
    fails(
        *(*options, "--as-classes", "images", "--groups", "1"),
        cwd=inbox,
        rc=2,
        says=("images holds domains, such as ink", "--as-classes images/ink"),
    )
    run(*options, "--as-classes", "images/wash", "--groups", "1=found", cwd=inbox)
    told = run("extract", "images", "--json", cwd=inbox).json
    assert told["layout"] == "domain/class" and told["images_per_class"]["found"] >= 3


def test_the_same_images_give_the_same_groups(inbox: Path, run: Run) -> None:
    run("discover", "inbox", "--all", *TINY, cwd=inbox)
    first = (inbox / "discovered.csv").read_bytes()
    run("discover", "inbox", "--all", *TINY, cwd=inbox)
    assert (inbox / "discovered.csv").read_bytes() == first
    shutil.copytree(inbox / "inbox", inbox / "other")
    names = sorted(os.listdir(inbox / "other"))
    for name, new in zip(names, reversed(range(len(names))), strict=True):
        os.rename(inbox / "other" / name, inbox / "other" / f"{new:03}{os.path.splitext(name)[1]}")
    told = run("discover", "other", "--all", *TINY, "--json", cwd=inbox).json
    was = run("discover", "inbox", "--all", *TINY, "--json", cwd=inbox).json
    for key in ("group", "name", "looks_like", "images"):
        assert [group[key] for group in told["groups"]] == [group[key] for group in was["groups"]]
    new_names = {f"{new:03}": name for name, new in zip(names, reversed(range(len(names))), strict=True)}

    def groups(doc: dict) -> dict[str, int]:
        stems = {os.path.basename(one["path"]): one["group"] for one in doc["images"]}
        return {new_names.get(os.path.splitext(name)[0], name): group for name, group in stems.items()}

    assert groups(told) == groups(was)


def test_json_and_csv_tell_one_story(inbox: Path, run: Run) -> None:
    run("discover", "inbox", "--all", *TINY, "--out", "found", cwd=inbox)
    told = run("discover", "inbox", "--all", *TINY, "--json", cwd=inbox).json
    assert not (inbox / "discovered.csv").exists()  # --json writes no file
    rows = table(inbox / "found" / "discovered.csv")
    assert [os.path.normpath(inbox / "found" / row["path"]) for row in rows] == [
        str(inbox / one["path"]) for one in told["images"]
    ]
    for row, one in zip(rows, told["images"], strict=True):
        assert (row["group"], row["class"], row["rank"]) == tuple(
            "" if one[key] is None else str(one[key]) for key in ("group", "class", "rank")
        )
    for number, group in enumerate(told["groups"], start=1):
        inside = [one for one in told["images"] if one["group"] == number]
        assert (group["group"], group["images"]) == (number, len(inside))
        assert [one["rank"] for one in inside] == list(range(1, len(inside) + 1))
        assert group["prototypes"] == [one["path"] for one in inside if one["duplicate_of"] is None][:3]
        assert group["mean_p_value"] == pytest.approx(sum(one["p_value"] for one in inside) / len(inside))
    copies = {one["path"]: one["duplicate_of"] for one in told["images"]}
    assert copies["inbox/zz-same.png"] == "inbox/red_stripes-00.png"
    assert copies["inbox/zz-near.jpg"] == "inbox/red_stripes-01.png"
    around = run("discover", "inbox", "--all", *TINY, "--around", "these", "--json", cwd=inbox).json
    assert len(around["groups"]) > len(told["groups"])  # nothing is shared by all images any more
    exact = run("discover", "inbox", "--all", "--duplicates", "1", "--json", cwd=inbox).json
    assert {o["path"] for o in exact["images"] if o["duplicate_of"]} == {"inbox/zz-same.png"}


def test_an_edited_list_makes_classes(inbox: Path, run: Run) -> None:
    run("discover", "inbox", "--all", *TINY, "--out", "found", cwd=inbox)
    text = (inbox / "found/discovered.csv").read_text()
    name = table(inbox / "found/discovered.csv")[0]["class"]
    (inbox / "found/edited.csv").write_text(text.replace(f",{name},", ",../tulip,"))
    told = run(
        "discover", "--from", "found/edited.csv", "--as-classes", "new", "--json", cwd=inbox, model=None
    ).json
    assert told["as_classes"]["failed"] == [] and (inbox / "new" / "_._tulip").is_dir()
    wanted = sum(row["class"] != "" for row in table(inbox / "found/edited.csv"))
    assert len(told["as_classes"]["files"]) == wanted
    undone = run("undo", told["as_classes"]["undo_list"], "--json", cwd=inbox, model=None).json
    assert len(undone["back"]) == wanted and not (inbox / "new").exists()


def test_a_list_that_the_report_exports_makes_classes(inbox: Path, run: Run) -> None:
    done = run("discover", "inbox", "--all", *TINY, "--report", "html", cwd=inbox)
    page = (inbox / "discovered.html").read_text(encoding="utf-8")
    name = table(inbox / "discovered.csv")[0]["class"]
    assert "discovered.html" in done.stdout and "Groups of unknown images" in page and name in page
    (inbox / "downloads").mkdir()
    (inbox / "downloads" / "images.csv").write_text(
        "path,verdict,class,p_value,unknown_by,looks_like,looks_like_cosine,group,error\n"
        "inbox/red_stripes-00.png,unknown,blue_waves,0.01,,,,red things,\n"
        "inbox/red_stripes-01.png,unknown,blue_waves,0.01,,,,,\n"
    )
    run("discover", "--from", "downloads/images.csv", "--as-classes", "new", cwd=inbox, model=None)
    made = {path.relative_to(inbox / "new").as_posix() for path in (inbox / "new").rglob("*.png")}
    assert made == {"red things/red_stripes-00.png"}
    # A list of one's own, in which the word stands in another column's name, is none of these.
    (inbox / "mine.csv").write_text("path,class,my verdict\ninbox/red_stripes-00.png,reds,sure\n")
    run("discover", "--from", "mine.csv", "--as-classes", "own", cwd=inbox, model=None)
    assert [path.parent.name for path in (inbox / "own").rglob("*.png")] == ["reds"]
    # Where no image goes anywhere, there is nothing to extract.
    (inbox / "mine.csv").write_text("path,class\nnosuch.png,reds\n")
    done = run("discover", "--from", "mine.csv", "--as-classes", "none", cwd=inbox, model=None, rc=1)
    assert "deltaoe extract" not in done.stderr and "nothing to extract" in done.stderr


def test_no_unknown_images_and_no_calibration(inbox: Path, run: Run, fails: Fails) -> None:
    done = run("discover", "images", "--alpha", "0.05", cwd=inbox)
    assert re.search(r"^\d+ unknown images of 48: 0 in 0 groups, \d+ single", done.stdout, re.MULTILINE)
    (inbox / "names.txt").write_text("cat\ndog\n")
    fails(
        "discover", "inbox", "--labels", "names.txt", "--out", "new", cwd=inbox, says=("--all",), writes=True
    )
    assert not (inbox / "new").exists()
    done = run("discover", "inbox", "--labels", "names.txt", "--all", "--json", cwd=inbox)
    assert "compared around the mean of these images" in done.stderr
    assert {one["p_value"] for one in done.json["images"]} == {None} and done.json["groups"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no images are named"),
        (("inbox", "--groups", "1"), "--as-classes"),
        (("inbox", "--dry-run"), "--as-classes"),
        (("--from", "inbox/a.csv"), "--as-classes"),
        (("inbox", "--from", "inbox/a.csv", "--as-classes", "new"), "exclude each other"),
        (("inbox", "--all", "--as-classes", "new", "--groups", "1,x"), "'x'"),
        (("inbox", "--all", "--as-classes", "new", "--groups", "99"), "there is no group 99"),
        (("inbox", "--all", "--as-classes", "new", "--groups", "1,1=a"), "names group 1 twice"),
        (("inbox", "--distance", "2"), "--distance"),
        (("inbox", "--as-classes", "images/blue_waves/00.png"), "is a file"),
    ],
)
def test_what_is_refused(inbox: Path, fails: Fails, arguments: tuple[str, ...], says: str) -> None:
    fails("discover", *arguments, cwd=inbox, rc=2, says=(says,), writes="--all" in arguments)


def test_photographs_of_classes_held_out(shared: Path, tmp_path: Path, run: Run) -> None:
    photos = shared / "data" / "photos" / "pacs-mini" / "photo"
    held = ["guitar", "house"]
    for name in ("dog", "elephant", "horse"):
        shutil.copytree(photos / name, tmp_path / "known" / name)
    fill(tmp_path / "inbox", photos, held)
    model = shared / "models" / "photo-clip"
    run("extract", "known", cwd=tmp_path, model=model)
    told = run("discover", "inbox", "--json", cwd=tmp_path, model=model).json
    groups = {group["group"]: group["images"] for group in told["groups"]}
    assert told["counts"]["unknown"] > 70 and sum(groups.values()) > 65 and len(groups) < 6
    choice = []
    for number, size in groups.items():
        names = [
            os.path.basename(one["path"]).split("-")[0] for one in told["images"] if one["group"] == number
        ]
        name = max(held, key=names.count)
        assert names.count(name) >= 0.9 * size
        choice.append(f"{number}={name}")
    run("discover", "inbox", "--as-classes", "known", "--groups", ",".join(choice), cwd=tmp_path, model=model)
    run("extract", "known", cwd=tmp_path, model=model)
    run("tune", "--shots", "8", "--epochs", "3", cwd=tmp_path, model=model)
    rows = run("score", "inbox", "--json", cwd=tmp_path, model=model).json["images"]
    known = [one for one in rows if one["verdict"] == "known"]
    assert len(known) > 0.8 * len(rows)
    right = [one["class"] == os.path.basename(one["path"]).split("-")[0] for one in known]
    assert sum(right) > 0.9 * len(right)
