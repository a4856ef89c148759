"""An evaluation as one HTML page without a script; it loads nothing, and every string is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from deltaoe.evaluation.results import MEAN, Evaluation
from deltaoe.report.charts.dots import detection_charts, false_alarm_chart
from deltaoe.report.ranked_tables import ranked_tables
from deltaoe.report.render import asset, page
from deltaoe.report.tables import evaluation_tables, theory_tables
from deltaoe.theory.results import Theory

CONVENTIONS = {
    "id": "In-distribution images are the positive class: FPR@95 is the share of unknown images that are kept by the "
    "threshold that keeps 95 % of the known ones.",
    "ood": "Unknown images are the positive class, as in OpenOOD and pytorch-ood: FPR@95 is the share of known images "
    "that are flagged by the threshold that flags 95 % of the unknown ones.",
}
# The most entries of one part of the manifest, and items of one list in it; evaluation.json has them all.
_MOST_ENTRIES, _MOST_ITEMS = 200, 50

Entries = list[tuple[str, str]]


def render_evaluation(evaluation: Evaluation, now: datetime, theory: Theory | None = None) -> str:
    """The page as a complete HTML document, encodable as UTF-8.

    Args:
        evaluation: what was measured.
        now: the time of the run, with its zone.
        theory: the results about the theorems, for a section of its own; None for no such section.
    """
    charts, alarms = detection_charts(evaluation), false_alarm_chart(evaluation)
    known = [chart.known for chart in charts] or evaluation.names("known", metric="false_alarms")
    return page(
        "evaluation.html.j2",
        asset("report.css") + asset("evaluation.css"),
        "",
        evaluation=evaluation,
        title=evaluation.title,
        convention=CONVENTIONS[evaluation.convention],
        known=known or evaluation.names("known", metric="accuracy"),
        unknown=[name for name in evaluation.names("unknown") if name not in {"", MEAN}],
        charts=charts,
        alarms=alarms,
        tables=ranked_tables(evaluation_tables(evaluation), evaluation.alpha),
        theory=theory,
        theory_tables=theory_tables(theory) if theory else [],
        series=list(evaluation.detectors),
        manifest_open=False,
        manifest=[("Run", [("time", now.isoformat(timespec="seconds"))]), *manifest(evaluation.manifest)],
    )


def manifest(value: Mapping[str, Any]) -> list[tuple[str, Entries]]:
    """Nested JSON values as sections (heading, entries); an entry is (name, text), nested names are joined by ``›``.

    Example:
        >>> manifest({"alpha": 0.05, "options": {"prompts": {"top_c": 1}, "scores": ["mcm", "energy"]}})
        [('Settings', [('alpha', '0.05')]), ('options', [('prompts › top_c', '1'), ('scores', 'mcm, energy')])]
    """
    plain = {name: one for name, one in value.items() if not isinstance(one, Mapping | list | tuple)}
    parts = [("Settings", plain)] if plain else []
    parts += [(str(name), one) for name, one in value.items() if name not in plain]
    sections = []
    for heading, part in parts:
        leaves = _leaves(part)
        entries = list(islice(leaves, _MOST_ENTRIES))
        if next(leaves, None) is not None:
            entries.append(("…", "more are in evaluation.json"))
        sections.append((heading, entries))
    return sections


def _leaves(value: Any) -> Iterator[tuple[str, str]]:
    """(name, text) of every value that is not nested; a list of such values is one entry."""
    waiting = [("", value)]  # a stack, not a recursion: whatever was read from JSON can be shown
    while waiting:
        name, one = waiting.pop()
        pairs: list[tuple[str, Any]]
        if isinstance(one, Mapping) and one:
            pairs = [(str(key), inner) for key, inner in one.items()]
        elif isinstance(one, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in one):
            pairs = [(str(number), inner) for number, inner in enumerate(one, start=1)]
        else:
            yield name, _text(one)
            continue
        waiting += [(f"{name} › {key}" if name else key, inner) for key, inner in reversed(pairs)]


def _text(value: Any) -> str:
    """A value that is not nested, in words; of a long list the first items, and how many there are."""
    if isinstance(value, list | tuple) and value:
        more = f", … ({len(value):,} in all)" if len(value) > _MOST_ITEMS else ""
        return ", ".join(map(_text, value[:_MOST_ITEMS])) + more
    if isinstance(value, bool):
        return "yes" if value else "no"
    # None, "", {} and []; zero is a value.
    return str(value) if value or value == 0 else "none"
