"""Results as data frames: what the files say, in columns of fitting types."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
from samples import digests

from deltaoe.errors import ConfigError
from deltaoe.evaluation.results import COLUMNS, Evaluation, Measurement
from deltaoe.scoring.score_table import NONE_FITS, ScoreTable
from deltaoe.store.dataset import DataSet


def make_table(**changes: object) -> ScoreTable:
    values = {
        "class_names": ("cat", "dog", "emu"),
        "paths": ["a.png", "caf\udce9.png", "c.png"],
        "scores": np.array([0.5, -1.0, -2.0]),
        "labels": np.array([[1, 0], [0, 2], [2, 1]]),
        "cosines": np.array([[0.3, 0.2], [0.25, 0.1], [0.2, 0.1]], dtype=np.float32),
        "p_values": np.array([0.6, 0.04, 0.02]),
        "threshold": -0.5,
        "alpha": 0.05,
        "failed": [("bad.png", "empty file")],
        "parts": ("text", "images"),
        "part_p_values": np.array([[0.5, 0.5], [0.01, 0.7], [0.03, 0.02]]),
        "looks_like": ["", "fox", NONE_FITS],
        "looks_like_cosines": np.array([np.nan, 0.4, 0.1], dtype=np.float32),
    }
    return ScoreTable(**(values | changes))


def make_data() -> DataSet:
    return DataSet(
        root="/photos",
        space_id="0" * 16,
        model="ViT-B-16/openai",
        layout="domain/class",
        class_names=("cat", "dog"),
        domain_names=("sketch",),
        paths=("sketch/cat/a.png", "b.png"),
        digests=digests(range(2)),
        class_of=np.array([0, -1]),
        domain_of=np.array([0, -1]),
    )


EVALUATION = Evaluation(
    title="t",
    rows=[
        Measurement("tuned", "mcm", "id", "far", "auroc", 0.9, 0.8, 0.95, 10, 20),
        Measurement("tuned", "", "id", "", "accuracy", 0.7, n_known=10),
    ],
    detectors={"tuned": ""},
    scores={"mcm": "MCM"},
    alpha=0.05,
    convention="id",
)


@pytest.mark.parametrize("table", [make_table(), make_table(p_values=None, threshold=None)])
def test_scores_are_those_of_the_file(table, tmp_path):
    pd = pytest.importorskip("pandas")
    frame = table.to_pandas()
    table.write_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(frame.columns) == list(rows[0])
    assert len(frame) == len(rows) == 4
    for name, column in frame.items():
        for written, value in zip([row[name] for row in rows], column, strict=True):
            if written == "":
                assert pd.isna(value), name
            elif column.dtype == np.float64:
                assert value == pytest.approx(float(written), rel=1e-8), name
            else:
                assert value == written, name


def test_columns_of_scores_have_fitting_types():
    pytest.importorskip("pandas")
    frame = make_table().to_pandas()
    kinds = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    assert {name for name, kind in kinds.items() if kind == "category"} == {
        *("verdict", "class", "class_1", "class_2", "unknown_by")
    }
    assert {name for name, kind in kinds.items() if kind == "float64"} == {
        *("score", "p_value", "margin", "p_text", "p_images", "looks_like_cosine", "cosine_1", "cosine_2")
    }
    assert list(frame["verdict"].cat.categories) == ["known", "unknown", "undecided", "failed"]
    # A class that no image was taken for is a category all the same: counts by class show it.
    unknown = frame[frame["verdict"] == "unknown"]
    assert unknown.groupby("class", observed=False).size().to_dict() == {"cat": 1, "dog": 0, "emu": 1}


def test_a_table_without_images_has_its_columns():
    pytest.importorskip("pandas")
    none = ScoreTable(("cat",), [], np.zeros(0), np.zeros((0, 1), int), np.zeros((0, 1)), None, None, 0.1, [])
    assert list(none.to_pandas().columns)[:3] == ["path", "verdict", "class"]
    assert len(none.to_pandas()) == 0


def test_a_data_set_lists_its_images():
    pd = pytest.importorskip("pandas")
    frame = make_data().to_pandas()
    assert frame["path"].tolist() == ["sketch/cat/a.png", "b.png"]
    assert frame["class"][0] == "cat" and pd.isna(frame["class"][1])
    assert frame["domain"][0] == "sketch" and pd.isna(frame["domain"][1])
    assert [bytes.fromhex(one) for one in frame["digest"]] == make_data().keys()


def test_an_evaluation_lists_its_measurements():
    pd = pytest.importorskip("pandas")
    frame = EVALUATION.to_pandas()
    assert tuple(frame.columns) == COLUMNS
    assert frame["metric"].tolist() == ["auroc", "accuracy"]
    assert frame["value"].tolist() == [0.9, 0.7] and pd.isna(frame["low"][1])
    assert frame["n_unknown"].tolist() == [20, 0] and frame["n_unknown"].dtype == np.int64
    assert str(frame["score"].dtype) == "category"


@pytest.mark.parametrize(
    "value", [make_table(), make_data(), EVALUATION], ids=["table", "data", "evaluation"]
)
def test_without_pandas_the_error_says_what_to_install(value, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pandas is not installed") as caught:
        value.to_pandas()
    assert "pip install" in caught.value.hint
