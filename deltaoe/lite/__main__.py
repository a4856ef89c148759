"""``python -m deltaoe.lite DIR IMAGE...``: one line of JSON per image, as ``deltaoe score --stream`` prints it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence

from deltaoe import exit_codes
from deltaoe.errors import DeltaoeError, StoreError, os_reason
from deltaoe.printable import printable

_EPILOG = (
    "Exit codes: 0; 1 for an error, and with --strict if an image failed; 2 for a wrong command; with "
    "--fail-on-unknown 3 if an image is unknown and 4 if one is undecided."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deltaoe.lite",
        description="Score images by a detector that deltaoe export-onnx wrote: a line of JSON for each.",
        epilog=_EPILOG,
    )
    parser.add_argument("folder", metavar="DIR", help="folder that deltaoe export-onnx wrote")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image file")
    parser.add_argument(
        "--fail-on-unknown",
        action="store_true",
        help="exit with 3 if any image is unknown, 4 if any is undecided",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if any file failed")
    given = parser.parse_args(arguments)
    try:
        return _run(given.folder, given.images, strict=given.strict, fail_on_unknown=given.fail_on_unknown)
    except DeltaoeError as error:
        _say(f"error: {error}", *([f"  try: {error.hint}"] if error.hint else []))
        return error.exit_code
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has gone
        return exit_codes.FAILED


def _run(folder: str, images: Sequence[str], *, strict: bool, fail_on_unknown: bool) -> int:
    try:
        from deltaoe.lite.detector import TOGETHER, load
    except ImportError as cause:  # NumPy or Pillow
        _say(f"error: {cause}", f"  try: pip install -r {folder}/requirements.txt")
        return exit_codes.FAILED
    counts: Counter[str] = Counter(known=0, unknown=0, undecided=0, failed=0)
    detector = load(folder)
    for note in detector.notes:
        _say(f"warning: {note}")
    for start in range(0, len(images), TOGETHER):
        verdicts = detector.score_many(images[start : start + TOGETHER])
        counts.update(verdict.verdict for verdict in verdicts)
        _write("".join(json.dumps(verdict.to_dict()) + "\n" for verdict in verdicts))
    return exit_codes.of_verdicts(counts, strict=strict, fail_on_unknown=fail_on_unknown)


def _write(text: str) -> None:
    """Write to standard output at once. Raises BrokenPipeError, or StoreError where it cannot be written to."""
    try:
        if sys.stdout is None:  # closed before the process began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as cause:
        if sys.stdout is not None:  # Python would try again when it ends, and fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(cause, BrokenPipeError):
            raise
        raise StoreError(
            f"cannot write to standard output: {os_reason(cause)}", hint="check where it is sent"
        ) from cause


def _say(*lines: str) -> None:
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):  # a full disk, or a reader that has gone
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
