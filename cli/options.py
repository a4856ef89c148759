"""Options that several commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    int | None,
    typer.Option(
        "--batch-size", help="Images per model call. Default: 32 on a CPU, 256 on a GPU.", show_default=False
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Read files again that failed before.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any file failed.")]
