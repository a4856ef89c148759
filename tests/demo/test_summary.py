"""The demo's table against scikit-learn and counting by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deltaoe.demo import world
from deltaoe.demo.summary import ACCURACY, CALLED_UNKNOWN, DETECTION, summarise
from deltaoe.errors import DataError


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """Made-up scores of the unknown folder."""
    rng = np.random.default_rng(5)
    out = []
    for picture in world.pictures():
        if picture.group == "images":
            continue
        score = rng.normal(1.0 if picture.known else 0.0)
        label = picture.kind if picture.known and rng.random() < 0.8 else "house"
        verdict = "unknown" if score < 0 else "known"
        out.append({"path": picture.path, "verdict": verdict, "class": label, "score": repr(score)})
    return out


def write(rows: list[dict[str, str]], path: Path) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["path", "verdict", "class", "score"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_against_references(rows: list[dict[str, str]], tmp_path: Path) -> None:
    strange = {"path": "unknown/mine.jpg", "verdict": "known", "class": "car", "score": "99"}
    failed = {"path": rows[0]["path"], "verdict": "failed", "class": "", "score": ""}
    outcome = summarise(write([*rows, strange, failed], tmp_path / "scores.csv"))
    assert sum(outcome.counts.values()) == len(rows)
    folders = {
        group: [row for row in rows if f"/{group}/" in row["path"]] for group in CALLED_UNKNOWN.values()
    }
    for name, (group, style) in ACCURACY.items():
        mine = [row for row in folders[group] if f"-{style}-" in row["path"]]
        right = [Path(row["path"]).name.startswith(row["class"] + "-") for row in mine]
        assert outcome.numbers[name] == pytest.approx(np.mean(right))
    for name, (inside, outside) in DETECTION.items():
        both = folders[inside] + folders[outside]
        truth = [1] * len(folders[inside]) + [0] * len(folders[outside])
        expected = roc_auc_score(truth, [float(row["score"]) for row in both])
        assert outcome.numbers[name] == pytest.approx(expected)
    for name, group in CALLED_UNKNOWN.items():
        share = np.mean([row["verdict"] == "unknown" for row in folders[group]])
        assert outcome.numbers[name] == pytest.approx(share)


def test_what_cannot_be_summarised(rows: list[dict[str, str]], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*scores\.csv"):
        summarise(tmp_path / "scores.csv")
    some = [row for row in rows if "patterns" not in row["path"]]
    with pytest.raises(DataError, match="lacks pictures of the demo: patterns"):
        summarise(write(some, tmp_path / "scores.csv"))
    rows[3]["score"] = "high"
    with pytest.raises(DataError, match="cannot read"):
        summarise(write(rows, tmp_path / "scores.csv"))


def test_the_world() -> None:
    pictures = world.pictures()
    paths = [picture.path for picture in pictures]
    assert len(set(paths)) == len(paths)
    assert len(world.KNOWN) == 12 and not set(world.KNOWN) & {*world.OTHERS, *world.UNSEEN}
    assert set(world.UNSEEN) <= set(world.OTHERS) and not set(world.UNSEEN) & set(world.PRETRAINED)
    assert set(world.KNOWN) <= set(world.PRETRAINED)
    assert min(world.STYLE_SHARES, key=world.STYLE_SHARES.__getitem__) == world.NEW_STYLE
    assert not any(picture.style == world.NEW_STYLE for picture in pictures if picture.group == "images")
    assert all(picture.known == (picture.kind in world.KNOWN) for picture in pictures)
    assert {picture.kind for picture in pictures if picture.group == "images"} == set(world.KNOWN)
