"""The files of an evaluation that are made to be read by people: Markdown, and one HTML page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from deltaoe.evaluation.results import Evaluation
from deltaoe.report.evaluation import render_evaluation
from deltaoe.report.markdown import evaluation_markdown, theory_markdown
from deltaoe.store.atomic import replacing
from deltaoe.theory.results import Theory


def write_evaluation_report(
    folder: Path, evaluation: Evaluation, now: datetime, theory: Theory | None = None
) -> dict[str, Path]:
    """Write ``evaluation.md`` and ``evaluation.html``, each atomically.

    Args:
        folder: made if it is not there.
        evaluation: what was measured.
        now: the time of the run, with its zone, for the page.
        theory: what was found about the theorems, for a section of the page.

    Returns:
        ``md`` and ``html`` → the files.

    Raises:
        StoreError: the folder cannot be written.
    """
    paths = {kind: folder / f"evaluation.{kind}" for kind in ("md", "html")}
    _write(paths["md"], evaluation_markdown(evaluation))
    _write(paths["html"], render_evaluation(evaluation, now, theory))
    return paths


def write_theory_report(folder: Path, theory: Theory) -> dict[str, Path]:
    """Write ``theory.md``, atomically; it is returned as ``theory, md``. Raises StoreError."""
    path = folder / "theory.md"
    _write(path, theory_markdown(theory))
    return {"theory, md": path}


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
