"""Which files are opened again: a file is unchanged only if nothing that can be seen from outside says otherwise."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import SPACE, FakeClip, FakeSource, draw, feature, listed
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.errors import StoreError
from deltaoe.extraction import encoding_run, reading
from deltaoe.extraction.changes import Changes, changes
from deltaoe.extraction.ingest import Ingested, ingest
from deltaoe.extraction.options import IngestOptions
from deltaoe.extraction.reading import read_file
from deltaoe.images.decode import read_bytes
from deltaoe.images.folders import fingerprint
from deltaoe.images.walk import observed
from deltaoe.progress import Event
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.feature_writer import StoreWriter
from deltaoe.store.maintenance import compact
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace

OLD = 1_600_000_000 * 10**9


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / ".deltaoe")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twenty pictures of one size and one modification time in two folders, as from a reproducible archive."""
    for i in range(20):
        path = tmp_path / "images" / "ab"[i // 10] / f"{i % 10}.png"
        draw(path, i)
    sizes = [path.stat().st_size for path in (tmp_path / "images").rglob("*.png")]
    for path in (tmp_path / "images").rglob("*.png"):
        path.write_bytes(
            path.read_bytes() + bytes(max(sizes) - path.stat().st_size)
        )  # decoders stop before that
        os.utime(path, ns=(OLD, OLD))
    return tmp_path / "images"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    lock = threading.Lock()

    def read(path: Path) -> bytes:
        with lock:
            names.append(f"{path.parent.name}/{path.name}")
        return read_bytes(path)

    monkeypatch.setattr(reading, "read_bytes", read)
    return names


def run(images: Path, workspace: Workspace, clip: FakeClip | None = None, **options: object) -> Ingested:
    """Ingest a folder; without a model, needing one is an error."""
    said = options.pop("said", [])
    assert isinstance(said, list)

    def on(event: Event) -> None:
        if event.message:
            said.append(event.message)

    how = IngestOptions(**{"workers": 0} | options)  # type: ignore[arg-type]
    return ingest(listed(images), workspace, FakeSource(workspace, clip, SPACE), on, how)


def shown(result: Ingested) -> list[int]:
    """The number of the picture that each image's stored feature shows."""
    wanted = np.array([feature(i) for i in range(100)])
    found = result.store.features(result.digests)
    return [int(np.argmax(wanted @ row)) for row in found]


def swap(one: Path, other: Path) -> None:
    spare = one.with_name("spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def rewrite(one: Path, other: Path) -> None:
    """Exchange the contents in place and put the times back, as ``rsync -t --inplace`` may."""
    first, second = one.read_bytes(), other.read_bytes()
    for path, content in ((one, second), (other, first)):
        path.write_bytes(content)
        os.utime(path, ns=(OLD, OLD))


@pytest.mark.parametrize("exchange", [swap, rewrite])
def test_exchanged_files_of_one_size_and_time_are_noticed(images, workspace, exchange):
    assert shown(run(images, workspace, FakeClip())) == list(range(20))
    exchange(images / "a" / "3.png", images / "b" / "7.png")
    result = run(images, workspace)  # both contents are known: no model
    assert shown(result) == [0, 1, 2, 17, *range(4, 17), 3, 18, 19]
    assert (result.encoded, result.reused) == (0, 18)
    assert run(images, workspace).reused == 20  # noted


def test_exchanged_folders_are_noticed(images, workspace):
    """Renaming a folder leaves the times of all files in it as they were: they differ by their inodes alone."""
    for path in images.rglob("*.png"):
        os.utime(path, ns=(OLD, OLD))
    run(images, workspace, FakeClip())
    before = fingerprint([str(images)])
    info = images.stat()
    swap(images / "a", images / "b")
    os.utime(images, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert fingerprint([str(images)]) != before
    assert shown(run(images, workspace)) == [*range(10, 20), *range(10)]


def test_new_content_of_the_same_size_and_time_is_encoded(images, workspace):
    run(images, workspace, FakeClip())
    path = images / "a" / "0.png"
    draw(path.with_name("new.png"), 50)
    content = path.with_name("new.png").read_bytes()
    path.with_name("new.png").unlink()
    path.write_bytes(content + bytes(path.stat().st_size - len(content)))
    os.utime(path, ns=(OLD, OLD))
    result = run(images, workspace, FakeClip())
    assert (result.encoded, result.reused, shown(result)[0]) == (1, 19, 50)


TOUCHES = {
    "chmod": lambda images: [path.chmod(0o600) for path in images.rglob("*.png")],
    "other times": lambda images: [os.utime(path, ns=(1, 1)) for path in images.rglob("*.png")],
    "a copy that keeps the times": lambda images: (
        shutil.copytree(images, images.with_name("copy")),
        shutil.rmtree(images),
        images.with_name("copy").rename(images),
    ),
    "written anew with the same content": lambda images: [
        path.write_bytes(path.read_bytes()) for path in images.rglob("*.png")
    ],
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_what_was_only_touched_is_read_once_and_needs_no_model(images, workspace, reads, touch):
    (images / "bad.png").write_bytes(b"no picture")
    run(images, workspace, FakeClip())
    TOUCHES[touch](images)
    reads.clear()
    said: list[str] = []
    result = run(images, workspace, said=said)
    assert (result.encoded, result.reused, len(result.rows), len(result.failed)) == (0, 0, 20, 1)
    assert len(reads) == 21
    assert len(said) == 1 and "read again" in said[0] and "with the recorded content" in said[0]
    reads.clear()
    assert run(images, workspace).reused == 20
    assert reads == []


def test_recheck_reads_every_file_and_loads_no_model(images, workspace, reads):
    (images / "bad.png").write_bytes(b"no picture")
    run(images, workspace, FakeClip())
    reads.clear()
    said: list[str] = []
    result = run(images, workspace, recheck=True, said=said)
    assert sorted(reads) == sorted(f"{p.parent.name}/{p.name}" for p in images.rglob("*.png"))
    assert (result.encoded, result.reused, len(result.rows)) == (0, 0, 20)
    assert "21 known files" in said[0] and "--recheck" in said[0]


def forget_change_times(images: Path, workspace: Workspace) -> FeatureStore:
    """Record the files again as versions before 3 did."""
    store, files = workspace.store(SPACE), listed(images)
    seen = store.files(workspace.file_keys(files))
    with store.writer() as writer:
        for i, key in enumerate(workspace.file_keys(files)):
            problem = seen.problem.get(i, "")
            digest = bytes(32) if problem else seen.digest[i].tobytes()
            writer.add(key, FileRecord(files.size[i], files.mtime_ns[i], digest, problem))
    return store


def test_files_that_an_older_version_observed_are_read_once(images, workspace, reads):
    (images / "bad.png").write_bytes(b"no picture")
    run(images, workspace, FakeClip())
    forget_change_times(images, workspace)
    rewrite(images / "a" / "3.png", images / "b" / "7.png")
    reads.clear()
    result = run(images, workspace)
    assert shown(result) == [0, 1, 2, 17, *range(4, 17), 3, 18, 19]
    assert len(reads) == 20  # the failure is believed, as it has no digest to compare
    assert list(result.failed.values()) == ["not an image, or of an unknown kind"]
    reads.clear()
    assert run(images, workspace).reused == 20
    assert reads == []


def test_a_workspace_that_takes_nothing_is_no_obstacle_for_files_that_were_only_touched(
    images, workspace, monkeypatch
):
    run(images, workspace, FakeClip())
    TOUCHES["chmod"](images)

    def refuse(self: Workspace) -> None:
        raise StoreError("cannot write here: read-only file system")

    monkeypatch.setattr(Workspace, "check_writable", refuse)
    for _ in range(2):
        said: list[str] = []
        assert shown(run(images, workspace, said=said)) == list(range(20))
        assert any("cannot be recorded" in one and "read-only" in one for one in said)


def test_another_writer_is_no_obstacle_either(images, workspace):
    run(images, workspace, FakeClip())
    TOUCHES["chmod"](images)
    with workspace.store(SPACE).writer():
        assert len(run(images, workspace).rows) == 20


# A file that is being written


def test_a_file_that_changes_while_it_is_read_is_not_recorded(images, workspace, monkeypatch):
    """Neither under the times before nor under those after: which content they belong to is not known."""

    def written_meanwhile(path: Path) -> bytes:
        data = read_bytes(path)
        if path.name == "3.png":
            path.write_bytes(data[::-1])
            os.utime(path, ns=(OLD, OLD))
        return data

    monkeypatch.setattr(reading, "read_bytes", written_meanwhile)
    said: list[str] = []
    run(images, workspace, FakeClip(), said=said)
    store, files = workspace.store(SPACE), listed(images)
    known = store.files(workspace.file_keys(files)).known
    assert [files.relative[i] for i in np.flatnonzero(~known)] == ["a/3.png", "b/3.png"]
    assert any("2 files changed while being read" in one for one in said)
    monkeypatch.undo()
    assert set(run(images, workspace, FakeClip()).failed) == {3, 13}  # what lies there now


def test_what_is_recorded_is_what_was_read_not_what_was_listed(images, workspace):
    """A file that changed after the walk and before it was read is recorded as it was when it was read."""
    files = listed(images)
    rewrite(images / "a" / "3.png", images / "b" / "7.png")
    ingest(
        files,
        workspace,
        FakeSource(workspace, FakeClip(), SPACE),
        lambda event: None,
        IngestOptions(workers=0),
    )
    result = run(images, workspace)
    assert (result.reused, shown(result)) == (20, [0, 1, 2, 17, *range(4, 17), 3, 18, 19])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 25))
def test_two_contents_within_one_tick_of_the_clock_never_share_their_times(tmp_path_factory, milliseconds):
    path = tmp_path_factory.mktemp("tick") / "a"
    path.write_bytes(b"old")
    before = read_file(str(path))
    time.sleep(milliseconds / 1000 / 5)
    path.write_bytes(b"new")
    os.utime(path, ns=(before.seen[1], before.seen[1]))
    after = read_file(str(path))
    assert (before.data, after.data) == (b"old", b"new")
    assert before.digest == hashlib.sha256(b"old").digest()
    assert before.seen != after.seen


def test_times_and_inodes_beyond_64_bits_are_wrapped():
    info = os.stat_result(
        (0o100644, 2**80 + 5, 0, 1, 0, 0, 10, 0, 0, 0),
        {"st_mtime_ns": 2**63 + 1, "st_ctime_ns": -(2**63) - 1},
    )
    assert observed(info) == (10, -(2**63) + 1, 2**63 - 1, 5)


# A workspace that is deleted meanwhile


@pytest.mark.parametrize("when", [2, 4])
def test_features_that_somebody_deletes_meanwhile_are_missed(images, workspace, monkeypatch, when):
    monkeypatch.setattr(encoding_run, "_SHARD_ROWS", 4)

    class Deleting(FakeClip):
        def encode_pixels(self, pixels):
            if len(self.batches) == when:
                shutil.rmtree(workspace.folder)
            return super().encode_pixels(pixels)

    with pytest.raises(StoreError, match="was deleted, moved"):
        result = run(images, workspace, Deleting(), batch_size=4)
        result.store.check_there(result.digests)


def test_a_compaction_meanwhile_is_none_of_that(images, workspace):
    result = run(images, workspace, FakeClip())
    compact(workspace)
    result.store.check_there(result.digests)


# What is said elsewhere


def test_status_tells_touched_files_from_changed_ones(images, workspace):
    result = run(images, workspace, FakeClip())
    data = DataSet(
        root=str(images),
        inputs=(str(images),),
        name="",
        space_id=SPACE.id,
        model="fake",
        layout="class",
        class_names=("a", "b"),
        domain_names=(),
        paths=listed(images).relative,
        digests=result.digests,
        class_of=np.arange(20) // 10,
        domain_of=np.full(20, -1),
    )
    workspace.save_dataset(data)
    assert changes(data, workspace, thorough=True) in (None, Changes())
    rewrite(images / "a" / "3.png", images / "b" / "7.png")
    os.utime(images / "a" / "4.png", ns=(1, 1))
    assert changes(data, workspace, thorough=True) == Changes(changed=1, touched=2)
    forget_change_times(images, workspace)
    assert changes(data, workspace, thorough=True) == Changes()  # of these nothing more is known


def test_a_writer_keeps_what_an_observation_has(workspace):
    store = workspace.store(SPACE)
    record = FileRecord(1, -5, bytes(range(32)), "", -(2**63), 2**64 - 1)
    with store.writer() as writer:
        assert isinstance(writer, StoreWriter)
        writer.add(b"a", record)
    assert FeatureStore(store.folder, SPACE).file(b"a") == record
