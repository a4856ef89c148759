"""The pretraining against independent references: open_clip's own loss, float64 NumPy, Pillow's crops."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax

from deltaoe.demo import contrastive
from deltaoe.demo.contrastive import Schedule, Vocabulary, train
from deltaoe.runtime import generator

WORDS = ["a red dot.", "a green dot.", "a blue dot.", "nothing"]
CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 4, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]},
}
SCHEDULE = Schedule(steps=60, batch=24, rate=5e-3, weight_decay=0.1, warmup=5, seed=4)


@pytest.fixture(autouse=True)
def restore_determinism():
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True


def pictures() -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 130, (48, 36, 36, 3), dtype=np.uint8)
    for i in range(48):
        if i % 4 < 3:
            pixels[i, 8:28, 8:28, i % 4] = 250
    return pixels, [WORDS[i % 4] for i in range(48)]


def run(steps: list[tuple[int, float, float]] | None = None) -> contrastive.Trained:
    pixels, texts = pictures()
    seen = [] if steps is None else steps
    return train(
        pixels, texts.__getitem__, Vocabulary(WORDS), CONFIG, SCHEDULE, lambda *step: seen.append(step)
    )


def test_it_learns_and_repeats_to_the_bit() -> None:
    steps: list[tuple[int, float, float]] = []
    first, second = run(steps), run()
    assert [step for step, _, _ in steps] == list(range(1, 61))
    assert steps[-1][1] < 0.5 * steps[0][1]
    assert first.weights.keys() == second.weights.keys()
    assert all((first.weights[name] == second.weights[name]).all() for name in first.weights)


def test_the_result_is_a_model_of_open_clip() -> None:
    trained = run()
    shape = CONFIG["model_cfg"]
    model = open_clip.CLIP(16, shape["vision_cfg"], {**shape["text_cfg"], "vocab_size": len(trained.tokens)})
    model.load_state_dict({name: torch.from_numpy(w) for name, w in trained.weights.items()})
    assert trained.vocabulary == 49408
    pixels, texts = pictures()
    mean, std = (np.array(CONFIG["preprocess_cfg"][name]) for name in ("mean", "std"))
    inputs = (pixels[:, 2:34, 2:34] / 255 - mean) / std
    place = {token: i for i, token in enumerate(trained.tokens.tolist())}
    tokens = open_clip.get_tokenizer("ViT-B-32")(WORDS)
    tokens = torch.tensor([[place.get(t, 0) for t in row] for row in tokens.tolist()])
    # Zero is padding for the tokenizer and the place of some real token here: cut off by causality behind EOT.
    with torch.no_grad():
        images = model.eval().encode_image(
            torch.from_numpy(inputs).permute(0, 3, 1, 2).float(), normalize=True
        )
        words = model.encode_text(tokens, normalize=True)
    told = (images @ words.T).argmax(dim=1)
    assert np.mean([WORDS[i] == text for i, text in zip(told, texts, strict=True)]) > 0.9


def test_without_shared_texts_the_loss_is_clips() -> None:
    images, texts = (torch.nn.functional.normalize(torch.randn(9, 5), dim=-1) for _ in range(2))
    ours = contrastive._loss(7 * images @ texts.T, torch.arange(9))
    assert ours.item() == pytest.approx(
        open_clip.ClipLoss()(images, texts, torch.tensor(7.0)).item(), rel=1e-5
    )


def test_images_that_share_a_text_are_all_right_for_it() -> None:
    logits = np.random.default_rng(1).normal(size=(5, 3)) * 4
    column = [0, 1, 1, 2, 1]
    of_images = -np.mean([log_softmax(logits[i])[column[i]] for i in range(5)])
    of_texts = []
    for text in range(3):
        rows = [i for i in range(5) if column[i] == text]
        of_texts.append(-np.mean(log_softmax(logits[:, text])[rows]))
    expected = (of_images + np.mean(of_texts)) / 2
    ours = contrastive._loss(torch.from_numpy(logits), torch.tensor(column))
    assert ours.item() == pytest.approx(expected, rel=1e-12)


def test_crops_are_crops() -> None:
    """At the model's own size nothing can be cropped: what is left is mirroring and light."""
    pixels = np.random.default_rng(2).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    out = contrastive._augmented(pixels, CONFIG["preprocess_cfg"], generator(0)).permute(0, 2, 3, 1).numpy()
    mean, std = (np.array(CONFIG["preprocess_cfg"][name]) for name in ("mean", "std"))
    mirrored = 0
    for picture, given in zip(out * std + mean, pixels / 255, strict=True):
        plain, flipped = (
            np.abs(picture / max((picture * g).sum() / (g * g).sum(), 1e-9) - g).max()
            for g in (given, given[:, ::-1])
        )
        assert min(plain, flipped) < 1e-4
        mirrored += flipped < plain
    assert 8 < mirrored < 32
    # Larger pictures: a smooth one keeps its course, over a shorter range.
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (64, 1, 3))
    out = contrastive._augmented(np.stack([ramp] * 30), CONFIG["preprocess_cfg"], generator(1)).numpy()
    spans = np.ptp(out[:, 0, 16, :], axis=1) * 0.25
    assert 0.3 < spans.min() < spans.max() < 1.21
    whole = np.asarray(Image.fromarray(ramp).resize((32, 32)), dtype=float)[16, :, 0] / 255
    assert np.ptp(whole) == pytest.approx(1, abs=0.05)


def test_the_rate_rises_and_falls() -> None:
    rates = [contrastive._rate(step, SCHEDULE) for step in range(SCHEDULE.steps)]
    assert rates[0] == pytest.approx(1e-3) and max(rates) == pytest.approx(5e-3)
    assert np.argmax(rates) in {4, 5} and rates[-1] < 2e-4
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_batches_show_every_picture_once_before_any_comes_again() -> None:
    batches = contrastive._batches(10, 5, generator(3))
    for _ in range(3):
        assert sorted([*next(batches), *next(batches)]) == list(range(10))
