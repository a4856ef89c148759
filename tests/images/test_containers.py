"""What inputs hold that are tar or Parquet files: their images, classes and splits, and what is said of the rest."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from named_files import make, rows
from packed import make_tar

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.container_names import as_folders
from deltaoe.images.inputs import FileList, find_files
from deltaoe.images.lists import Wanted
from deltaoe.images.locations import read_location
from deltaoe.images.one_by_one import one_by_one
from deltaoe.images.walk import observed

pytestmark = pytest.mark.usefixtures("here")

PNG = b"\x89PNG\r\n\x1a\n"


def read(files: FileList) -> list[bytes]:
    return [read_location(files.path(row)) for row in range(len(files))]


def classes(files: FileList) -> dict[str, str]:
    assert files.classes is not None
    return dict(zip(files.relative, files.classes, strict=True))


def test_a_tar_is_read_like_the_folder_that_it_was_made_of():
    members = {"./cat/1.jpg": b"1", "./cat/.2.jpg": b"", "__MACOSX/._1.jpg": b"", "notes.txt": b"x"}
    make_tar("a.tar", members | {"dog/3.PNG": b"3", "more.tar": b"", "cat/": b""})
    files = find_files(["./a.tar"])
    assert rows(files) == [("a.tar", "cat/1.jpg"), ("a.tar", "dog/3.PNG")]
    assert [files.path(row) for row in range(2)] == ["a.tar/cat/1.jpg", "a.tar/dog/3.PNG"]
    assert read(files) == [b"1", b"3"]
    assert list(files.size) == [1, 1]
    seen = observed(Path("a.tar").stat())
    assert set(files.mtime_ns) == {seen[1]} and set(files.ctime_ns) == {seen[2]}
    assert (files.ignored.hidden, files.ignored.other_files) == (2, 2)  # the note and the tar in the tar
    assert files.assumed == ["1 tar file read like a folder, without unpacking: 2 images"]


def test_tars_in_a_folder_and_beside_images():
    make("in/cat/0.jpg", "in/readme.md")
    make_tar("in/shards/00000.tar", {"cat/1.jpg": b"1"})
    make_tar("in/shards/00001.tar", {"dog/2.jpg": b"2"})
    expected = [
        ("in", "cat/0.jpg"),
        ("in/shards/00000.tar", "cat/1.jpg"),
        ("in/shards/00001.tar", "dog/2.jpg"),
    ]
    assert rows(find_files(["in"])) == expected
    assert find_files(["in"]).ignored.other_files == 1
    assert rows(find_files(["in/shards/*.tar"])) == expected[1:]
    assert rows(find_files(["in/shards/00001.tar", "in/shards/00000.tar"])) == [expected[2], expected[1]]
    files = find_files(["in/shards", "in/shards/00000.tar"])  # named twice
    assert (rows(files), files.ignored.repeated) == (expected[1:], 1)
    assert [files.title(row) for row in range(2)] == ["00000.tar/cat/1.jpg", "00001.tar/dog/2.jpg"]
    part = files.part([1])
    assert (rows(part), part.title(0)) == ([expected[2]], "00001.tar/dog/2.jpg")


@pytest.mark.parametrize(
    ("tars", "levels"),
    [
        ({"cat.tar": "1.jpg", "dog.tar": "2.jpg"}, ["cat/", "dog/"]),
        ({"n02084071.tar": "1.jpg", "n02374451.tar": "2.jpg"}, ["n02084071/", "n02374451/"]),
        ({"00000.tar": "1.jpg", "00001.tar": "2.jpg"}, ["", ""]),
        ({"train-0.tar": "1.jpg", "train-1.tar": "2.jpg"}, ["", ""]),
        ({"a/0.tar": "1.jpg", "b/0.tar": "2.jpg"}, ["a/", "b/"]),
        ({"left.tar": "cat/1.jpg", "right.tar": "dog/2.jpg"}, ["", ""]),
    ],
)
def test_names_of_tars_are_classes_or_say_nothing(tars, levels):
    for name, member in tars.items():
        make_tar(f"in/{name}", {member: b""})
    files = find_files(["in"])
    assert [files.containers[root][1] for root in files.root_of] == levels
    paths = [f"in/{name}/{member}" for name, member in tars.items()]
    expected = [f"in/{level}{member}" for level, member in zip(levels, tars.values(), strict=True)]
    assert list(as_folders(paths)) == expected


def test_splits_are_named_by_files_or_folders():
    for name in ("train-000.tar", "train-001.tar", "val-000.tar", "test/0.tar"):
        make_tar(f"in/{name}", {f"cat/{name[0]}.jpg": b""})
    files = find_files(["in"])
    said = {files.path(row): files.splits[row] for row in range(4)}  # type: ignore[index]
    assert said == {
        "in/train-000.tar/cat/t.jpg": "train",
        "in/train-001.tar/cat/t.jpg": "train",
        "in/val-000.tar/cat/v.jpg": "val",
        "in/test/0.tar/cat/t.jpg": "test",
    }
    assert find_files(["in/val-000.tar"]).splits is None


def sample(number: int, **beside: object) -> dict[str, bytes]:
    found = {f"{number:03}.jpg": b"%d" % number}
    for kind, value in beside.items():
        text = json.dumps(value) if kind == "json" else str(value)
        found[f"{number:03}.{kind}"] = text.encode()
    return found


def test_classes_of_webdataset():
    """The same number or name beside each image; ``.cls`` before captions, which are no classes."""
    members: dict[str, bytes] = {}
    for i in range(30):
        members |= sample(i, cls=i % 3, txt=f"a picture of thing {i}")
    make_tar("a.tar", members)
    files = find_files(["a.tar"])
    assert classes(files) == {f"{i:03}.jpg": str(i % 3) for i in range(30)}
    assert files.ignored.other_files == 0
    assert any("captions, not classes" in one for one in files.assumed)
    assert (
        classes(find_files(["a.tar"], wanted=Wanted(label_column="txt")))["007.jpg"] == "a picture of thing 7"
    )
    assert find_files(["a.tar"], wanted=Wanted(labels=False)).classes is None


def test_classes_in_json_with_the_titles_of_tables():
    members: dict[str, bytes] = {}
    for i in range(20):
        entry = {
            "class_name": ["tabby cat", "dog"][i % 2],
            "url": f"https://h/{i}.jpg",
            "nested": {"class": "no"},
        }
        members |= sample(i, json=entry | {"split": ["train", "test"][i % 4 == 0], "width": 5 + i % 2})
    members["020.jpg"] = b"x"  # without anything beside it
    members |= {"021.jpg": b"y", "021.json": b"{broken"}
    make_tar("a.tar", members)
    files = find_files(["a.tar"])
    assert classes(files)["001.jpg"] == "dog" and classes(files)["020.jpg"] == classes(files)["021.jpg"] == ""
    assert files.splits is not None and files.splits[:5] == ["test", "train", "train", "train", "test"]
    assert any("classes from 'class_name'" in one and "'path'" not in one for one in files.assumed)
    by_width = find_files(["a.tar"], wanted=Wanted(label_column="width"))
    assert classes(by_width)["000.jpg"] == "5"
    with pytest.raises(ConfigError, match="no column 'colour'"):
        find_files(["a.tar"], wanted=Wanted(label_column="colour"))


def test_short_texts_that_come_again_are_classes_and_captions_are_not():
    make_tar("a.tar", {k: v for i in range(20) for k, v in sample(i, txt=["cat", "dog"][i % 2]).items()})
    assert set(classes(find_files(["a.tar"])).values()) == {"cat", "dog"}
    make_tar("b.tar", {k: v for i in range(20) for k, v in sample(i, txt=f"picture {i}").items()})
    files = find_files(["b.tar"])
    assert files.classes is None and len(files) == 20


def test_classes_of_all_images_though_some_are_looked_at(monkeypatch):
    """Which title says the class is found by a sample; rare classes are read all the same."""
    monkeypatch.setattr("deltaoe.images.container_labels._SAMPLE", 5)
    for shard in range(3):
        members: dict[str, bytes] = {}
        for i in range(20):
            members |= sample(i, json={"label": f"class {shard}-{i % 7}", "note": "-"})
        make_tar(f"in/{shard}.tar", members)
    files = find_files(["in"])
    assert files.classes == [f"class {shard}-{i % 7}" for shard in range(3) for i in range(20)]


def test_one_image_of_a_sample_is_the_picture():
    """Further images of a WebDataset's sample are passed over; names with dots elsewhere are names."""
    make_tar("a.tar", {"a.jpg": b"1", "a.seg.png": b"2", "a.cls": b"0", "b.webp": b"3", "b.cls": b"1"})
    files = find_files(["a.tar"])
    assert files.relative == ["a.jpg", "b.webp"]
    assert files.notes == ["passed over in a.tar: 1 further image of a sample"]
    make_tar("b.tar", {"IMG.2020.01.jpg": b"1", "IMG.2020.02.jpg": b"2", "IMG.jpg": b"3"})
    assert len(find_files(["b.tar"])) == 3


def test_folders_of_img2dataset_hold_tables_that_are_no_images():
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    members: dict[str, bytes] = {}
    for i in range(4):
        members |= sample(i, txt=f"caption {i}", json={"caption": f"caption {i}", "url": f"https://h/{i}"})
    make_tar("in/00000.tar", members)
    pq.write_table(pa.table({"url": ["https://h/1.jpg"], "caption": ["x"]}), "in/00000.parquet")
    pq.write_table(pa.table({"url": ["https://h/1.jpg"], "caption": ["x"]}), "in/other.parquet")
    Path("in/00000_stats.json").write_text("{}")
    files = find_files(["in"])  # nothing is fetched because a file in a folder says so
    assert [files.path(row) for row in range(4)] == [f"in/00000.tar/{i:03}.jpg" for i in range(4)]
    assert files.ignored.other_files == 3 and files.classes is None


def test_compressed_cut_and_empty_tars():
    make_tar("a.tar", {"1.jpg": b"1" * 1000, "2.jpg": b"2" * 1000})
    data = Path("a.tar").read_bytes()
    Path("a.tar.gz").write_bytes(gzip.compress(data))
    shutil.copy("a.tar.gz", "b.tar")
    for name in ("a.tar.gz", "b.tar"):
        with pytest.raises(DataError, match=f"{name} is a tar compressed with gzip") as caught:
            find_files([name])
        assert "gunzip" in caught.value.hint
        assert ("gunzip -c" in caught.value.hint) == (name == "b.tar")  # gunzip refuses other suffixes
    Path("first.tar").write_bytes(data[:700])
    with pytest.raises(DataError, match=r"no images in first.tar \(first.tar: it is cut off in 1.jpg"):
        find_files(["first.tar"])
    Path("in").mkdir()
    Path("in/cut.tar").write_bytes(data[:2500])
    Path("in/bad.tar").write_bytes(b"x" * 1000)
    shutil.copy("a.tar.gz", "in/c.tar")
    files = find_files(["in"])
    assert files.relative == ["1.jpg"]
    assert files.notes == ["in/cut.tar: it is cut off in 2.jpg; used: 1 whole image before that"]
    assert [(one.relative, one.reason) for one in files.unlisted] == [
        ("bad.tar/", "cannot be listed: not a tar file"),
        ("c.tar/", "cannot be listed: compressed with gzip"),
    ]
    with pytest.raises(DataError, match=r"cannot read in/bad\.tar: not a tar file"):
        find_files(["in/bad.tar"])
    make_tar("empty.tar", {})
    with pytest.raises(DataError, match=r"no images in empty\.tar"):
        find_files(["empty.tar"])


def parquet(
    path: str, columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None, **more: int
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, **more)


@pytest.mark.parametrize("group", [1, 7, 1000])
def test_images_in_rows_as_of_hugging_face(group):
    info = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    for number, part in enumerate(("train", "test")):
        parquet(
            f"data/{part}-00000-of-00001.parquet",
            {
                "image": [{"bytes": PNG + b"%d %d" % (number, i), "path": f"x/{i}.png"} for i in range(90)],
                "label": [i % 3 - 1 for i in range(90)],
            },
            {b"huggingface": json.dumps(info).encode()},
            row_group_size=group,
        )
    files = find_files(["data"])
    assert files.relative[:2] == ["0-0.png", "1-1.png"] and len(files) == 180
    content = read(files)
    assert content == [PNG + b"%d %d" % (number, i) for number in (1, 0) for i in range(90)]
    backwards = [read_location(files.path(row)) for row in reversed(range(180))]
    assert backwards == content[::-1]
    assert files.classes == [["", "cat", "dog"][i % 3] for i in range(90)] * 2
    assert files.splits == ["test"] * 90 + ["train"] * 90


def test_images_in_rows_without_names():
    parquet(
        "a.parquet",
        {"jpg": [PNG + b"1", None, PNG + b"3"], "species": ["a", "b", "a"], "other": [b"x", b"", b""]},
    )
    files = find_files(["a.parquet"])
    assert files.relative == ["0", "1", "2"] and files.classes == ["a", "b", "a"]
    assert read_location("a.parquet/2") == PNG + b"3"
    for path, said in (
        ("1", "no image in this row"),
        ("3", "no such row"),
        ("x", "no such row"),
        ("-1", "no such row"),
    ):
        with pytest.raises(Exception, match=said):
            read_location(f"a.parquet/{path}")


def test_rows_that_name_files():
    make("in/cat/1.jpg", "in/dog/2.jpg")
    parquet("in/list.parquet", {"label": ["cat", "dog"], "file_name": ["cat/1.jpg", "dog/2.jpg"]})
    files = find_files(["in/list.parquet"])
    assert [files.path(row) for row in range(2)] == ["in/cat/1.jpg", "in/dog/2.jpg"]
    assert files.classes == ["cat", "dog"]
    pa = pytest.importorskip("pyarrow")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    parquet("hf.parquet", {"image": pa.array([{"bytes": None, "path": "in/cat/1.jpg"}], kind)})
    files = find_files(["hf.parquet"])
    assert [files.path(row) for row in range(len(files))] == ["in/cat/1.jpg"]


def test_parquet_files_without_images(monkeypatch):
    parquet("a.parquet", {"feature": [[1.0, 2.0]]})
    with pytest.raises(DataError, match="no column of images, paths or URLs") as caught:
        find_files(["a.parquet"])
    assert "store import" in caught.value.hint
    Path("b.parquet").write_bytes(b"PAR1" + b"x" * 100 + b"PAR1")
    with pytest.raises(DataError, match=r"cannot read b\.parquet: it is not a Parquet file"):
        find_files(["b.parquet"])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match="need pyarrow"):
        find_files(["a.parquet"])
    make("c/1.jpg")
    shutil.copy("a.parquet", "c/a.parquet")
    assert any("pyarrow" in note for note in find_files(["c"]).notes)


def test_lists_name_members():
    make_tar("in/0.tar", {"cat/1.jpg": b"1", "cat/2.jpg": b"2"})
    Path("in/list.csv").write_text("path,class\n0.tar/cat/2.jpg,dog\n0.tar/cat/3.jpg,dog\n")
    files = find_files(["in/list.csv"])
    assert [files.path(row) for row in range(2)] == ["in/0.tar/cat/2.jpg", "in/0.tar/cat/3.jpg"]
    assert read_location(files.path(0)) == b"2" and files.problems == {1: "no such member of 0.tar"}
    files = find_files(["in", "in/list.csv"])
    assert sorted(map(files.path, range(len(files)))) == [f"in/0.tar/cat/{i}.jpg" for i in (1, 2, 3)]
    assert files.ignored.repeated == 1
    one = one_by_one(["in/0.tar/cat/1.jpg", "in/0.tar/cat/9.jpg"])
    assert [one.path(row) for row in range(2)] == ["in/0.tar/cat/1.jpg", "in/0.tar/cat/9.jpg"]
    assert list(one.size) == [1, 0] and one.problems == {1: "no such member of 0.tar"}
