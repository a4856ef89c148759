"""Exports that were damaged or made up: one message each, no change that nobody sees, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import digests, make_space, unit_rows

from deltaoe.errors import DeltaoeError
from deltaoe.interchange.import_export import import_features
from deltaoe.interchange.options import ImportOptions
from deltaoe.store.archive import write_archive
from deltaoe.store.archive_seal import is_sealed, seal
from deltaoe.store.dataset import DataSet
from deltaoe.store.workspace import Workspace

COUNT, DIM = 12, 8
SEAL_LENGTH = len("\ndeltaoe.archive sha256 \n") + 64
SPACE = make_space(DIM)
ROWS = unit_rows(2 * COUNT, DIM)


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    """An export of 12 images of 3 classes with an augmented view each."""
    path = tmp_path_factory.mktemp("export") / "whole.h5"
    data = DataSet(
        root="",
        space_id=SPACE.id,
        model=SPACE.model,
        layout="class",
        class_names=("ant", "bee", "cat"),
        domain_names=("photo",),
        paths=[f"a/{i}.png" for i in range(COUNT)],
        digests=digests(range(COUNT)),
        class_of=np.arange(COUNT) % 3,
        domain_of=np.zeros(COUNT, dtype=np.int64),
        name="mine",
        text_features=unit_rows(3, DIM, seed=4),
    )
    views = np.repeat(np.array([0, 1], np.uint16), COUNT)
    write_archive(path, data, SPACE, np.tile(data.digests, (2, 1)), views, [ROWS])
    return path


def refused(path: Path) -> DeltaoeError:
    """The error that an import ends with, which leaves nothing behind."""
    place = path.parent / ".deltaoe"
    with pytest.raises(DeltaoeError) as caught:
        import_features(path, Workspace(place))
    assert not place.exists()
    assert path.name in str(caught.value) and caught.value.hint
    assert "\n" not in str(caught.value) and "Error" not in str(caught.value)
    return caught.value


def changed(
    export: Path, folder: Path, change: Callable[[h5py.File], Any], version: int | None = None
) -> Path:
    """A copy of the export, changed and sealed again; of an earlier version, without a seal."""
    path = folder / "made-up.h5"
    path.write_bytes(export.read_bytes()[:-SEAL_LENGTH])
    with h5py.File(path, "r+") as file:
        change(file)
        if version is not None:
            file.attrs["version"] = version
    if version is None:
        seal(path)
        assert is_sealed(path)
    return path


def test_whole(export, tmp_path):
    assert is_sealed(export)
    done = import_features(export, Workspace(tmp_path / ".deltaoe"))
    assert (len(done.data), done.new, done.notes, done.data.title) == (COUNT, 2 * COUNT, [], "data:mine")
    again = import_features(changed(export, tmp_path, lambda file: None), Workspace(tmp_path / ".deltaoe"))
    assert (again.new, again.notes) == (0, [])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_flipped_bit_anywhere(export, tmp_path, data):
    content = bytearray(export.read_bytes())
    at = data.draw(
        st.one_of(st.integers(0, len(content) - 1), st.integers(len(content) - 100, len(content) - 1))
    )
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "flipped.h5").write_bytes(content)
    refused(tmp_path / "flipped.h5")


@pytest.mark.parametrize("end", [-1, -SEAL_LENGTH, -SEAL_LENGTH - 1, 4000, 100, 8, 0])
def test_cut_off(export, tmp_path, end):
    (tmp_path / "cut.h5").write_bytes(export.read_bytes()[:end])
    refused(tmp_path / "cut.h5")


def test_more_behind_it(export, tmp_path):
    (tmp_path / "longer.h5").write_bytes(export.read_bytes() + b"\n")
    assert "its content has changed since it was written" in str(refused(tmp_path / "longer.h5"))


@pytest.mark.parametrize("version", [1, 2])
def test_an_export_of_an_earlier_version_says_that_it_cannot_be_checked(export, tmp_path, version):
    path = changed(export, tmp_path, lambda file: None, version)
    done = import_features(path, Workspace(tmp_path / ".deltaoe"))
    (note,) = done.notes
    assert "earlier version" in note and "damage to it cannot be seen" in note
    assert (len(done.data), done.new) == (COUNT, 2 * COUNT)


def replaced(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if value is not None:
            file.create_dataset(name, data=value)

    return change


def put(name: str, *at: Any, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file[name].__setitem__(at or ..., value)


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file.attrs:
            del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return change


def entry(where: str, **values: Any) -> Callable[[h5py.File], None]:
    """Change entries of one of the tables in JSON; None takes one out."""

    def change(file: h5py.File) -> None:
        table = {**json.loads(file.attrs[where]), **values}
        file.attrs[where] = json.dumps({name: value for name, value in table.items() if value is not None})

    return change


def time_typed(file: h5py.File) -> None:
    kind = h5py.h5t.UNIX_D32LE.copy()
    h5py.h5a.create(file.id, b"when", kind, h5py.h5s.create(h5py.h5s.SCALAR))
    del file.attrs["version"]


MADE_UP = {
    "not finite": put("features", 5, 3, value=np.nan),
    "infinite": put("features", 5, 3, value=np.inf),
    "zero": put("features", 5, value=0),
    "scaled": lambda file: file["features"].__setitem__(..., 2 * file["features"][()]),
    "a little scaled": lambda file: file["features"].__setitem__(..., 1.01 * file["features"][()]),
    "features short": replaced("features", ROWS[:-1].astype(np.float16)),
    "features single": replaced("features", ROWS),
    "features integer": replaced("features", np.ones((2 * COUNT, DIM), np.int16)),
    "features text": replaced("features", b"text"),
    "features gone": replaced("features", None),
    "view too large": put("view", 3, value=65535),
    "view signed": replaced("view", np.full(2 * COUNT, -1, np.int16)),
    "view wide": replaced("view", np.full(2 * COUNT, 1 << 40, np.int64)),
    "view of floats": replaced("view", np.zeros(2 * COUNT)),
    "view short": replaced("view", np.zeros(3, np.uint16)),
    "no picture itself": lambda file: file["view"].__setitem__(..., 1 + file["view"][()]),
    "twice": lambda file: file["view"].__setitem__(..., 0),
    "digests gone": replaced("digest", None),
    "digests narrow": replaced("digest", np.zeros((2 * COUNT, 16), np.uint8)),
    "other digests": replaced("path_digest", digests(range(50, 50 + COUNT))),
    "classes out of range": put("class_of", 2, value=3),
    "classes below range": put("class_of", 2, value=-2),
    "classes of floats": replaced("class_of", np.zeros(COUNT)),
    "classes far out of range": put("class_of", 2, value=1 << 40),
    "domains short": replaced("domain_of", np.zeros(3, np.int64)),
    "splits without names": replaced("split_of", np.zeros(COUNT, np.int64)),
    "paths cut": replaced("path_offsets", np.array([0, 3, 2])),
    "paths gone": replaced("path", None),
    "path with NUL": put("path", 0, value=0),
    "texts not finite": put("text_features", 1, 1, value=np.nan),
    "texts scaled": lambda file: file["text_features"].__setitem__(..., 3 * file["text_features"][()]),
    "texts narrow": replaced("text_features", unit_rows(3, DIM - 1)),
    "texts of few": replaced("text_features", unit_rows(2, DIM)),
    "more": replaced("more", ["text"]),
    "huge": lambda file: file.create_dataset("more", (10**9, 99), "f8"),
    "packed": lambda file: file.create_dataset("more", data=np.zeros(10**6), compression="gzip"),
    "a link": lambda file: file.__setitem__("more", h5py.ExternalLink("/etc/hostname", "x")),
    "a group": lambda file: file.create_group("more"),
    "time-typed attribute": time_typed,
    "no head": attribute("head", None),
    "head a number": attribute("head", 3),
    "head a list": attribute("head", "[1, 2]"),
    "head no JSON": attribute("head", "{"),
    "head deep": attribute("head", "[" * 50_000),
    "head without a model": entry("head", model=None),
    "head without a name": entry("head", name=None),
    "head without a layout": entry("head", layout=None),
    "layout unknown": entry("head", layout="banana"),
    "layout a list": entry("head", layout=["class"]),
    "model a number": entry("head", model=3),
    "name with a slash": entry("head", name="../made-up.h5"),
    "name with a NUL": entry("head", name="made-up.h5\0"),
    "class names equal": entry("head", class_names=["ant", "ant", "cat"]),
    "class name empty": entry("head", class_names=["ant", "", "cat"]),
    "class name blank": entry("head", class_names=["ant", "  ", "cat"]),
    "class name with NUL": entry("head", class_names=["ant", "b\0", "cat"]),
    "class name a lone surrogate": entry("head", class_names=["ant", "\ud800", "cat"]),
    "class name a number": entry("head", class_names=["ant", 3, "cat"]),
    "class names a text": entry("head", class_names="ant"),
    "class names a table": entry("head", class_names={"ant": 1}),
    "domain names equal": entry("head", domain_names=["photo", "photo"]),
    "split unknown": entry("head", split_names=["banana"]),
    "no space": attribute("space", None),
    "space of another width": entry("space", dim=DIM + 1),
    "space without width": entry("space", dim=0),
    "space of a negative width": entry("space", dim=-8),
    "space of objects": entry("space", dtype="object"),
    "space of bananas": entry("space", dtype="banana"),
    "space of another type": entry("space", dtype="float32"),
    "space incomplete": entry("space", weights=None),
    "space of a list": entry("space", precision=["fp32"]),
    "another kind": attribute("format", "deltaoe.dataset"),
    "no kind": attribute("format", None),
    "kind a number": attribute("format", 7),
    "no version": attribute("version", None),
    "version a text": attribute("version", "3"),
    "version zero": attribute("version", 0),
    "version negative": attribute("version", -1),
    "newer": attribute("version", 99),
}


@pytest.mark.parametrize("change", MADE_UP.values(), ids=MADE_UP)
def test_made_up_content_with_the_right_digest(export, tmp_path, change):
    refused(changed(export, tmp_path, change))


@pytest.mark.parametrize(
    "name", ["not finite", "zero", "view too large", "class name a lone surrogate", "texts scaled"]
)
def test_made_up_content_of_an_earlier_version(export, tmp_path, name):
    refused(changed(export, tmp_path, MADE_UP[name], 2))


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.one_of(st.text(max_size=5), st.integers(), st.none()), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
arrays = st.one_of(
    *(
        st.builds(
            lambda shape, kind, fill: np.full(shape, fill).astype(kind),
            st.lists(st.integers(0, 30), max_size=3).map(tuple),
            st.sampled_from(["u1", "u2", "i2", "i8", "f2", "f4", "f8", "c8", "?", "S3"]),
            st.sampled_from([0, 1, 2, 255]),
        ),
        st.just(h5py.Empty("f4")),
    )
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_part_replaced_by_anything(export, tmp_path, data):
    """Either it is refused with one message, or what was imported is a data set that fits together."""

    def change(file: h5py.File) -> None:
        what = data.draw(st.sampled_from(["dataset", "head", "space", "attribute"]))
        if what == "dataset":
            replaced(data.draw(st.sampled_from([*file, "extra"])), data.draw(st.one_of(st.none(), arrays)))(
                file
            )
        elif what == "attribute":
            value = data.draw(
                st.one_of(st.none(), st.integers(-5, 2**40), st.binary(max_size=9).map(np.void), arrays)
            )
            value = np.void(b"x") if isinstance(value, np.void) and not value.tobytes() else value
            attribute(data.draw(st.sampled_from(sorted(file.attrs))), value)(file)
        else:
            table = json.loads(file.attrs[what])
            table[data.draw(st.sampled_from([*sorted(table), "more"]))] = data.draw(values)
            file.attrs[what] = json.dumps(table)

    path = changed(export, tmp_path, change)
    place = tmp_path / ".deltaoe"
    shutil.rmtree(place, ignore_errors=True)
    try:
        done = import_features(path, Workspace(place), ImportOptions(name="x"))
    except DeltaoeError as error:
        assert not place.exists() and error.hint and "made-up.h5" in str(error)
        return
    workspace = Workspace(place)
    kept = workspace.dataset("data:x")
    assert kept is not None and len(kept) == len(done.data)
    rows = workspace.features_of(kept).features(kept.digests)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-3
