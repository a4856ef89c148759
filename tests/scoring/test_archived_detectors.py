"""Detectors that version 0.1.0 wrote are read, and score as they did then, to the bit where arithmetic allows.

The files and the numbers beside them were written by that version. They stay as they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deltaoe.scoring.detector import Detector

ARCHIVED = Path(__file__).parent / "archived"
NUMBERS = json.loads((ARCHIVED / "scores.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_it_scores_as_it_did(name: str) -> None:
    detector, then = Detector.load(ARCHIVED / f"{name}.safetensors"), NUMBERS[name]
    images = np.load(ARCHIVED / "images.npy")
    scores = detector.score(images)
    assert scores == pytest.approx(then["scores"], rel=1e-6, abs=1e-7)  # then in single precision
    assert detector.predict(images).tolist() == then["classes"]
    assert detector.p_values(then["scores"]).tolist() == then["p_values"]
    assert detector.threshold(0.1) == then["threshold"]
    assert detector.score_title == then["title"]
    assert detector.tuned is (name == "tuned")


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_written_again_it_has_the_same_digest(name: str, tmp_path: Path) -> None:
    """The file has a digest in it now, and is else the same: the names that tuning gives stay."""
    detector = Detector.load(ARCHIVED / f"{name}.safetensors")
    assert detector.digest == NUMBERS[name]["digest"]
    detector.save(tmp_path / "again.safetensors")
    again = Detector.load(tmp_path / "again.safetensors")
    assert again.digest == NUMBERS[name]["digest"]
    assert again.to_bytes() == detector.to_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_a_detector_of_format_1_scores_as_it_did() -> None:
    """Written before there were background labels: tuned prompts and a calibration, nothing else."""
    then = json.loads((ARCHIVED / "format-1.json").read_text(encoding="utf-8"))
    detector, images = Detector.load(ARCHIVED / "format-1.safetensors"), np.array(then["images"], np.float32)
    assert detector.score(images) == pytest.approx(then["scores"], rel=1e-6, abs=1e-7)
    assert detector.predict(images).tolist() == then["classes"]
    assert detector.p_values(then["scores"]).tolist() == then["p_values"]
    assert detector.threshold(0.1) == then["threshold"]
    assert detector.tuned
