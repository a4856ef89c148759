"""``deltaoe store`` info, verify and compact: what is kept is told, damage is named, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from command import Fails, Run, contents, unwrapped
from copied import copied_project
from filelock import FileLock
from folders import set_mode, shards, vectors
from outputs import table
from tiny import make_unknown

from deltaoe.clip.options import ModelOptions
from deltaoe.clip.source import ModelSource
from deltaoe.extraction.ingest import ingest
from deltaoe.extraction.options import IngestOptions
from deltaoe.images.inputs import find_files
from deltaoe.progress import silent
from deltaoe.runtime import native_precision, resolve_device
from deltaoe.store.workspace import Workspace

BROKEN = "bad\x1b[31m\n<b>.jpg"


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory, pictures: Path, tiny_model: Path, run: Run) -> Path:
    """A project whose cache grew in nine steps, with scores of ``unknown``. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("grown") / "project"
    shutil.copytree(pictures, folder / "images")
    make_unknown(folder / "unknown")
    (folder / "unknown" / BROKEN).write_text("no picture")
    place = Workspace(folder / ".deltaoe")
    # In this process: eight commands would load the model eight times.
    model = ModelOptions(model=f"local-dir:{tiny_model}", device="cpu", offline=True)
    source = ModelSource(model, place, on=silent)
    for name in sorted(path.name for path in (folder / "images").iterdir()):
        for half in ("0", "[12]"):
            files = find_files([f"{folder}/images/{name}/{half}*.png"])
            ingest(files, place, source, silent, IngestOptions(workers=0))
    told = run("extract", "images", "--json", cwd=folder)
    assert (told.json["encoded"], told.json["unchanged"]) == (0, 96) and "Loading" not in told.stderr
    run("score", "unknown", "--alpha", "0.2", cwd=folder)
    assert len(shards(folder)) == 9
    return folder


@pytest.fixture
def grown(many_shards: Path, tmp_path: Path) -> Path:
    """A copy of it to work on."""
    return copied_project(many_shards, tmp_path / "project")


def test_info(many_shards: Path, tmp_path: Path, run: Run) -> None:
    before = contents(many_shards)
    told = run("store", "info", "--json", cwd=many_shards).json
    (space,) = told["spaces"]
    assert space["id"] == shards(many_shards)[0].parent.name
    assert (space["images"], space["features"], space["files"], space["shards"]) == (102, 102, 103, 9)
    assert space["bytes"] == sum(path.stat().st_size for path in shards(many_shards))
    fastest = native_precision(resolve_device("auto"))  # what nobody chose depends on the machine
    assert (space["dim"], space["dtype"], space["precision"]) == (16, "float16", fastest)
    assert list(space["failed"]) == [f"unknown/{BROKEN}"]
    assert space["failed"][f"unknown/{BROKEN}"].startswith("not an image")
    (data,) = told["data_sets"]
    assert data == {
        "title": str(many_shards / "images"),
        "name": "",
        "images": 96,
        "classes": ["blue waves", "green checks", "red stripes", "yellow dots"],
        "domains": [],
        "splits": {},
        "feature_space": space["id"],
    }
    text = run("store", "info", cwd=many_shards)
    assert "102 of 16 numbers, float16" in text.stdout and "103, 1 of them no usable images" in text.stdout
    assert "unknown/bad\\x1b[31m\\n<b>.jpg: not an image" in text.stderr
    assert "\x1b" not in text.stdout + text.stderr
    assert contents(many_shards) == before

    nothing = run("store", "info", cwd=tmp_path)
    assert "holds no features yet; next: deltaoe extract ./images" in unwrapped(nothing.stderr)
    assert not list(tmp_path.iterdir())


def flip_a_bit(shard: Path) -> None:
    """Change a feature's last binary digit: only a checksum can tell."""
    with h5py.File(shard) as file:
        where = file["features/vector"].id.get_offset()
        assert where is not None
    with shard.open("r+b") as raw:
        raw.seek(where)
        (byte,) = raw.read(1)
        raw.seek(where)
        raw.write(bytes([byte ^ 1]))


def test_damage_is_named_set_aside_and_made_good(grown: Path, run: Run, fails: Fails) -> None:
    sound = run("store", "verify", "--json", cwd=grown).json
    assert sound == {"shards": 10, "features": 102} | {
        name: [] for name in ("damaged", "unreadable", "set_aside", "notes")
    }
    right, scores = vectors(shards(grown)), table(grown / "scores.csv")

    cut, changed = shards(grown)[1], shards(grown)[4]
    lost = [len(vectors([path])) for path in (cut, changed)]
    assert min(lost) > 0
    os.truncate(cut, cut.stat().st_size // 2)
    flip_a_bit(changed)
    text = cut.with_name("shard-00000042.h5")
    text.write_text("a note of mine\n")
    (listing,) = (grown / ".deltaoe" / "datasets").glob("*.h5")
    os.truncate(listing, 1000)
    damaged = {cut, changed, text, listing}
    before = contents(grown)

    done = run("store", "verify", "--json", cwd=grown, rc=1)
    assert {Path(entry["path"]) for entry in done.json["damaged"]} == damaged
    reasons = {Path(entry["path"]): entry["error"] for entry in done.json["damaged"]}
    assert "its content has changed since it was written" in reasons[changed]
    assert (done.json["shards"], done.json["features"], done.json["set_aside"]) == (11, 102 - sum(lost), [])
    assert all(str(path) in done.stderr for path in damaged)
    assert "next: deltaoe store verify --repair" in done.stderr
    assert contents(grown) == before

    says = (f"cannot read {cut} as a deltaoe features file", "deltaoe store verify --repair")
    for command in (
        ("extract", "images"),
        ("score", "images", "--force"),
        ("store", "compact"),
        ("store", "info"),
    ):
        told = (f"cannot read {listing} as a deltaoe dataset file", says[1])
        fails(*command, cwd=grown, says=says if command[0] == "extract" or "info" in command else told)

    repaired = run("store", "verify", "--repair", "--json", cwd=grown, rc=1)
    aside = {path.parent / "damaged" / path.name for path in damaged}
    assert {Path(name) for name in repaired.json["set_aside"]} == aside
    after = contents(grown)
    moved = {str(path): str(path.parent / "damaged" / path.name) for path in damaged}
    new = set(map(str, shards(grown))) - before.keys()
    assert new  # what is whole of the two shards
    assert after == {moved.get(name, name): digest for name, digest in before.items()} | {
        name: after[name] for name in new
    }
    kept = vectors([Path(name) for name in new])
    assert all(np.array_equal(row, right[key]) for key, row in kept.items())
    assert lost[1] - 1 <= len(kept) < sum(lost)  # of the other shard, one feature was changed
    assert run("store", "verify", "--json", cwd=grown).json["damaged"] == []

    again = run("extract", "images", "--json", cwd=grown).json
    assert again["encoded"] == sum(lost) - len(kept)
    assert again["unchanged"] == 96 - again["encoded"]  # the copy's observations lie in a shard of their own
    now = vectors(shards(grown))
    assert now.keys() == right.keys()
    # Other pictures stood beside them in the batch, which may move the last digit.
    assert all(np.allclose(now[key], right[key], rtol=0, atol=1e-3) for key in right)
    run("score", "unknown", "--alpha", "0.2", cwd=grown)
    for row, was in zip(table(grown / "scores.csv"), scores, strict=True):
        assert (row["path"], row["error"]) == (was["path"], was["error"])
        assert row["error"] or float(row["score"]) == pytest.approx(float(was["score"]), abs=1e-3)


def test_two_files_of_one_name_set_aside(grown: Path, run: Run) -> None:
    for note in ("first", "second"):
        (shards(grown)[0].parent / "shard-00000042.h5").write_text(note)
        run("store", "verify", "--repair", cwd=grown, rc=1)
    kept = sorted(path.read_text() for path in grown.glob(".deltaoe/features/*/damaged/*"))
    assert kept == ["first", "second"]


def test_compact(grown: Path, tmp_path: Path, run: Run) -> None:
    right = vectors(shards(grown))
    (grown / "unknown" / "noise" / "0.png").unlink()  # no data set lists it
    listed = grown / "images" / "red_stripes" / "00.png"
    listed.rename(tmp_path / "listed.png")
    shutil.move(grown / "unknown" / "red_stripes", tmp_path / "unplugged")
    score = ("score", "images", "--alpha", "0.2", "--force")
    run(*score, cwd=grown)
    scores = (grown / "scores.csv").read_bytes()

    (done,) = run("store", "compact", "--json", cwd=grown).json
    assert (done["shards"], done["dropped_features"], done["dropped_files"]) == ([10, 1], 1, 2)
    (only_one,) = shards(grown)
    assert done["bytes"][1] == only_one.stat().st_size < done["bytes"][0]
    now = vectors([only_one])
    assert len(now) == 101 and all(np.array_equal(row, right[key]) for key, row in now.items())

    done = run(*score, cwd=grown)
    assert "Loading model" not in done.stderr and (grown / "scores.csv").read_bytes() == scores
    (tmp_path / "listed.png").rename(listed)
    shutil.move(tmp_path / "unplugged", grown / "unknown" / "red_stripes")
    told = run("extract", "images", "--json", cwd=grown).json
    assert (told["encoded"], told["unchanged"], told["known_by_content"]) == (0, 95, 1)
    told = run("score", "unknown", "--json", cwd=grown)
    assert told.json["counts"]["failed"] == 1 and "Loading model" not in told.stderr

    shutil.move(grown / "unknown" / "red_stripes", tmp_path / "unplugged")
    dropping = run("store", "compact", "--drop-missing-folders", cwd=grown)
    assert "2 → 1" in dropping.stdout and "3 features, 3 file records" in dropping.stdout
    assert now.keys() - vectors(shards(grown)).keys() and len(vectors(shards(grown))) == 98
    assert run("store", "verify", "--json", cwd=grown).json["damaged"] == []


def test_one_writer_at_a_time(grown: Path, run: Run, fails: Fails) -> None:
    (grown / "new").mkdir()
    shutil.copy(grown / "unknown" / "noise" / "0.png", grown / "new" / "a.png")
    folder = shards(grown)[0].parent
    note = {"pid": 4321, "host": "the-other-one", "since": time.time() - 600}
    with FileLock(folder / "writer.lock"):
        (folder / "writer.json").write_text(json.dumps(note))
        says = (
            f"another deltaoe process is writing to {folder} (process 4321 on the-other-one, for 1",
            "wait for it, or stop it; what it has finished is kept",
        )
        refused = fails("extract", "new", cwd=grown, says=says)
        assert re.search(r"for 1\d minutes\)", refused.stderr)
        fails("store", "compact", cwd=grown, says=says)
        # Whoever only reads need not wait.
        told = run("extract", "images", "--json", cwd=grown).json
        assert told["unchanged"] == 96
        assert run("store", "verify", cwd=grown).rc == 0
    # A note that a killed writer left holds nobody up.
    assert run("extract", "new", "--json", cwd=grown).json["known_by_content"] == 1
    assert not (folder / "writer.json").exists()


def test_a_workspace_that_cannot_be_written(grown: Path, run: Run, fails: Fails, mortal: bool) -> None:
    (shards(grown)[0].parent / "shard-00000042.h5").write_text("damaged")
    before = contents(grown)
    set_mode(grown / ".deltaoe", 0o555)
    try:
        verified = run("store", "verify", "--json", cwd=grown, mortal=mortal, rc=1)
        assert [Path(entry["path"]).name for entry in verified.json["damaged"]] == ["shard-00000042.h5"]
        says = ("cannot write", str(grown / ".deltaoe"), "permission denied", "check permissions")
        fails("store", "verify", "--repair", cwd=grown, mortal=mortal, says=says)
        (shards(grown)[0].parent / "shard-00000042.h5").write_bytes(shards(grown)[0].read_bytes())
        fails("store", "compact", cwd=grown, mortal=mortal, says=says)
        run("store", "info", cwd=grown, mortal=mortal)
        run("store", "export", "out.h5", cwd=grown, mortal=mortal)
        assert (grown / "out.h5").stat().st_size > 0
    finally:
        set_mode(grown / ".deltaoe", 0o755)
    after = contents(grown)
    assert before.keys() == after.keys() - {str(grown / "out.h5")}
