"""What ``deltaoe score`` prints about scored images."""

from __future__ import annotations

from collections.abc import Iterable

from deltaoe.scoring.score import ScoreResult
from deltaoe.scoring.words import most_frequent, verdict_line

from .output import Screen


def say_each(result: ScoreResult, screen: Screen) -> None:
    """Print a line about each image, with --verbose its numbers as well."""
    for record in result.table.records():
        screen.say([verdict_line(record, len(result.detector.calibration), per_class=result.rule.per_class)])
        if screen.verbose:
            top = ", ".join(f"{pair['class']} {pair['cosine']:.3f}" for pair in record["top"])
            numbers = ((name, value) for name, value in record.items() if isinstance(value, float))
            screen.table("", [*((name, f"{value:.6g}") for name, value in numbers), ("top", top)])
    if screen.verbose:
        screen.table("", _details(result))


def summary(result: ScoreResult, screen: Screen) -> Iterable[tuple[str, str]]:
    """Rows about all images: verdicts first, numbers of the detector only in a verbose run."""
    table, counts = result.table, result.table.counts
    yield "known", f"{counts['known']:,}"
    yield "unknown", f"{counts['unknown']:,}"
    if table.looks_like and counts["unknown"]:
        yield "look like", most_frequent(table.looks_like)
    if counts["undecided"]:
        yield "undecided", f"{counts['undecided']:,}"
    yield "failed", f"{counts['failed']:,}"
    yield "unknown if", _rule(result)
    yield "judged by", f"{result.origin}; {len(result.detector.calibration)} calibration images"
    if screen.verbose:
        yield from _details(result)


def _rule(result: ScoreResult) -> str:
    """The rule of the verdicts in words."""
    rule = result.rule
    among = " of its class" if rule.per_class else ""
    if rule.fdr is None:
        return f"p ≤ {rule.alpha:g} (α): at most {100 * rule.alpha:.6g} % of your images{among} are less familiar"
    return f"p is small enough for a false discovery rate of {rule.fdr:g}{among}"


def _details(result: ScoreResult) -> Iterable[tuple[str, str]]:
    """Rows with the threshold and the score."""
    threshold, name = result.table.threshold, result.detector.score_name.words
    if threshold is not None:
        yield "threshold", f"{name} ≥ {threshold:.6g} is known"
    else:
        yield "threshold", "one per class" if result.rule.per_class else "none"
    yield "score", result.detector.score_title
