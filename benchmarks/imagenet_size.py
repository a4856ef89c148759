"""Time to tune at ImageNet's size, 1,000 classes × 16 shots, ViT-B/16's text tower, beside CoOp's and the GPU's limit.

Weights are random, which costs the same time, and image features are made of the text features, so that accuracies mean
nothing. What is timed is all of ``deltaoe.tune``: the choice of settings, the tuning, the background, the calibration;
loading the model is not. Beside it, in the same run: one step of ours (of 20, the capture of their kernels included),
its floating point operations (counted by PyTorch) over the rate of a large matrix product in the same precision, the
share of the time in which the GPU computes, and one step of CoOp's way (77 positions, batches of 32), whose published
recipe takes 50 epochs: its whole time is that step times their number, not a measurement.

    python benchmarks/imagenet_size.py [--device auto] [--classes 1000] [--model ViT-B-16] [--profile]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import open_clip
import torch
import torch.nn.functional as F  # noqa: N812
from prompt_encoding import plain
from rich.console import Console
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

import deltaoe
from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import ModelRef
from deltaoe.functional.ebm import ebm_loss
from deltaoe.progress import Event
from deltaoe.runtime import generator, resolve_device, tuning_precision
from deltaoe.tuning.learn import new_learner
from deltaoe.tuning.loop import TrainingSet, fit_context
from deltaoe.tuning.options import ContextOptions
from deltaoe.tuning.recipe import Recipe

SHOTS, SPARE, CALIBRATION = 16, 16, 10
COOP_BATCH, COOP_EPOCHS = 32, 50
SIZE = 4096  # of the matrix product that shows the GPU's rate


def waits(device: torch.device) -> None:
    """Wait until the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of a call over ``repeats``, after one that warms up."""
    work()
    waits(device)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        waits(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def load(name: str, device: torch.device, folder: Path) -> FrozenClip:
    """A model of this architecture with random weights, saved to a folder and loaded from it as ``local-dir:``."""
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None)
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": model.visual.preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return FrozenClip.load(ModelRef.parse(f"local-dir:{folder}"), device, offline=True)


def class_names(count: int) -> list[str]:
    """``count`` class names: ImageNet's, then the same again with a number."""
    known = list(dict.fromkeys(open_clip.IMAGENET_CLASSNAMES))
    return [known[i % len(known)] + (f" {i // len(known)}" if i >= len(known) else "") for i in range(count)]


def made(text: np.ndarray, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, D) of ``each`` images of every class around its text feature, and their classes (n,)."""
    labels = np.repeat(np.arange(len(text)), each)
    spread = (text - text.mean(axis=0))[labels]
    noise = np.random.default_rng(0).standard_normal(spread.shape, dtype=np.float32)
    rows = spread / np.linalg.norm(spread, axis=1, keepdims=True) + noise / math.sqrt(text.shape[1])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def steps_of(
    clip: FrozenClip, names: list[str], rows: np.ndarray, labels: np.ndarray
) -> Callable[[int], object]:
    """A function that runs so many tuning steps of deltaoe from the start."""
    learner = new_learner(clip, names, ContextOptions(), seed=0)
    with torch.no_grad():
        anchor = learner().detach()
    problem = TrainingSet(
        torch.from_numpy(rows).to(clip.device), torch.from_numpy(labels).to(clip.device), 100.0, anchor
    )
    recipe = Recipe()
    per_epoch = math.ceil(len(rows) / recipe.batch(len(rows)))

    def run(steps: int) -> object:
        epochs = max(1, steps // per_epoch)
        return fit_context(learner, problem, recipe, epochs=epochs, generator=generator(0))

    return run


def coop_step(clip: FrozenClip, model: Any, names: list[str], rows: np.ndarray, labels: np.ndarray) -> float:
    """Seconds of one tuning step as CoOp computes it, with the EBM loss, on a batch of 32."""
    device = clip.device
    tokens = open_clip.get_tokenizer("ViT-B-16")([" ".join(["x"] * 16) + f" {name}." for name in names]).to(
        device
    )
    context = (torch.randn(16, model.token_embedding.embedding_dim, generator=generator(0)) * 0.02).to(device)
    context.requires_grad_()
    optimiser = torch.optim.SGD([context], lr=0.002, momentum=0.9, weight_decay=5e-4)
    features = torch.from_numpy(rows[:COOP_BATCH]).to(device)
    truth = torch.from_numpy(labels[:COOP_BATCH]).to(device)
    dtype = {"bf16": torch.bfloat16}.get(tuning_precision(device))

    def step() -> object:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            text = plain(model, context, tokens).float()
        loss = F.cross_entropy(100 * features @ text.T, truth) + 0.2 * 100 * ebm_loss(features, text, 0.01)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.item()

    return seconds(step, device, 5)


def rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations per second of a large matrix product."""
    a, b = (torch.randn(SIZE, SIZE, device=device, dtype=dtype) for _ in range(2))
    return 2 * SIZE**3 / seconds(lambda: a @ b, device, 10)


def compare(clip: FrozenClip, options: argparse.Namespace, out: Console) -> None:
    """Print the times of a tuning step, of one as CoOp computes it, and of all of ``deltaoe.tune``."""
    device = clip.device
    names = class_names(options.classes)
    text = clip.encode_text([f"a photo of a {name}." for name in names]).cpu().numpy()
    rows, labels = made(text, SHOTS + SPARE + CALIBRATION)
    shots = np.flatnonzero(np.arange(len(labels)) % (SHOTS + SPARE + CALIBRATION) < SHOTS)

    run = steps_of(clip, names, rows[shots], labels[shots])
    step = seconds(lambda: run(options.steps), device, 3) / options.steps
    with mock.patch("deltaoe.tuning.loop.replayed", lambda function, example: function):
        eager = seconds(lambda: run(options.steps), device, 3) / options.steps
    with FlopCounterMode(display=False) as counted:
        run(2)
    operations = counted.get_total_flops() / 2
    precision = tuning_precision(device)
    fastest = rate(device, {"bf16": torch.bfloat16}.get(precision, torch.float32))
    out.print(
        f"a step of ours: {1e3 * step:.1f} ms; {operations / 1e12:.2f} TFLOP, at {fastest / 1e12:,.1f} TFLOP/s of a "
        f"large {precision} product {1e3 * operations / fastest:.1f} ms: {step * fastest / operations:.1f}× that"
    )
    if device.type == "cuda":
        out.print(f"the same, its kernels started one by one: {1e3 * eager:.1f} ms")
        out.print(f"GPU memory: {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB at most")
    if options.profile:
        profiled(run, options.steps, device, out)
    torch.manual_seed(0)
    model = open_clip.create_model(options.model, pretrained=None).eval().requires_grad_(False).to(device)
    model.visual = None
    theirs = coop_step(clip, model, names, rows[shots], labels[shots])
    steps = COOP_EPOCHS * len(shots) // COOP_BATCH
    out.print(
        f"a step of CoOp's way: {1e3 * theirs:.1f} ms, {theirs / step:.1f}× ours; "
        f"its {steps:,} steps would take {theirs * steps:,.0f} s"
    )
    if not options.no_tune:
        began = time.perf_counter()
        stages: dict[str, float] = {}

        def on(event: Event) -> None:
            stages.setdefault(event.stage, time.perf_counter() - began)

        detector = deltaoe.tune(rows, labels, names, model=clip, on=on)
        waits(device)
        total = time.perf_counter() - began
        out.print(
            f"deltaoe.tune, whole: {total:.1f} s: {detector.facts['steps']} steps for each of two contexts; "
            f"{theirs * steps / total:.0f}× as fast as CoOp's way would be"
        )
        out.print("stages began at " + ", ".join(f"{stage} {at:.1f} s" for stage, at in stages.items()))


def main() -> int:
    """Parse the arguments and print the times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--steps", type=int, default=20, help="of ours, to time one")
    parser.add_argument("--no-tune", action="store_true", help="time steps alone")
    parser.add_argument("--profile", action="store_true", help="print what the steps spend their time on")
    options = parser.parse_args()
    device = resolve_device(options.device)
    if device.type == "cpu" and options.device == "auto":
        print("there is no GPU here; --device cpu would take hours, but for --classes 10")
        return 0
    out = Console(width=150, soft_wrap=True)
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    out.print(
        f"{options.model}, {options.classes:,} classes × {SHOTS} shots, {name}, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        compare(load(options.model, device, Path(folder)), options, out)
    return 0


def profiled(run: Callable[[int], object], steps: int, device: torch.device, out: Console) -> None:
    """Print how long the device computes in ``steps`` tuning steps, and its longest kernels."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    began = time.perf_counter()
    with profile(activities=activities) as found:
        run(steps)
        waits(device)
    wall = time.perf_counter() - began
    kernels = [one for one in found.key_averages() if "CPU" not in str(one.device_type)]
    if kernels:
        busy = sum(one.self_device_time_total for one in kernels) / 1e6
        count = sum(one.count for one in kernels)
        out.print(
            f"profile of {steps} steps: {wall:.2f} s while watched, {busy:.2f} s of it the GPU computes, "
            f"{count / steps:,.0f} kernels a step"
        )
        for one in sorted(kernels, key=lambda one: -one.self_device_time_total)[:8]:
            out.print(
                f"  {one.self_device_time_total / 1e3 / steps:.3f} ms, {one.count / steps:.0f} × {one.key[:100]}"
            )
    else:
        out.print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))


if __name__ == "__main__":
    sys.exit(main())
