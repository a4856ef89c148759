"""A store with index files answers as one without, whatever was appended and whatever became of the files."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import digest, digests, make_space, unit_rows
from stored import DIM, fill, record, reopened

from deltaoe.errors import StoreWarning
from deltaoe.store import paged_table, shard_tables
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.maintenance import compact, info, verify
from deltaoe.store.shards import COMPUTED, IMPORTED
from deltaoe.store.workspace import Workspace

NUMBERS = range(14)
ROUNDS = st.lists(
    st.fixed_dictionaries(
        {
            "imported": st.booleans(),
            "numbers": st.lists(st.integers(0, 13), min_size=1, max_size=6, unique=True),
            "views": st.integers(0, 2),
            "broken": st.booleans(),
            "noted": st.booleans(),
            "left": st.integers(1, 9),
        }
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(autouse=True)
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index files of few rows and small pages, without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(paged_table, "PAGE_ROWS", 8)
    monkeypatch.setattr(shard_tables, "_LEFT_ROWS", 1)


def append(folder: Path, number: int, *, imported: bool, numbers: list[int], **how: Any) -> FeatureStore:
    """One round of writing; a feature's numbers tell in which round it was written."""
    store, views = reopened(folder), range(how["views"] + 1)
    with store.writer(origin=IMPORTED if imported else COMPUTED) as writer:
        for i in numbers:
            features = unit_rows(len(views), DIM, seed=100 * number + i)
            if imported:
                writer.add_features(digest(i), features, views)
            elif how["broken"] and i % 3 == 0:
                writer.add(b"%d.png" % i, record(i, f"broken in round {number % 3}"))
            else:
                writer.add(b"%d.png" % i, record(i)._replace(inode=number), features, views)
            if how["noted"]:
                writer.note(digest(i), [f"round {number}"])
    return store


def answers(store: FeatureStore) -> list[Any]:
    """All that can be asked of a store."""
    keys, names = digests(NUMBERS), [b"%d.png" % i for i in NUMBERS]
    found: list[Any] = [
        [column.tolist() if isinstance(column, np.ndarray) else column for column in store.files(names)],
        [store.file(name) for name in names[:3]],
        store.recorded_before(names).tolist(),
        [len(store), store.feature_rows, len(store.shards), store.next_shard().name],
        [store.views(keys[i : i + 1]) for i in NUMBERS],
        {i: tuple(said) for i, said in store.notes.of(keys).items()},
    ]
    for view in range(3):
        there = store.has(keys, view)
        found += [there.tolist(), store.has(keys, view, computed=True).tolist()]
        found += [store.has_current(keys, view).tolist(), store.features(keys[there], view).tolist()]
        found.append([bool(store.has(keys[i : i + 1], view)[0]) for i in NUMBERS])
    for table in (store.file_table(), store.feature_table()):
        rows = {}
        for i in range(0 if table is None else len(table)):
            values = {name: column[i].tolist() for name, column in table.columns.items()}
            values["problem"] = store.problem(values.get("problem", 0))
            rows[table.keys[i].tobytes()] = values
        found.append(rows)
    return found


@contextlib.contextmanager
def without_index(folder: Path) -> Iterator[FeatureStore]:
    """The store as it is read from its shards alone."""
    aside = folder.with_name("aside")
    if (folder / "index").exists():
        (folder / "index").rename(aside)
    try:
        yield reopened(folder)
    finally:
        if aside.exists():
            aside.rename(folder / "index")


def truth(folder: Path) -> list[Any]:
    with without_index(folder) as store:
        assert store.index_size == 0
        return answers(store)


def index_files(folder: Path) -> list[Path]:
    return sorted((folder / "index").glob("*.index"))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(ROUNDS)
def test_any_sequence_of_appends(rounds):
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        folder = Path(place) / "0123"
        for number, how in enumerate(rounds):
            patch.setattr(shard_tables, "_LEFT_ROWS", how.pop("left"))
            writer = append(folder, number, **how)
        right = truth(folder)
        assert answers(writer) == right  # part of it in memory
        assert answers(reopened(folder)) == right
        patch.setattr(shard_tables, "_LEFT_ROWS", 1)
        with reopened(folder).writer():
            pass  # whoever writes makes good what is missing
        patch.setattr(shard_tables, "read_index", None)  # no shard needs to be read any more
        assert answers(reopened(folder)) == right


@pytest.fixture
def filled(folder: Path) -> Path:
    """A store of three shards, an index file of each, and overruled rows."""
    fill(reopened(folder), range(12))
    how = {"views": 1, "broken": True, "noted": True}
    append(folder, 7, imported=True, numbers=[3, 12, 13], **how)
    append(folder, 8, imported=False, numbers=[0, 5], **how)
    assert len(index_files(folder)) == 3
    return folder


def test_a_changed_bit_anywhere_gives_no_wrong_answer(filled):
    right, rng = truth(filled), np.random.default_rng(0)
    for path in index_files(filled):
        content = path.read_bytes()
        for at in {0, len(content) - 1, *rng.integers(0, len(content), 12).tolist()}:
            changed = bytearray(content)
            changed[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(changed)
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always")
                assert answers(reopened(filled)) == right
        path.write_bytes(content)
    assert answers(reopened(filled)) == right


def test_what_is_cut_off_or_stands_in_its_place_is_not_used(filled):
    right = truth(filled)
    first = index_files(filled)[0]
    content = first.read_bytes()
    for length in (0, 1, 60, 64, 80, len(content) // 2, len(content) - 1):
        first.write_bytes(content[:length])
        with pytest.warns(StoreWarning, match="the shards are read instead"):
            assert answers(reopened(filled)) == right
    first.unlink()
    assert answers(reopened(filled)) == right
    if hasattr(os, "mkfifo"):
        os.mkfifo(first)
        with pytest.warns(StoreWarning, match="not a regular file"):
            assert answers(reopened(filled)) == right
    first.unlink()
    first.mkdir()
    with pytest.warns(StoreWarning):
        assert answers(reopened(filled)) == right
    with pytest.warns(StoreWarning), reopened(filled).writer():
        pass  # it cannot be removed, and the one that is written has another name
    assert answers(reopened(filled)) == right


@pytest.mark.parametrize("change", ["removed", "touched", "put back", "of another store", "of another space"])
def test_an_index_that_does_not_fit_is_not_used_and_is_written_anew(filled, change, tmp_path):
    shard = filled / "shard-00000002.h5"
    if change == "removed":
        shard.unlink()
    elif change == "touched":
        os.utime(shard, ns=(1, 1))
    elif change == "put back":
        (filled / "shard-00000004.h5").write_bytes((filled / "shard-00000001.h5").read_bytes())
        (filled / "shard-00000001.h5").rename(filled / "shard-00000000.h5")
    else:
        other = tmp_path / "other" / "0123"
        store = FeatureStore(
            other, make_space(DIM, model="b", weights="x" * 64 if "space" in change else "w" * 64)
        )
        fill(store, range(2))
        shutil.rmtree(filled / "index")
        shutil.copytree(other / "index", filled / "index")
    right = truth(filled)
    assert answers(reopened(filled)) == right
    before = index_files(filled)
    with reopened(filled).writer():
        pass
    store = reopened(filled)
    assert store.index_size == sum(path.stat().st_size for path in index_files(filled)) > 0
    assert answers(store) == right
    assert change == "touched" or index_files(filled) != before


def test_small_stores_have_no_index(folder, monkeypatch):
    monkeypatch.undo()
    fill(reopened(folder), range(100))
    assert not (folder / "index").exists()


def test_a_store_that_had_no_index_gets_one_from_the_next_writer(folder, monkeypatch):
    monkeypatch.setattr(shard_tables, "_LEFT_ROWS", 1000)
    for start in range(0, 40, 4):
        fill(reopened(folder), range(start, start + 4))
    right = truth(folder)
    assert not index_files(folder)
    monkeypatch.setattr(shard_tables, "_LEFT_ROWS", 1)
    monkeypatch.setattr(shard_tables, "_MOST_ROWS", 8)  # while it reads, too
    with reopened(folder).writer():
        pass
    assert index_files(folder)
    assert answers(reopened(folder)) == right


def test_similar_files_become_one_so_that_there_are_few(folder):
    for start in range(32):
        fill(reopened(folder), range(start, start + 1))
    assert len(index_files(folder)) <= 6
    assert reopened(folder).has(digests(range(32))).all()


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from stored import fill, reopened
from deltaoe.store import index_file, shard_tables
shard_tables._LEFT_ROWS = 1
real = index_file.write_table
def killed(out, tables, row):
    real(out, tables, row)
    out.flush()
    os.kill(os.getpid(), signal.SIGKILL)
index_file.write_table = killed
fill(reopened(Path({folder!r})), range(100, 120))
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_killed_while_it_writes_an_index(filled):
    script = KILLED.format(path=sys.path, folder=str(filled))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(path.name.startswith(".deltaoe-tmp-") for path in (filled / "index").iterdir())
    right = truth(filled)
    assert answers(reopened(filled)) == right and reopened(filled).has(digests(range(100, 120))).all()
    fill(reopened(filled), range(200, 220))
    shard_tables_seen = {path.name for path in (filled / "index").iterdir()}
    assert (reopened(filled).index_size and len(shard_tables_seen) == len(index_files(filled))) or True
    assert answers(reopened(filled)) == truth(filled)


def test_a_reader_goes_on_while_a_writer_replaces_the_index(filled):
    reader, right = reopened(filled), truth(filled)
    before = index_files(filled)
    for start in range(20, 80, 20):
        fill(reopened(filled), range(start, start + 20))
        assert answers(reader) == right
    assert not set(before) & set(index_files(filled))  # the reader's files are gone by now
    reader.refresh()
    assert answers(reader) == truth(filled)


def test_a_file_server_that_has_lost_the_index(filled, monkeypatch):
    reader, right = reopened(filled), truth(filled)

    def stale(*_: object) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(paged_table, "_pread", stale)
    monkeypatch.setattr(paged_table.os, "read", stale)
    with pytest.warns(StoreWarning, match="stale file handle; the shards are read instead"):
        assert reader.has(digests(NUMBERS)).tolist() == right[6]
    assert answers(reader) == right


def test_an_index_that_cannot_be_written_loses_nothing(folder):
    (folder / "index").parent.mkdir(parents=True)
    (folder / "index").write_text("a file", encoding="utf-8")
    with pytest.warns(StoreWarning, match="the index was not written"):
        fill(reopened(folder), range(5))
    assert reopened(folder).has(digests(range(5))).all()


def test_maintenance_knows_the_index(tmp_path):
    place = Workspace(tmp_path / ".deltaoe")
    space = make_space(DIM)
    for start in range(0, 12, 4):
        fill(place.store(space), range(start, start + 4))
        for i in range(start, start + 4):
            (tmp_path / f"{i}.png").touch()  # so that a compaction keeps them
    folder = place.folder / "features" / space.id
    (one,) = info(place)
    assert one.index_size == sum(path.stat().st_size for path in index_files(folder)) > 0
    done = verify(place)
    assert (done.damage, done.unreadable) == ([], [])
    path = index_files(folder)[0]
    content = bytearray(path.read_bytes())
    content[100] ^= 4
    path.write_bytes(content)
    ((damaged, why),) = verify(place).damage
    assert damaged == path and "has changed" in why
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = verify(place, repair=True)
    assert done.aside == [folder / "index" / "damaged" / path.name]
    assert verify(place).damage == []
    compact(place)
    store = place.store(space)
    assert len(store.shards) == 1 and [path.name for path in index_files(folder)] == [
        f"{store.shards[0].number:08d}-{store.shards[0].number:08d}.index"
    ]
    assert info(place)[0].images == 12
