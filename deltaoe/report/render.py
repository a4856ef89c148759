"""A report as one HTML file that needs no network and trusts no string it shows.

Three lines of defence, as paths, labels and manifests come from anywhere: every value is escaped by the
template engine, no value is ever written into a script or a style, and the file carries a content security
policy under which only the script and the style of this package run, identified by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from functools import lru_cache, partial
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deltaoe.report.alpha_stops import alpha_stops
from deltaoe.report.charts.histogram import histogram
from deltaoe.report.counting import by_class, by_folder, by_group
from deltaoe.report.formats import data_url, decimal, folder_length, p_value, share, sort_key
from deltaoe.report.model import Report
from deltaoe.report.numbers import interval_text, number_text, value_text
from deltaoe.report.page_data import page_data
from deltaoe.report.sentences import (
    familiarity,
    images,
    no_threshold_sentence,
    no_verdict_sentence,
    percent,
    reason_words,
)

# What HTML text cannot carry: control characters but tab and newline, and the lone surrogates that
# os.fsdecode makes of bytes that are not UTF-8. And the two direction overrides, which serve to disguise names:
# <bdi> keeps them from reordering their surroundings, but not gpj.exe from reading exe.jpg.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff]")

FULL_ROWS = 1000  # written in full for readers without JavaScript
SCRIPTS = ("data.js", "alpha.js", "filters.js", "view.js", "lightbox.js", "selection.js", "start.js")

_HUNDREDS = 200.0  # a spread of scores that needs fewer decimal places


def render(report: Report) -> str:
    """The report as a complete HTML document that is readable without JavaScript.

    Rows are written in the order given: those with a thumbnail and the first ``FULL_ROWS`` with all that is known of
    them, the others with the essentials. With JavaScript the page shows every row in full, from :func:`page_data`.
    """
    chart = histogram(report.scores, report.calibration, report.threshold)
    full = [row.thumbnail is not None or number < FULL_ROWS for number, row in enumerate(report.rows)]
    return page(
        "report.html.j2",
        asset("report.css") + asset("images.css"),
        script(),
        data=Markup(page_data(report, chart, places(report))),  # noqa: S704 -- has no character of markup
        report=report,
        title=report.title,
        manifest=report.manifest,
        manifest_open=True,
        chart=chart,
        stops=alpha_stops(report, chart),
        number=partial(decimal, places=places(report)),
        signed=partial(decimal, places=places(report), sign=True),
        total=sum(report.counts.values()),
        no_verdict=no_verdict_sentence(report),
        no_threshold=no_threshold_sentence(report),
        full_rows=[(number, row) for number, row in enumerate(report.rows) if full[number]],
        short_rows=[row for number, row in enumerate(report.rows) if not full[number]],
        full_failed=report.failed[:FULL_ROWS],
        short_failed=report.failed[FULL_ROWS:],
        calibration=int(np.size(report.calibration)),
        folders=by_folder(report),
        classes=by_class(report),
        groups=by_group(report),
    )


def script() -> str:
    """The page's script: its files as one block, in which their names are known to each other only."""
    return '\n"use strict";\n{\n' + "".join(map(asset, SCRIPTS)) + "}\n"


def page(template: str, style: str, script: str, **values: Any) -> str:
    """A complete HTML document, encodable as UTF-8, that loads nothing from a network.

    Characters that HTML text cannot hold are shown as ``\\xff``.

    Args:
        template: its name.
        style, script: files of this package, from :func:`asset`; they are written as they are. ``script`` may be empty.
        values: what the template shows; text is escaped.
    """
    html = (
        environment()
        .get_template(template)
        .render(
            style=Markup(style),  # noqa: S704 -- files of this package, nothing of the user's
            script=Markup(script),  # noqa: S704
            policy=content_security_policy(style, script),
            **values,
        )
    )
    # At the very end, so that no string can be forgotten. Only texts can contain such characters.
    return _UNPRINTABLE.sub(_escape, html)


def content_security_policy(style: str, script: str) -> str:
    """The content security policy that allows this style, this script, and ``data:`` images, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src 'sha256-{_sha256(style)}'",
            f"script-src 'sha256-{_sha256(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",  # assigning to innerHTML raises, should anyone ever add it
        ]
    )


def places(report: Report) -> int:
    """Decimal places for scores: 4, and up to 9 where the scores or the threshold need more for three digits.

    Scores that are spread over hundreds, such as squared distances, have 2.

    The threshold gets no more places than the spread of the middle half of the scores asks for, and one.
    """
    values = np.concatenate([np.ravel(report.scores), np.ravel(report.calibration)])
    values = values[np.isfinite(values)]
    if not len(values):
        return 4
    spread = float(values.max()) - float(values.min())
    fewest, wanted = 4 if spread < _HUNDREDS else 2, _three_digits(spread)
    if report.threshold is not None:
        low, high = np.quantile(values, [0.25, 0.75])
        wanted = max(wanted, min(_three_digits(abs(report.threshold)), _three_digits(float(high - low)) + 1))
    return min(9, max(fewest, wanted))


def _three_digits(size: float) -> int:
    """The decimal places that show three digits of a number of this size; 0 where it has no size."""
    return 2 - math.floor(math.log10(size)) if 0 < size < math.inf else 0


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The template engine: every value is escaped, and an undefined name is an error."""
    environment = Environment(
        loader=PackageLoader("deltaoe.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        decimal=decimal,
        p_value=p_value,
        percent=percent,
        share=share,
        sort_key=sort_key,
        folder_length=folder_length,
        data_url=data_url,
        images=images,
        familiarity=familiarity,
        reason_words=reason_words,
        value_text=value_text,
        interval_text=interval_text,
        number_text=number_text,
    )
    return environment


def asset(name: str) -> str:
    """The text of a style or script of this package. ``name``: a file in ``templates/``."""
    # read_text turns CRLF of a Windows checkout into LF, as browsers do before they compute the hash.
    return resources.files("deltaoe.report").joinpath("templates", name).read_text("utf-8")


def _sha256(text: str) -> str:
    """The SHA-256 of a text in base64, as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _escape(match: re.Match[str]) -> str:
    """The escape that is shown for a character that HTML text cannot hold."""
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode: the byte itself
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
