"""What is computed on a GPU, beside the same on the CPU."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from towers import CAUSAL, make_folder

from deltaoe import tune
from deltaoe.clip.frozen import FrozenClip
from deltaoe.errors import ConfigError
from deltaoe.runtime import native_precision, replayed, resolve_device, tuning_precision
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import BackgroundOptions
from deltaoe.scoring.scorer import Scorer
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.tuning.loop import TrainingSet, fit_context
from deltaoe.tuning.options import TuningOptions
from deltaoe.tuning.recipe import Recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
NAMES = ["cat", "sperm whale", "dog", "polar bear in the snow", "ant", "twin-engined propeller aeroplane"]
POSITIONS = ["end", "middle", "front"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    ref = make_folder(tmp_path_factory.mktemp("tower") / "m", CAUSAL["CLIP"])
    return {device.type: FrozenClip.load(ref, device, offline=True) for device in (CPU, GPU)}


def unit_rows(count: int, dim: int, seed: int, lean: float = 0.0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    rows[:, 0] += lean
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pair(clips, **options):
    """The same prompts on both devices, from the same start."""
    return [
        clips[kind].prompt_learner(NAMES, 5, None, torch.Generator().manual_seed(3), **options)
        for kind in ("cpu", "cuda")
    ]


def problem(learner, device):
    with torch.no_grad():
        anchor = learner().cpu()
    rows = torch.from_numpy(unit_rows(60, anchor.shape[1], 5)) * 0.5
    labels = torch.arange(60) % len(NAMES)
    rows = torch.nn.functional.normalize(rows + anchor[labels], dim=1)
    return TrainingSet(rows.to(device), labels.to(device), 30.0, anchor.to(device))


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_kernels_are_replayed_with_the_same_result(clips, precision, chunk):
    learner = pair(clips, precision=precision, chunk=chunk)[1]
    encode = replayed(learner.encode, learner.context)
    assert encode != learner.encode
    for seed in range(3):
        with torch.no_grad():
            learner.context.copy_(torch.randn(5, 32, generator=torch.Generator().manual_seed(seed)))
        weights = torch.randn(len(NAMES), 24, generator=torch.Generator().manual_seed(9)).to(GPU)
        found = []
        for way in (learner.encode, encode):
            text = way(learner.context)
            (slope,) = torch.autograd.grad((text * weights).sum(), learner.context)
            found.append((text.detach().clone(), slope.clone()))
        (text, slope), (there, slope_there) = found
        assert (text - there).abs().max() < 1e-6
        assert (slope - slope_there).norm() < 1e-4 * slope.norm()


def test_devices_and_precisions_are_found():
    assert resolve_device("auto") == GPU
    assert native_precision(GPU) in {"fp16", "fp32"}
    assert tuning_precision(GPU) in {"bf16", "fp32"}
    with pytest.raises(ConfigError, match="is not present"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("specific", [False, True], ids=["shared", "per class"])
@pytest.mark.parametrize("chunk", [None, 2])
def test_prompts_and_gradients_equal_the_cpus(clips, position, specific, chunk):
    found = []
    for learner in pair(clips, position=position, class_specific=specific, chunk=chunk):
        text = learner()
        weights = torch.randn(text.shape, generator=torch.Generator().manual_seed(1)).to(text.device)
        (text * weights).sum().backward()
        found.append((text.detach().cpu(), learner.context.grad.cpu()))
    (text, slope), (there, slope_there) = found
    assert (text - there).abs().max() < 1e-5
    assert (slope - slope_there).norm() < 1e-4 * slope.norm()


@pytest.mark.parametrize(("precision", "error"), [("bf16", 0.05), ("fp16", 0.01)])
def test_half_precision_is_near_and_hands_out_float32(clips, precision, error):
    exact, rounded = pair(clips)[0], pair(clips, precision=precision)[1]
    text, there = exact(), rounded()
    assert there.dtype == torch.float32
    assert 1e-6 < (text - there.cpu()).norm(dim=1).max() < error


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("specific", [False, True], ids=["shared", "per class"])
@pytest.mark.parametrize("chunk", [None, 2])
def test_tuning_takes_the_cpus_way(clips, precision, position, specific, chunk):
    recipe = dataclasses.replace(Recipe(), steps=30)
    found = []
    options = {"position": position, "class_specific": specific, "chunk": chunk}
    for learner, device in zip(pair(clips, **options), (CPU, GPU), strict=True):
        if device == GPU:
            learner.precision = precision
        progress = fit_context(
            learner, problem(learner, device), recipe, epochs=30, generator=torch.Generator().manual_seed(0)
        )
        assert progress.context.dtype == torch.float32
        found.append((progress.last.loss(recipe), progress.last.accuracy))
    assert found[1][0] == pytest.approx(found[0][0], rel={"fp32": 1e-3}.get(precision, 0.05))
    assert found[1][1] == pytest.approx(found[0][1], abs=0.05)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tuning_goes_on_where_it_stopped(clips, precision):
    def run(**options):
        learner = pair(clips, precision=precision)[1]
        return fit_context(
            learner,
            problem(learner, GPU),
            recipe,
            epochs=10,
            generator=torch.Generator().manual_seed(0),
            **options,
        )

    recipe = dataclasses.replace(Recipe(), steps=10)
    states = []
    whole = run(on_epoch=states.append)
    again = run(start=states[3])
    assert (whole.context - again.context).abs().max() < 1e-4
    assert again.last.step == 10


def test_pictures_equal_the_cpus(clips):
    pictures = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    here, there = (clips[kind].encode_pixels(pictures) for kind in ("cpu", "cuda"))
    assert (here - there).abs().max() < 1e-5
    text, text_there = (clips[kind].encode_text([f"a {name}" for name in NAMES]) for kind in ("cpu", "cuda"))
    assert (text - text_there.cpu()).abs().max() < 1e-5


def make_detector(labels: int, background: int, temperature: float, top_c: int) -> Detector:
    space = FeatureSpace("m", "w", "c", "{}", "fp32", 1, 24)
    names = tuple(map(str, range(labels)))
    return Detector(
        names,
        unit_rows(labels, 24, 1, 1.0),
        temperature,
        top_c,
        np.empty(0),
        space,
        100.0,
        background=unit_rows(background, 24, 2, 1.0),
        background_names=tuple(f"b{i}" for i in range(background)),
    )


@pytest.mark.parametrize(("temperature", "top_c"), [(0.01, 1), (0.1, 2), (1.0, 5)])
@pytest.mark.parametrize("labels", [7, 20_000])
def test_scores_equal_the_cpus(labels, temperature, top_c):
    known, features = make_detector(labels, 50, temperature, top_c), unit_rows(300, 24, 4, 0.5)
    here, there = (Scorer(known, device=device)(features) for device in ("cpu", "cuda"))
    assert there.scores == pytest.approx(here.scores, abs=2e-6)
    assert there.cosines == pytest.approx(here.cosines, abs=2e-6)
    assert (there.labels[:, 0] == here.labels[:, 0]).mean() > 0.99  # but for ties in the last digit


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_bounds_hold_on_the_gpu(temperature):
    known, features = make_detector(5000, 3000, temperature, 2), unit_rows(200, 24, 4, 0.5)
    exact, near = Scorer(known), Scorer(known, device="cuda", neighbours=64)
    bounds = near(features).bounds
    scores = exact(features).scores
    assert (bounds[:, 0] <= scores).all()
    assert (scores <= bounds[:, 1]).all()
    here = Scorer(known, neighbours=64)(features).bounds
    assert bounds == pytest.approx(here, abs=1e-5)


def test_arrays_are_tuned_and_scored(clips):
    rng = np.random.default_rng(0)
    clip = clips["cuda"]
    text = clip.encode_text([f"a photo of a {name}." for name in NAMES]).cpu().numpy()
    labels = np.arange(300) % len(NAMES)
    noise = rng.normal(size=(300, text.shape[1])).astype(np.float32) / 3
    options = TuningOptions(
        shots=4, recipe=dataclasses.replace(Recipe(), steps=20), background=BackgroundOptions("none")
    )
    detector = tune(text[labels] + noise, labels, NAMES, model=clip, options=options)
    assert detector.energy_features.shape == detector.text_features.shape
    assert np.isfinite(detector.score(text)).all()
    assert len(detector.calibration) == 300 - 24 - 24
    assert detector.threshold(0.05) > 0
