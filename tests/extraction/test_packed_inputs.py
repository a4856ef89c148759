"""Images in tars, in Parquet files and at URLs become rows of the store as the same files do in folders."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeClip, FakeSource, draw
from packed import Server, files_below, make_tar, serving

from deltaoe.errors import DataError
from deltaoe.extraction import reading
from deltaoe.extraction.changes import Changes, changes, fingerprint_of, out_of_sight
from deltaoe.extraction.extract import extract
from deltaoe.extraction.ingest import Ingested, ingest
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.images.inputs import find_files
from deltaoe.images.location_text import joined
from deltaoe.images.passed_over import Unlisted
from deltaoe.progress import silent
from deltaoe.store.workspace import Workspace

HOW = IngestOptions(workers=0)
CLASSES = ("cat", "dog")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / ".deltaoe")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i in range(12):
        draw(tmp_path / "images" / CLASSES[i % 2] / f"{i:02}.png", i)
    (tmp_path / "images" / "dog" / "99.png").write_bytes(b"no picture")
    return tmp_path / "images"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read of containers and URLs, by its location."""
    names: list[str] = []
    inside, url = reading.read_inside, reading.read_url

    def read_inside(container: str, member: str) -> Any:
        names.append(f"{container}/{member}")
        return inside(container, member)

    def read_url(location: str) -> Any:
        names.append(location)
        return url(location)

    monkeypatch.setattr(reading, "read_inside", read_inside)
    monkeypatch.setattr(reading, "read_url", read_url)
    return names


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("aiohttp")
    pytest.importorskip("fsspec")
    with serving() as found:
        yield found


def run(
    workspace: Workspace, *inputs: str | Path, clip: FakeClip | None = None, how: IngestOptions = HOW
) -> Ingested:
    """Ingest inputs; without a model, needing one is an error."""
    files = find_files([str(one) for one in inputs])
    return ingest(files, workspace, FakeSource(workspace, clip), silent, how)


@pytest.fixture(autouse=True)
def no_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that takes no time reads no names of classes."""
    monkeypatch.setattr("deltaoe.extraction.extract.class_notes", lambda *given, **more: [])


def source(workspace: Workspace) -> Any:
    """A model that extraction can name."""
    found = FakeSource(workspace, FakeClip())
    found.ref = "fake"  # type: ignore[attr-defined]
    return found


def tars(images: Path, folder: Path) -> Path:
    """The images in two tars of a folder."""
    content = list(files_below(images).items())
    make_tar(folder / "00000.tar", dict(content[:7]))
    make_tar(folder / "00001.tar", dict(content[7:]))
    return folder


def parquet(images: Path, path: Path) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    content = files_below(images)
    cells = [{"bytes": data, "path": os.path.basename(name)} for name, data in content.items()]
    labels = [name.split("/")[0] for name in content]
    pq.write_table(pa.table({"image": cells, "label": labels}), path, row_group_size=5)
    return path


def same(one: Ingested, other: Ingested) -> None:
    """Row by row the same contents, features and failures."""
    assert one.digests.tolist() == other.digests.tolist()
    assert np.array_equal(one.store.features(one.digests), other.store.features(other.digests))
    assert one.failed == other.failed and len(one.failed) == 1


@pytest.mark.parametrize("kind", ["tar", "parquet", "web"])
def test_rows_are_those_of_the_folder(images, workspace, tmp_path, server, reads, kind):
    plain = run(Workspace(tmp_path / "other"), images, clip=FakeClip())
    server.files = dict(files_below(images))
    given = {
        "tar": lambda: tars(images, tmp_path / "shards"),
        "parquet": lambda: parquet(images, tmp_path / "a.parquet"),
        "web": lambda: f"{server.url}/",
    }[kind]()
    first = run(workspace, given, clip=FakeClip())
    same(first, plain)
    assert first.encoded == 12 and len(reads) == 13
    reads.clear()
    again = run(workspace, given)
    same(again, plain)
    assert again.reused == 12 and reads == []  # not even the one that is no picture
    rechecked = run(workspace, given, how=IngestOptions(workers=0, recheck=True))
    same(rechecked, plain)
    assert len(reads) == 13


def test_a_run_that_ended_early_reads_nothing_twice(images, workspace, tmp_path, monkeypatch, reads):
    monkeypatch.setattr("deltaoe.extraction.encoding_run._SHARD_ROWS", 4)
    folder = tars(images, tmp_path / "shards")
    how = IngestOptions(workers=0, batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        run(workspace, folder, clip=FakeClip(fail_at=3, fails=9, error=KeyboardInterrupt()), how=how)
    reads.clear()
    rest = run(workspace, folder, clip=FakeClip(), how=how)
    assert rest.encoded == 4 and len(reads) == 5  # the last batch, and the file that is no picture
    assert len(rest.digests) == 12


def test_a_tar_that_has_grown_is_read_and_only_what_is_new_is_encoded(images, workspace, tmp_path):
    content = files_below(images)
    path = tmp_path / "a.tar"
    make_tar(path, dict(list(content.items())[:6]))
    run(workspace, path, clip=FakeClip())
    make_tar(path, content)
    result = run(workspace, path, clip=FakeClip())
    assert (result.encoded, result.reused, len(result.digests)) == (6, 0, 12)
    swapped = {
        name: content[name.replace("00", "x").replace("02", "00").replace("x", "02")] for name in content
    }
    make_tar(path, swapped)
    result = run(workspace, path, clip=FakeClip())
    assert result.encoded == 0  # all known by content
    expected = [hashlib.sha256(content[f"cat/{name}.png"]).digest() for name in ("02", "00", "04")]
    assert [bytes(one) for one in result.digests[:3]] == expected


def test_a_changed_object_is_downloaded_and_others_are_not(images, workspace, server, reads):
    server.files = dict(files_below(images))
    run(workspace, f"{server.url}/", clip=FakeClip())
    reads.clear()
    server.files["cat/00.png"] = server.files["cat/02.png"]
    result = run(workspace, f"{server.url}/", clip=FakeClip())
    assert result.encoded == 0
    assert reads == [f"{server.url}/cat/00.png"]
    assert (result.digests[0] == result.digests[1]).all()
    del server.files["cat/04.png"]
    assert len(run(workspace, f"{server.url}/").digests) == 11


def test_a_location_is_read_in_another_process(images, tmp_path):
    """By nothing but the string."""
    folder = tars(images, tmp_path / "shards")
    locations = [f"{folder}/00000.tar/cat/00.png", f"{parquet(images, tmp_path / 'a.parquet')}/3-06.png"]
    code = "import sys; from deltaoe.extraction.reading import read_file\n"
    code += "print(*(read_file(one).digest.hex() for one in sys.argv[1:]))"
    there = subprocess.run(
        [sys.executable, "-c", code, *locations], capture_output=True, text=True, check=True
    )
    assert there.stdout.split() == [reading.read_file(one).digest.hex() for one in locations]
    assert reading.read_file(f"{images}/cat/00.png").digest.hex() == there.stdout.split()[0]


@pytest.mark.parametrize("split", [False, True])
def test_the_data_set_lists_locations(images, workspace, tmp_path, split):
    folder = tmp_path / "shards"
    content = files_below(images)
    if split:
        make_tar(folder / "train-0.tar", dict(list(content.items())[:7]))
        make_tar(folder / "val-0.tar", dict(list(content.items())[7:]))
    else:
        tars(images, folder)
    options = ExtractOptions(ingest=HOW)
    made = extract(folder, workspace, options, source=source(workspace))
    data = workspace.dataset(folder)
    assert data is not None and data.class_names == CLASSES and len(data) == 12
    assert data.split_names == (("train", "val") if split else ())
    assert [reading.read_file(joined(data.root, path)).digest for path in data.paths] == data.keys()
    assert made.failed[0][0] == f"{'val-0' if split else '00001'}.tar/dog/99.png"
    assert changes(data, workspace, thorough=True) == Changes()
    assert fingerprint_of([str(folder)]) == workspace.folders_seen(data)
    draw(tmp_path / "new.png", 50)
    make_tar(folder / "00002.tar", {"cat/50.png": (tmp_path / "new.png").read_bytes()})
    found = changes(data, workspace)
    assert found is not None and (found.added, found.removed) == (1, 0)
    os.remove(folder / ("train-0.tar" if split else "00000.tar"))
    found = changes(data, workspace)
    assert found is not None and (found.added, found.removed) == (1, 7)
    gone = Unlisted(f"{folder}/{'val-0' if split else '00001'}.tar/", "", "cut off")
    assert out_of_sight(data, workspace, [gone])[0].startswith("5 images of")


def test_nothing_is_fetched_to_say_what_is_out_of_date(images, workspace, server):
    server.files = dict(files_below(images))
    options = ExtractOptions(ingest=HOW)
    given = f"{server.url.replace('//', '//me:secret@')}/"
    made = extract(given, workspace, options, source=source(workspace))
    assert made.data.class_names == CLASSES
    assert made.data.inputs == (f"{server.url}/",) and made.data.root == server.url
    server.asked.clear()
    data = workspace.dataset(f"{server.url}/")
    assert data is not None and (data.root, data.inputs) == (made.data.root, made.data.inputs)
    assert changes(data, workspace, thorough=True) is None
    assert not server.asked
    stored = b"".join(path.read_bytes() for path in workspace.folder.rglob("*") if path.is_file())
    assert b"secret" not in stored


def test_hosts_and_folders_together(images, workspace, server, tmp_path):
    """Their data set has no folder in common, and is no imported one."""
    server.files = dict(list(files_below(images).items())[:3])
    draw(tmp_path / "images" / "cat" / "60.png", 60)
    options = ExtractOptions(ingest=HOW)
    data = extract([images, f"{server.url}/"], workspace, options, source=source(workspace)).data
    assert not data.is_imported and len(data) == 16 and data.class_names == CLASSES
    assert [reading.read_file(joined(data.root, path)).digest for path in data.paths] == data.keys()
    assert changes(data, workspace) is None


def test_a_tar_whose_members_all_fail(tmp_path, workspace):
    make_tar(tmp_path / "a.tar", {"cat/1.png": b"x", "cat/2.png": b""})
    with pytest.raises(DataError, match=r"none of the 2 image files can be used \(a\.tar/cat/1\.png: "):
        run(workspace, tmp_path / "a.tar", clip=FakeClip())
