"""Reports as files: of scored images, and of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deltaoe.progress import OnEvent, silent
from deltaoe.scoring.score import ScoreResult
from deltaoe.store.atomic import replacing

# What makes pages of evaluations loads PyTorch, which a page of scored images does not need.
if TYPE_CHECKING:
    from deltaoe.evaluation.results import Evaluation
    from deltaoe.theory.results import Theory


def write_evaluation_report(
    folder: Path, evaluation: Evaluation, now: datetime, theory: Theory | None = None
) -> dict[str, Path]:
    """Write ``evaluation.md`` and ``evaluation.html``, each atomically.

    Args:
        folder: created if it does not exist.
        evaluation: what was measured.
        now: the time of the run, with its zone, for the page.
        theory: the results about the theorems, for a section of the page; None for no such section.

    Returns:
        ``md`` and ``html`` → the files.

    Raises:
        StoreError: the folder cannot be written.
    """
    from deltaoe.report.evaluation import render_evaluation
    from deltaoe.report.markdown import evaluation_markdown

    paths = {kind: folder / f"evaluation.{kind}" for kind in ("md", "html")}
    _write(paths["md"], evaluation_markdown(evaluation))
    _write(paths["html"], render_evaluation(evaluation, now, theory))
    return paths


def write_theory_report(folder: Path, theory: Theory) -> dict[str, Path]:
    """Write ``theory.md``, atomically.

    Args:
        folder: created if it does not exist.
        theory: the results about the theorems.

    Returns:
        ``theory, md`` → the file.

    Raises:
        StoreError: the folder cannot be written.
    """
    from deltaoe.report.markdown import theory_markdown

    path = folder / "theory.md"
    _write(path, theory_markdown(theory))
    return {"theory, md": path}


def write_score_report(
    path: Path,
    result: ScoreResult,
    title: str,
    table: Path,
    on: OnEvent = silent,
    groups: Mapping[int, tuple[int, str]] | None = None,
    thumbnails: Path | None = None,
) -> None:
    """Write the report of a score result, atomically.

    Args:
        path: the HTML file.
        result: what was scored.
        title: the report's heading.
        table: the CSV file that holds all rows; the report names it.
        on: receives the progress of making thumbnails.
        groups: index into the table → number and name of the group, for images in one.
        thumbnails: as for :func:`deltaoe.report.from_scores.build_report`.

    Raises:
        StoreError: the file cannot be written.
    """
    from deltaoe.report.from_scores import build_report
    from deltaoe.report.render import render

    now = datetime.now().astimezone()
    report = build_report(
        result, title=title, full_table=str(table), now=now, on=on, groups=groups, thumbnails=thumbnails
    )
    _write(path, render(report))


def _write(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically. Raises StoreError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
