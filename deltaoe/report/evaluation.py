"""An evaluation as one HTML page: no network, no script, every string escaped, as in the score report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from markupsafe import Markup

from deltaoe.evaluation.results import MEAN, Evaluation
from deltaoe.report.charts.dots import detection_charts, false_alarm_chart
from deltaoe.report.ranked_tables import ranked_tables
from deltaoe.report.render import asset, content_security_policy, environment, printable
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
    """The page as a complete HTML document, encodable as UTF-8. It holds everything it shows and loads nothing.

    Args:
        evaluation: what was measured.
        now: the time of the run, with its zone.
        theory: what was found about the theorems, for a section of its own.
    """
    style = asset("report.css") + asset("evaluation.css")
    charts, alarms = detection_charts(evaluation), false_alarm_chart(evaluation)
    known = [chart.known for chart in charts] or evaluation.names("known", metric="false_alarms")
    html = (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            evaluation=evaluation,
            title=evaluation.title,
            style=Markup(style),  # noqa: S704 -- files of this package, nothing of the user's
            policy=content_security_policy(style, ""),
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
    )
    return printable(html)


def manifest(value: Mapping[str, Any]) -> list[tuple[str, Entries]]:
    """Nested JSON values as sections (heading, entries); an entry is (name, text), inner names joined by ``›``."""
    plain = {name: one for name, one in value.items() if not isinstance(one, Mapping | list | tuple)}
    parts = [("Settings", plain)] if plain else []
    parts += [(str(name), one) for name, one in value.items() if name not in plain]
    found = []
    for heading, part in parts:
        leaves = _leaves(part)
        entries = list(islice(leaves, _MOST_ENTRIES))
        if next(leaves, None) is not None:
            entries.append(("…", "more are in evaluation.json"))
        found.append((heading, entries))
    return found


def _leaves(value: Any) -> Iterator[tuple[str, str]]:
    """(name, text) of everything that holds nothing more; a list of such things is one of them."""
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
    if isinstance(value, list | tuple) and value:
        more = f", … ({len(value):,} in all)" if len(value) > _MOST_ITEMS else ""
        return ", ".join(map(_text, value[:_MOST_ITEMS])) + more
    if isinstance(value, bool):
        return "yes" if value else "no"
    # None, "", {} and []; zero is a value.
    return str(value) if value or value == 0 else "none"
