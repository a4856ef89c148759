"""Options that several commands share and no library function takes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .command import load_defaults


def _read_defaults(ctx: typer.Context, value: Path | None) -> Path | None:
    load_defaults(ctx, value)
    return value


Workspace = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        is_eager=True,  # it says where the other options' defaults file is
        callback=_read_defaults,
        help="Workspace folder.",
        show_default=".deltaoe here or in a folder above, else a new one here",
    ),
]


class Decided(StrEnum):
    """Verdicts on images that could be read."""

    known = "known"
    unknown = "unknown"
    undecided = "undecided"


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if any file failed.")]
Failed = Annotated[
    bool, typer.Option("--failed", help="List all files that could not be used, not only the first ten.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print details, too.")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace result files of other inputs, or changed ones.")
]
Thumbnails = Annotated[
    Path | None,
    typer.Option(
        "--thumbnails",
        help="Folder with the files of imported images, for their thumbnails in the report.",
        show_default="none of imported images",
    ),
]
Images = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folders, image files, tar or Parquet files, URLs, globs, lists (.txt, .csv), - for a list on stdin; "
        "or one data:NAME.",
        show_default=False,
    ),
]
