"""From files to features: nothing twice, nothing lost, bad files named and only the right ones remembered."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time

import h5py
import numpy as np
import pytest
from fakes import SPACE, FakeClip, FakeSource, draw, feature, listed
from PIL import Image

from deltaoe.data.images import ImageError, ImageFile, decode, read_bytes
from deltaoe.data.space import FeatureSpace
from deltaoe.data.workspace import Workspace
from deltaoe.errors import DataError, StoreError
from deltaoe.workflows import ingest as module
from deltaoe.workflows.ingest import _ahead, ingest
from deltaoe.workflows.progress import silent


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / ".deltaoe")


@pytest.fixture
def images(tmp_path):
    for i in range(20):
        draw(tmp_path / "images" / f"{i:02d}.png", i)
    return tmp_path / "images"


def run(images, workspace, clip=None, *, on=silent, known=SPACE, **options):
    """Ingest a folder; without a model, needing one is an error."""
    return ingest(listed(images), workspace, FakeSource(workspace, clip, known), on, **options)


def names(result) -> list[str]:
    return [file.relative for file in result.files]


def failures(result) -> dict[str, str]:
    return {file.relative: reason for file, reason in result.failed}


def assert_features(result, numbers) -> None:
    """Each image has its own feature, and in the order of the files."""
    wanted = np.array([feature(i) for i in numbers])
    assert np.abs(result.store.features(result.digests) - wanted).max() < 1e-3


# Nothing twice


@pytest.mark.parametrize("batch_size", [None, 1, 3, 20, 1000])
def test_every_image_gets_its_own_feature(images, workspace, batch_size):
    clip = FakeClip()
    result = run(images, workspace, clip, batch_size=batch_size)
    assert names(result) == sorted(names(result))
    assert [hashlib.sha256(file.path.read_bytes()).digest() for file in result.files] == result.digests
    assert_features(result, range(20))
    assert (result.encoded, result.reused, result.failed) == (20, 0, [])
    assert max(clip.batches) <= (batch_size or 32)
    assert sum(clip.batches) == 20


def test_a_second_run_opens_nothing(images, workspace, monkeypatch):
    run(images, workspace, FakeClip())
    monkeypatch.setattr(module, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    result = run(images, workspace)
    assert (result.encoded, result.reused) == (0, 20)
    assert_features(result, range(20))


def test_any_order_and_any_part_of_the_files(images, workspace):
    files = listed(images)[::-1]
    source = FakeSource(workspace, FakeClip())
    result = ingest(files, workspace, source, silent, batch_size=7)
    assert names(result) == [f"{i:02d}.png" for i in range(19, -1, -1)]
    assert_features(result, range(19, -1, -1))
    part = ingest(files[3:6], workspace, FakeSource(workspace, None), silent)
    assert_features(part, (16, 15, 14))
    assert ingest([], workspace, FakeSource(workspace, None), silent).files == []


def test_a_touched_file_is_read_but_not_encoded(images, workspace):
    run(images, workspace, FakeClip())
    os.utime(images / "03.png", ns=(1, 1))
    clip = FakeClip()
    result = run(images, workspace, clip)
    assert (result.encoded, result.reused, clip.decoded) == (0, 19, 0)
    assert len(result.files) == 20
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
    assert (result.encoded, clip.decoded, len(result.files)) == (0, 0, 21)
    assert_features(result, [0, 1, 2, 3, 4, *range(6, 20), 6, 5])


def test_equal_files_are_stored_once(images, workspace):
    for i in range(7):
        shutil.copy(images / "04.png", images / f"twin{i}.png")
    result = run(images, workspace, FakeClip(), batch_size=4)
    assert len(result.files) == 27
    assert len(set(result.digests)) == len(result.store) == 20
    assert_features(result, [*range(20), *[4] * 7])
    stored = 0
    for shard in result.store.folder.glob("shard-*.h5"):
        with h5py.File(shard) as file:
            stored += len(file["features/digest"])
    assert stored == 20


def test_the_model_is_loaded_only_when_it_is_needed(images, workspace):
    source = FakeSource(workspace, FakeClip())
    ingest(listed(images), workspace, source, silent)
    assert (source.loaded, source.remembered) == (1, 1)
    again = FakeSource(workspace, FakeClip())
    ingest(listed(images), workspace, again, silent)
    assert again.loaded == 0


def test_other_weights_behind_the_name_start_anew(images, workspace):
    run(images, workspace, FakeClip())
    changed = FeatureSpace("fake", "other", "c", "{}", "fp32", 1, 3)
    result = run(images, workspace, FakeClip(changed), known=SPACE)
    assert result.encoded == 0  # all was cached: nobody loaded the model
    draw(images / "new.png", 50)
    result = run(images, workspace, FakeClip(changed), known=SPACE)
    assert result.store.space == changed
    assert (result.encoded, result.reused, len(result.files)) == (21, 0, 21)


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


# Bad files


def test_a_broken_picture_is_remembered_until_it_changes_or_is_asked_for(images, workspace, monkeypatch):
    (images / "bad.png").write_bytes(b"no picture")
    result = run(images, workspace, FakeClip())
    assert failures(result) == {"bad.png": "not an image, or of an unknown kind"}
    assert len(result.files) == 20
    reads = []
    monkeypatch.setattr(module, "read_bytes", lambda path: reads.append(path.name) or read_bytes(path))
    assert failures(run(images, workspace)) == failures(result)
    assert reads == []
    assert failures(run(images, workspace, FakeClip(), retry_failed=True)) == failures(result)
    assert reads == ["bad.png"]
    draw(images / "bad.png", 60)
    assert failures(run(images, workspace, FakeClip())) == {}
    assert reads == ["bad.png", "bad.png"]
    assert run(images, workspace).reused == 21


def test_a_file_that_cannot_be_read_is_tried_again(images, workspace, monkeypatch):
    """Permissions and unplugged disks pass; what they hid is no broken picture."""

    def denied(path):
        if path.name == "07.png":
            raise ImageError("permission denied")
        return read_bytes(path)

    monkeypatch.setattr(module, "read_bytes", denied)
    result = run(images, workspace, FakeClip())
    assert failures(result) == {"07.png": "permission denied"}
    assert result.store.file(workspace.file_key(images / "07.png")) is None
    monkeypatch.undo()
    again = run(images, workspace, FakeClip())
    assert (again.encoded, again.reused, again.failed) == (1, 19, [])


def test_a_file_that_is_gone_between_listing_and_reading(images, workspace):
    files = listed(images)
    (images / "07.png").unlink()
    result = ingest(files, workspace, FakeSource(workspace, FakeClip()), silent)
    assert failures(result) == {"07.png": "no such file or folder"}
    assert len(result.files) == 19


def test_files_with_a_problem_are_not_opened(images, workspace, tmp_path):
    broken = ImageFile(tmp_path / "x.png", "x.png", 0, 0, "no such file or folder")
    result = ingest([broken, *listed(images)], workspace, FakeSource(workspace, FakeClip()), silent)
    assert failures(result) == {"x.png": "no such file or folder"}


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_bad_files_anywhere_among_good_ones(images, workspace, batch_size):
    for name in ("00", "05", "06", "07", "08", "19"):
        (images / f"{name}.png").write_bytes(b"")
    result = run(images, workspace, FakeClip(), batch_size=batch_size)
    assert set(failures(result).values()) == {"empty file"}
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
    assert run(tmp_path / "images", workspace, FakeClip()).failed == []


# Nothing lost


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_what_was_encoded_before_a_failure_is_kept(images, workspace, error):
    with pytest.raises(error):
        run(images, workspace, FakeClip(fail_at=3, error=error), batch_size=6)
    assert len(workspace.store(SPACE)) == 12
    result = run(images, workspace, FakeClip(), batch_size=6)
    assert (result.encoded, result.reused) == (8, 12)
    assert_features(result, range(20))


def test_a_failure_while_decoding_keeps_what_came_before(images, workspace):
    class Odd(FakeClip):
        def preprocess(self, image):
            if self.decoded == 15:
                raise RuntimeError("a bug of ours")
            return super().preprocess(image)

    with pytest.raises(RuntimeError, match="a bug of ours"):
        run(images, workspace, Odd(), batch_size=2)
    assert len(workspace.store(SPACE)) >= 2
    assert run(images, workspace, FakeClip()).encoded < 20


def test_work_reaches_the_disk_while_it_goes_on(images, workspace, monkeypatch):
    seen = []

    class Watching(FakeClip):
        def encode_images(self, batch):
            seen.append(len(workspace.store(SPACE)))
            return super().encode_images(batch)

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


# Memory and order


def test_few_pictures_wait_in_memory(tmp_path, workspace, monkeypatch):
    for i in range(120):
        draw(tmp_path / "images" / f"{i:03d}.png", i)
    monkeypatch.setattr(module, "usable_cpus", lambda: 4)

    class Slow(FakeClip):
        def encode_images(self, batch):
            time.sleep(0.02)  # decoding could run far ahead
            return super().encode_images(batch)

    clip = Slow()
    run(tmp_path / "images", workspace, clip, batch_size=5)
    assert sum(clip.batches) == 120
    assert 5 < clip.most_waiting <= 5 + (2 * 5 + 4) + 1


def test_ahead_keeps_the_order_and_the_limit():
    lock, started, finished, most = threading.Lock(), 0, 0, 0

    def work(i):
        nonlocal started
        with lock:
            started += 1
        time.sleep(0.001 * (i % 7))
        return i * i

    for item, result in _ahead(work, range(200), 6, 10):
        assert result == item * item
        assert item == finished
        finished += 1
        most = max(most, started - finished)
    assert finished == 200
    assert most <= 10
    assert list(_ahead(work, [], 2, 5)) == []
    assert [item for item, _ in _ahead(work, range(3), 2, 50)] == [0, 1, 2]


def test_closing_ahead_drops_what_has_not_started():
    started = []

    def work(i):
        started.append(i)
        time.sleep(0.1 if i else 0)

    results = _ahead(work, range(1000), 2, 100)
    next(results)
    results.close()
    assert len(started) < 30  # of a hundred that were waiting


def test_ahead_passes_an_exception_on():
    def work(i):
        if i == 5:
            raise ValueError("five")
        return i

    results, seen = _ahead(work, range(100), 3, 8), []
    with pytest.raises(ValueError, match="five"):
        seen.extend(item for item, _ in results)
    assert threading.active_count() < 20
    assert next(results, None) is None
