"""Features made elsewhere: what is found in the files people have, and what is said of those that can't be used."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from deltaoe.errors import ConfigError, DataError, DeltaoeError
from deltaoe.interchange.arrays import check_declared
from deltaoe.interchange.feature_table import FeatureTable
from deltaoe.interchange.reading import read_features, read_text_features

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "clip-features"
ARROW = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(10, 4)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2, -1, 0, 1, 2])
NAMES = ["cat", "dog", "emu"]
PATHS = [f"a/{i}.jpg" for i in range(10)]
T = RANDOM.normal(size=(3, 4)).astype(np.float32)


def vectors(found: FeatureTable) -> np.ndarray:
    whole = np.concatenate(list(found.blocks()))
    assert whole.dtype == np.float32 and whole.shape == (found.count, found.dim)
    return whole


def refused(kind: type[DeltaoeError], *parts: object, call=read_features, **options) -> DeltaoeError:
    """The error of reading, blocks included; it must name all these parts."""
    with pytest.raises(kind) as caught:
        result = call(**options)
        if isinstance(result, FeatureTable):
            list(result.blocks())
    for part in parts:
        assert str(part) in str(caught.value), str(caught.value)
    assert caught.value.hint
    return caught.value


@pytest.fixture
def npz(tmp_path):
    def save(**arrays) -> Path:
        np.savez(tmp_path / "f.npz", **arrays)
        return tmp_path / "f.npz"

    return save


# Real features


@pytest.fixture
def real() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"needs {DATA}, which is not here")
    return DATA


def test_real_features_need_no_option(real):
    found = read_features(real / "caltech52-id.npz")
    with np.load(real / "caltech52-id.npz") as plain:
        np.testing.assert_array_equal(vectors(found), plain["features"].astype(np.float32))
        np.testing.assert_array_equal(found.labels, plain["labels"])
        np.testing.assert_array_equal(found.text_features, plain["text_features"])
        assert found.class_names == tuple(plain["class_names"].tolist())
    assert found.labels.dtype == np.int64
    assert found.ignored == ["shots16_features", "shots16_labels"]
    assert found.paths is None


@pytest.mark.parametrize("options", [{}, {"labels": "shots16_labels"}])
def test_other_features_of_the_same_file_take_the_labels_that_belong_to_them(real, options):
    found = read_features(real / "caltech52-id.npz", features="shots16_features", **options)
    assert (found.count, found.ignored) == (832, ["features", "labels"])
    assert np.bincount(found.labels).tolist() == [16] * 52
    assert found.text_features.shape == (52, 512)


def test_text_features_alone_are_no_images_but_texts(real):
    error = refused(DataError, "no image features", "text_features", path=real / "background-text.npz")
    assert "--text-features" in error.hint
    for name, wanted in (("background-text", 1579), ("caltech52-id", 52)):
        names, texts = read_text_features(real / f"{name}.npz")
        with np.load(real / f"{name}.npz") as plain:
            np.testing.assert_array_equal(texts, plain["text_features"].astype(np.float32))
        assert (len(names), texts.shape, texts.dtype) == (wanted, (wanted, 512), np.float32)


# Which array is what


@pytest.mark.parametrize("name", ["features", "Image_Features", "embeddings", "FEATS", "x", "X", "anything"])
def test_names_of_features(npz, name):
    found = read_features(npz(**{name: X, "other": np.zeros(3), "pictures": np.zeros((10, 4), np.uint8)}))
    np.testing.assert_array_equal(vectors(found), X)
    assert found.ignored == ["other", "pictures"]


def test_names_of_everything_else(npz):
    found = read_features(npz(feats=X, targets=Y, classnames=NAMES, classifier=T, filenames=PATHS))
    assert (found.class_names, found.paths, found.ignored) == (tuple(NAMES), PATHS, [])
    np.testing.assert_array_equal(found.labels, Y)
    np.testing.assert_array_equal(found.text_features, T)


def test_columns_of_text_features_are_turned_when_only_that_fits(npz):
    for arrays in ({"clip_weights": T.T, "class_names": NAMES}, {"clip_weights": T.T}):
        np.testing.assert_array_equal(read_features(npz(features=X, **arrays)).text_features, T)
    texts = read_text_features(npz(clip_weights=T.T, names=NAMES))[1]
    np.testing.assert_array_equal(texts, T)
    square = RANDOM.normal(size=(4, 4))
    found = read_features(npz(features=X, clip_weights=square, class_names=["a", "b", "c", "d"]))
    np.testing.assert_array_equal(found.text_features, square.astype(np.float32))


def test_labels_that_are_names(npz):
    found = read_features(npz(features=X[:4], labels=["emu", "cat", "", "emu"], text_features=T))
    assert found.class_names == ("cat", "emu")
    assert found.labels.tolist() == [1, 0, -1, 1]
    # The order of these texts is not that of sorted names, or nobody knows.
    assert found.text_features is None and found.ignored == ["text_features"]
    found = read_features(
        npz(features=X[:4], labels=["emu", "cat", "", "emu"], class_names=NAMES, text_features=T)
    )
    assert (found.class_names, found.labels.tolist()) == (tuple(NAMES), [2, 0, -1, 2])
    assert found.text_features is not None


def test_integer_labels_without_names_stay_nameless(npz):
    found = read_features(npz(features=X[:3], labels=np.array([700, -1, 12], dtype=np.int16)))
    assert (found.class_names, found.labels.tolist()) == (None, [700, -1, 12])


def test_names_of_images_are_not_taken_for_class_names(npz):
    found = read_features(npz(features=X, labels=Y, names=PATHS))
    assert (found.class_names, found.paths) == (None, PATHS)
    found = read_features(npz(features=X, classes=[NAMES[i] for i in Y]))
    assert found.class_names == ("cat", "dog", "emu") and found.labels[:3].tolist() == [0, 1, 2]


def test_labels_as_pandas_leaves_them(npz):
    held = np.where(Y < 0, np.nan, Y)
    assert read_features(npz(features=X, labels=held[:, None])).labels.tolist() == Y.tolist()


def test_lists_beside_the_file(npz, tmp_path):
    lines = [*PATHS[:9], "\udcff.jpg"]
    (tmp_path / "p.txt").write_bytes("\ufeff".encode() + b"\r\n".join(map(os.fsencode, lines)))
    (tmp_path / "l.txt").write_text("\n".join(NAMES[i] if i >= 0 else "" for i in Y) + "\n")
    (tmp_path / "i.txt").write_text("\n".join(map(str, Y)))
    (tmp_path / "c.json").write_text(json.dumps(NAMES))
    path = npz(features=X, labels=np.zeros(3), paths=["a"], class_names=["b"])
    found = read_features(
        path, paths=tmp_path / "p.txt", labels=tmp_path / "l.txt", classes=tmp_path / "c.json"
    )
    assert found.paths == lines
    assert (found.class_names, found.labels.tolist()) == (tuple(NAMES), Y.tolist())
    assert found.ignored == ["labels", "paths", "class_names"]
    np.save(tmp_path / "p.npy", PATHS)
    found = read_features(
        path, paths=tmp_path / "p.npy", labels=str(tmp_path / "i.txt"), classes=tmp_path / "c.json"
    )
    assert (found.paths, found.labels.tolist()) == (PATHS, Y.tolist())


def test_tables_beside_the_file(npz, tmp_path):
    """One table for paths and labels, or lists with a title; names in the order of their numbers."""
    rows = [f"{path};{NAMES[i] if i >= 0 else ''};3" for path, i in zip(PATHS, Y, strict=True)]
    (tmp_path / "t.csv").write_text("\r\n".join(["filename;category;width", *rows]), encoding="utf-16")
    (tmp_path / "l.csv").write_text("\n".join(["label", *map(str, np.maximum(Y, 0))]))
    (tmp_path / "c.tsv").write_text("".join(f"{i}\t{NAMES[i]}\n" for i in reversed(range(len(NAMES)))))
    path = npz(features=X)
    table = tmp_path / "t.csv"
    found = read_features(path, paths=table, labels=table, classes=tmp_path / "c.tsv")
    assert (found.paths, found.class_names, found.labels.tolist()) == (PATHS, tuple(NAMES), Y.tolist())
    found = read_features(path, labels=tmp_path / "l.csv", classes=tmp_path / "c.tsv")
    assert found.labels.tolist() == np.maximum(Y, 0).tolist()
    (tmp_path / "coco.txt").write_text('{"images": [], "annotations": []}')
    refused(DataError, "COCO", path=path, paths=tmp_path / "coco.txt")


def test_classes_that_are_called_by_numbers(npz, tmp_path):
    (tmp_path / "l.txt").write_text("7\n3\n7\n")
    (tmp_path / "c.txt").write_text("7\n3\n")
    found = read_features(npz(features=X[:3]), labels=tmp_path / "l.txt", classes=tmp_path / "c.txt")
    assert (found.class_names, found.labels.tolist()) == (("7", "3"), [0, 1, 0])


# Formats


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, np.save])
def test_numpy_files_of_any_order(tmp_path, dtype, order, save):
    wanted = RANDOM.normal(size=(5000, 3)).astype(dtype)
    path = tmp_path / ("f.npy" if save is np.save else "f.npz")
    held = np.asarray(wanted, order=order)
    save(path, held) if save is np.save else save(path, features=held)
    found = read_features(path)
    assert [len(block) for block in found.blocks()] == [4096, 904]
    np.testing.assert_array_equal(vectors(found), wanted.astype(np.float32))
    for block in found.blocks():
        block /= 2  # memory of its own


def test_hdf5(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["labels"] = Y
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("embeddings", data=X, chunks=(3, 4), compression="gzip")
        file["class_names"] = NAMES
        file["filenames"] = np.array([name.encode() for name in PATHS])
        file["labels"] = h5py.ExternalLink("secret.h5", "labels")
        file.create_group("more")["x"] = X
        file["scalar"] = 3
    found = read_features(tmp_path / "f.h5")
    np.testing.assert_array_equal(vectors(found), X)
    assert (found.class_names, found.paths, found.labels) == (tuple(NAMES), PATHS, None)
    assert found.ignored == [
        "labels (which is a link to another file, and is not followed)",
        "more (which is a group)",
        "scalar (which is one value)",
    ]


@ARROW
@pytest.mark.parametrize("fixed", [True, False])
def test_parquet(tmp_path, fixed):
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = pa.array(X.tolist(), pa.list_(pa.float32(), 4) if fixed else pa.list_(pa.float64()))
    names = pa.array([NAMES[i] if i >= 0 else None for i in Y]).dictionary_encode()
    table = {"url": PATHS, "clip": lists, "label": [*range(9), None], "category": names, "width": [1.5] * 10}
    pq.write_table(pa.table(table), tmp_path / "f.parquet", row_group_size=4)
    found = read_features(tmp_path / "f.parquet")
    np.testing.assert_array_equal(vectors(found), X)
    assert (found.class_names, found.paths, found.labels.tolist()) == (tuple(NAMES), PATHS, Y.tolist())
    assert found.ignored == ["label", "width"]
    assert read_features(tmp_path / "f.parquet", labels="label").labels.tolist() == [*range(9), -1]


@ARROW
def test_parquet_rows_without_a_vector(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row, what in ((None, "no vector"), ([1.0], "1 numbers, not 4"), ([1.0, None, 2.0, 3.0], "NaN")):
        pq.write_table(pa.table({"feature": [*X.tolist(), row]}), tmp_path / "f.parquet")
        refused(DataError, "row 10", "'feature'", what, path=tmp_path / "f.parquet")


@ARROW
def test_clip_retrieval(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted, names = {}, {}
    for number, rows in ((2, 3), (10, 4), (9, 2)):  # as text, 10 comes before 2
        wanted[number], names[number] = (
            RANDOM.normal(size=(rows, 4)),
            [f"{number}/{i}.jpg" for i in range(rows)],
        )
        for folder in ("img_emb", "text_emb", "metadata"):
            (tmp_path / folder).mkdir(exist_ok=True)
        np.save(tmp_path / "img_emb" / f"img_emb_{number}.npy", wanted[number])
        table = pa.table({"image_path": names[number], "caption": ["x"] * rows})
        pq.write_table(table, tmp_path / "metadata" / f"metadata_{number}.parquet")
    for folder in (tmp_path, tmp_path / "img_emb"):
        found = read_features(folder)
        np.testing.assert_array_equal(
            vectors(found), np.concatenate([wanted[i] for i in (2, 9, 10)]).astype("f4")
        )
        assert found.paths == [*names[2], *names[9], *names[10]]
        assert found.ignored == ["caption", "text_emb"]
    pq.write_table(pa.table({"image_path": ["x"]}), tmp_path / "metadata" / "metadata_9.parquet")
    refused(DataError, "img_emb_9.npy", "2 rows", "metadata_9.parquet has 1", path=tmp_path)
    (tmp_path / "metadata" / "metadata_9.parquet").unlink()
    refused(DataError, "metadata_9.parquet", path=tmp_path)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "f.parquet").write_bytes(b"PAR1")
    error = refused(ConfigError, "pyarrow", path=tmp_path / "f.parquet")
    assert error.hint == 'pip install "deltaoe[parquet]"'


def test_a_flat_folder_of_parts(tmp_path):
    for number in range(12):
        np.save(tmp_path / f"part-{number}.npy", X + number)
    (tmp_path / "notes.md").write_text("hello")
    found = read_features(tmp_path)
    np.testing.assert_array_equal(vectors(found), np.concatenate([X + i for i in range(12)]))
    assert found.ignored == ["notes.md"]
    np.save(tmp_path / "part-3.npy", X[:, :2])
    refused(DataError, "part-3.npy (10, 2)", "part-0.npy (10, 4)", path=tmp_path)
    np.save(tmp_path / "labels.npy", Y)
    refused(ConfigError, "'labels.npy'", "no one series", path=tmp_path)


def test_torch_files_come_with_a_line_that_converts_them(tmp_path):
    import torch

    path = tmp_path / "it's test_f.PT"
    torch.save(torch.from_numpy(X).half(), path)
    hint = refused(ConfigError, "PyTorch", path=path).hint
    command = hint[hint.index("python ") : hint.index(" (keys")].replace("python", sys.executable, 1)
    subprocess.run(["sh", "-c", command], check=True)
    np.testing.assert_array_equal(vectors(read_features(path.with_suffix(".npy"))), X.astype(np.float16))


# What can't be used


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"features": X[0]}, ["'features'", "(4,)", "not 2-D"]),
        ({"features": X[None]}, ["(1, 10, 4)", "not 2-D"]),
        ({"features": X.astype(int)}, ["int64", "not floating"]),
        ({"features": X.astype(complex)}, ["complex128", "not floating"]),
        ({"features": X.view("V2")}, ["|V2", "not floating"]),
        ({"features": X[:0]}, ["empty", "(0, 4)"]),
        ({"features": X[:, :0]}, ["empty", "(10, 0)"]),
        ({"features": np.ones((2, 70_000), "f2")}, ["too wide", "(2, 70000)"]),
        ({"features": X, "labels": Y[:9]}, ["9 'labels'", "(10, 4)", "10 rows"]),
        ({"features": X, "labels": np.eye(10)}, ["'labels'", "(10, 10)"]),
        ({"features": X, "labels": Y + 0.5}, ["'labels'", "no whole numbers"]),
        ({"features": X, "labels": Y * 1e300}, ["'labels'", "no whole numbers"]),
        ({"features": X, "labels": Y - 1}, ["row 6", "-2"]),
        ({"features": X, "labels": Y + 1, "class_names": NAMES}, ["row 2", "3", "of 3 classes"]),
        ({"features": X, "labels": Y, "text_features": T[:2]}, ["row 2", "of 2 classes"]),
        ({"features": X, "labels": np.full(10, 2**63, np.uint64), "class_names": NAMES}, ["'labels'"]),
        ({"features": X, "labels": ["ape"] * 10, "class_names": NAMES}, ["row 0", "'ape'"]),
        ({"features": X, "paths": PATHS[:3]}, ["3 'paths'", "10 rows"]),
        ({"features": X, "paths": [*PATHS[:9], ""]}, ["path 9", "empty"]),
        ({"features": X, "paths": [*PATHS[:9], "a\0b"]}, ["path 9", "NUL"]),
        ({"features": X, "paths": [*PATHS[:9], "\ud800"]}, ["path 9", "'\\ud800'"]),
        ({"features": X, "class_names": ["a", "b", "a"]}, ["classes 0 and 2", "'a'"]),
        ({"features": X, "class_names": NAMES[:2], "text_features": T}, ["(3, 4)", "2 class names"]),
        ({"features": X, "text_features": T[:, :3]}, ["text_features (3, 3)", "features (10, 4)"]),
        (
            {"features": X, "class_names": NAMES, "text_features": T * [[1], [0], [1]]},
            ["row 1", "'text_features'"],
        ),
        ({"labels": Y}, ["'labels'", "(10,)", "not 2-D"]),
        ({"labels": Y, "paths": PATHS}, ["no image features", "labels (10,) int64, paths (10,)"]),
        ({}, ["holds nothing"]),
        ({"text_features": T}, ["no image features"]),
    ],
)
def test_arrays_that_do_not_fit(npz, arrays, parts):
    path = npz(**arrays)
    refused(DataError, path, *parts, path=path)


def test_transposed_features_are_recognised_by_their_labels(npz):
    assert "transpose" in refused(DataError, path=npz(features=X.T, labels=Y)).hint


@pytest.mark.parametrize("name", ["features", "labels", "class_names", "paths"])
def test_pickled_arrays_are_refused_by_name(npz, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)

    class Trap:
        def __reduce__(self):
            return (os.mkdir, ("pickled",))

    arrays = {"features": X} | {name: np.array([Trap()] * 10, dtype=object)}
    path = npz(**arrays)
    error = refused(DataError, path, repr(name), "pickled", path=path)
    assert "<U" in error.hint
    assert not Path("pickled").exists()


def test_an_unused_pickle_is_only_ignored(npz):
    assert read_features(npz(features=X, notes=np.array([{}], dtype=object))).ignored == ["notes"]


def test_several_arrays_could_be_meant(npz):
    path = npz(train=X, test=X, test_labels=Y)
    refused(ConfigError, "train (10, 4) float32", "test (10, 4) float32", path=path)
    assert vectors(read_features(path, features="TEST")).shape == (10, 4)


def test_names_that_are_not_there(npz, tmp_path):
    path = npz(features=X)
    for option in ({"features": "nothing"}, {"labels": "nothing"}):
        assert "features (10, 4)" in refused(ConfigError, "'nothing'", path=path, **option).hint
    for option in ("paths", "labels", "classes"):
        refused(DataError, "gone.txt", "no such file", path=path, **{option: tmp_path / "gone.txt"})
        refused(ConfigError, "list.doc", path=path, **{option: tmp_path / "list.doc"})
    (tmp_path / "bad.json").write_text('{"a": 1}')
    refused(DataError, "bad.json", "no list", path=path, paths=tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text("[" * 100_000)
    refused(DataError, "bad.json", path=path, paths=tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "NaN"),
        (np.inf, "infinite"),
        (0.0, "all zero"),
        (1e-30, "too short"),
        (1e30, "too long"),
        (1e300, "too long"),
    ],
)
def test_rows_without_a_direction(npz, value, reason):
    rows = np.ones((6000, 4))
    rows[[5000, 5003]] = value
    paths = [f"{i}.jpg" for i in range(6000)]
    refused(
        DataError,
        "row 5,000",
        "'5000.jpg'",
        "'features'",
        reason,
        "1 more",
        path=npz(features=rows, paths=paths),
    )
    rows[5003] = 1
    assert "more" not in str(refused(DataError, "row 5,000 of 'features'", reason, path=npz(features=rows)))


def test_small_and_large_rows_with_a_direction(npz):
    rows = X * np.float32(10.0) ** np.arange(-14, 16, 3, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(vectors(read_features(npz(features=rows))), rows)


def test_damaged_files(tmp_path):
    sizes = {}
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "a.npz", features=X)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = X
    for path in list(tmp_path.iterdir()):
        data = path.read_bytes()
        sizes[path.suffix] = len(data)
        for keep in (0, 5, 60, len(data) // 2, len(data) - 3):
            path.write_bytes(data[:keep])
            refused(DataError, path, path=path)
        path.write_bytes(pickle.dumps(X))
        refused(DataError, path, path=path)
        path.unlink()
        refused(DataError, path, "no such file", path=path)
    assert len(sizes) == 3


# A child process reads each .h5.
@pytest.mark.parametrize(
    ("suffix", "seeds"),
    [
        (".npy", range(150)),
        (".npz", range(150)),
        (".h5", range(8)),
        pytest.param(".h5", range(8, 40), marks=pytest.mark.slow),
    ],
)
def test_whatever_the_bytes_are_an_error_is_ours(tmp_path, suffix, seeds):
    path = tmp_path / f"f{suffix}"
    arrays = {"features": X, "labels": Y, "class_names": np.array(NAMES), "paths": np.array(PATHS)}
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array.tolist() if array.dtype.kind == "U" else array
    else:
        np.save(path, X) if suffix == ".npy" else np.savez_compressed(path, **arrays)
    data = path.read_bytes()
    for seed in seeds:
        random = np.random.default_rng(seed)
        broken = np.frombuffer(data, np.uint8).copy()
        broken[random.integers(0, len(data), 1 + seed % 4)] = random.integers(0, 256, 1 + seed % 4)
        path.write_bytes(broken.tobytes())
        for read in (read_features, read_text_features):
            with contextlib.suppress(DeltaoeError):
                found = read(path)
                assert not isinstance(found, FeatureTable) or np.isfinite(vectors(found)).all()


def test_a_flipped_byte_in_an_archive_is_found(npz):
    path = npz(features=X)
    data = bytearray(path.read_bytes())
    data[data.index(X[3].tobytes())] ^= 1
    path.write_bytes(data)
    refused(DataError, path, "CRC", path=path)


def header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "shape",
    ["(1000000000000, 512)", "(-1, 4)", "(10, -4)", "('a', 4)", "(2**99,)", "(" * 3000, f"({'9' * 40}, 2)"],
)
def test_headers_may_claim_anything(tmp_path, shape):
    content = header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n") + bytes(64)
    (tmp_path / "f.npy").write_bytes(content)
    refused(DataError, "f.npy", path=tmp_path / "f.npy")
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("features.npy", content)
    refused(DataError, "f.npz", path=tmp_path / "f.npz")


def test_other_members_of_an_archive_are_ignored(npz):
    path = npz(features=X)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil\n.txt", "hello")
        held = io.BytesIO()
        np.save(held, np.zeros(2, dtype=[("é", "f4")]))
        archive.writestr("structured.npy", held.getvalue())
    assert read_features(path).ignored == ["../evil\n.txt", "structured"]


def test_unknown_kinds(tmp_path):
    for name in ("f.csv", "f.pkl", "f"):
        (tmp_path / name).write_bytes(b"1,2")
        assert ".npz" in refused(ConfigError, name, path=tmp_path / name).hint
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "f.npy")
        refused(DataError, "not a regular file", path=tmp_path / "f.npy")


def test_texts_that_do_not_fit(npz):
    refused(
        DataError,
        "(3, 4)",
        "2 class names",
        call=read_text_features,
        path=npz(text_features=T, names=["a", "b"]),
    )
    refused(DataError, "no text features", call=read_text_features, path=npz(names=NAMES))
    refused(DataError, "which classes", call=read_text_features, path=npz(text_features=T))
    refused(DataError, "'a'", call=read_text_features, path=npz(text_features=T, names=["a", "b", "a"]))
    refused(
        DataError, "row 1", call=read_text_features, path=npz(text_features=T * [[1], [0], [1]], names=NAMES)
    )
    assert read_text_features(npz(embeddings=T, names=NAMES))[0] == tuple(NAMES)


# Memory


@pytest.mark.parametrize(
    "kind", ["npz", "compressed", "fortran", "npy", "h5", pytest.param("parquet", marks=ARROW)]
)
def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path, kind):
    rows = np.ones((60_000, 256), dtype=np.float16)  # 30 MB
    path = tmp_path / f"f.{kind if kind in {'npy', 'h5', 'parquet'} else 'npz'}"
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).ravel()), 256)
        options = {"row_group_size": 5000, "use_dictionary": False, "compression": "none"}
        pq.write_table(pa.table({"feature": lists}), path, **options)
        del lists
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["features"] = rows
    elif kind == "npy":
        np.save(path, rows)
    else:
        held = np.asfortranarray(rows) if kind == "fortran" else rows
        (np.savez_compressed if kind == "compressed" else np.savez)(path, features=held)
    del rows
    tracemalloc.start()
    try:
        count = sum(len(block) for block in read_features(path).blocks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 60_000
    assert peak < 20_000_000  # three blocks: as read, as float32, and the one before


def test_what_packed_data_can_declare(tmp_path):
    """Deflate packs 1032 bytes into one at most: what is said to be more is not there."""
    np.savez_compressed(tmp_path / "zeros.npz", features=X, more=np.zeros(10**7))
    assert read_features(tmp_path / "zeros.npz").ignored == ["more"]
    with pytest.raises(
        DataError, match=r"f\.npz: its files would be 9,000,000,000 bytes, packed into 4,000,000"
    ):
        check_declared(tmp_path / "f.npz", "its files", 9 * 10**9, 4 * 10**6)
