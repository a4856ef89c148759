"""From files to features: nothing twice, nothing lost, bad files named and only the right ones remembered."""

from __future__ import annotations

import hashlib
import os
import shutil
import time

import h5py
import numpy as np
import pytest
from fakes import SPACE, FakeClip, FakeSource, draw, feature, listed
from PIL import Image

from deltaoe.errors import ConfigError, DataError, ModelError, StoreError
from deltaoe.extraction import decoding, reading
from deltaoe.extraction import encoding_run as module
from deltaoe.extraction.ingest import Ingested, ingest
from deltaoe.extraction.options import MAX_VIEWS, IngestOptions
from deltaoe.images.decode import ImageError, decode, read_bytes
from deltaoe.progress import silent
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / ".deltaoe")


@pytest.fixture
def images(tmp_path):
    for i in range(20):
        draw(tmp_path / "images" / f"{i:02d}.png", i)
    return tmp_path / "images"


def run(images, workspace, clip=None, *, on=silent, known=SPACE, files=None, **options) -> Ingested:
    """Ingest a folder; without a model, needing one is an error."""
    source = FakeSource(workspace, clip, known)
    files = listed(images) if files is None else files
    return ingest(files, workspace, source, on, IngestOptions(**{"workers": 0} | options))


def names(images, result) -> list[str]:
    """Of the usable images, relative to their folder."""
    files = listed(images)
    return [files.relative[i] for i in result.rows]


def failures(images, result) -> dict[str, str]:
    files = listed(images)
    return {files.relative[i]: reason for i, reason in result.failed.items()}


def sha256(path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def known(workspace, path) -> FileRecord | None:
    return workspace.store(SPACE).file(os.fsencode(workspace.file_key(path)))


def assert_features(result, numbers, view: int = 0) -> None:
    """Each image has its own feature, and in the order of the files."""
    wanted = np.array([feature(i, view) for i in numbers])
    found = result.store.features(result.digests, view)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-3


def stored_rows(store: FeatureStore) -> list[tuple[bytes, int]]:
    """Digest and view of every row on disk, read without the store's own code."""
    rows: list[tuple[bytes, int]] = []
    for shard in sorted(store.folder.glob("shard-*.h5")):
        with h5py.File(shard) as file:
            digests, views = file["features/digest"][()], file["features/view"][()]
            rows += zip(map(bytes, digests), views.tolist(), strict=True)
    return rows


# Nothing twice


@pytest.mark.parametrize("batch_size", [None, 1, 3, 20, 1000])
def test_every_image_gets_its_own_feature(images, workspace, batch_size):
    clip = FakeClip()
    result = run(images, workspace, clip, batch_size=batch_size)
    assert names(images, result) == [f"{i:02d}.png" for i in range(20)]
    assert [bytes(d) for d in result.digests] == [sha256(images / name) for name in names(images, result)]
    assert_features(result, range(20))
    assert (result.encoded, result.reused, result.failed) == (20, 0, {})
    assert max(clip.batches) <= (batch_size or 32)
    assert sum(clip.batches) == 20


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_a_device_encodes_while_the_batch_before_is_stored(images, workspace, batch_size):
    for i in range(0, 20, 3):
        (images / f"{i + 1:02d}-copy.png").write_bytes((images / f"{i:02d}.png").read_bytes())
    clip = FakeClip()
    clip.device.type = "other"
    result = run(images, workspace, clip, batch_size=batch_size)
    assert (result.encoded, sum(clip.batches), len(result.rows)) == (20, 20, 27)
    assert [bytes(d) for d in result.digests] == [sha256(images / name) for name in names(images, result)]
    numbers = [int(name[:2]) - name.endswith("-copy.png") for name in names(images, result)]
    assert_features(result, numbers)
    assert sorted(stored_rows(result.store)) == sorted(
        (sha256(images / f"{i:02d}.png"), 0) for i in range(20)
    )


def test_what_fails_on_a_device_ends_the_run(images, workspace):
    clip = FakeClip(fail_at=3)
    clip.device.type = "other"
    with pytest.raises(RuntimeError, match="the driver is gone"):
        run(images, workspace, clip, batch_size=4)
    assert len(stored_rows(workspace.store(SPACE))) == 8  # of the two batches before


def test_a_second_run_opens_nothing(images, workspace, monkeypatch):
    run(images, workspace, FakeClip())
    monkeypatch.setattr(reading, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    result = run(images, workspace)
    assert (result.encoded, result.reused, result.failed) == (0, 20, {})
    assert_features(result, range(20))


def test_any_order_and_any_part_of_the_files(images, workspace):
    files = listed(images)
    turned = files.part(range(19, -1, -1))
    result = run(images, workspace, FakeClip(), files=turned, batch_size=7)
    assert result.rows.tolist() == list(range(20))
    assert_features(result, range(19, -1, -1))
    part = run(images, workspace, files=turned.part(range(3, 6)))
    assert_features(part, (16, 15, 14))
    nothing = run(images, workspace, files=files.part([]))
    assert (len(nothing.rows), nothing.digests.shape, nothing.failed) == (0, (0, 32), {})


def test_a_touched_file_is_read_but_not_encoded(images, workspace):
    run(images, workspace, FakeClip())
    os.utime(images / "03.png", ns=(1, 1))
    clip = FakeClip()
    result = run(images, workspace, clip)
    assert (result.encoded, result.reused, clip.geometry.decoded) == (0, 19, [])
    assert len(result.rows) == 20
    assert run(images, workspace).reused == 20  # and now it is known again


def test_a_changed_file_is_encoded_anew(images, workspace):
    run(images, workspace, FakeClip())
    draw(images / "03.png", 77)
    os.utime(images / "03.png", ns=(1, 1))
    result = run(images, workspace, FakeClip())
    assert (result.encoded, result.reused) == (1, 19)
    assert_features(result, [0, 1, 2, 77, *range(4, 20)])


def test_moved_and_copied_files_are_known_by_content(images, workspace):
    run(images, workspace, FakeClip())
    (images / "moved").mkdir()
    (images / "05.png").rename(images / "moved" / "five.png")
    shutil.copy(images / "06.png", images / "copy.png")
    clip = FakeClip()
    result = run(images, workspace, clip)
    assert (result.encoded, clip.geometry.decoded, len(result.rows)) == (0, [], 21)
    assert_features(result, [0, 1, 2, 3, 4, *range(6, 20), 6, 5])


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_equal_files_are_encoded_and_stored_once(images, workspace, batch_size):
    """Copies in the same batch, in the same window of files and far behind it."""
    for place in ("04a", "04b", "05a", "19a", "19b", "19c", "19d"):
        shutil.copy(images / "04.png", images / f"{place}.png")
    clip = FakeClip()
    result = run(images, workspace, clip, batch_size=batch_size)
    assert len(result.rows) == 27
    assert_features(result, [0, 1, 2, 3, 4, 4, 4, 5, 4, *range(6, 20), 4, 4, 4, 4])
    assert len({bytes(d) for d in result.digests}) == len(result.store) == result.encoded == 20
    assert (sum(clip.batches), len(clip.geometry.decoded)) == (20, 20)
    rows = stored_rows(result.store)
    assert len(rows) == len(set(rows)) == 20
    assert run(images, workspace).reused == 27


def test_a_folder_of_nothing_but_copies(tmp_path, workspace):
    for i in range(50):
        draw(tmp_path / "images" / f"{i:02d}.png", 7)
    clip = FakeClip()
    result = run(tmp_path / "images", workspace, clip, batch_size=8)
    assert (result.encoded, clip.batches, len(clip.geometry.decoded), len(result.rows)) == (1, [1], 1, 50)
    assert_features(result, [7] * 50)


def test_the_model_is_loaded_only_when_it_is_needed(images, workspace):
    for loads in (True, False):
        source = FakeSource(workspace, FakeClip())
        ingest(listed(images), workspace, source, silent, IngestOptions(workers=0))
        assert (source.loaded > 0, source.remembered) == (loads, int(loads))


def test_other_weights_behind_the_name_start_anew(images, workspace):
    run(images, workspace, FakeClip())
    changed = FeatureSpace("fake", "other", "c", "{}", "fp32", 1, 3)
    result = run(images, workspace, FakeClip(changed), known=SPACE)
    assert result.encoded == 0  # all was cached: nobody loaded the model
    draw(images / "new.png", 50)
    result = run(images, workspace, FakeClip(changed), known=SPACE)
    assert result.store.space == changed
    assert (result.encoded, result.reused, len(result.rows)) == (21, 0, 21)


def test_a_lost_shard_is_computed_anew(images, workspace):
    store = run(images, workspace, FakeClip()).store
    for shard in store.folder.glob("shard-*.h5"):
        shard.unlink()
    result = run(images, workspace, FakeClip())
    assert (result.encoded, result.reused) == (20, 0)
    assert_features(result, range(20))


def test_a_lost_description_of_the_space_is_put_back(images, workspace):
    store = run(images, workspace, FakeClip()).store
    (store.folder / "space.json").unlink()
    result = run(images, workspace, FakeClip())
    assert (result.encoded, result.reused) == (0, 20)
    assert workspace.known_space(SPACE.id) == SPACE


def test_many_files_go_through_processes_and_come_out_alike(tmp_path, workspace):
    for i in range(70):
        draw(tmp_path / "images" / f"{i:03d}.png", i % 60)
    (tmp_path / "images" / "033.png").write_bytes(b"no picture")
    clip, said = FakeClip(), []
    result = run(tmp_path / "images", workspace, clip, workers=2, on=lambda e: said.append(e.message))
    assert clip.geometry.decoded == []  # elsewhere
    assert not any(said)
    assert failures(tmp_path / "images", result) == {"033.png": "not an image, or of an unknown kind"}
    assert_features(result, [i % 60 for i in range(70) if i != 33])
    assert sum(clip.batches) == 59


# Views


def test_every_image_gets_every_view(images, workspace):
    shutil.copy(images / "04.png", images / "copy.png")
    clip = FakeClip()
    result = run(images, workspace, clip, views=3, batch_size=10)
    for view in range(4):
        assert_features(result, [*range(20), 4], view)
    assert (result.store.views(result.digests), len(result.store), result.encoded) == (3, 20, 20)
    assert (sum(clip.batches), set(clip.geometry.decoded)) == (80, {(0, 1, 2, 3)})
    assert max(clip.batches) <= 10
    assert run(images, workspace, views=3).reused == run(images, workspace, views=1).reused == 21


def test_only_missing_views_are_computed(images, workspace):
    part = listed(images).part(range(5))
    run(images, workspace, FakeClip(), files=part, views=1)
    run(images, workspace, FakeClip(), files=listed(images).part(range(10)))
    clip = FakeClip()
    result = run(images, workspace, clip, views=2)
    assert sorted(clip.geometry.decoded) == [(0, 1, 2)] * 10 + [(1, 2)] * 5 + [(2,)] * 5
    assert (result.encoded, result.reused) == (20, 0)
    for view in range(3):
        assert_features(result, range(20), view)
    rows = stored_rows(result.store)
    assert len(rows) == len(set(rows)) == 60


def test_a_moved_file_lacks_the_views_that_its_content_lacks(images, workspace):
    run(images, workspace, FakeClip())
    (images / "03.png").rename(images / "99.png")
    clip = FakeClip()
    result = run(images, workspace, clip, files=listed(images).part([19]), views=1)
    assert (clip.geometry.decoded, result.encoded) == ([(1,)], 1)
    assert_features(result, [3], 1)


@pytest.mark.parametrize(
    "options", [{"views": -1}, {"views": MAX_VIEWS + 1}, {"batch_size": 0}, {"workers": -1}], ids=str
)
def test_options_out_of_range(images, workspace, options):
    with pytest.raises(ConfigError):
        run(images, workspace, FakeClip(), **options)
    assert not workspace.folder.exists()


# Bad files


def read_names(monkeypatch) -> list[str]:
    """Names of the files that are read from now on."""
    reads: list[str] = []
    monkeypatch.setattr(reading, "read_bytes", lambda path: reads.append(path.name) or read_bytes(path))
    return reads


def test_a_broken_picture_is_remembered_until_it_changes_or_is_asked_for(images, workspace, monkeypatch):
    (images / "bad.png").write_bytes(b"no picture")
    result = run(images, workspace, FakeClip())
    broken = {"bad.png": "not an image, or of an unknown kind"}
    assert failures(images, result) == broken
    assert len(result.rows) == 20
    assert known(workspace, images / "bad.png").problem == broken["bad.png"]
    assert known(workspace, images / "bad.png").digest == sha256(images / "bad.png")
    reads = read_names(monkeypatch)
    assert failures(images, run(images, workspace)) == broken
    assert reads == []
    again = run(images, workspace, FakeClip(), retry_failed=True)
    assert (failures(images, again), again.reused) == (broken, 20)
    assert reads == ["bad.png"]
    draw(images / "bad.png", 60)
    assert failures(images, run(images, workspace, FakeClip())) == {}
    assert reads == ["bad.png", "bad.png"]
    assert run(images, workspace).reused == 21


def test_what_a_newer_decoder_can_read_is_found_by_retrying(images, workspace, monkeypatch):
    """As after `pip install pillow-heif`: the file is as it was, its record is not."""

    class Old(FakeClip):
        def __init__(self):
            super().__init__()
            self.geometry.decode_noted = self.decode  # type: ignore[method-assign]

        def decode(self, data, digest, views):
            raise ImageError("not an image, or of an unknown kind")

    files = listed(images).part([3])
    with pytest.raises(DataError):
        run(images, workspace, Old(), files=files)
    with pytest.raises(DataError):
        run(images, workspace, FakeClip(), files=files)
    assert run(images, workspace, FakeClip(), files=files, retry_failed=True).encoded == 1
    assert run(images, workspace, files=files).reused == 1
    assert known(workspace, images / "03.png").problem == ""


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_copies_of_a_broken_picture_are_named_too_and_remembered(images, workspace, monkeypatch, batch_size):
    for name in ("00a", "00b", "19a"):
        (images / f"{name}.png").write_bytes(b"no picture")
    wanted = dict.fromkeys(("00a.png", "00b.png", "19a.png"), "not an image, or of an unknown kind")
    result = run(images, workspace, FakeClip(), batch_size=batch_size)
    assert failures(images, result) == wanted
    assert_features(result, range(20))
    reads = read_names(monkeypatch)
    assert failures(images, run(images, workspace)) == wanted
    assert reads == []
    assert failures(images, run(images, workspace, FakeClip(), retry_failed=True)) == wanted
    assert sorted(reads) == sorted(wanted)


def test_a_file_that_cannot_be_read_is_tried_again(images, workspace, monkeypatch):
    """Permissions and unplugged disks pass; what they hid is no broken picture."""

    def denied(path):
        if path.name == "07.png":
            raise ImageError("permission denied")
        return read_bytes(path)

    monkeypatch.setattr(reading, "read_bytes", denied)
    result = run(images, workspace, FakeClip())
    assert failures(images, result) == {"07.png": "permission denied"}
    assert known(workspace, images / "07.png") is None
    monkeypatch.undo()
    again = run(images, workspace, FakeClip())
    assert (again.encoded, again.reused, again.failed) == (1, 19, {})


def test_a_file_that_is_gone_between_listing_and_reading(images, workspace):
    files = listed(images)
    (images / "07.png").unlink()
    result = run(images, workspace, FakeClip(), files=files)
    assert result.failed == {7: "no such file or folder"}
    assert len(result.rows) == 19


def test_files_with_a_problem_are_not_opened(images, workspace, monkeypatch):
    (images / "00.png").unlink()
    (images / "00.png").symlink_to("nowhere")
    (images / "01.png").unlink()
    os.mkfifo(images / "01.png")
    reads = read_names(monkeypatch)
    result = run(images, workspace, FakeClip(), retry_failed=True)
    assert failures(images, result) == {"00.png": "no such file or folder", "01.png": "not a regular file"}
    assert sorted(reads) == names(images, result) == [f"{i:02d}.png" for i in range(2, 20)]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_bad_files_anywhere_among_good_ones(images, workspace, batch_size):
    for name in ("00", "05", "06", "07", "08", "19"):
        (images / f"{name}.png").write_bytes(b"")
    result = run(images, workspace, FakeClip(), batch_size=batch_size)
    assert set(failures(images, result).values()) == {"empty file"}
    assert_features(result, [1, 2, 3, 4, *range(9, 19)])


def test_no_usable_image_at_all_is_an_error(tmp_path, workspace):
    for i in range(5):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{i}.png").write_bytes(b"")
    for _ in range(2):  # the second time from memory
        with pytest.raises(
            DataError, match=r"none of the 5 .*0\.png: empty file; 1\.png: empty file"
        ) as caught:
            run(tmp_path / "images", workspace, FakeClip())
        assert "--retry-failed" in caught.value.hint


def test_warnings_of_pillow_do_not_stop_a_run(tmp_path, workspace):
    """This suite turns warnings into errors; a picture with odd metadata must survive even that."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    file = tmp_path / "images" / "a.jpg"
    Image.new("RGB", (4, 4), (255, 0, 0)).save(file, exif=exif.tobytes()[:-8])
    with pytest.warns(UserWarning, match="EXIF"):
        decode(file.read_bytes())
    assert run(tmp_path / "images", workspace, FakeClip()).failed == {}


# Nothing lost


@pytest.mark.parametrize(
    "error", [RuntimeError("the driver is gone"), KeyboardInterrupt(), OSError(5)], ids=repr
)
def test_what_was_encoded_before_a_failure_is_kept(images, workspace, error):
    with pytest.raises(type(error)):
        run(images, workspace, FakeClip(fail_at=3, error=error), batch_size=6)
    assert len(workspace.store(SPACE)) == 12
    result = run(images, workspace, FakeClip(), batch_size=6)
    assert (result.encoded, result.reused) == (8, 12)
    assert_features(result, range(20))


@pytest.mark.parametrize("fail_at", range(1, 9))
def test_a_failure_leaves_whole_rows(images, workspace, fail_at):
    """A file on record has all its views; copies are on record only with what they are copies of."""
    for i in range(0, 20, 3):
        shutil.copy(images / f"{i:02d}.png", images / f"{i:02d}-copy.png")
    error = RuntimeError("the driver is gone")
    with pytest.raises(RuntimeError, match="driver"):
        run(images, workspace, FakeClip(fail_at=fail_at, error=error), batch_size=6, views=2)
    store, files = workspace.store(SPACE), listed(images)
    seen = store.files(workspace.file_keys(files))
    recorded = int(np.count_nonzero(seen.known))
    assert recorded < len(files)
    assert recorded or fail_at == 1
    for view in range(3):
        assert store.has(seen.digest[seen.known], view).all()
    rows = stored_rows(store)
    assert len(rows) == len(set(rows)) == 3 * len(store)
    result = run(images, workspace, FakeClip(), views=2)
    assert (result.reused, len(result.rows)) == (recorded, 27)
    assert result.encoded == 20 - len({bytes(d) for d in seen.digest[seen.known]})


def test_batches_shrink_where_memory_runs_out(images, workspace):
    clip, events = FakeClip(fail_at=2, error=MemoryError()), []
    result = run(images, workspace, clip, batch_size=8, on=events.append)
    assert_features(result, range(20))
    assert clip.batches[0] == 8 and max(clip.batches[1:]) == 4
    assert [e.message for e in events if e.message] == ["out of memory: batches of 4 from now on"]


def test_memory_for_not_even_one_picture_keeps_what_is_done(images, workspace):
    error = RuntimeError("out of memory")
    with pytest.raises(ModelError, match="single image"):
        run(images, workspace, FakeClip(fail_at=3, fails=10, error=error), batch_size=4)
    assert len(workspace.store(SPACE)) == 8


def test_an_unknown_exception_while_decoding_costs_one_file_and_is_not_remembered(images, workspace):
    clip = FakeClip()
    whole = clip.geometry.decode_noted
    odd = sha256(images / "05.png")

    def decode_but_one(data, digest, views):
        if digest == odd:
            raise ZeroDivisionError("a bug of ours")
        return whole(data, digest, views)

    clip.geometry.decode_noted = decode_but_one  # type: ignore[method-assign]
    result = run(images, workspace, clip, batch_size=2)
    assert list(result.failed) == [5]
    assert "ZeroDivisionError: a bug of ours" in result.failed[5]
    assert len(result.rows) == 19
    assert known(workspace, images / "05.png") is None
    again = run(images, workspace, FakeClip())
    assert (again.encoded, again.failed) == (1, {})


def test_work_reaches_the_disk_while_it_goes_on(images, workspace, monkeypatch):
    seen = []

    class Watching(FakeClip):
        def encode_pixels(self, pixels):
            seen.append(len(workspace.store(SPACE)))
            return super().encode_pixels(pixels)

    monkeypatch.setattr(module, "_SHARD_ROWS", 8)
    run(images, workspace, Watching(), batch_size=4)
    assert seen == [0, 0, 8, 8, 16]
    assert len(list(workspace.store(SPACE).folder.glob("shard-*.h5"))) == 3


def test_slow_work_reaches_the_disk_by_the_clock(images, workspace, monkeypatch):
    monkeypatch.setattr(module, "_SHARD_SECONDS", 0.0)
    run(images, workspace, FakeClip(), batch_size=5)
    assert len(list(workspace.store(SPACE).folder.glob("shard-*.h5"))) >= 4


def test_two_runs_at_once(images, workspace):
    with workspace.store(SPACE).writer(), pytest.raises(StoreError, match="another deltaoe process"):
        run(images, workspace, FakeClip())
    assert run(images, workspace, FakeClip()).encoded == 20


def test_a_workspace_that_takes_nothing_is_found_out_before_the_model_is_loaded(images, tmp_path):
    (tmp_path / "file").write_text("")
    source = FakeSource(Workspace(tmp_path / "file" / ".deltaoe"), FakeClip())
    with pytest.raises(StoreError, match="cannot write"):
        ingest(listed(images), Workspace(tmp_path / "file" / ".deltaoe"), source, silent)
    assert source.loaded == 0


def test_progress_ends_at_the_total(images, workspace):
    (images / "19.png").write_bytes(b"")
    events = []
    run(images, workspace, FakeClip(), on=events.append, batch_size=6)
    assert [event.done for event in events] == [6, 12, 18, 20]
    assert {event.total for event in events} == {20}
    assert events[-1].info["failed"] == 1


def test_an_interrupted_run_says_how_far_it_came(images, workspace):
    events = []
    with pytest.raises(KeyboardInterrupt):
        run(images, workspace, FakeClip(fail_at=2, error=KeyboardInterrupt()), on=events.append, batch_size=6)
    assert events[-1].message.startswith("stopping:")
    assert "of 20" in events[-1].message


# Memory


def test_few_pictures_wait_in_memory(tmp_path, workspace, monkeypatch):
    for i in range(120):
        draw(tmp_path / "images" / f"{i:03d}.png", i)
    monkeypatch.setattr(decoding, "usable_cpus", lambda: 4)

    class Slow(FakeClip):
        def encode_pixels(self, pixels):
            time.sleep(0.02)  # decoding could run far ahead
            return super().encode_pixels(pixels)

    clip = Slow()
    run(tmp_path / "images", workspace, clip, batch_size=5)
    assert sum(clip.batches) == 120
    assert 5 < clip.most_waiting <= 5 + (2 * 5 + 8) + 1
