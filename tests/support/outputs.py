"""What ``deltaoe score`` writes, read back and compared."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

COLUMNS = (
    "path verdict class score p_value margin looks_like looks_like_cosine "
    "class_1 cosine_1 class_2 cosine_2 class_3 cosine_3 error"
)
PARTS = ["p_text", "p_joint", "p_images"]
FUSED = COLUMNS.replace("margin", f"margin {' '.join(PARTS)} unknown_by")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_outputs(folder: Path, found: Path, alpha: float, *, fused: bool = False) -> list[dict[str, str]]:
    """That scores.csv, scores.json and report.html tell one story about all files below ``found``.

    ``fused``: whether the scores are fused from parts; classes are then ordered by more than their cosines.
    """
    rows = table(folder / "scores.csv")
    assert list(rows[0]) == (FUSED if fused else COLUMNS).split()
    files = sorted(
        path.relative_to(folder).as_posix() for path in found.rglob("*.*") if path.suffix != ".txt"
    )
    assert sorted(row["path"] for row in rows) == files

    told = json.loads((folder / "scores.json").read_text(encoding="ascii"))
    assert told["alpha"] == alpha
    assert (told["score"], len(told["parts"])) == (("fused", 3) if fused else ("delta_energy", 1))
    assert sum(told["parts"].values()) == pytest.approx(1)
    assert [record["path"] for record in told["images"]] == [row["path"] for row in rows]
    for row, record in zip(rows, told["images"], strict=True):
        assert (row["verdict"], row["class"]) == (record["verdict"], record["class"] or "")
        assert row["error"] == (record["error"] or "")
        if row["verdict"] == "failed":
            assert row["error"] and not row["score"] and not row["p_value"]
            continue
        for name in ("score", "p_value", "margin"):
            assert float(row[name]) == pytest.approx(record[name], rel=1e-8, abs=1e-12)
        assert record["margin"] == pytest.approx(record["score"] - told["threshold"], abs=1e-15)
        unknown = record["verdict"] == "unknown"
        assert (row["looks_like"] or None) == record["looks_like"] and bool(row["looks_like"]) == unknown
        assert unknown == (record["p_value"] <= alpha) == (record["margin"] < 0)
        assert row["class"] == row["class_1"] == record["top"][0]["class"]
        cosines = [top["cosine"] for top in record["top"]]
        assert all(-1 <= cosine <= 1 for cosine in cosines)
        if fused:
            assert [float(row[name]) for name in PARTS] == pytest.approx([record[name] for name in PARTS])
            assert row["unknown_by"] == record["unknown_by"] and bool(row["unknown_by"]) == unknown
            for side, part in (("text", "p_text"), ("images", "p_images")):
                assert unknown <= ((side in row["unknown_by"]) == (record[part] <= alpha))
        else:
            assert cosines == sorted(cosines, reverse=True)
        assert cosines == [float(row[f"cosine_{i}"]) for i in (1, 2, 3)]
    verdicts = [row["verdict"] for row in rows]
    assert told["counts"] == {
        name: verdicts.count(name) for name in ("known", "unknown", "undecided", "failed")
    }

    html = (folder / "report.html").read_text(encoding="utf-8")
    assert all(Path(row["path"]).name in html for row in rows)
    references = re.findall(r"""\b(?:src|href|action|data|srcset)\s*=\s*["']?([^"'\s>]+)""", html)
    assert references and all(reference.startswith("data:") for reference in references)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)
    assert html.count("data:image/webp;base64,") == len(rows) - verdicts.count("failed")
    return rows
