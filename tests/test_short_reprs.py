"""What results print at a prompt: a line that tells them apart, however large they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detector_files import full_detector
from samples import digests, make_detector

from deltaoe.evaluation.results import Evaluation, Measurement
from deltaoe.extraction.extract import ExtractResult
from deltaoe.filing.execute import Filed
from deltaoe.functional.sampling import few_shot_split
from deltaoe.images.passed_over import Ignored
from deltaoe.scoring.options import Rule
from deltaoe.scoring.score import ScoreResult
from deltaoe.scoring.score_table import ScoreTable
from deltaoe.store.dataset import DataSet
from deltaoe.store.workspace import Workspace
from deltaoe.theory.results import Theory
from deltaoe.tuning.data import Draw
from deltaoe.tuning.plan import Plan
from deltaoe.tuning.tune import TuneResult

N = 3000
LONG = ("\x1b[31m" + "very long name " * 40,)
NAMES = (*LONG, *(f"class {i}" for i in range(N)))
DETECTOR = make_detector(classes=len(NAMES), class_names=NAMES)
DATA = DataSet(
    root="/photos",
    space_id="0" * 16,
    model="ViT-B-16/openai",
    layout="class",
    class_names=NAMES,
    domain_names=("photo", "sketch"),
    paths=[f"{i}.png" for i in range(N)],
    digests=digests(range(N)),
    class_of=np.zeros(N, dtype=np.int64),
    domain_of=np.zeros(N, dtype=np.int64),
    inputs=tuple(f"/photos/{i}" for i in range(N)),
)
TABLE = ScoreTable(
    class_names=NAMES,
    paths=DATA.paths,
    scores=np.linspace(0, 1, N),
    labels=np.zeros((N, 1), dtype=np.int64),
    cosines=np.zeros((N, 1), dtype=np.float32),
    p_values=None,
    threshold=0.5,
    alpha=0.05,
    failed=[("bad.png", "empty file")] * N,
)
ROWS = np.arange(N)
DRAW = Draw(
    few_shot_split([0] * N, DATA.keys(), 16, 0), ROWS, ROWS, Plan(16, 16, N, N), [N], ["a sentence"] * N
)
LARGE = [
    DETECTOR,
    full_detector(),
    DATA,
    TABLE,
    ScoreResult(TABLE, Rule(), DATA.paths, DETECTOR, "tuned detector d", "m", 1, 2, ["a sentence"] * N),
    ExtractResult(
        DATA, 1, 2, [("bad.png", "empty file")] * N, Ignored(), {}, 0, 0, "fp32", "exact", ["a"] * N
    ),
    DRAW,
    TuneResult(DETECTOR, DATA, DRAW, None, path=Path("/d.safetensors")),
    Evaluation(
        title="t" * N,
        rows=[Measurement("d", "mcm", "id", "far", "auroc", 0.5)] * N,
        detectors=dict.fromkeys(NAMES, ""),
        scores=dict.fromkeys(NAMES, ""),
        alpha=0.05,
        convention="id",
        manifest={"images": DATA.paths},
    ),
    Filed(Path("/out"), "copy", [("a.png", "/out/a.png")] * N),
    Theory("t" * N, [], [], ["a"] * N, {"images": DATA.paths}),
]


@pytest.mark.parametrize("value", LARGE, ids=lambda value: type(value).__name__)
def test_a_large_result_prints_a_few_lines(value):
    printed = repr(value)
    assert printed.startswith(type(value).__name__)
    assert len(printed) < 500
    assert printed.isprintable()  # names are from folders, and anything may stand in them


def test_the_line_says_what_tells_them_apart():
    assert repr(make_detector()) == (
        "Detector(3 classes: class 0, class 1, class 2; text; tuned; 40 calibration images; "
        "features of ViT-B-16/openai)"
    )
    assert "text and images" in repr(full_detector())
    assert "3,000 images; 3,001 classes" in repr(DATA) and "2 domains" in repr(DATA)
    assert repr(DRAW) == (
        "Draw(16 shots; 3,000 validation images; 3,000 calibration images; 3,000 notes in .notes)"
    )


def test_a_workspace_prints_its_folder(tmp_path):
    assert repr(Workspace(tmp_path)) == f"Workspace({str(tmp_path)!r})"
