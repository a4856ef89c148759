"""The reference numbers on real CLIP features, through the benchmark that prints them."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "features.py"


def load_benchmark():
    spec = importlib.util.spec_from_file_location("features_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()
PRESENT = (benchmark.DATA / "reference.json").is_file()
needs_data = pytest.mark.skipif(not PRESENT, reason=f"no reference data in {benchmark.DATA}")
ROWS = benchmark.load_reference(benchmark.DATA)[1] if PRESENT else []


@cache
def features():
    return benchmark.load_features(benchmark.DATA)


@needs_data
@pytest.mark.parametrize(("row", "expected"), ROWS, ids=[str(row) for row, _ in ROWS])
def test_every_row_agrees_to_a_ten_thousandth(row, expected):
    if not row.known:
        pytest.skip("not in this release")
    found = list(benchmark.compare_row(features(), row, expected))
    assert len(found) == 6
    off = {f"{c.data} {c.metric}": (c.ours, c.reference) for c in found if not c.difference <= 1e-4}
    assert not off


@needs_data
def test_accuracy_and_counts_agree():
    reference, _ = benchmark.load_reference(benchmark.DATA)
    assert benchmark.compare_accuracy(features(), reference).difference < 1e-12
    assert len(features().inside) == reference["id_rows"]


@needs_data
@pytest.mark.parametrize(
    "options", [("delta_energy", 0.01, 2, None), ("delta_energy", 0.1, 3, 0.3), ("mcm", 0.01, 0, None)]
)
def test_plain_numpy_gives_the_same_scores(options):
    row = benchmark.Row(*options)
    pairs = zip(benchmark.our_scores(features(), row), benchmark.numpy_scores(features(), row), strict=True)
    for ours, plain in pairs:
        np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-13)


@needs_data
def test_no_image_of_a_gallery_is_scored():
    sizes = []
    for _, text, gallery, (inside, *outside) in benchmark.gallery_sets(benchmark.DATA):
        # A distance to the nearest gallery image of 0 would be the image itself.
        assert float(gallery.negative_knn_distance(inside).max()) < -0.05
        sizes.append((len(text), len(gallery), len(inside), *map(len, outside)))
    assert sizes == [(52, 832, 2145, 1969, 1692, 2463), (300, 600, 600, 400, 1692, 2463)]


@needs_data
def test_a_wrong_number_and_an_unknown_score_show(tmp_path, capsys):
    for path in benchmark.DATA.glob("*.npz"):
        (tmp_path / path.name).symlink_to(path)
    reference = json.loads((benchmark.DATA / "reference.json").read_text(encoding="utf-8"))
    reference["rows"] = [row for row in reference["rows"] if row["score"] == "max_logit"]
    unknown = {**reference["rows"][0], "score": "gradnorm"}
    (tmp_path / "reference.json").write_text(json.dumps({**reference, "rows": [*reference["rows"], unknown]}))
    assert benchmark.main(["--data", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "not in this release" in shown
    assert "gradnorm" in shown

    reference["rows"][0]["dtd"]["auroc"] += 2e-4
    (tmp_path / "reference.json").write_text(json.dumps(reference))
    assert benchmark.main(["--data", str(tmp_path)]) == 1
    assert "largest difference 2.0e-04 (max_logit τ=1, dtd, auroc)" in capsys.readouterr().out


def test_without_data_one_message_and_exit_2(tmp_path, capsys):
    assert benchmark.main(["--data", str(tmp_path / "nowhere")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "--data" in printed.err
