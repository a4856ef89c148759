"""Shards of workers: whole files that wait, and that the one writer takes in, each feature once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import SPACE, FakeClip, FakeSource, draw, feature, listed

from deltaoe.errors import StoreError
from deltaoe.extraction.ingest import ingest
from deltaoe.extraction.options import IngestOptions
from deltaoe.progress import silent
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.incoming import IncomingWriter, adopt, arrived
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace


def digest(i: int) -> bytes:
    return bytes([i]) * 32


def worker(store: FeatureStore, *numbers: int, note: str = "") -> IncomingWriter:
    """A worker that has written images of these numbers, and an observation of a file of each."""
    writer = IncomingWriter(FeatureStore(store.folder, store.space))
    for i in numbers:
        writer.add_features(digest(i), feature(i).astype(np.float32)[None], (0,))
        writer.add(f"{i}.png".encode(), FileRecord(i, i, digest(i), "", i, i))
        writer.note(digest(i), [note] if note else [])
    writer.flush()
    return writer


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store with image 0."""
    store = FeatureStore(tmp_path / "features" / SPACE.id, SPACE)
    with store.writer() as writer:
        writer.add(b"0.png", FileRecord(0, 0, digest(0), "", 0, 0), feature(0).astype(np.float32))
    return store


def test_what_waits_is_not_in_the_store_until_it_is_adopted(store):
    writer = worker(store, 1, 2, note="one single colour")
    assert len(arrived(store.folder)) == 1 and len(store) == 1
    store.refresh()
    assert digest(1) not in store
    assert writer.has(digest(1), 0) and writer.has(digest(0), 0) and not writer.has(digest(3), 0)
    with store.writer():
        pass
    assert arrived(store.folder) == [] and len(store) == 3
    np.testing.assert_allclose(store.features([digest(2)])[0], feature(2), atol=1e-3)
    assert store.file(b"1.png") == FileRecord(1, 1, digest(1), "", 1, 1)
    assert store.notes.of(np.frombuffer(digest(1), np.uint8)[None]) == {0: ("one single colour",)}
    again = FeatureStore(store.folder, SPACE)
    assert len(again) == 3 and again.feature_rows == 3
    writer.refresh()
    assert writer.has(digest(1), 0)


def test_a_content_that_two_workers_have_encoded_is_there_once(store):
    worker(store, 1, 2)
    worker(store, 2, 3)
    worker(store, 0, 3)  # nothing of it is new
    with store.writer():
        pass
    assert len(store) == 4 == store.feature_rows == sum(shard.features for shard in store.shards)
    for i in range(4):
        record = store.file(f"{i}.png".encode())
        assert record is not None and record.digest == digest(i)
    np.testing.assert_allclose(
        store.features([digest(i) for i in range(4)]), [feature(i) for i in range(4)], atol=1e-3
    )


def test_workers_write_while_the_lock_is_held_and_numbers_never_come_back(store):
    with store.writer() as writer:
        worker(store, 1)
        assert adopt(store) == 1 and adopt(store) == 0
        worker(store, 2)
        writer.add_features(digest(9), feature(9).astype(np.float32)[None], (0,))
    with store.writer():
        pass
    names = [shard.path.name for shard in store.shards]
    assert len(store) == 4 and len(set(names)) == 4 == len(list(store.folder.glob("shard-*.h5")))
    assert names == sorted(names)


def test_a_file_that_cannot_be_read_is_named_and_stays(store):
    worker(store, 1)
    (waiting,) = arrived(store.folder)
    waiting.write_bytes(waiting.read_bytes()[:100])
    with pytest.raises(StoreError, match="a worker's shard cannot be taken") as caught, store.writer():
        pass
    assert str(waiting) in caught.value.hint and waiting.exists()
    waiting.unlink()
    with store.writer():
        pass
    assert len(store) == 1


def test_the_next_run_takes_in_what_a_killed_one_has_left(tmp_path):
    workspace, images = Workspace(tmp_path / ".deltaoe"), tmp_path / "images"
    for i in range(4):
        draw(images / f"{i}.png", i)
    draw(tmp_path / "first" / "0.png", 0)
    how = IngestOptions(workers=0)
    ingest(listed(tmp_path / "first"), workspace, FakeSource(workspace, FakeClip()), silent, how)

    files, store = listed(images), workspace.store(SPACE)
    keys = workspace.file_keys(files)
    aside = Workspace(tmp_path / "aside" / ".deltaoe")
    ingest(files, aside, FakeSource(aside, FakeClip()), silent, how)
    done = aside.store(SPACE)
    writer = IncomingWriter(store)
    for i, key in enumerate(keys[:3]):
        record = done.file(aside.file_keys(files)[i])
        assert record is not None
        writer.add(key, record)
        writer.add_features(record.digest, done.features([record.digest]), (0,))
    writer.flush()

    clip = FakeClip()
    result = ingest(files, workspace, FakeSource(workspace, clip), silent, how)
    assert (result.encoded, result.reused) == (1, 3) and clip.batches == [1]
    assert arrived(store.folder) == []
