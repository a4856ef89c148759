"""The result table: CSV and JSON say the same, and its columns agree with each other."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest
from samples import make_detector

from deltaoe.errors import StoreError
from deltaoe.scoring.score_table import CSV_START, ScoreTable

ALPHA = 0.1
NAMES = ("cat", 'big "dog", brown', "пёс")
BYTES = os.fsdecode(b"caf\xe9/\xff.png")


def make_table(n: int = 60, calibration: int = 39, alpha: float = ALPHA, **changes: object) -> ScoreTable:
    rng = np.random.default_rng(4)
    detector = make_detector(calibration=calibration)
    scores = rng.normal(size=n)
    scores[: min(n, 5)] = detector.calibration[: min(n, 5)] if calibration else scores[: min(n, 5)]  # ties
    labels = np.argsort(rng.random((n, 3)), axis=1).astype(np.int64)
    values = {
        "class_names": NAMES,
        "paths": [BYTES, "a,b.png", "two\nlines.png", *(f"{i}.png" for i in range(3, n))][:n],
        "scores": scores,
        "labels": labels,
        "cosines": np.sort(rng.random((n, 3)).astype(np.float32))[:, ::-1],
        "p_values": detector.p_values(scores) if calibration else None,
        "threshold": detector.threshold(alpha),
        "alpha": alpha,
        "failed": [("bad.png", "broken image: a\nb"), (os.fsdecode(b"\xfe.jpg"), "empty file")],
    }
    return ScoreTable(**(values | changes))


def written_csv(table: ScoreTable, folder) -> list[dict[str, str]]:
    table.write_csv(folder / "t.csv")
    with (folder / "t.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def written_json(table: ScoreTable, folder, head: dict | None = None) -> dict:
    table.write_json(folder / "t.json", {"alpha": table.alpha} if head is None else head)
    return json.loads((folder / "t.json").read_bytes().decode("ascii"))


def fused_table(
    n: int = 60, parts: tuple[str, ...] = ("text", "joint", "images"), **changes: object
) -> ScoreTable:
    return make_table(
        n, parts=parts, part_p_values=np.random.default_rng(8).random((n, len(parts))) ** 2, **changes
    )


TABLES = {
    "fused": fused_table(),
    "fused, no images": fused_table(n=0),
    "calibrated": make_table(),
    "no calibration": make_table(calibration=0),
    "calibration too small": make_table(calibration=5),
    "no images": make_table(n=0),
    "no failures": make_table(failed=[]),
}
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())


@each_table
def test_csv_and_json_agree(tmp_path, table):
    rows, images = written_csv(table, tmp_path), written_json(table, tmp_path)["images"]
    assert len(rows) == len(images) == len(table.paths) + len(table.failed)
    for row, image in zip(rows, images, strict=True):
        assert row["path"] == image["path"]
        assert row["verdict"] == image["verdict"]
        assert row["class"] == (image["class"] or "")
        assert row["error"] == (image["error"] or "")
        for name in ("score", "p_value", "margin"):
            if image[name] is None:
                assert row[name] == ""
            else:
                assert float(row[name]) == pytest.approx(image[name], rel=1e-8)
        shown = [(row[f"class_{i}"], row[f"cosine_{i}"]) for i in (1, 2, 3)]
        told = [(pair["class"], str(pair["cosine"])) for pair in image["top"]] or [("", "")] * 3
        assert shown == told


@each_table
def test_verdict_threshold_p_value_and_counts_agree(tmp_path, table):
    result = written_json(table, tmp_path)
    images = result["images"]
    for image in images:
        if image["verdict"] == "failed":
            assert image["score"] is image["p_value"] is image["margin"] is image["class"] is None
            assert image["error"]
            assert image["top"] == []
            continue
        assert image["error"] is None
        assert image["class"] == image["top"][0]["class"]
        if table.threshold is None:
            assert image["verdict"] == "undecided"
            assert image["margin"] is None
        else:
            unknown = image["verdict"] == "unknown"
            assert unknown == (image["p_value"] <= table.alpha)
            assert unknown == (image["margin"] < 0)
            assert image["margin"] == image["score"] - table.threshold
    counted = {name: sum(image["verdict"] == name for image in images) for name in result["counts"]}
    assert counted == result["counts"] == table.counts
    assert set(counted) == {"known", "unknown", "undecided", "failed"}


def test_the_tables_above_hold_every_verdict():
    counts = TABLES["calibrated"].counts
    assert min(counts["known"], counts["unknown"], counts["failed"]) > 0
    assert TABLES["no calibration"].counts["undecided"] == 60


def test_a_score_on_the_threshold_is_known():
    table = make_table()
    row = table.scores.tolist().index(table.threshold)
    assert table.verdict(row) == "known"
    assert table.p_values[row] > ALPHA


def test_rows_are_in_the_order_given(tmp_path):
    table = make_table()
    wanted = [*table.paths, *(path for path, _ in table.failed)]
    assert [row["path"] for row in written_csv(table, tmp_path)] == wanted


def test_file_names_keep_their_bytes(tmp_path):
    table = make_table()
    assert os.fsencode(written_csv(table, tmp_path)[0]["path"]) == b"caf\xe9/\xff.png"
    assert b"caf\xe9/\xff.png" in (tmp_path / "t.csv").read_bytes()
    found = written_json(table, tmp_path)
    assert os.fsencode(found["images"][0]["path"]) == b"caf\xe9/\xff.png"
    assert os.fsencode(found["images"][-1]["path"]) == b"\xfe.jpg"


def test_the_documented_start_of_the_csv(tmp_path):
    make_table().write_csv(tmp_path / "t.csv")
    first = (tmp_path / "t.csv").read_bytes().split(b"\r\n")[0].decode()
    assert first.startswith(CSV_START + ",class_1,cosine_1,class_2,")
    assert first.endswith(",error")


def test_the_head_stands_beside_counts_and_images(tmp_path):
    result = written_json(make_table(), tmp_path, {"model": "m", "nested": {"a": [1]}, "text": "\n}"})
    assert list(result) == ["model", "nested", "text", "counts", "images"]
    assert result["nested"] == {"a": [1]}
    assert list(written_json(make_table(), tmp_path, {})) == ["counts", "images"]


def test_json_comes_in_pieces_that_make_one_document():
    table = make_table()
    pieces = list(table.json_chunks({"a": 1}))
    assert len(pieces) > len(table.paths)
    assert json.loads("".join(pieces))["counts"] == table.counts


@pytest.mark.parametrize("write", [ScoreTable.write_csv, lambda table, path: table.write_json(path, {})])
def test_an_error_half_way_leaves_the_old_file(tmp_path, write):
    (tmp_path / "t").write_text("old")
    with pytest.raises(IndexError):
        write(make_table(class_names=NAMES[:1]), tmp_path / "t")
    assert (tmp_path / "t").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    with pytest.raises(StoreError, match="cannot write"):
        write(make_table(), tmp_path / "t" / "below")


# The columns of fused scores


@pytest.mark.parametrize("parts", [("text", "joint", "images"), ("text", "images")])
def test_each_part_has_a_column_and_one_says_which_side_decides(tmp_path, parts):
    table = fused_table(parts=parts)
    names = [*(f"p_{part}" for part in parts), "unknown_by"]
    table.write_csv(tmp_path / "t.csv")
    header = (tmp_path / "t.csv").read_bytes().split(b"\r\n")[0].decode()
    assert header.startswith(",".join([CSV_START, *names, "class_1", "cosine_1"]))
    rows, images = written_csv(table, tmp_path), written_json(table, tmp_path)["images"]
    for row, image, p in zip(rows, images, table.part_p_values, strict=False):
        assert [image[name] for name in names[:-1]] == p.tolist()
        assert [float(row[name]) for name in names[:-1]] == pytest.approx(p, rel=1e-8)
        assert row["unknown_by"] == image["unknown_by"]
        assert bool(row["unknown_by"]) == (row["verdict"] == "unknown")
    for row, image in zip(rows[-2:], images[-2:], strict=True):
        assert row["verdict"] == "failed"
        assert {row[name] for name in names} == {""} and {image[name] for name in names} == {None}
        assert list(image) == list(images[0])


def test_scores_of_one_part_have_no_such_columns(tmp_path):
    columns = {*written_csv(make_table(), tmp_path)[0]}
    assert not {name for name in columns if name.startswith(("p_t", "p_j", "p_i", "unknown_by"))}
    assert make_table().reason(0) == ""


def test_columns_of_parts_stand_before_those_of_bounds(tmp_path):
    table = fused_table(bounds=np.zeros((60, 2)))
    table.write_csv(tmp_path / "t.csv")
    header = (tmp_path / "t.csv").read_bytes().split(b"\r\n")[0].decode()
    assert ",p_images,unknown_by,score_low,score_high,class_1," in header


@pytest.mark.parametrize(
    ("p", "reason"),
    [
        ((0.04, 0.5, 0.5), "text"),
        ((0.5, 0.5, 0.04), "images"),
        ((0.04, 0.5, 0.04), "text and images"),
        ((0.1, 0.5, 0.1), "text and images"),  # α itself is enough
        ((0.04, 0.04, 0.5), "text"),
        ((0.5, 0.04, 0.5), "together"),  # both have a share in the joint part
        ((0.11, 0.11, 0.11), "together"),
    ],
)
def test_which_side_calls_an_image_unknown(p, reason):
    changes = {"threshold": 0.0, "parts": ("text", "joint", "images"), "part_p_values": np.array([p, p])}
    table = make_table(2, scores=np.array([-1.0, 1.0]), **changes)
    assert (table.verdict(0), table.reason(0)) == ("unknown", reason)
    assert (table.verdict(1), table.reason(1)) == ("known", "")
    undecided = make_table(2, **{**changes, "threshold": None})
    assert (undecided.verdict(0), undecided.reason(0)) == ("undecided", "")


@pytest.mark.parametrize(
    ("parts", "p", "reason"),
    [
        (("text", "images"), (0.5, 0.5), "together"),
        (("joint", "images"), (0.01, 0.5), "together"),
        (("text", "joint"), (0.01, 0.5), "text"),
    ],
)
def test_a_part_that_is_not_there_decides_nothing(parts, p, reason):
    table = make_table(1, scores=np.array([-1.0]), threshold=0.0, parts=parts, part_p_values=np.array([p]))
    assert table.reason(0) == reason
