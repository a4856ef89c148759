"""A run that would repeat the last one takes its result, and no change that another run would see escapes it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import make_model, make_pictures

from deltaoe.clip.options import ModelOptions
from deltaoe.errors import DataError
from deltaoe.extraction import ingest as ingest_module
from deltaoe.extraction.extract import extract
from deltaoe.extraction.extract_result import ExtractResult
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.store.workspace import Workspace


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A project whose images were extracted once; the model lies elsewhere."""
    folder = tmp_path_factory.mktemp("extracted") / "project"
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("MODEL_OF_THIS_TEST", str(make_model(folder.parent / "model", 1)))
    request.addfinalizer(monkeypatch.undo)
    for seed, name in enumerate(("blue_waves", "red_stripes")):
        make_pictures(folder / "images" / name, 3, seed)
    (folder / "images" / "notes.txt").write_text("these are pictures")
    run(folder)
    return folder


@pytest.fixture
def project(extracted: Path, tmp_path: Path) -> Path:
    """A copy of it, after the run that read the copied files again, and one that kept its result."""
    shutil.copytree(extracted, tmp_path / "project")
    for _ in range(2):
        run(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def ingested(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of files that were looked up, one for each run that did not repeat another."""
    numbers: list[int] = []
    plain = ingest_module.ingest

    def counting(files, *rest, **more):
        numbers.append(len(files))
        return plain(files, *rest, **more)

    monkeypatch.setattr(ingest_module, "ingest", counting)
    return numbers


def run(project: Path, inputs: list[str] | None = None, **options: object) -> ExtractResult:
    name = f"local-dir:{os.environ['MODEL_OF_THIS_TEST']}"
    model = ModelOptions(model=name, device="cpu", precision="fp32", offline=True)
    how = ExtractOptions(model=model, **{"ingest": IngestOptions(workers=0)} | options)  # type: ignore[arg-type]
    return extract(inputs or [str(project / "images")], Workspace(project / ".deltaoe"), how)


def assert_same(one: ExtractResult, other: ExtractResult) -> None:
    for first, second in ((one, other), (one.data, other.data)):
        for field in dataclasses.fields(first):
            if field.name != "data":
                left, right = getattr(first, field.name), getattr(second, field.name)
                assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, (
                    field.name
                )
                assert type(left) is type(right), field.name


def shards(project: Path) -> list[Path]:
    return sorted((project / ".deltaoe" / "features").rglob("shard-*.h5"))


def picture(project: Path) -> Path:
    return min((project / "images").rglob("*.png"))


def test_the_same_result_without_a_look_at_the_store(project, ingested):
    shutil.rmtree(project / ".deltaoe" / "runs")
    whole = run(project)
    assert len(ingested) == 1
    again = run(project)
    assert len(ingested) == 1
    assert again.reused == len(again.data) > 0
    assert_same(whole, again)
    assert list(Workspace(project / ".deltaoe").dataset().paths) == list(whole.data.paths)


def rewritten(project: Path) -> None:
    """In place, of the same size, with the times put back."""
    path = picture(project)
    info, content = path.stat(), path.read_bytes()
    with path.open("r+b") as file:
        file.write(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def exchanged(project: Path) -> None:
    """Two files of one folder, whose names, sizes and times may all be the same afterwards."""
    one, other = sorted(picture(project).parent.glob("*.png"))[:2]
    spare = one.with_suffix(".spare")
    one.rename(spare), other.rename(one), spare.rename(other)


CHANGES = {
    "a file written anew": lambda project: picture(project).write_bytes(picture(project).read_bytes()),
    "a file changed in place": rewritten,
    "files exchanged": exchanged,
    "a file touched": lambda project: os.utime(picture(project)),
    "permissions": lambda project: picture(project).chmod(0o600),
    "a file more": lambda project: shutil.copy(picture(project), picture(project).with_name("more.png")),
    "another kind of file": lambda project: (picture(project).parent / "list.csv").write_text("a"),
    "a hidden file": lambda project: (picture(project).parent / ".hidden").write_text("a"),
    "an empty folder": lambda project: (project / "images" / "zebra").mkdir(),
    "an example of another kind": lambda project: (project / "images" / "notes.txt").write_text("more words"),
    "a shard touched": lambda project: os.utime(shards(project)[0]),
    "no list of the images": lambda project: shutil.rmtree(project / ".deltaoe" / "datasets"),
    "no state": lambda project: (project / ".deltaoe" / "workspace.json").unlink(),
    "a damaged result": lambda project: [
        path.write_bytes(path.read_bytes()[:-1] + b"?") for path in (project / ".deltaoe" / "runs").iterdir()
    ],
    "another data set meanwhile": lambda project: run(project, name="other"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_are_looked_up_after(name, project, ingested):
    run(project)
    assert not ingested
    CHANGES[name](project)
    ingested.clear()
    run(project)
    assert len(ingested) == 1
    run(project)
    repeated = run(project)
    shutil.rmtree(project / ".deltaoe" / "runs", ignore_errors=True)
    whole = run(project)
    assert_same(repeated, whole)


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "flat"},
        {"keep_ids": True},
        {"name": "other"},
        {"ingest": IngestOptions(workers=0, recheck=True)},
        {"ingest": IngestOptions(workers=0, retry_failed=True)},
    ],
    ids=str,
)
def test_files_are_looked_up_with_other_options(options, project, ingested):
    shutil.rmtree(project / ".deltaoe" / "runs")
    run(project)
    run(project, **options)
    assert len(ingested) == 2


def test_lost_features_are_made_again(project, ingested):
    for path in shards(project):
        path.unlink()
    assert run(project).encoded > 0


@pytest.mark.parametrize("content", [b"no picture", None])
def test_with_a_file_that_cannot_be_used_files_are_looked_up(content, project, ingested):
    path = picture(project).with_name("broken.png")
    path.symlink_to("nowhere") if content is None else path.write_bytes(content)
    try:
        for _ in range(3):
            assert [name for name, _ in run(project).failed] == [str(path.relative_to(project / "images"))]
        assert len(ingested) == 3
    finally:
        path.unlink()


def test_a_list_is_read_each_time(project, ingested):
    listed = project / "list.csv"
    listed.write_text("".join(f"{path}\n" for path in (project / "images").rglob("*.png")))
    for _ in range(3):
        run(project, [str(listed)])
    assert len(ingested) == 3


def test_nothing_is_kept_of_features_that_changed_meanwhile(project, monkeypatch):
    shutil.rmtree(project / ".deltaoe" / "runs")
    plain = ingest_module.ingest

    def meanwhile(*given, **more):
        result = plain(*given, **more)
        os.utime(shards(project)[0])
        return result

    monkeypatch.setattr(ingest_module, "ingest", meanwhile)
    run(project)
    assert not (project / ".deltaoe" / "runs").exists()


def test_folders_that_are_gone_are_an_error(project):
    with pytest.raises(DataError, match="no such"):
        run(project, [str(project / "images"), str(project / "nowhere")])
