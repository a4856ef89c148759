"""What an extract keeps besides the features: views, arithmetic, number type; and that workers change nothing."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from command import Fails, Run
from folders import shards, vectors


def test_views_and_precision_add_to_what_is_there(fresh: Path, run: Run) -> None:
    extract = ("extract", "images", "--json", "--precision", "fp32")
    first = run(*extract, "--views", "2", "--dtype", "float32", "--workers", "2", cwd=fresh).json
    assert (first["encoded"], first["views"], first["precision"]) == (96, 2, "fp32")
    (shard,) = shards(fresh)
    two = vectors([shard])
    assert sorted(view for _, view in two) == [0] * 96 + [1] * 96 + [2] * 96
    assert {row.dtype for row in two.values()} == {np.dtype(np.float32)}
    pictures = {digest for digest, view in two if view == 0}
    for digest in pictures:  # another cut of the same picture, not the same features once more
        assert not np.array_equal(two[digest, 1], two[digest, 2])
        assert not np.array_equal(two[digest, 0], two[digest, 1])

    # Threads instead of processes, and the same batches: nothing else in the store.
    elsewhere = fresh / "elsewhere"
    elsewhere.mkdir()
    place = ("--workspace", elsewhere / ".deltaoe", "--workers", "0")
    run(*extract, "--views", "2", "--dtype", "float32", *place, cwd=fresh)
    (other,) = shards(elsewhere)
    assert other.parent.name == shard.parent.name  # the space
    with h5py.File(shard) as mine, h5py.File(other) as theirs:
        names: list[str] = []
        mine.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert names
        for name in set(names) - {
            "files/key",
            "files/path",
            "files/path_offsets",
        }:  # relative to another folder
            assert np.array_equal(mine[name][()], theirs[name][()]), name

    third = run(*extract, "--views", "3", cwd=fresh).json
    assert (third["views"], third["feature_space"]) == (3, first["feature_space"])  # the cache's type is kept
    new = vectors(shards(fresh)[1:])
    assert {view for _, view in new} == {3} and {digest for digest, _ in new} == pictures
    # Less than is there is no work, and loses nothing.
    again = run(*extract, cwd=fresh)
    assert (again.json["encoded"], again.json["unchanged"], again.json["views"]) == (0, 96, 3)
    assert "Loading model" not in again.stderr

    half = run(*extract[:-1], "bf16", cwd=fresh).json
    assert (half["encoded"], half["precision"], half["views"]) == (96, "bf16", 0)
    assert half["feature_space"] != first["feature_space"]
    rows = vectors(sorted((fresh / ".deltaoe" / "features" / half["feature_space"]).glob("*.h5")))
    likeness = [float(rows[key] @ two[key]) for key in rows]
    assert len(rows) == 96 and min(likeness) > 0.99  # of one picture, by one model
    assert any(not np.array_equal(rows[key], two[key].astype(rows[key].dtype)) for key in rows)
    # Both are there now, and neither is computed again.
    for precision in ("bf16", "fp32"):
        told = run(*extract[:-1], precision, cwd=fresh).json
        assert (told["encoded"], told["unchanged"], told["precision"]) == (0, 96, precision)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--views -1", "--views must be at least 0 and at most 1000, not -1"),
        ("--views 1001", "--views must be at least 0 and at most 1000, not 1001"),
        ("--views two", "Invalid value for '--views'"),
        ("--workers x", "--workers takes auto or a number, not 'x'"),
        ("--workers -1", "--workers must be at least 0, not -1"),
        ("--batch-size 0", "--batch-size must be at least 1, not 0"),
        ("--batch-size 1.5", "--batch-size takes auto or a number, not '1.5'"),
        ("--precision int8", "Invalid value for '--precision'"),
        ("--dtype float64", "Invalid value for '--dtype'"),
        ("--name ../up", "a data set cannot be named '../up'"),
    ],
)
def test_values_that_make_no_sense(options: str, says: str, tmp_path: Path, fails: Fails) -> None:
    # Nothing is there: what is said of the option is said before anybody looks.
    fails("extract", "images", *options.split(), cwd=tmp_path, rc=2, says=(says,))
