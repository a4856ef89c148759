"""Exit codes of the command; docs/reference/outputs.md lists them. Those of errors stand on the errors."""

from __future__ import annotations

from collections.abc import Mapping

FAILED = 1
# A gate, `score --fail-on-unknown`, tells these apart from errors.
UNKNOWN = 3
UNDECIDED = 4
INTERRUPTED = 130


def of_verdicts(counts: Mapping[str, int], *, strict: bool, fail_on_unknown: bool) -> int:
    """The exit code of scored images, by the number of each verdict.

    Example:
        >>> of_verdicts({"unknown": 1, "undecided": 2, "failed": 0}, strict=False, fail_on_unknown=True)
        3
        >>> of_verdicts({"unknown": 0, "undecided": 2, "failed": 0}, strict=False, fail_on_unknown=True)
        4
    """
    if strict and counts["failed"]:
        return FAILED
    if fail_on_unknown and counts["unknown"]:
        return UNKNOWN
    if fail_on_unknown and counts["undecided"]:
        return UNDECIDED
    return 0
