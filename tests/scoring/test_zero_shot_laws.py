"""Laws of the zero-shot default: classes are CLIP's own, whatever their order; only a request changes the score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.functional.energy import delta_energy
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import BackgroundOptions, PromptOptions
from deltaoe.scoring.scorer import Scorer
from deltaoe.scoring.zero_shot import detector_of_text_features
from deltaoe.store.feature_space import FeatureSpace

torch = pytest.importorskip("torch")
DIM = 8
# Two cosines nearer than float32 computes them may change places.
ROUNDING = 1e-6
laws = settings(max_examples=200, deadline=None, derandomize=True)


def unit_rows(count: int, seed: int, lean: float) -> np.ndarray:
    """Random directions; ``lean`` moves all to one side, as the features of CLIP lie in a cone."""
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    rows[:, 0] += lean
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def default_detector(text: np.ndarray, options: PromptOptions | None = None) -> Detector:
    """The zero-shot detector of K text features, with the default options unless others are given."""
    space = FeatureSpace("m", "w", "c", "{}", "fp32", 1, DIM)
    names = [f"class {i}" for i in range(len(text))]
    return detector_of_text_features(names, text, space, options or PromptOptions())


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, D) and prompts (K, D), from directions all around to a narrow cone; some prompts may be equal."""
    lean = draw(st.sampled_from([0.0, 1.0, 5.0, 20.0]))
    images = unit_rows(draw(st.integers(1, 20)), draw(st.integers(0, 999)), lean)
    text = unit_rows(draw(st.integers(1, 40)), draw(st.integers(0, 999)), lean)
    return images, text[draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=60))]


@laws
@given(problems(), st.sampled_from([(0.1, 1), (0.01, 1), (1.0, 2)]))
def test_the_predicted_class_is_clips(problem, setting) -> None:
    images, text = problem
    cosines = images.astype(np.float64) @ text.astype(np.float64).T
    detectors = [default_detector(text)]
    temperature, top_c = setting
    if top_c <= len(text):
        detectors.append(default_detector(text, PromptOptions(temperature=temperature, top_c=top_c)))
    for detector in detectors:
        for classes in (detector.predict(images), Scorer(detector)(images).labels[:, 0]):
            chosen = cosines[np.arange(len(images)), classes]
            assert (chosen >= cosines.max(axis=1) - ROUNDING).all()


@laws
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_the_classes_changes_nothing(problem, random) -> None:
    images, text = problem
    order = list(range(len(text)))
    random.shuffle(order)
    one, other = default_detector(text), default_detector(text[order])
    assert one.score(images) == pytest.approx(other.score(images), rel=1e-6, abs=1e-7)
    cosines = images.astype(np.float64) @ text.astype(np.float64).T
    rows, back = np.arange(len(images)), np.asarray(order)
    taken = cosines[rows, one.predict(images)], cosines[rows, back[other.predict(images)]]
    assert taken[0] == pytest.approx(taken[1], abs=ROUNDING)


@laws
@given(problems())
def test_the_score_is_the_papers_alone(problem) -> None:
    images, text = problem
    detector = default_detector(text)
    wanted = delta_energy(torch.from_numpy(images.astype(np.float64) @ text.astype(np.float64).T), 0.1, 1)
    assert detector.score(images) == pytest.approx(wanted.numpy(), rel=1e-5, abs=1e-6)
    assert not len(detector.background) and not len(detector.centre)
    assert detector.settings["background"] == "none"
    assert detector.score_title == "ΔEnergy, τ = 0.1, c = 1"


def test_background_labels_by_request_leave_the_classes(tmp_path) -> None:
    images, text = unit_rows(50, 1, 3.0), unit_rows(10, 2, 3.0)
    names = np.array([f"other {i}" for i in range(30)])
    np.savez(tmp_path / "others.npz", class_names=names, text_features=unit_rows(30, 3, 3.0))
    background = BackgroundOptions(str(tmp_path / "others.npz"))
    plain, beside = default_detector(text), default_detector(text, PromptOptions(background=background))
    assert len(beside.background) == 15
    assert beside.settings["background"] == "others.npz" and beside.settings["background_fraction"] == 0.5
    assert beside.settings["background_labels"] == "15 of 30"
    assert (beside.score(images) < plain.score(images)).all()
    assert (beside.predict(images) == plain.predict(images)).all()
