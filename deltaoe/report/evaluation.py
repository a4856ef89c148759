"""An evaluation as one HTML page, made like the score report: no network, no script, every string escaped."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from deltaoe.data.evaluation import MEAN, Evaluation, Measurement
from deltaoe.report.render import asset, content_security_policy, environment, printable

CONVENTIONS = {
    "id": "In-distribution images are the positive class: FPR@95 is the share of unknown images that are kept by the "
    "threshold that keeps 95 % of the known ones.",
    "ood": "Unknown images are the positive class, as in OpenOOD and pytorch-ood: FPR@95 is the share of known images "
    "that are flagged by the threshold that flags 95 % of the unknown ones.",
}
_LEAST = 0.5  # where the axis begins, unless a value is lower


@dataclass(frozen=True)
class Dot:
    """One AUROC in a chart; all in percent of its width."""

    detector: str
    score: str
    text: str
    at: float
    low: float
    high: float
    best: bool


@dataclass(frozen=True)
class Chart:
    """AUROCs against one unknown collection, the best first; ``ticks`` are (percent, label)."""

    title: str
    dots: list[Dot]
    ticks: list[tuple[float, str]]


def render_evaluation(evaluation: Evaluation, now: datetime) -> str:
    """The page as a complete HTML document, encodable as UTF-8. It holds everything it shows and loads nothing."""
    style = asset("report.css") + asset("evaluation.css")
    html = (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            evaluation=evaluation,
            style=Markup(style),  # noqa: S704 -- files of this package, nothing of the user's
            policy=content_security_policy(style, ""),
            convention=CONVENTIONS[evaluation.convention],
            charts=charts(evaluation),
            tables=evaluation.tables(),
            manifest=json.dumps(dict(evaluation.manifest), indent=1, ensure_ascii=False, default=str),
            time=now.isoformat(timespec="seconds"),
        )
    )
    return printable(html)


def charts(evaluation: Evaluation) -> list[Chart]:
    """One chart per known collection: AUROC against the mean of all unknown ones, or the only one."""
    found = []
    for known in evaluation.names("known", metric="auroc"):
        outs = evaluation.names("unknown", metric="auroc", known=known)
        out = MEAN if MEAN in outs else outs[0]
        rows = sorted(evaluation.find(metric="auroc", known=known, unknown=out), key=lambda row: -row.value)
        against = "the mean over all unknown collections" if out == MEAN else out
        found.append(_chart(f"AUROC, {known} against {against}", rows, evaluation))
    return found


def _chart(title: str, rows: list[Measurement], evaluation: Evaluation) -> Chart:
    ends = [value for row in rows for value in (row.value, row.low) if not math.isnan(value)]
    start = min(_LEAST, math.floor(10 * min(ends, default=_LEAST)) / 10)

    def place(value: float) -> float:
        return round(100 * (value - start) / (1 - start), 2)

    best = rows[0].value if rows else 0.0
    dots = [
        Dot(
            row.detector,
            evaluation.scores.get(row.score, row.score),
            f"{row.value:.3f}",
            place(row.value),
            place(row.value if math.isnan(row.low) else row.low),
            place(row.value if math.isnan(row.high) else row.high),
            row.value == best,
        )
        for row in rows
    ]
    count = round(10 * (1 - start))
    ticks = [(round(100 * i / count, 2), f"{start + i / 10:.1f}") for i in range(count + 1)]
    return Chart(title, dots, ticks)
