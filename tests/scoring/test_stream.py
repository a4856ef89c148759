"""A stream answers as ``score`` does, keeps new features, and outlives broken files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from copied import copied_project
from tiny import make_model, make_unknown

import deltaoe
from deltaoe.errors import ConfigError, DataError, MismatchError, StoreError
from deltaoe.scoring import stream as stream_module
from deltaoe.scoring.stream import TOGETHER, ScoreStream
from deltaoe.store.workspace import Workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory, pictures, tiny_model) -> Path:
    """A folder of extracted images, and new ones in ``new``; not to be changed."""
    folder = tmp_path_factory.mktemp("stream") / "project"
    shutil.copytree(pictures, folder / "images")
    make_unknown(folder / "new")
    deltaoe.extract(folder / "images", Workspace(folder / ".deltaoe"), extract_options(tiny_model))
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    folder = copied_project(made, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def extract_options(model: Path) -> deltaoe.ExtractOptions:
    return deltaoe.ExtractOptions(model=deltaoe.ModelOptions(model=f"local-dir:{model}", device="cpu"))


def options(**changes: object) -> deltaoe.ScoreOptions:
    return deltaoe.ScoreOptions(**({"model": deltaoe.ModelOptions(device="cpu")} | changes))


def opened(folder: Path, **changes: object) -> ScoreStream:
    return ScoreStream(Workspace(folder / ".deltaoe"), options(**changes))


def assert_same(found: list[dict], wanted: list[dict]) -> None:
    """Records are equal, but for the last digits of scores: products of matrices of other shapes have others."""
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            exact = name not in {"score", "margin"} or value is None
            assert value == (other[name] if exact else pytest.approx(other[name], rel=1e-9)), name


def new_files() -> list[str]:
    return sorted(str(path) for path in Path("new").rglob("*.png"))


@pytest.mark.parametrize(
    "changes",
    [{}, {"evidence": "text"}, {"evidence": "images"}, {"rule": deltaoe.Rule(alpha=0.2, per_class=True)}],
    ids=str,
)
def test_a_stream_says_what_score_says(project, changes):
    names = new_files()
    with opened(project, **changes) as stream:
        one_by_one = [stream.score(name) for name in names]
        together = stream.score_many([*names, *names])
    assert_same(together, one_by_one * 2)
    wanted = deltaoe.score("new", Workspace(project / ".deltaoe"), options(**changes))
    assert wanted.encoded == 0 and wanted.reused == len(names)
    assert_same(
        sorted(one_by_one, key=lambda r: r["path"]), sorted(wanted.table.records(), key=lambda r: r["path"])
    )
    assert {record["verdict"] for record in one_by_one} <= {"known", "unknown"}


def test_features_are_written_at_the_end_and_used_before(project):
    stream = opened(project)
    store = stream._source.store()
    before = len(store)
    records = stream.score_many(new_files())
    store.refresh()
    assert len(store) == before
    copy = shutil.copy(new_files()[0], "copy.png")
    assert_same([stream.score(copy)], [{**records[0], "path": "copy.png"}])
    stream.close()
    store.refresh()
    assert len(store) == before + len(records)
    with opened(project) as again:
        assert_same(again.score_many(new_files()), records)
        assert again._source._clip is None  # no model was needed


def test_features_are_written_when_many_wait(project, monkeypatch):
    monkeypatch.setattr(stream_module, "_WRITE_ROWS", 2)
    stream = opened(project)
    stream.score_many(new_files())
    assert stream._writer.pending == 0


def test_another_writer_is_no_obstacle(project):
    said = []
    stream = ScoreStream(Workspace(project / ".deltaoe"), options(), lambda event: said.append(event.message))
    record = stream.score(new_files()[0])
    with stream._source.store().writer():
        stream.close()
    assert record["verdict"] != "failed"
    assert any("not stored yet: another deltaoe process" in sentence for sentence in said)
    stream.close()
    assert stream._writer.pending == 0


def test_broken_files_are_answers_in_their_place(project):
    Path("broken.jpg").write_bytes(b"no picture")
    Path("empty.jpg").write_bytes(b"")
    os.symlink("nowhere", "link.jpg")
    good = new_files()[0]
    names = ["broken.jpg", good, "missing.jpg", "empty.jpg", "link.jpg", "new", "a\0b", "", good]
    with opened(project) as stream:
        records = stream.score_many(names)
        assert [record["path"] for record in records] == names
        assert [record["verdict"] == "failed" for record in records] == [n != good for n in names]
        assert [bool(record["error"]) for record in records] == [n != good for n in names]
        assert {tuple(record) for record in records} == {tuple(records[1])}
        assert records[0] == stream.score("broken.jpg")
        shutil.copy(good, "broken.jpg")
        assert_same([stream.score("broken.jpg")], [{**records[1], "path": "broken.jpg"}])


def test_more_than_are_taken_together_keep_their_order(project):
    names = [*new_files() * TOGETHER, "missing.jpg"]
    with opened(project) as stream:
        assert [record["path"] for record in stream.score_many(names)] == names
        assert stream.score_many([]) == []


def test_a_file_that_changes_is_read_again(project):
    with opened(project) as stream:
        first = stream.score(shutil.copy("new/noise/0.png", "one.png"))
        second = stream.score(shutil.copy("new/red_stripes/00.png", "one.png"))
    assert first["score"] != second["score"]
    with opened(project) as stream:
        assert stream.score(Path("one.png")) == second


def test_paths_need_not_lie_below_the_working_folder(project, tmp_path, monkeypatch):
    with opened(project) as stream:
        wanted = stream.score(new_files()[0])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in (project / new_files_of(project)[0], Path("..") / "project" / new_files_of(project)[0]):
        with opened(project) as stream:
            assert stream.score(name) == {**wanted, "path": str(name)}
            assert stream._source._clip is None  # known by whichever name


def new_files_of(project: Path) -> list[str]:
    return sorted(str(path.relative_to(project)) for path in (project / "new").rglob("*.png"))


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"rule": deltaoe.Rule(fdr=0.1)}, "--fdr"),
        ({"neighbours": 3, "evidence": "text"}, "--neighbours"),
        ({"index": "hnsw", "evidence": "text"}, "--index"),
    ],
)
def test_what_needs_all_images_is_refused(project, changes, flag):
    with pytest.raises(ConfigError, match=flag) as caught:
        opened(project, **changes)
    assert caught.value.hint


def test_without_class_names_there_is_nothing_to_score_with(tmp_path):
    with pytest.raises(DataError, match="class names"):
        opened(tmp_path)


def test_without_calibration_it_is_said_once(project):
    Path("names.txt").write_text("cat\ndog\n")
    stream = opened(project, labels=Path("names.txt"))
    assert any("no calibration" in note for note in stream.notes)
    assert stream.score(new_files()[0])["verdict"] == "undecided"


def test_features_of_another_model_are_refused(project):
    other = make_model(project / "other", seed=1)
    wrong = opened(
        project,
        evidence="text",
        model=deltaoe.ModelOptions(model=f"local-dir:{other}", device="cpu"),
    )
    wrong.detector = opened(project).detector
    with pytest.raises(MismatchError, match="weights"):
        wrong.score(new_files()[0])


def test_the_model_can_be_loaded_before(project):
    opened(project).close()  # has encoded the prompts
    stream = opened(project)
    assert stream._source._clip is None
    stream.warm_up()
    assert stream._source._clip is not None
    with stream:
        assert stream.score(new_files()[0])["verdict"] != "failed"


def test_a_read_only_workspace_is_said_before_work(project, monkeypatch):
    def no(_: Workspace) -> None:
        raise StoreError("cannot write here", hint="elsewhere")

    monkeypatch.setattr(Workspace, "check_writable", no)
    with pytest.raises(StoreError, match="cannot write"):
        opened(project).score(new_files()[0])
