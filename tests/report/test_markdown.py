"""The Markdown of an evaluation and of its theorems: every number, and no name that breaks it."""

from __future__ import annotations

import re

from pages import make_evaluation

from deltaoe.report.markdown import evaluation_markdown, theory_markdown
from deltaoe.theory.results import Conclusion, Finding, Theory


def test_the_document_has_title_notes_and_tables():
    lines = evaluation_markdown(make_evaluation()).splitlines()
    assert lines[:3] == ["# Pets against the rest", "", "> Mind this."]
    assert "## AUROC, id against" in lines and "## Classification" in lines
    assert lines[lines.index("## Classification") + 2 :][:3] == [
        "| detector |  | id | sketches |",
        "|---|---|---:|---:|",
        "| zero-shot | accuracy | 0.800 \\[0.790, 0.810\\] | 0.801 \\[0.791, 0.811\\] |",
    ]


def test_conclusions_come_last():
    finding = Finding("bound", "d", "id", "", "score: τ = 1", "premise", 0.5, 0.4, 0.6, 20)
    text = theory_markdown(Theory("t", [finding], [Conclusion("bound", "supports", "it *holds*")], ["how"]))
    assert text.startswith("# t\n\n> how\n\n## The EBM bound")
    assert "| d | id | score: τ = 1 | 0.500 \\[0.400, 0.600\\] |" in text
    assert text.endswith("\n## What these data say\n\n- Supports: it \\*holds\\*\n")


def test_hostile_names_do_not_break_markdown():
    name = '<script>alert("1")</script>\'"\n\x07\udcff|`'
    text = evaluation_markdown(make_evaluation([name], unknown=[name], title=name))
    assert "<script" not in text and "\n\x07" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    plain = [re.sub(r"\\.", "", row) for row in rows]
    assert all(row.count("|") in {4, 5} for row in plain)
