"""Options that several commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from deltaoe.errors import ConfigError

Workspace = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        envvar="DELTAOE_WORKSPACE",
        help="Workspace folder. Default: .deltaoe here or in a folder above, else a new one here.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="DELTAOE_MODEL",
        help="open_clip model (ViT-B-16, ViT-L-14, …), hf-hub:ORG/REPO, or local-dir:DIR.",
        show_default=False,
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        envvar="DELTAOE_PRETRAINED",
        help="open_clip's tag of the weights, or a weight file. Default: openai.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never contact a network; use weights that are here.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size", help="Images per model call: auto (32 on a CPU, 256 on a GPU), or a number."
    ),
]
Workers = Annotated[
    str,
    typer.Option(
        "--workers", help="Decoding processes: auto (one per usable CPU), or a number; 0 uses threads."
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(
        "--precision",
        help="Arithmetic of the image tower. auto: that of the cache or detector at hand, else the device's fastest.",
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Read files again that failed before.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any file failed.")]
Background = Annotated[
    str | None,
    typer.Option(
        "--background",
        help="Labels that are none of the classes: imagenet, none, a list of names, or .npz with their features. "
        "Default: imagenet, or none where text features were given.",
        show_default=False,
    ),
]
BackgroundFraction = Annotated[
    float,
    typer.Option("--background-fraction", help="Share of them to keep: those least like the classes."),
]
Centre = Annotated[
    bool,
    typer.Option(
        "--centre/--no-centre", help="Take out of zero-shot prompts what all of them have in common."
    ),
]


def number_or_auto(option: str, text: str) -> int | None:
    """The number given to an option, None for ``auto``. Raises ConfigError for anything else."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{option} takes auto or a number, not {text!r}") from None
