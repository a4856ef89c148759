"""``deltaoe export-onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deltaoe.scoring.options import ScoreOptions

from . import options
from .derive import with_options

HELP = """Export the detector in use, with its image tower, to score images where torch is not installed.

DIR gets the image tower as an ONNX file, the detector, a manifest and a requirements.txt. There, NumPy, ONNX Runtime \
and Pillow are enough: python -m deltaoe.lite DIR photo.jpg, or deltaoe.lite.load in Python. Verdicts are those of \
deltaoe score.

The detector is chosen as by deltaoe score. Before DIR gets its name, features of test pictures by ONNX Runtime are \
compared with those by torch.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe export-onnx ./gate

deltaoe export-onnx ./gate --detector shop-v1 --alpha 0.01

deltaoe export-onnx ./gate --zero-shot --vocabulary none

pip install --no-deps deltaoe && pip install -r ./gate/requirements.txt   (on the other machine)
"""

_OPTIONS = {
    "alpha",
    "per_class",
    "evidence",
    "detector",
    "zero_shot",
    "labels",
    "data",
    "text_features",
    "template",
    "temperature",
    "top_c",
    "background",
    "background_fraction",
    "vocabulary",
    "select",
    "model",
    "pretrained",
    "device",
    "offline",
    "precision",
    "sample_range",
    "decode",
}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("export-onnx", help=HELP, epilog=EPILOG)(export_onnx)


@with_options(ScoreOptions, only=_OPTIONS)
def export_onnx(
    chosen: ScoreOptions,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe export-onnx``; the help text above says what it does."""
    from deltaoe.deployment.check import in_words
    from deltaoe.deployment.export import export_onnx as run

    from .output import Screen
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet)
    place = located(workspace, screen)
    with screen.progress() as progress:
        result = run(folder, place, chosen, force=force, on=progress.event)
    for sentence in result.notes:
        screen.warn(sentence)
    manifest = result.manifest
    size = sum(file["bytes"] for file in manifest["files"].values())
    screen.summary(
        f"Exported to {folder}",
        [
            ("detector", result.origin),
            ("classes", f"{len(manifest['classes']):,}"),
            ("calibration", f"{manifest['detector']['calibration_images']:,} images"),
            ("unknown if", f"p ≤ {manifest['rule']['alpha']:g} (α)"),
            ("model", manifest["model"]),
            ("ONNX", f"opset {manifest['onnx']['opset']}, fp32"),
            ("size", f"{size / 1e6:,.1f} MB"),
            ("checked", in_words(result.cosines)),
        ],
    )
    screen.json(
        {
            "folder": str(folder),
            "detector": result.origin,
            "manifest": manifest,
            "notes": result.notes,
        }
    )
    screen.next(f"python -m deltaoe.lite {folder} IMAGE...")
