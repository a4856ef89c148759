"""What the tests of the report share: example reports, plain and hostile, and a parser to look at them."""

from __future__ import annotations

import math
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from deltaoe.evaluation.results import Evaluation, Measurement
from deltaoe.functional.conformal import threshold as conformal_threshold
from deltaoe.report.model import Report, ReportRow

VOID = {"meta", "link", "img", "input", "br"}
HOSTILE = [
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "' onmouseover='document.title=1' x='",
    "</style></title></textarea></svg><script>document.title='pwned'</script>",
    "{{ 7 * 7 }}{% raw %}&amp;&lt;",
    "אבג/two\nlines\tand a tab",
    "javascript:document.title='pwned'//<!--<script>",
]


class Page(HTMLParser):
    """A flat view of a document: its elements in order, each with attributes and all text within."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(html)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), "no attribute twice"
        text: list[str] = []
        self.elements.append((tag, dict(attrs), text))
        if tag not in VOID:
            self._open.append((tag, text))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data):
        for _, text in self._open:
            text.append(data)

    def find(self, tag: str, **attributes: str) -> list[tuple[dict[str, str | None], str]]:
        """(attributes, text) of each such element; ``class_`` must be one of the element's classes."""
        wanted = attributes.pop("class_", None)
        return [
            (attrs, "".join(text))
            for name, attrs, text in self.elements
            if name == tag
            and (wanted is None or wanted in (attrs.get("class") or "").split())
            and attributes.items() <= attrs.items()
        ]

    def text(self, tag: str, **attributes: str) -> str:
        [(_, text)] = self.find(tag, **attributes)
        return " ".join(text.split())


def row(path: str = "a/b.jpg", label: str = "dog", score: float = 0.25, **changes) -> ReportRow:
    base = ReportRow(path, "known", label, score, 0.5, 0.01, [(label, 0.31), ("cat", 0.22)], b"RIFF0000WEBP")
    return replace(base, **changes)


def make_report(**changes) -> Report:
    rng = np.random.default_rng(0)
    calibration, scores = rng.normal(0.26, 0.01, 200), rng.normal(0.24, 0.02, 300)
    line = conformal_threshold(calibration, 0.05)
    known = int((scores >= line).sum())
    base = Report(
        title="Holiday pictures",
        score_name="delta_energy",
        alpha=0.05,
        threshold=line,
        counts={"known": known, "unknown": 300 - known, "undecided": 0, "failed": 2},
        scores=scores,
        calibration=calibration,
        rows=[row("a/b.jpg"), row("c.jpg", verdict="unknown", margin=-0.01, p_value=0.00498)],
        failed=[("broken.jpg", "truncated"), ("odd.png", "not an image")],
        manifest=[("Model", [("tag", "ViT-B-16"), ("seed", "0")])],
    )
    return replace(base, **changes)


def hostile_report() -> Report:
    rows = [
        row(
            text,
            text,
            0.2 + i / 1000,
            top=[(text, 0.3)],
            verdict="unknown",
            p_value=1 / 201,
            looks_like=text,
            group=i,
            group_name=text,
        )
        for i, text in enumerate(HOSTILE)
    ]
    return make_report(
        title=HOSTILE[3],
        score_name=HOSTILE[0],
        rows=rows,
        failed=[(text, text) for text in HOSTILE],
        manifest=[(text, [(text, text)]) for text in HOSTILE],
        notes=HOSTILE,
        rows_left_out=3,
        full_table=HOSTILE[1],
    )


UNKNOWN, KNOWN = ("textures", "scenes"), ("id", "sketches")
SCORES = {"delta_energy": "ΔEnergy", "mcm": "MCM", "knn": "KNN"}


def measured(metric: str = "auroc", value: float = 0.9, half: float = math.nan, **changes) -> Measurement:
    """A measurement with an interval of ``value`` ± ``half``."""
    base = Measurement(
        "zero-shot", "mcm", "id", "textures", metric, value, value - half, value + half, 100, 50
    )
    return replace(base, **changes)


def make_evaluation(
    detectors=("zero-shot", "tuned"), scores=SCORES, known=KNOWN, unknown=UNKNOWN, **changes
) -> Evaluation:
    """An evaluation as ``deltaoe evaluate`` makes them; every number of a metric is another one."""
    rows: list[Measurement] = []

    def add(metric: str, start: float, half: float = math.nan, **place) -> None:
        value = start + sum(row.metric == metric for row in rows) / 1000
        rows.append(measured(metric, value, half, **place))

    for detector in detectors:
        for score in scores:
            here = {"detector": detector, "score": score}
            for inside in known:
                for out in unknown:
                    add("auroc", 0.6, 0.008, known=inside, unknown=out, **here)
                    add("fpr95", 0.2, 0.03, known=inside, unknown=out, **here)
                if len(unknown) > 1:
                    add("auroc", 0.6, known=inside, unknown="mean", n_unknown=100, **here)
                    add("fpr95", 0.2, known=inside, unknown="mean", n_unknown=100, **here)
                add("false_alarms", 0.04, 0.015, known=inside, unknown="", n_unknown=0, **here)
        for inside in known:
            about = {"detector": detector, "score": "", "known": inside, "unknown": "", "n_unknown": 0}
            add("accuracy", 0.8, 0.01, **about)
            add("ece", 0.03, **about)
    base = Evaluation(
        title="Pets against the rest",
        rows=rows,
        detectors={name: f"ΔEnergy, c = {c}" for c, name in enumerate(detectors, start=1)},
        scores=scores if isinstance(scores, dict) else {name: name for name in scores},
        alpha=0.05,
        convention="id",
        notes=["Mind this."],
        manifest={"options": {"seed": 1}},
    )
    return replace(base, **changes)


def hostile_evaluation() -> Evaluation:
    return make_evaluation(
        detectors=HOSTILE[:2],
        scores={"mcm": HOSTILE[2], HOSTILE[3]: HOSTILE[3]},
        known=("id", HOSTILE[4]),
        unknown=HOSTILE,
        title=HOSTILE[3],
        notes=HOSTILE,
        conclusions=HOSTILE,
        manifest={text: {text: [text, {text: text}]} for text in HOSTILE},
    )
