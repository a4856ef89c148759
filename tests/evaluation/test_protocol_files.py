"""Protocols as files, the folders they name, and class folders that they select."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from tiny import HUES, make_noise, make_pictures

from deltaoe.clip.options import ModelOptions
from deltaoe.errors import ConfigError, DataError
from deltaoe.evaluation.class_lists import select_class_folders
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.evaluation.protocol import load, shipped
from deltaoe.evaluation.run_protocol import find_inputs, run_protocol
from deltaoe.extraction.options import IngestOptions
from deltaoe.images.imagenet import imagenet_folders, imagenet_names
from deltaoe.progress import silent
from deltaoe.store.workspace import Workspace

KNOWN = "[known]\nfolders = ['x']\n"
OPTIONS = EvaluateOptions("", {})


def parsed(tmp_path: Path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load(str(path))


# Files


def test_a_protocol_of_ones_own(tmp_path):
    found = parsed(
        tmp_path,
        """
        title = "Shops"
        source = "me"
        protocol = "leave-one-domain-out"
        seeds = [4, 0]
        [tune]
        shots = 2
        epochs = 3
        context_length = 5
        [known]
        folders = ["a", "b/c"]
        [shift.moved]
        folders = ["m"]
        [unknown."odd ones"]
        folders = ["."]
        limit_per_class = 7
        classes = { x1 = "cat" }
        """,
    )
    named = (found.name, found.title, found.source, found.kind)
    assert named == ("mine", "Shops", "me", "leave-one-domain-out")
    assert found.known.folders == ("a", "b/c") and found.known.limit_per_class == 0
    assert found.shifts["moved"].folders == ("m",)
    odd = found.unknown["odd ones"]
    assert (odd.folders, odd.limit_per_class, odd.classes) == ((".",), 7, {"x1": "cat"})
    assert (found.seeds, found.shots, found.epochs, found.context_length) == ((4, 0), 2, 3, 5)
    assert found.tuned and not parsed(tmp_path, KNOWN).tuned


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (KNOWN + "[tune]\nshot = 3", "no key tune.shot", "did you mean tune.shots?"),
        (
            KNOWN + "[unknown.a]\nfolders = ['y']\nlimit_per = 3",
            "no key unknown.a.limit_per",
            "limit_per_class?",
        ),
        (KNOWN + "limit_per_class = 3", "no key known.limit_per_class", "folders"),
        (KNOWN + "[shift.a]\nfolders = ['y']\nlimit_per_class = 3", "no key shift.a.limit_per_class", ""),
        (KNOWN + "xyz = 1", "no key known.xyz", "the keys are: classes, folders"),
        (KNOWN + "[unknown.a]\nfolders = ['a/../../b']", "leads out of --root", "below --root"),
        (KNOWN + "[unknown.a]\nfolders = ['C:/x']", "leads out of --root", ""),
        (KNOWN + "[unknown.a]\nfolders = ['..\\x']", "leads out of --root", ""),
        (KNOWN + "[unknown.a]\nfolders = []", "unknown.a.folders must be a list", ""),
        (KNOWN + "[unknown.a]\nfolders = ['']", "unknown.a.folders must be a list", ""),
        (KNOWN + "[unknown.a]\nfolders = ['y']\nlimit_per_class = -1", "limit_per_class must be", ""),
        (KNOWN + "[unknown.a]\nfolders = ['y']\nlimit_per_class = true", "limit_per_class must be", ""),
        (KNOWN + "[unknown.mean]\nfolders = ['y']", "'mean' cannot name a collection", "unknown.another"),
        (KNOWN + "[shift.id]\nfolders = ['y']", "'id' cannot name", ""),
        (KNOWN + "[shift.held-out]\nfolders = ['y']", "'held-out' cannot name", ""),
        (KNOWN + "[shift.'a/b']\nfolders = ['y']", "'a/b' cannot name", ""),
        (KNOWN + "[shift.\"\\u001b[2J\"]\nfolders = ['y']", "cannot name", ""),
        (KNOWN + "classes = 'imagenets'", "known.classes must be", ""),
        (KNOWN + "classes = ['n01530575']", "known.classes must be", ""),
        (KNOWN + "classes = {}", "known.classes must be", ""),
        (KNOWN + "classes = {a = ' '}", "known.classes must be", ""),
        (KNOWN + "[tune]\nshots = 0", "not shots = 0", ""),
        (KNOWN + "[tune]\nepochs = 2.0", "not epochs = 2.0", ""),
        (KNOWN + "[tune]\nepochs = true", "not epochs = True", ""),
        ("tune = 1\n" + KNOWN, "tune must be a table", ""),
        ("known = 1", "known must be a table", ""),
        ("shift = ['a']\n" + KNOWN, "shift must be tables", ""),
        ("seeds = []\n" + KNOWN + "[tune]", "seeds must be", ""),
        ("seeds = [1, 1]\n" + KNOWN + "[tune]", "different whole numbers", ""),
        ("seeds = [true]\n" + KNOWN + "[tune]", "seeds must be", ""),
        ("seeds = [-1]\n" + KNOWN + "[tune]", "seeds must be", ""),
        (f"seeds = [{2**63}]\n" + KNOWN + "[tune]", "seeds must be", ""),
        ("seeds = [1]\n" + KNOWN, "seeds are for tuning", "[tune]"),
        (
            "protocol = 'class-split'\n" + KNOWN + "[shift.a]\nfolders = ['y']",
            "no shifts",
            "leave [shift] out",
        ),
        ("protocol = ['fixed']\n" + KNOWN, "protocol must be one of", ""),
        ("title = 'x'\n\nprotocol = fixed", "line 3", ""),
        ("title = 'a'\ntitle = 'b'\n", "line 2", ""),
        ("x = " + "[" * 5000, "nested too deeply", ""),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, text, says, hint):
    with pytest.raises(ConfigError) as caught:
        parsed(tmp_path, text)
    assert "mine.toml" in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.hint and hint in caught.value.hint


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes(b"title = '\xe9'")
    for name in ("folder.toml", "latin.toml", "gone.toml", "a\0b.toml"):
        with pytest.raises(ConfigError, match="cannot read"):
            load(str(tmp_path / name))
    # Only names, not paths, lead into the package.
    for name in ("protocols/pacs-lodo", "../protocols/pacs-lodo", "pacs-lodo/", "PACS-LODO"):
        with pytest.raises(ConfigError, match="no protocol"):
            load(name)


@pytest.mark.parametrize("name", shipped())
def test_shipped_protocols(name):
    found = load(name)
    assert found.title == shipped()[name] and found.source and found.name == name
    assert found.unknown or found.shifts or found.kind == "class-split"
    for part in (found.known, *found.shifts.values(), *found.unknown.values()):
        assert len(set(part.folders)) == len(part.folders)
        assert not any(PurePosixPath(folder).is_absolute() for folder in part.folders)
        # What holds another candidate must not be taken before it: its other folders are none of the set's.
        for i, outer in enumerate(part.folders):
            assert not any(inner.startswith(outer + "/") for inner in part.folders[i + 1 :])
    if found.kind == "leave-one-domain-out":
        assert (found.seeds, found.shots) == ((1, 2, 3), 16)
        assert {"textures", "food", "objects"} <= set(found.unknown)
        assert all(part.limit_per_class == 100 for part in found.unknown.values())


def test_the_hard_splits_of_imagenet():
    ten, twenty, hundred = (load(f"imagenet-{n}").known.classes for n in (10, 20, 100))
    assert [len(c) for c in (ten, twenty, hundred)] == [10, 20, 100]
    assert not set(ten) & set(twenty) and not set(ten.values()) & set(twenty.values())
    assert load("imagenet-10").unknown["ImageNet-20"].classes == twenty
    assert load("imagenet-20").unknown["ImageNet-10"].classes == ten
    names = dict(zip(imagenet_folders(), imagenet_names(), strict=True))
    assert len(names) == 1000 and list(names) == sorted(names)
    assert (names["n01440764"], names["n15075141"]) == ("tench", "toilet paper")
    assert hundred == {folder: names[folder] for folder in hundred}
    assert {*ten, *twenty} < set(names)
    assert (ten["n04285008"], names["n04285008"]) == ("sports car", "sports car")


# Folders


PROTOCOL = """
[known]
folders = ["one", "two"]
[shift.moved]
folders = ["moved"]
[unknown.a]
folders = ["a1", "a2"]
limit_per_class = 2
[unknown.b]
folders = ["b1"]
"""


def test_the_first_folder_that_exists_is_taken(tmp_path):
    protocol = parsed(tmp_path, PROTOCOL)
    for name in ("two", "moved", "a2", "b1"):
        (tmp_path / name).mkdir()
    found = find_inputs(protocol, tmp_path, OPTIONS)
    assert (found.known, found.shifts) == (str(tmp_path / "two"), {"moved": str(tmp_path / "moved")})
    assert found.unknown == {"a": str(tmp_path / "a2"), "b": str(tmp_path / "b1")}
    assert found.notes == []
    for name in ("one", "a1"):
        (tmp_path / name).mkdir()
    found = find_inputs(protocol, tmp_path, OPTIONS)
    assert (found.known, found.unknown["a"]) == (str(tmp_path / "one"), str(tmp_path / "a1"))


def test_the_command_line_overrides_folders(tmp_path):
    protocol = parsed(tmp_path, PROTOCOL)
    given = dataclasses.replace(
        OPTIONS, known="data:k", unknown={"mine": "m", "a": "/else/a"}, shifts={"moved": "../moved"}
    )
    found = find_inputs(protocol, tmp_path, given)
    assert (found.known, found.shifts) == ("data:k", {"moved": "../moved"})
    assert list(found.unknown.items()) == [("a", "/else/a"), ("mine", "m")]
    assert found.notes == ["not there, and left out: --ood b (b1)"]


@pytest.mark.parametrize(
    ("there", "lacking"),
    [
        ((), ("--id (one or two)", "--shift moved (moved)", "--ood a (a1 or a2)", "--ood b (b1)")),
        (("one", "moved"), ("--ood a (a1 or a2)", "--ood b (b1)")),
        (("one", "a1"), ("--shift moved (moved)", "--ood b (b1)")),
        (("moved", "a1", "b1"), ("--id (one or two)",)),
    ],
)
def test_everything_that_is_missing_is_named(tmp_path, there, lacking):
    protocol = parsed(tmp_path, PROTOCOL)
    (tmp_path / "one.txt").touch()
    for name in there:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="does not find all of its data") as caught:
        find_inputs(protocol, tmp_path, OPTIONS)
    assert str(caught.value).endswith(f"in {tmp_path}: {'; '.join(lacking)}")
    assert all(option in caught.value.hint for option in ("--root", "--id DIR", "--ood NAME=DIR"))


# Class folders


def listed(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["class"] for row in csv.DictReader(file)}


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_wordnet_numbers_become_names(tmp_path):
    root, out = tmp_path / "val", tmp_path / "out" / "list.csv"
    touch(*(root / name for name in ("n01440764/a.jpg", "n01443537/b.jpg", "my_own/c.jpg", "stray.jpg")))
    assert select_class_folders(str(root), "imagenet", out, silent, named_by_user=False) == str(out)
    assert listed(out) == {
        str(root / "n01440764" / "a.jpg"): "tench",
        str(root / "n01443537" / "b.jpg"): "goldfish",
        str(root / "my_own" / "c.jpg"): "my own",
    }


def test_folders_with_words_stay_as_they_are(tmp_path):
    root, out = tmp_path / "val", tmp_path / "list.csv"
    touch(root / "great white" / "a.jpg", root / "3" / "b.jpg")
    for named in (True, False):
        assert select_class_folders(str(root), "imagenet", out, silent, named_by_user=named) == str(root)
    assert select_class_folders("data:x", "imagenet", out, silent, named_by_user=True) == "data:x"
    assert not out.exists()


def test_counted_folders_become_names(tmp_path):
    root, out = tmp_path / "v2", tmp_path / "list.csv"
    touch(*(root / str(i) / "a.jpg" for i in range(1000)))
    select_class_folders(str(root), "imagenet", out, silent, named_by_user=False)
    found = listed(out)
    words = [found[str(root / str(i) / "a.jpg")] for i in range(1000)]
    assert len(set(words)) == 1000  # open_clip calls two pairs of classes alike
    clean = imagenet_names()
    differ = {i for i in range(1000) if words[i] != clean[i]}
    assert differ <= {i for i in range(1000) if clean.count(clean[i]) > 1}


def test_a_table_chooses(tmp_path):
    root, out = tmp_path / "val", tmp_path / "list.csv"
    touch(
        *(
            root / name
            for name in ("n1/a, b.jpg", "sports_car/a.jpg", "Sports Car/b.jpg", "other/c.jpg", "d.jpg")
        )
    )
    table = {"n1": "tench, a fish", "n2": "sports car", "n3": "cat"}
    for named in (True, False):
        out.unlink(missing_ok=True)
        assert select_class_folders(str(root), table, out, silent, named_by_user=named) == str(out)
        assert listed(out) == {
            str(root / "n1" / "a, b.jpg"): "tench, a fish",
            str(root / "sports_car" / "a.jpg"): "sports car",
            str(root / "Sports Car" / "b.jpg"): "sports car",
        }


def test_a_table_that_fits_nothing(tmp_path):
    root, out = tmp_path / "val", tmp_path / "list.csv"
    touch(root / "other" / "c.jpg")
    with pytest.raises(DataError, match="no folder of the protocol's classes") as caught:
        select_class_folders(str(root), {"n1": "cat"}, out, silent, named_by_user=False)
    assert "n1, or cat" in caught.value.hint and "--id DIR" in caught.value.hint
    assert select_class_folders(str(root), {"n1": "cat"}, out, silent, named_by_user=True) == str(root)
    assert not out.exists()


def test_imagenet_10_out_of_imagenets_own_folders(tiny_model, tmp_path):
    ten, twenty = (list(load(f"imagenet-{n}").known.classes) for n in (10, 20))
    val = tmp_path / "imagenet" / "val"
    for i, folder in enumerate([*ten[:3], *twenty[:2], "n01440764"]):
        made = tmp_path / "made" / str(i) / list(HUES)[i % 4]
        make_pictures(made, 6, seed=i)
        shutil.copytree(made, val / folder)
    make_noise(tmp_path / "more", 5)
    options = dataclasses.replace(
        OPTIONS,
        model=ModelOptions(model=f"local-dir:{tiny_model}", device="cpu", offline=True),
        scores=("mcm",),
        draws=0,
        ingest=IngestOptions(workers=0),
        unknown={"more": str(tmp_path / "more")},
    )
    place = Workspace(tmp_path / ".deltaoe")
    found = run_protocol(place, load("imagenet-10"), tmp_path, options, tmp_path / "out", silent)
    assert found.title == "ImageNet-10 against ImageNet-20, a hard split"
    names = listed(tmp_path / "out" / "lists" / "known.csv")
    assert set(names.values()) == {load("imagenet-10").known.classes[folder] for folder in ten[:3]}
    rows = {row.unknown: row for row in found.find(metric="auroc")}
    assert {name: (row.n_known, row.n_unknown) for name, row in rows.items()} == {
        "ImageNet-20": (18, 12),
        "more": (18, 5),
        "mean": (18, 17),
    }
    assert np.isfinite(rows["mean"].value)
    assert place.dataset() is None and not place.listings()
