"""The files of an evaluation that people read: where they lie and what is in them."""

from __future__ import annotations

from datetime import UTC, datetime

from pages import make_evaluation

from deltaoe.report.evaluation import render_evaluation
from deltaoe.report.files import write_evaluation_report, write_theory_report
from deltaoe.report.markdown import evaluation_markdown, theory_markdown
from deltaoe.theory.results import Conclusion, Finding, Theory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
THEORY = Theory(
    "t", [Finding("bound", "d", "id", "", "score", "premise", 0.5)], [Conclusion("bound", "supports", "yes")]
)


def test_markdown_and_page_are_written(tmp_path):
    evaluation, out = make_evaluation(), tmp_path / "new" / "out"
    paths = write_evaluation_report(out, evaluation, NOW, THEORY) | write_theory_report(out, THEORY)
    assert list(paths) == ["md", "html", "theory, md"]
    assert sorted(out.iterdir()) == sorted(paths.values())
    text = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    assert "| zero-shot | MCM |" in text["md"] and text["md"] == evaluation_markdown(evaluation)
    assert "## What these data say" in text["theory, md"] and text["theory, md"] == theory_markdown(THEORY)
    assert text["html"] == render_evaluation(evaluation, NOW, THEORY)
