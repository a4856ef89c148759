"""Drawing the world into a folder: once, resumable, and never over anybody's file."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deltaoe.demo import paint as module
from deltaoe.demo import world
from deltaoe.demo.paint import paint, painted, render
from deltaoe.errors import DataError, StoreError

# What ``paint`` draws again and again is drawn once; ``render`` draws it anew.
drawn = functools.cache(render)
SOME = [p for p in world.pictures() if p.number == 0 and p.kind in {"fish", "key", "snail", "tartan", "wood"}]


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pictures", lambda: SOME)
    monkeypatch.setattr(module, "_CHUNK", 3)
    monkeypatch.setattr(module, "render", drawn)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.jpg")}


def test_twice_in_one_folder(tmp_path: Path) -> None:
    events = []
    assert not painted(tmp_path)
    first = paint(tmp_path, 1, events.append)
    assert (first.drawn, first.there, first.removed) == (len(SOME), 0, 0)
    assert [event.done for event in events][-1] == len(SOME) and painted(tmp_path)
    files = contents(tmp_path)
    assert files == {picture.path: render(picture, 1) for picture in SOME}
    assert all(Image.open(io.BytesIO(data)).size == (160, 160) for data in files.values())
    times = {path: (tmp_path / path).stat().st_mtime_ns for path in files}
    again = paint(tmp_path, 1)
    assert (again.drawn, again.there) == (0, len(SOME))
    assert {path: (tmp_path / path).stat().st_mtime_ns for path in files} == times


def test_another_seed_replaces(tmp_path: Path) -> None:
    paint(tmp_path, 1)
    before = contents(tmp_path)
    assert paint(tmp_path, 2).drawn == len(SOME)
    after = contents(tmp_path)
    assert before.keys() == after.keys() and not set(before.values()) & set(after.values())
    paint(tmp_path, 1)
    assert contents(tmp_path) == before


def test_what_is_missing_is_drawn_again(tmp_path: Path) -> None:
    paint(tmp_path, 1)
    before = contents(tmp_path)
    (tmp_path / SOME[0].path).unlink()
    assert paint(tmp_path, 1).drawn == 1
    assert contents(tmp_path) == before


def test_after_a_kill_while_drawing(tmp_path: Path) -> None:
    paint(tmp_path, 1)
    before = contents(tmp_path)
    (tmp_path / "pictures.json").write_text('{"seed": null, "sha256": {}}')  # as it is while drawing
    (tmp_path / SOME[-1].path).unlink()
    paint(tmp_path, 1)
    assert contents(tmp_path) == before
    # Killed while another seed's pictures were half drawn: the ledger is still the old one.
    (tmp_path / SOME[0].path).write_bytes(render(SOME[0], 2))
    paint(tmp_path, 2)
    assert contents(tmp_path) == {picture.path: render(picture, 2) for picture in SOME}


@pytest.mark.parametrize("seed", [1, 2])
def test_no_file_of_the_users_is_overwritten(seed: int, tmp_path: Path) -> None:
    paint(tmp_path, 1)
    mine = tmp_path / SOME[1].path
    mine.write_bytes(b"my own work")
    with pytest.raises(DataError, match="is not as the demo drew it") as caught:
        paint(tmp_path, seed)
    assert mine.name in str(caught.value) and "--keep" in caught.value.hint
    assert mine.read_bytes() == b"my own work"


def test_pictures_of_another_version_are_removed_unless_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path, 1)
    (tmp_path / SOME[0].path).write_bytes(b"my own work")
    monkeypatch.setattr(module, "pictures", lambda: SOME[2:])
    assert paint(tmp_path, 1).removed == 1
    assert (tmp_path / SOME[0].path).read_bytes() == b"my own work"
    assert not (tmp_path / SOME[1].path).exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"seed": 1}', '{"seed": "x", "sha256": {}}'])
def test_a_broken_ledger_costs_a_redraw(content: str, tmp_path: Path) -> None:
    paint(tmp_path, 1)
    (tmp_path / "pictures.json").write_text(content)
    assert paint(tmp_path, 1).drawn == len(SOME)
    assert json.loads((tmp_path / "pictures.json").read_text())["sha256"].keys() == {p.path for p in SOME}


def test_a_folder_where_a_picture_must_go(tmp_path: Path) -> None:
    paint(tmp_path, 1)
    (tmp_path / SOME[0].path).unlink()
    (tmp_path / SOME[0].path).mkdir()
    with pytest.raises(StoreError, match="cannot read") as caught:
        paint(tmp_path, 1)
    assert "--out" in caught.value.hint


@pytest.mark.parametrize("name", ["images", "unknown", ".deltaoe"])
def test_somebodys_project_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="exists and is not the demo's") as caught:
        paint(tmp_path, 1)
    assert "--out" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_read_only_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot write"):
        paint(tmp_path / "file" / "demo", 1)


def test_seeds_draw_different_pictures() -> None:
    first, second = (np.asarray(Image.open(io.BytesIO(render(SOME[0], seed)))) for seed in (1, 2))
    assert np.abs(first.astype(int) - second).mean() > 5
