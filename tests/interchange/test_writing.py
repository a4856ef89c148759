"""Features for other programs: what NumPy and Arrow read from the files, and what comes back from them."""

from __future__ import annotations

import importlib.util
import json
import os
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltaoe.errors import StoreError
from deltaoe.interchange.feature_table import FeatureTable
from deltaoe.interchange.reading import read_features
from deltaoe.interchange.writing import write_npy, write_npz, write_parquet

HAS_ARROW = importlib.util.find_spec("pyarrow") is not None
ARROW = pytest.mark.skipif(not HAS_ARROW, reason="needs pyarrow")
WRITERS = [
    pytest.param(write_npz, "npz", id="npz"),
    pytest.param(write_npy, "npy", id="npy"),
    pytest.param(write_parquet, "parquet", id="parquet", marks=ARROW),
]
each_writer = pytest.mark.parametrize(("write", "suffix"), WRITERS)
ODD = [
    "plain.jpg",
    "new\nline.jpg",
    "\r",
    "'\"<script>.png",
    "\udcff\udce4.jpg",
    " ",
    "é" * 127,
    "a\u2028b",
    "\ufeff",
    "😀",
]


def table_of(blocks: Iterable[np.ndarray], count: int, dim: int = 3, **other) -> FeatureTable:
    """These blocks with a path and a digest for each of ``count`` rows; ``other`` changes any part."""
    digests = np.random.default_rng(1).integers(0, 256, (count, 32), dtype=np.uint8)
    paths = [f"{i}.jpg" for i in range(count)]
    parts = {"count": count, "dim": dim, "paths": paths, "digests": digests} | other
    return FeatureTable(blocks=lambda: iter(blocks), **parts)


def rows(count: int, dim: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)


def whole(found: FeatureTable) -> np.ndarray:
    return np.concatenate(list(found.blocks()))


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# What others read


def odd_files(tmp_path: Path, write, suffix: str) -> tuple[Path, FeatureTable, np.ndarray]:
    vectors = rows(len(ODD))
    labels = np.array([2, 0, -1, 1, 2, 2, 0, -1, 1, 0])
    wanted = table_of(
        [vectors[:4], vectors[4:]],
        len(ODD),
        paths=ODD,
        labels=labels,
        class_names=("a cat", "\udcff", "two\nlines"),
    )
    target = tmp_path / f"out \udcff.{suffix}"
    write(target, wanted, "float16")
    return target, wanted, vectors


def test_npz_by_numpy_alone(tmp_path):
    target, wanted, vectors = odd_files(tmp_path, write_npz, "npz")
    with np.load(target) as held:
        assert held.files == ["features", "paths", "labels", "class_names", "digests"]
        np.testing.assert_array_equal(held["features"], vectors.astype(np.float16))
        assert held["paths"].tolist() == ODD
        assert held["class_names"].tolist() == list(wanted.class_names)
        np.testing.assert_array_equal(held["labels"], wanted.labels)
        np.testing.assert_array_equal(held["digests"], wanted.digests)
        assert {held[name].dtype.str for name in ("features", "labels")} == {"<f2", "<i8"}


def test_npy_by_numpy_and_json_alone(tmp_path):
    target, wanted, vectors = odd_files(tmp_path, write_npy, "npy")
    np.testing.assert_array_equal(np.load(target), vectors.astype(np.float16))
    beside = {name.removeprefix("out \udcff."): target.with_name(name) for name in entries(tmp_path)}
    assert list(beside) == ["classes.json", "digests.npy", "labels.npy", "npy", "paths.json"]
    assert json.loads(beside["paths.json"].read_text("ascii")) == ODD
    assert json.loads(beside["classes.json"].read_text("ascii")) == list(wanted.class_names)
    assert len(beside["paths.json"].read_text("ascii").splitlines()) == len(ODD) + 2
    np.testing.assert_array_equal(np.load(beside["labels.npy"]), wanted.labels)
    np.testing.assert_array_equal(np.load(beside["digests.npy"]), wanted.digests)


@ARROW
def test_parquet_by_arrow_alone(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    target, wanted, vectors = odd_files(tmp_path, write_parquet, "parquet")
    with target.open("rb") as file:
        table = pq.read_table(file)
    assert table.column_names == ["path", "path_bytes", "class", "label", "digest", "feature"]
    held = table.to_pydict()
    assert held["path_bytes"] == [os.fsencode(name) for name in ODD]
    assert held["path"] == [name.replace("\udcff", "\ufffd").replace("\udce4", "\ufffd") for name in ODD]
    assert held["label"] == [None if label < 0 else label for label in wanted.labels]
    shown = [None, "a cat", "\ufffd", "two\nlines"]
    assert held["class"] == [shown[label + 1] for label in wanted.labels]
    assert [bytes.fromhex(digest) for digest in held["digest"]] == [
        bytes(digest) for digest in wanted.digests
    ]
    np.testing.assert_array_equal(np.array(held["feature"]), vectors.astype(np.float16).astype(np.float64))
    assert table.schema.field("feature").type == pa.list_(pa.float32(), 3)


@ARROW
def test_parquet_of_ordinary_names_has_no_bytes(tmp_path):
    import pyarrow.parquet as pq

    write_parquet(tmp_path / "f.parquet", table_of([rows(3)], 3), "float16")
    assert pq.read_table(tmp_path / "f.parquet").column_names == ["path", "digest", "feature"]


# What comes back

# File names are bytes, of which most are UTF-8.
pieces = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6).map(
    str.encode
)
pieces |= st.binary(max_size=4).map(lambda piece: piece.replace(b"\0", b"\xff"))
names = st.lists(pieces, min_size=1, max_size=3).map(b"".join).filter(len)
names = names.map(lambda name: name.decode("utf-8", "surrogateescape"))
finite = st.floats(-60_000, 60_000, width=32).filter(lambda value: abs(value) > 1e-3)


@st.composite
def exports(draw) -> tuple[np.ndarray, FeatureTable, str]:
    paths = draw(st.lists(names, min_size=1, max_size=12))
    dim = draw(st.integers(1, 5))
    vectors = draw(
        st.lists(st.lists(finite, min_size=dim, max_size=dim), min_size=len(paths), max_size=len(paths))
    )
    classes = draw(st.none() | st.lists(names, min_size=1, max_size=6, unique=True))
    top = 2**40 if classes is None else len(classes) - 1
    labels = draw(st.none() | st.lists(st.integers(-1, top), min_size=len(paths), max_size=len(paths)))
    features = np.array(vectors, dtype=np.float32)
    cuts = sorted(draw(st.lists(st.integers(0, len(paths)), max_size=3)))
    wanted = table_of(
        np.split(features, cuts),
        len(paths),
        dim,
        paths=paths,
        labels=None if labels is None else np.array(labels, dtype=np.int64),
        class_names=None if classes is None else tuple(classes),
    )
    return features, wanted, draw(st.sampled_from(["float16", "float32"]))


@each_writer
@given(export=exports())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path, write, suffix, export):
    vectors, wanted, dtype = export
    target = tmp_path / f"f.{suffix}"
    write(target, wanted, dtype)
    found = read_features(target)
    np.testing.assert_array_equal(whole(found), vectors.astype(dtype).astype(np.float32))
    assert list(found.paths) == wanted.paths
    assert found.class_names == wanted.class_names
    if wanted.labels is None:
        assert found.labels is None
    else:
        np.testing.assert_array_equal(found.labels, wanted.labels)
    assert found.text_features is None
    assert set(found.ignored) <= {"digests", "digest", "class", "path"}


@each_writer
def test_a_table_that_was_read_can_be_written(tmp_path, write, suffix):
    np.savez(tmp_path / "bare.npz", features=rows(5))
    write(tmp_path / f"f.{suffix}", read_features(tmp_path / "bare.npz"), "float32")
    found = read_features(tmp_path / f"f.{suffix}")
    np.testing.assert_array_equal(whole(found), rows(5))
    assert (found.paths, found.labels, found.class_names, found.ignored) == (None, None, None, [])


@each_writer
def test_several_blocks_of_rows(tmp_path, write, suffix):
    vectors = rows(10_000)
    blocks = (vectors[i : i + 777] for i in range(0, 10_000, 777))
    write(tmp_path / f"f.{suffix}", table_of(blocks, 10_000), "float16")
    np.testing.assert_array_equal(whole(read_features(tmp_path / f"f.{suffix}")), vectors.astype(np.float16))


@each_writer
def test_equal_features_make_equal_files(tmp_path, write, suffix):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.{suffix}", table_of([rows(5)], 5), "float16")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


# Failures


@each_writer
def test_a_failure_leaves_the_old_file(tmp_path, write, suffix):
    target = tmp_path / f"f.{suffix}"
    write(target, table_of([rows(5)], 5, labels=np.arange(5), class_names=tuple("abcde")), "float16")
    before = {name: (tmp_path / name).read_bytes() for name in entries(tmp_path)}

    def breaks():
        yield rows(3)
        raise KeyboardInterrupt

    failures = [
        (breaks(), {}, KeyboardInterrupt, ""),
        ([rows(3)], {}, StoreError, "3 features of 5"),
        ([rows(4), rows(2)], {}, StoreError, "(5, 3) promised"),
        ([rows(5, 4)], {}, StoreError, r"(5, 4)"),
        ([rows(5) * 1e6], {}, StoreError, "not finite as float16"),
        ([rows(5)], {"paths": ["a"]}, StoreError, "1 paths"),
        ([rows(5)], {"paths": ["a", "b", "c", "d", "x\0"]}, StoreError, "NUL"),
        ([rows(5)], {"paths": ["a", "b", "c", "d", "\ud800"]}, StoreError, "path 4"),
        ([rows(5)], {"labels": np.arange(4)}, StoreError, "4 labels"),
        ([rows(5)], {"labels": np.arange(5), "class_names": ("a", "b")}, StoreError, "label 4"),
        ([rows(5)], {"class_names": ("a", "a")}, StoreError, "'a'"),
    ]
    for blocks, other, kind, text in failures:
        with pytest.raises(kind) as caught:
            write(target, table_of(blocks, 5, **other), "float16")
        assert text in str(caught.value)
        assert {name: (tmp_path / name).read_bytes() for name in entries(tmp_path)} == before


@each_writer
def test_a_folder_that_cannot_be_written(tmp_path, write, suffix):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write"):
        write(tmp_path / "file" / f"f.{suffix}", table_of([rows(5)], 5), "float16")


def test_labels_of_an_earlier_export_do_not_stay(tmp_path):
    target = tmp_path / "f.npy"
    labelled = table_of([rows(5)], 5, labels=np.arange(5), class_names=tuple("abcde"))
    write_npy(target, labelled, "float16")
    write_npy(target, table_of([rows(5)], 5, class_names=()), "float16")
    found = read_features(target)
    assert (found.labels, found.class_names) == (None, None)
    assert entries(tmp_path) == ["f.digests.npy", "f.npy", "f.paths.json"]


# Memory


@pytest.mark.parametrize(("write", "suffix"), WRITERS[:2])
def test_features_and_names_are_written_block_by_block(tmp_path, write, suffix):
    class Paths(list):
        """Names that are only there while they are asked for, the longest as long as file systems allow."""

        def __len__(self):
            return 60_000

        def __getitem__(self, rows):
            return [f"{row:0255}" for row in range(*rows.indices(60_000))]

        def __iter__(self):
            return (f"{row:0255}" for row in range(60_000))

    digests = np.zeros((60_000, 32), dtype=np.uint8)
    block = np.ones((2000, 256), dtype=np.float32)
    blocks = (block for _ in range(30))
    wanted = replace(table_of(blocks, 1, 256), count=60_000, paths=Paths(), digests=digests)
    tracemalloc.start()
    try:
        write(tmp_path / f"f.{suffix}", wanted, "float16")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000  # names alone are 61 MB as an array, features 31 MB
