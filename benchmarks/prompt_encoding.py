"""One tuning step's text pass, ours against CoOp's way, in the same run.

CoOp's way: every class's prompt through all 77 positions of the text tower, forward and backward. Ours: the
shared prefix once, each class's own tokens without padding, nothing behind EOT. Same tower, same random weights,
same context; the largest difference of features and of gradients is printed beside the ratio.

    python benchmarks/prompt_encoding.py [--classes 100] [--model ViT-B-16] [--repeats 3]
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import open_clip
import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from rich.table import Table
from torch import Tensor

from deltaoe.models.prompts import PromptLearner, Suffixes, TextTower, random_context


def plain(model: Any, context: Tensor, tokens: Tensor) -> Tensor:
    """CoOp's forward: (K, 77) token rows with the context written over positions 1 to n."""
    rows = model.token_embedding(tokens)
    rows = torch.cat([rows[:, :1], context.expand(len(rows), -1, -1), rows[:, 1 + len(context) :]], dim=1)
    hidden = model.transformer(rows + model.positional_embedding, attn_mask=model.attn_mask)
    ends = tokens.argmax(dim=1)
    pooled = model.ln_final(hidden)[torch.arange(len(tokens)), ends] @ model.text_projection
    return F.normalize(pooled, dim=-1)


def timed(
    encode: Callable[[], Tensor], context: Tensor, weights: Tensor, repeats: int
) -> tuple[float, Tensor, Tensor]:
    """Median seconds of forward + backward, the features, and the gradient of a fixed linear loss."""
    seconds = []
    for _ in range(repeats + 1):  # the first one warms up
        context.grad = None
        start = time.perf_counter()
        features = encode()
        (features * weights).sum().backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - start)
    assert context.grad is not None
    return statistics.median(seconds[1:]), features.detach(), context.grad.clone()


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--classes", type=int, nargs="+", default=[100])
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
        title=f"{options.model} text tower, random weights, {options.length} context tokens, forward + backward"
    )
    for column in ("classes", "CoOp's way", "ours", "ratio", "features differ by", "gradients differ by"):
        table.add_column(column, justify="right")
    for count in options.classes:
        names = open_clip.IMAGENET_CLASSNAMES[:count]
        context = random_context(options.length, tower.width, torch.Generator().manual_seed(0))
        filler = " ".join(["x"] * options.length)
        tokens = tokenizer([f"{filler} {name}." for name in names])
        rows = tower.up_to_eot(tokenizer([f"{name}." for name in names]))
        learner = PromptLearner(
            tower, rows[0][0], Suffixes.of([row[1:] for row in rows], torch.device("cpu")), context
        )
        theirs = context.clone().requires_grad_()
        weights = torch.randn(
            count, model.text_projection.shape[1], generator=torch.Generator().manual_seed(1)
        )
        slow, want, want_grad = timed(
            functools.partial(plain, model, theirs, tokens), theirs, weights, options.repeats
        )
        fast, got, got_grad = timed(learner, learner.context, weights, options.repeats)
        table.add_row(
            str(count),
            f"{slow:.2f} s",
            f"{fast:.2f} s",
            f"{slow / fast:.1f}×",
            f"{(got - want).abs().max():.1e}",
            f"{(got_grad - want_grad).abs().max() / want_grad.abs().max():.1e} (relative)",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
