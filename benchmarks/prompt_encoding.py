"""Time and memory of one tuning step's text pass, in deltaoe and as CoOp computes it, in the same run.

CoOp's way: every class's prompt through all 77 positions of the text tower, forward and backward. Ours: the
shared prefix once, each class's own tokens without padding, nothing behind EOT. Same tower, same random weights,
same context; the largest differences of the features and of the gradients are printed beside the ratio of times.

CoOp's way takes some 25 MiB for each class, so it runs in blocks of 100 classes whose gradients add up: that is
arithmetic enough to compare with, since this loss is a sum over classes, and it needs no recomputation. A loss that
compares classes would need one, or the memory. The times of both are measured, none is extrapolated; CoOp's way
runs once for more than 100 classes, because it takes minutes. Memory is the peak above what was held before.

    python benchmarks/prompt_encoding.py [--classes 100 1000] [--model ViT-B-16] [--repeats 3]
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from rich.table import Table
from torch import Tensor

from deltaoe.clip.prompt_learner import PromptLearner, random_context
from deltaoe.clip.text_tower import TextTower

BLOCK = 100


def plain(model: Any, context: Tensor, tokens: Tensor) -> Tensor:
    """Text features (K, D) as CoOp computes them: tokens (K, 77), with the context (n, width) at positions 1 to n."""
    rows = model.token_embedding(tokens)
    rows = torch.cat([rows[:, :1], context.expand(len(rows), -1, -1), rows[:, 1 + len(context) :]], dim=1)
    hidden = model.transformer(rows + model.positional_embedding, attn_mask=model.attn_mask)
    ends = tokens.argmax(dim=1)
    pooled = model.ln_final(hidden)[torch.arange(len(tokens)), ends] @ model.text_projection
    return F.normalize(pooled, dim=-1)


def plain_step(model: Any, context: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    """Features (K, D) after forward and backward of the loss Σ weights · features, in blocks of classes."""
    out = []
    for rows, part in zip(torch.split(tokens, BLOCK), torch.split(weights, BLOCK), strict=True):
        features = plain(model, context, rows)
        (features * part).sum().backward()  # type: ignore[no-untyped-call]
        out.append(features.detach())
    return torch.cat(out)


def our_step(learner: PromptLearner, weights: Tensor) -> Tensor:
    """The same with deltaoe's prompt learner."""
    features: Tensor = learner()
    (features * weights).sum().backward()  # type: ignore[no-untyped-call]
    return features.detach()


def resident(field: str) -> int:
    """A field of ``/proc/self/status`` such as ``VmRSS``, in MiB; 0 where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(field)), 0)


def timed(step: Callable[[], Tensor], context: Tensor, repeats: int) -> tuple[float, int, Tensor, Tensor]:
    """Median seconds of a step, the first one's peak memory in MiB, the features, and the context's gradient."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # else this step would live in what an earlier one left, and seem to need nothing
    before = resident("VmRSS")
    if before:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    seconds = []
    for i in range(repeats):
        context.grad = None
        start = time.perf_counter()
        features = step()
        seconds.append(time.perf_counter() - start)
        if i == 0:
            peak = resident("VmHWM") - before
    assert context.grad is not None
    return statistics.median(seconds[1:] or seconds), peak, features, context.grad.clone()


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--classes", type=int, nargs="+", default=[100, 1000])
    arguments.add_argument("--model", default="ViT-B-16")
    arguments.add_argument("--length", type=int, default=16)
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    torch.manual_seed(0)
    model = open_clip.create_model(options.model, pretrained=None).eval().requires_grad_(False)
    model.visual = None  # the image tower never runs while tuning
    tokenizer = open_clip.get_tokenizer(options.model)
    tower = TextTower(model)
    table = Table(
        title=f"{options.model} text tower, random weights, {options.length} context tokens, forward + backward, "
        f"{torch.get_num_threads()} threads"
    )
    for column in ("classes", "CoOp's way", "ours", "ratio", "features differ by", "gradients differ by"):
        table.add_column(column, justify="right")
    for count in options.classes:
        names = open_clip.IMAGENET_CLASSNAMES[:count]
        context = random_context(options.length, tower.width, generator=torch.Generator().manual_seed(0))
        filler = " ".join(["x"] * options.length)
        tokens = tokenizer([f"{filler} {name}." for name in names])
        rows = tower.up_to_eot(tokenizer([f"{name}." for name in names]))
        learner = PromptLearner(tower, rows[0][0], [row[1:-1] for row in rows], rows[0][-1:], context)
        theirs = context.clone().requires_grad_()
        weights = torch.randn(
            count, model.text_projection.shape[1], generator=torch.Generator().manual_seed(1)
        )
        # Both warm up outside of what is timed.
        plain_step(model, context.clone().requires_grad_(), tokens[:8], weights[:8])
        fast, little, got, got_grad = timed(
            functools.partial(our_step, learner, weights), learner.context, options.repeats + 1
        )
        slow, much, want, want_grad = timed(
            functools.partial(plain_step, model, theirs, tokens, weights),
            theirs,
            options.repeats if count <= BLOCK else 1,
        )
        table.add_row(
            str(count),
            f"{slow:.2f} s, {much} MiB",
            f"{fast:.2f} s, {little} MiB",
            f"{slow / fast:.1f}×",
            f"{(got - want).abs().max():.1e}",
            f"{(got_grad - want_grad).abs().max() / want_grad.abs().max():.1e} (relative)",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
