"""Files put into folders and taken back: nothing is overwritten or lost, whatever is in the way."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
from pathlib import Path

import pytest

from deltaoe.errors import DataError, StoreError
from deltaoe.filing import execute as execute_module
from deltaoe.filing import files as files_module
from deltaoe.filing.execute import execute
from deltaoe.filing.names import safe_name
from deltaoe.filing.plan import Item, Plan, plan
from deltaoe.filing.undo import undo
from deltaoe.filing.undo_list import read_undo_list

POSIX = pytest.mark.skipif(os.name == "nt", reason="names and links of POSIX")


def tree(folder: Path) -> dict[str, str]:
    """Content of every file below a folder but undo lists, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("deltaoe-undo-")
    }


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    for name, text in {"a.jpg": "one", "sub/a.jpg": "two", "b.jpg": "three"}.items():
        path = tmp_path / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18 + 7))
    return tmp_path / "inbox"


def planned(inbox: Path) -> Plan:
    names = ("a.jpg", "sub/a.jpg", "b.jpg")
    return plan(Item(str(inbox / name), ("unknown", "air/liner")) for name in names)


WANTED = {
    "unknown/air_liner/a.jpg": "one",
    "unknown/air_liner/a-2.jpg": "two",
    "unknown/air_liner/b.jpg": "three",
}


@pytest.mark.parametrize("mode", ["copy", "move", pytest.param("link", marks=POSIX)])
def test_there_and_back(inbox: Path, tmp_path: Path, mode: str) -> None:
    before, target = tree(inbox), tmp_path / "new" / "sorted"
    filed = execute(planned(inbox), target, mode)
    assert tree(target) == {os.path.normpath(name): text for name, text in WANTED.items()}
    assert tree(inbox) == ({} if mode == "move" else before)
    assert [len(filed.done), filed.already, filed.failed] == [3, [], []]
    assert (target / "unknown/air_liner/a.jpg").is_symlink() == (mode == "link")
    assert (target / "unknown/air_liner/a.jpg").stat().st_mtime_ns == 10**18 + 7
    undone = undo(filed.undo_list)
    assert (len(undone.back), undone.kept, undone.list_removed) == (3, [], True)
    assert tree(inbox) == before and not (tmp_path / "new").exists()


def test_a_second_run_adds_nothing(inbox: Path, tmp_path: Path) -> None:
    execute(planned(inbox), tmp_path / "sorted", "copy")
    lists = len(list((tmp_path / "sorted").glob("*.jsonl")))
    again = execute(planned(inbox), tmp_path / "sorted", "copy")
    assert (again.done, len(again.already), again.undo_list) == ([], 3, None)
    assert len(list((tmp_path / "sorted").glob("*.jsonl"))) == lists == 1


@pytest.mark.parametrize("mode", ["copy", "move", pytest.param("link", marks=POSIX)])
def test_nothing_is_overwritten(inbox: Path, tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "sorted" / "unknown" / "air_liner"
    folder.mkdir(parents=True)
    theirs = {"a.jpg": "theirs", "a-3.jpg": "theirs, too"}
    for name, text in theirs.items():
        (folder / name).write_text(text)
    filed = execute(planned(inbox), tmp_path / "sorted", mode)
    # a-2.jpg is the name of the second file already.
    assert tree(folder) == {**theirs, "a-4.jpg": "one", "a-2.jpg": "two", "b.jpg": "three"}
    undo(filed.undo_list)
    assert tree(folder) == theirs and len(tree(inbox)) == 3


def test_a_name_taken_at_the_last_moment_is_left_alone(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = execute_module.put
    taken = []

    def late(source: str, target: str, mode: str) -> None:
        if not taken:
            taken.append(target)
            Path(target).write_text("theirs")
        put(source, target, mode)

    monkeypatch.setattr(execute_module, "put", late)
    filed = execute(planned(inbox), tmp_path / "sorted", "move")
    assert Path(taken[0]).read_text() == "theirs" and len(filed.done) == 3
    assert not undo(filed.undo_list).kept
    assert Path(taken[0]).read_text() == "theirs" and len(tree(inbox)) == 3


def test_another_disk_and_disks_without_hard_links(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(inbox)
    for number in (files_module.errno.EXDEV, files_module.errno.EPERM):
        link = os.link

        def refused(
            source: str, target: str, number: int = number, link: object = link, **more: object
        ) -> None:
            if number == files_module.errno.EPERM or ".deltaoe-tmp-" not in source:
                raise OSError(number, os.strerror(number))
            link(source, target, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, "link", refused)
            filed = execute(planned(inbox), tmp_path / "sorted", "move")
        assert not filed.failed and tree(inbox) == {}
        assert tree(tmp_path / "sorted") == {os.path.normpath(name): text for name, text in WANTED.items()}
        undo(filed.undo_list)
        assert tree(inbox) == before


def test_a_copy_that_differs_leaves_the_file(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(source: str, target: str) -> None:
        Path(target).write_text("torn")

    def other_disk(*paths: str, **more: object) -> None:
        raise OSError(files_module.errno.EXDEV, "another disk")

    monkeypatch.setattr(files_module, "_copy", torn)
    monkeypatch.setattr(os, "link", other_disk)
    filed = execute(planned(inbox), tmp_path / "sorted", "move")
    assert len(tree(inbox)) == 3 and tree(tmp_path / "sorted") == {}
    assert {reason for _, reason in filed.failed} == {
        "the copy differs from the file, which was left where it is"
    }


def test_files_that_fail_are_named_and_the_rest_goes_on(inbox: Path, tmp_path: Path) -> None:
    steps = planned(inbox)
    (inbox / "a.jpg").unlink()
    filed = execute(steps, tmp_path / "sorted", "move")
    assert filed.failed == [(str(inbox / "a.jpg"), "no such file or folder")]
    assert len(filed.done) == 2 and not undo(filed.undo_list).kept


@pytest.mark.parametrize("mode", ["copy", "move", pytest.param("link", marks=POSIX)])
def test_a_dry_run_says_what_the_run_then_does(inbox: Path, tmp_path: Path, mode: str) -> None:
    plan_of_three = planned(inbox)
    first, second = (tmp_path / "sorted" / step.folder / step.name for step in plan_of_three.steps[:2])
    for taken in (first, second):
        taken.parent.mkdir(parents=True, exist_ok=True)
        taken.write_bytes(b"another file of that name")
    (inbox / plan_of_three.steps[2].source).unlink()
    before = tree(tmp_path)
    dry = execute(plan_of_three, tmp_path / "sorted", mode, dry_run=True)
    assert tree(tmp_path) == before and dry.undo_list is None
    done = execute(plan_of_three, tmp_path / "sorted", mode)
    assert (dry.done, dry.already, dry.failed) == (done.done, done.already, done.failed)
    assert len(done.done) == 2 and len(done.failed) == 1


@POSIX
@pytest.mark.parametrize("mode", ["copy", "move", "link"])
def test_what_is_no_file_is_named_and_never_opened(tmp_path: Path, mode: str) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    odd = ["/dev/zero", str(tmp_path / "pipe.jpg"), str(tmp_path / "folder.jpg")]
    filed = execute(plan([Item(one, ("class",)) for one in odd]), tmp_path / "sorted", mode)
    assert filed.failed == [(one, "is no file") for one in odd]
    assert not filed.done and filed.undo_list is None and not (tmp_path / "sorted" / "class").exists()


def test_a_full_disk_says_how_to_take_back_what_is_done(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before, said = tree(inbox), []
    monkeypatch.setattr("deltaoe.filing.undo_list.os.fsync", full)
    with pytest.raises(StoreError, match="no space left"):
        execute(planned(inbox), tmp_path / "two words", "move", said.append)
    (path,) = (tmp_path / "two words").glob("deltaoe-undo-*.jsonl")
    assert f"3 of 3 files are done; to take them back: deltaoe undo '{path}'" in said[-1].message
    undo(path)
    assert tree(inbox) == before


def test_undo_keeps_what_has_changed_and_says_so(inbox: Path, tmp_path: Path) -> None:
    filed = execute(planned(inbox), tmp_path / "sorted", "move")
    folder = tmp_path / "sorted/unknown/air_liner"
    (folder / "a.jpg").write_text("edited")
    (inbox / "sub/a.jpg").write_text("in the way")
    (folder / "b.jpg").unlink()
    undone = undo(filed.undo_list)
    assert dict(undone.kept) == {
        str(folder / "a.jpg"): "it has changed since",
        str(folder / "a-2.jpg"): f"there is another file at {inbox / 'sub/a.jpg'}",
        str(folder / "b.jpg"): "it is no longer there",
    }
    assert filed.undo_list.exists() and (inbox / "sub/a.jpg").read_text() == "in the way"
    (inbox / "sub/a.jpg").unlink()  # out of the way, and the list is good for another try
    assert len(undo(filed.undo_list).back) == 1
    assert (inbox / "sub/a.jpg").read_text() == "two"


def test_undo_keeps_a_copy_whose_original_is_gone(inbox: Path, tmp_path: Path) -> None:
    filed = execute(planned(inbox), tmp_path / "sorted", "copy")
    (inbox / "a.jpg").unlink()
    undone = undo(filed.undo_list)
    assert [path for path, _ in undone.kept] == [str(tmp_path / "sorted/unknown/air_liner/a.jpg")]
    assert (tmp_path / "sorted/unknown/air_liner/a.jpg").read_text() == "one"


@POSIX
def test_killed_in_the_middle_of_a_move(inbox: Path, tmp_path: Path) -> None:
    before = tree(inbox)
    filed = execute(planned(inbox), tmp_path / "sorted", "move")
    folder = tmp_path / "sorted/unknown/air_liner"
    os.link(folder / "a.jpg", inbox / "a.jpg")  # killed between the two names
    os.rename(folder / "b.jpg", inbox / "b.jpg")  # killed before the move, after its line
    (folder / ".deltaoe-tmp-1-ab").write_text("half")
    with filed.undo_list.open("a") as out:
        out.write('{"from": "/cut o')
    undone = undo(filed.undo_list)
    assert (len(undone.back), undone.nothing, undone.kept) == (2, 1, [])
    assert tree(inbox) == before and not (tmp_path / "sorted").exists()


@POSIX
def test_ctrl_c_leaves_a_list_that_takes_everything_back(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, put, calls = tree(inbox), execute_module.put, []

    def interrupted(*arguments: str) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        put(*arguments)

    monkeypatch.setattr(execute_module, "put", interrupted)
    said = []
    with pytest.raises(KeyboardInterrupt):
        execute(planned(inbox), tmp_path / "sorted", "move", said.append)
    (path,) = (tmp_path / "sorted").glob("deltaoe-undo-*.jsonl")
    assert f"2 of 3 files are done; to take them back: deltaoe undo {path}" in said[-1].message
    undo(path)
    assert tree(inbox) == before


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = [
        b"\xff\xfe.jpg",
        b"new\nline.jpg",
        b".hidden.jpg",
        b"-rf.jpg",
        b"tab\t\x1b[31m.jpg",
        b"a" * 251 + b".jpg",
    ]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(name)
    before = set(os.listdir(os.fsencode(tmp_path)))
    items = [Item(os.path.join(tmp_path, os.fsdecode(name)), ("../..", "CON", "a\nb")) for name in names]
    filed = execute(plan(items), tmp_path / "out", "move")
    assert not filed.failed
    (where,) = {os.path.dirname(target) for _, target in filed.done}
    assert where == str(tmp_path / "out" / "_._" / "_CON" / "a_b")
    assert all("\n" not in target and "\x1b" not in target for _, target in filed.done)
    assert not undo(filed.undo_list).kept
    assert set(os.listdir(os.fsencode(tmp_path))) == before


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tulip", "tulip"),
        ("..", "unnamed"),
        (".hidden.jpg", "_hidden.jpg"),
        ("\x1b[31mred\n", "_[31mred_"),
        ("", "unnamed"),
        ("a/b\\c", "a_b_c"),
        ("x" * 300 + ".jpeg", "x" * 195 + ".jpeg"),
        ("é" * 300, "é" * 100),
        ("LPT1", "_LPT1"),
        ("right\u202eleft", "right_left"),
        ("end. ", "end"),
    ],
)
def test_safe_names(text: str, name: str) -> None:
    assert safe_name(text) == name and safe_name(name) == name


def test_same_content_into_one_folder_is_put_there_once() -> None:
    found = plan(
        [Item("a", ("x",), b"1"), Item("b", ("x",), b"1"), Item("c", ("y",), b"1"), Item("d", ("x",), b"")]
    )
    assert [(step.source, step.folder) for step in found.steps] == [("a", "x"), ("c", "y"), ("d", "x")]
    assert found.same == [("b", "a")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "path,class\na,b\n",
        '{"deltaoe_undo": 1, "mode": "shred"}\n',
        '{"deltaoe_undo": 2, "mode": "move"}\n',
    ]
    + [
        '{"deltaoe_undo": 1, "mode": "move"}\n' + json.dumps(line) + "\n"
        for line in (
            {"from": "rel", "to": "/x", "size": 1, "mtime_ns": 1},
            {"from": "/a"},
            [],
            {"not_done": "/x"},
            {"from": "/a", "to": "/b", "size": math.inf, "mtime_ns": 1},
            {"from": "/a", "to": "/b", "size": 1, "mtime_ns": math.nan},
        )
    ],
)
def test_what_is_no_undo_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match="no undo list"):
        read_undo_list(path)


@POSIX
def test_a_device_is_no_undo_list() -> None:
    with pytest.raises(DataError, match="cannot read /dev/zero: not a regular file"):
        read_undo_list(Path("/dev/zero"))


def test_a_line_of_an_undo_list_that_has_changed_is_noticed(tmp_path: Path) -> None:
    """And of an earlier version, whose lines have no digest, every line is taken at its word."""
    source = tmp_path / "a.png"
    source.write_bytes(b"x")
    filed = execute(plan([Item(str(source), ("cat",))]), tmp_path / "sorted", "move")
    assert filed.undo_list is not None
    whole = filed.undo_list.read_bytes()
    there = read_undo_list(filed.undo_list)
    for place in range(len(whole)):
        filed.undo_list.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with contextlib.suppress(DataError):
            found = read_undo_list(filed.undo_list)
            # A broken line end may cut off the last line, as a power failure does.
            assert found == there or found.entries == [] or place >= len(whole) - 1
    lines = [json.loads(line) for line in whole.decode("ascii").splitlines()]
    for line in lines:
        assert len(line.pop("check")) == 16
    filed.undo_list.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_undo_list(filed.undo_list) == there


def test_a_list_that_was_cut_off_anywhere_is_kept_and_says_so(inbox: Path, tmp_path: Path) -> None:
    filed = execute(planned(inbox), tmp_path / "sorted", "move")
    whole = filed.undo_list.read_bytes()
    head = whole.index(b"\n") + 1
    for length in sorted({head, *(i + 1 for i, byte in enumerate(whole) if byte == 10), len(whole) - 3}):
        if length == len(whole):
            continue
        filed.undo_list.write_bytes(whole[:length])
        undone = undo(filed.undo_list)
        assert undone.cut_off and not undone.list_removed and filed.undo_list.exists()
    filed.undo_list.write_bytes(whole)
    undone = undo(filed.undo_list)
    assert not undone.cut_off and undone.list_removed
    assert len(tree(inbox)) == 3


def test_a_line_may_be_removed_by_hand(inbox: Path, tmp_path: Path) -> None:
    filed = execute(planned(inbox), tmp_path / "sorted", "move")
    lines = filed.undo_list.read_bytes().splitlines(keepends=True)
    (other,) = [i for i, line in enumerate(lines) if b"b.jpg" in line]
    filed.undo_list.write_bytes(b"".join(lines[:other] + lines[other + 1 :]))
    undone = undo(filed.undo_list)
    assert (len(undone.back), undone.cut_off, undone.list_removed) == (2, False, True)
