"""The workspace folder: where it is found, what it remembers, what it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from samples import make_space

from deltaoe.clip.choice import remember_place
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import DataError, MismatchError, StoreError
from deltaoe.images.inputs import find_files
from deltaoe.store.dataset import DataSet
from deltaoe.store.place import NAME, VARIABLE
from deltaoe.store.result_files import check_same_inputs, note_inputs
from deltaoe.store.workspace import Workspace

ONE = np.zeros(1, dtype=np.int64)
TABLES = (b"spaces", b"tuned_on", b"folders", b"models", b"results")


def listing(root: Path, space_id: str, classes: tuple[str, ...] = ("cat",)) -> DataSet:
    layout = "class" if classes else "flat"
    kinds = ONE if classes else ONE - 1
    return DataSet(
        root=str(root),
        space_id=space_id,
        model="m/t",
        layout=layout,
        class_names=classes,
        domain_names=(),
        paths=("cat/1.png",),
        digests=np.zeros((1, 32), dtype=np.uint8),
        class_of=kinds,
        domain_of=ONE - 1,
        inputs=(str(root),),
    )


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    """A folder with no workspace above it that could be found by accident."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    if any((above / NAME).exists() for above in tmp_path.parents):
        pytest.skip("there is a workspace above the temporary folder")
    return tmp_path


# Where it is


def test_a_new_workspace_is_here_and_not_made_yet(tmp_path):
    assert Workspace.locate().folder == tmp_path / NAME
    assert not (tmp_path / NAME).exists()


def test_the_nearest_workspace_above_is_taken(tmp_path, monkeypatch):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / NAME).mkdir()
    monkeypatch.chdir(below)
    assert Workspace.locate().folder == tmp_path / NAME
    (tmp_path / "a" / NAME).mkdir()
    assert Workspace.locate().folder == tmp_path / "a" / NAME


def test_variable_and_override(tmp_path, monkeypatch):
    (tmp_path / NAME).mkdir()
    monkeypatch.setenv(VARIABLE, "from-env")
    assert Workspace.locate().folder == tmp_path / "from-env"
    assert Workspace.locate(Path("given")).folder == tmp_path / "given"
    monkeypatch.setenv(VARIABLE, "")
    assert Workspace.locate().folder == tmp_path / NAME


def test_a_file_in_the_way(tmp_path):
    (tmp_path / NAME).write_text("")
    with pytest.raises(StoreError, match="is a file") as caught:
        Workspace.locate()
    assert "--workspace" in caught.value.hint
    with pytest.raises(StoreError, match="is a file"):
        Workspace.locate(tmp_path / NAME)


def test_one_folder_has_one_name_however_it_is_written(tmp_path, monkeypatch):
    """Files are remembered relative to the workspace's parent: a detour in its name must not lose them."""
    (tmp_path / "sub").mkdir()
    plain = Workspace.locate(tmp_path / "ws")
    assert Workspace.locate(tmp_path / "sub" / ".." / "ws").folder == plain.folder
    monkeypatch.chdir(tmp_path / "sub")
    detour = Workspace.locate(Path("../ws"))
    assert detour.folder == Workspace(Path("../ws")).folder == plain.folder
    picture = tmp_path / "images" / "1.png"
    assert detour.file_key(picture) == plain.file_key(picture) == os.path.join("images", "1.png")


def test_file_keys(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / "project" / NAME)
    assert workspace.file_key(tmp_path / "project" / "a" / "1.png") == os.path.join("a", "1.png")
    assert workspace.file_key(tmp_path / "other" / "1.png") == str(tmp_path / "other" / "1.png")
    # A sibling whose name begins alike is outside.
    assert workspace.file_key(tmp_path / "project2" / "1.png") == str(tmp_path / "project2" / "1.png")
    monkeypatch.chdir(tmp_path)
    assert workspace.file_key(Path("project/x/../1.png")) == "1.png"


def test_the_keys_of_many_files_are_those_of_each(tmp_path, monkeypatch):
    """However they were named, and whether the workspace lies beside, above or below them."""
    names = [
        "a/1.png",
        "a/b/2.png",
        "a/b/..3.png",
        "a/x./4.png",
        "project/5.png",
        "project/deep/6.png",
        "7.png",
    ]
    names += ["project2/8.png", "a/ü\n'.png", os.fsdecode(b"a/\xff\xfe.png"), "a/..b/9.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "list.txt").write_text("../7.png\nb/2.png\nmissing.png\n../project/deep/6.png\n")
    cases = [
        ["."],
        [str(tmp_path)],
        ["a", "project"],
        ["./a/../a/", "project//deep"],
        ["a/list.txt"],
        ["a/**/*.png", "7.png", "project/5.png"],
        ["7.png"],
        ["a/b/2.png", "project/deep/6.png"],
        [str(tmp_path / "project2"), "a/list.txt"],
    ]
    for home in (tmp_path, tmp_path / "project", tmp_path / "project" / "deep", tmp_path / "elsewhere"):
        workspace = Workspace(home / NAME)
        for inputs in cases:
            files = find_files(inputs)
            keys = workspace.file_keys(files)
            assert len(keys) == len(files) > 0
            assert keys == [os.fsencode(workspace.file_key(files.path(i))) for i in range(len(files))]
    monkeypatch.chdir(tmp_path / "project")
    files = find_files([".", "..", "../a/b"])
    for home in (tmp_path, tmp_path / "project"):
        workspace = Workspace(home / NAME)
        keys = workspace.file_keys(files)
        assert keys == [os.fsencode(workspace.file_key(files.path(i))) for i in range(len(files))]
        assert {b"5.png", b"project/5.png"} & set(keys)


@pytest.mark.skipif(os.name == "nt", reason="roots look different there")
def test_a_workspace_in_the_root_folder():
    assert Workspace(Path("/.deltaoe")).file_key(Path("/a/1.png")) == "a/1.png"


# Whether it takes files


def test_check_writable_makes_it_and_leaves_nothing(tmp_path):
    Workspace(tmp_path / "deep" / NAME).check_writable()
    assert list((tmp_path / "deep" / NAME).iterdir()) == []


def test_check_writable_names_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*file") as caught:
        Workspace(tmp_path / "file" / NAME).check_writable()
    assert "permissions" in caught.value.hint


def test_check_writable_on_a_read_only_folder(tmp_path, monkeypatch):
    def touch(self, *arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(StoreError, match="read-only file system"):
        Workspace(tmp_path / NAME).check_writable()


# Listings


def test_the_last_listing_with_classes_is_the_default(tmp_path):
    workspace, space = Workspace(tmp_path / NAME), make_space()
    assert workspace.dataset() is None
    workspace.save_dataset(listing(tmp_path / "first", space.id))
    workspace.save_dataset(listing(tmp_path / "second", space.id))
    workspace.save_dataset(listing(tmp_path / "unsorted", space.id, ()))
    assert workspace.dataset().root == str(tmp_path / "second")
    workspace.save_dataset(listing(tmp_path / "first", space.id))
    assert workspace.dataset().root == str(tmp_path / "first")


def test_a_listing_by_its_folder(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / NAME)
    old, new = make_space(), make_space(weights="v" * 64)
    for space in (old, new):
        workspace.store(space).folder.mkdir(parents=True)
    workspace.save_dataset(listing(tmp_path / "images", new.id))
    workspace.save_dataset(listing(tmp_path / "images", old.id, ("other",)))
    for path, age in zip(sorted((tmp_path / NAME / "datasets").glob("*.h5")), (1, 2), strict=True):
        os.utime(path, ns=(age, age))
    newest = max((tmp_path / NAME / "datasets").glob("*.h5"), key=lambda path: path.stat().st_mtime_ns)
    wanted = DataSet.load(newest).space_id
    assert workspace.dataset(tmp_path / "images").space_id == wanted
    monkeypatch.chdir(tmp_path)
    assert workspace.dataset(Path("images")).space_id == wanted
    assert workspace.dataset(Path("x/../images/")).space_id == wanted
    with pytest.raises(DataError, match="has not been extracted") as caught:
        workspace.dataset(tmp_path / "elsewhere")
    assert "deltaoe extract" in caught.value.hint


def test_a_single_folder_s_listing_keeps_the_file_name_of_version_1(tmp_path):
    workspace, space = Workspace(tmp_path / NAME), make_space()
    workspace.save_dataset(listing(tmp_path / "bilder" / "größe", space.id))
    key = "bilder/größe".encode() + b"\0" + space.id.encode()
    wanted = hashlib.sha256(key).hexdigest()[:16] + ".h5"
    assert [path.name for path in (tmp_path / NAME / "datasets").glob("*.h5")] == [wanted]
    assert workspace.state()["dataset"] == wanted


def with_space(workspace: Workspace, **changes: str) -> str:
    """A space that has a cache here; its id."""
    space = make_space(**changes)
    workspace.store(space).folder.mkdir(parents=True, exist_ok=True)
    return space.id


def test_a_data_set_by_its_name(tmp_path):
    workspace = Workspace(tmp_path / NAME)
    space_id = with_space(workspace)
    pets = dataclasses.replace(listing(tmp_path / "images", space_id), name="my pets")
    workspace.save_dataset(pets)
    workspace.save_dataset(dataclasses.replace(listing(tmp_path / "x", space_id, ("x",)), name="x"))
    plain = listing(tmp_path / "pets", space_id, ("plain",))
    workspace.save_dataset(plain)
    assert workspace.dataset_names() == ["my pets", "x"]
    for wanted in ("data:my pets", "my pets"):
        found = workspace.dataset(wanted)
        assert (found.name, found.root, found.inputs) == ("my pets", pets.root, pets.inputs)
    assert workspace.dataset(tmp_path / "pets").class_names == ("plain",)
    with pytest.raises(DataError, match="data:cats has not been extracted or imported") as caught:
        workspace.dataset("data:cats")
    assert "data:my pets, data:x" in caught.value.hint
    # The same name again, from other inputs, is the same data set.
    workspace.save_dataset(dataclasses.replace(pets, root=str(tmp_path / "y"), inputs=(str(tmp_path / "y"),)))
    assert workspace.dataset("data:my pets").root == str(tmp_path / "y")
    assert len(workspace.datasets()) == 3


def test_data_sets_of_several_inputs_and_of_none(tmp_path):
    workspace = Workspace(tmp_path / NAME)
    space_id = with_space(workspace)
    inputs = (str(tmp_path / "a"), "/elsewhere/b.txt")
    both = dataclasses.replace(listing(tmp_path, space_id, ("both",)), inputs=inputs)
    one = dataclasses.replace(listing(tmp_path / "a", space_id, ("one",)), inputs=inputs[:1])
    imported = dataclasses.replace(
        listing(tmp_path, space_id, ("k",)),
        root="",
        inputs=(),
        name="imp",
        text_features=np.ones((1, 3), "f4"),
    )
    for data in (both, one, imported):
        workspace.save_dataset(data)
    assert sorted(data.class_names for data in workspace.datasets()) == [("both",), ("k",), ("one",)]
    assert workspace.dataset("a").class_names == ("one",)
    found = workspace.dataset("data:imp")
    assert (found.root, found.inputs) == ("", ())
    assert found.text_features.tolist() == [[1, 1, 1]]
    (found,) = (data for data in workspace.datasets() if data.class_names == ("both",))
    assert found.inputs == inputs
    assert found.root == str(tmp_path)


def test_the_latest_of_two_spaces_counts_for_a_name_too(tmp_path):
    workspace = Workspace(tmp_path / NAME)
    ids = [with_space(workspace), with_space(workspace, weights="v" * 64)]
    for age, space_id in zip((2, 1), ids, strict=True):
        before = set((tmp_path / NAME / "datasets").glob("*.h5"))
        workspace.save_dataset(dataclasses.replace(listing(tmp_path / "i", space_id), name="n"))
        (new,) = set((tmp_path / NAME / "datasets").glob("*.h5")) - before
        os.utime(new, ns=(age, age))
    assert workspace.dataset("data:n").space_id == ids[0]
    assert workspace.dataset_names() == ["n"]


def test_a_project_may_move(tmp_path):
    inside, outside_ = tmp_path / "a" / "images", tmp_path / "elsewhere"
    workspace, space = Workspace(tmp_path / "a" / NAME), make_space()
    workspace.store(space).folder.mkdir(parents=True)
    workspace.save_dataset(listing(outside_, space.id))
    workspace.save_dataset(listing(inside, space.id))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = Workspace(tmp_path / "b" / NAME)
    assert moved.dataset().root == str(tmp_path / "b" / "images")
    assert moved.dataset(tmp_path / "b" / "images").root == str(tmp_path / "b" / "images")
    assert moved.dataset(outside_).root == str(outside_)


def test_a_listing_that_was_removed_is_no_default(tmp_path):
    workspace = Workspace(tmp_path / NAME)
    workspace.save_dataset(listing(tmp_path / "images", make_space().id))
    for path in (tmp_path / NAME / "datasets").glob("*.h5"):
        path.unlink()
    assert workspace.dataset() is None


# State


def test_state_is_merged(tmp_path):
    workspace = Workspace(tmp_path / NAME)
    assert workspace.state() == {}
    workspace.remember(detector="a")
    workspace.remember(spaces={"m": "x"})
    workspace.remember(detector="b")
    assert workspace.state() == {"format": 1, "detector": "b", "spaces": {"m": "x"}}


@pytest.mark.parametrize("table", ["spaces", "models", "results"])
def test_what_another_process_notes_meanwhile_stays(table, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / NAME)
    (tmp_path / "mine.csv").write_text("1")
    (tmp_path / "theirs.csv").write_text("2")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "open_clip_config.json").write_text("{}")

    @contextlib.contextmanager
    def after_another(folder):
        """The lock, which this process gets when another one has just given it back."""
        state = workspace.state()
        state = {**state, "format": 1, table: {**state.get(table, {}), "theirs.csv": "theirs"}}
        (folder / "workspace.json").write_text(json.dumps(state))
        yield

    workspace.remember_in(table, {"before": "x"})
    (tmp_path / "before").touch()
    monkeypatch.setattr("deltaoe.store.workspace.in_turn", after_another)
    if table == "spaces":
        workspace.remember_in(table, {"new": "mine"})
    elif table == "models":
        remember_place(ModelRef.parse(f"local-dir:{tmp_path / 'model'}"), None, workspace)
    else:
        note_inputs(workspace, [tmp_path / "mine.csv"], ["images"])
    noted = workspace.state()[table]
    assert len(noted) == 3
    assert noted["before"] == "x" and noted["theirs.csv"] == "theirs"


def test_the_current_detector(tmp_path):
    workspace = Workspace(tmp_path / NAME)
    assert workspace.current_detector() is None
    workspace.remember(detector="d1")
    assert workspace.current_detector() is None
    path = workspace.detector_file("d1")
    path.parent.mkdir(parents=True)
    path.touch()
    assert workspace.current_detector() == path


def test_no_changed_bit_of_the_state_is_taken_for_what_was_written(tmp_path):
    """Without its entry "detector", say, scores would be those of another detector."""
    workspace = Workspace(tmp_path / NAME)
    workspace.remember(detector="d1", dataset="a.h5", spaces={"m": "x"})
    path, state = workspace.folder / "workspace.json", workspace.state()
    content = path.read_bytes()
    for at in range(8 * len(content)):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            assert workspace.state() == state  # a blank that became another one
        except StoreError as error:
            assert "workspace.json" in str(error) and error.hint
    path.write_bytes(content)
    assert workspace.state() == state and "sha256" not in state


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot read"),
        (b"{", "cannot read"),
        (b"\xff\xfe", "cannot read"),
        (b"[]", "damaged"),
        (b"null", "damaged"),
        (b"{}", "damaged"),
        (b'{"format": 2}', "another version"),
        *((b'{"format": 1, "%s": %s}' % (t, v), "damaged") for t in TABLES for v in (b"[]", b"null", b'"x"')),
        (b"[" * 100_000, "cannot read"),
    ],
)
def test_a_damaged_state_is_named(tmp_path, content, says):
    workspace = Workspace(tmp_path / NAME)
    workspace.folder.mkdir()
    (workspace.folder / "workspace.json").write_bytes(content)
    for call in (workspace.state, workspace.dataset, workspace.current_detector, workspace.remember):
        with pytest.raises(StoreError, match=says) as caught:
            call()
        assert "workspace.json" in str(caught.value)
        assert caught.value.hint
    assert (workspace.folder / "workspace.json").read_bytes() == content


@pytest.mark.parametrize("value", [None, 5, [], {}, "", "../../etc", "a\0b", "n" * 5000])
def test_odd_names_in_the_state_are_no_names(tmp_path, value):
    workspace = Workspace(tmp_path / NAME)
    workspace.remember(dataset=value, detector=value)
    assert workspace.dataset() is None
    assert workspace.current_detector() is None


@pytest.mark.parametrize("value", [None, 5, [], "x", {}, {"inputs": 5}, {"inputs": [1, None]}])
def test_odd_notes_of_a_result_are_no_notes(tmp_path, value):
    workspace = Workspace(tmp_path / NAME)
    target = tmp_path / "scores.csv"
    target.write_text("path")
    info = target.stat()
    if isinstance(value, dict) and value:
        value = value | {"size": info.st_size, "mtime_ns": info.st_mtime_ns}
    workspace.remember(results={"scores.csv": value, "a\0b": value})
    with pytest.raises(StoreError, match=r"scores\.csv"):
        check_same_inputs(workspace, target, ["images"])
    note_inputs(workspace, [target], ["images"])
    check_same_inputs(workspace, target, ["images"])


# Known spaces


def test_known_spaces(tmp_path):
    workspace, space = Workspace(tmp_path / NAME), make_space()
    assert workspace.known_space(space.id) is None
    with workspace.store(space).writer():
        pass
    assert workspace.known_space(space.id) == space


def test_a_space_under_a_wrong_id_or_damaged(tmp_path):
    workspace, space = Workspace(tmp_path / NAME), make_space()
    with workspace.store(space).writer():
        pass
    description = workspace.store(space).folder / "space.json"
    other = dataclasses.replace(space, weights="v" * 64)
    description.write_text(json.dumps(other.to_dict()), encoding="utf-8")
    with pytest.raises(StoreError, match="another feature space"):
        workspace.known_space(space.id)
    for content in ("", "[]", "{}", '{"model": 1}'):
        description.write_text(content, encoding="utf-8")
        with pytest.raises(StoreError):
            workspace.known_space(space.id)


def test_the_store_that_holds_the_features_of_a_data_set(tmp_path):
    workspace, space = Workspace(tmp_path / NAME), make_space()
    data = listing(tmp_path / "images", space.id)
    with pytest.raises(MismatchError) as caught:
        workspace.features_of(data)
    assert str(caught.value) == f"the features of {data.title} are no longer in {workspace.folder}"
    assert caught.value.hint == "extract or import them again"
    with workspace.store(space).writer():
        pass
    store = workspace.features_of(data)
    assert (store.folder, store.space) == (workspace.store(space).folder, space)
