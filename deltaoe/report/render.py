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

from deltaoe.report.charts.histogram import histogram
from deltaoe.report.model import Report
from deltaoe.report.numbers import NOTHING, interval_text, number_text, value_text
from deltaoe.report.sentences import images, no_threshold_sentence, no_verdict_sentence, percent

# What HTML text cannot carry: control characters but tab and newline, and the lone surrogates that
# os.fsdecode makes of bytes that are not UTF-8. And the two direction overrides, which serve to disguise names:
# <bdi> keeps them from reordering their surroundings, but not gpj.exe from reading exe.jpg.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff]")

_HUNDREDS = 200.0  # a spread of scores that needs fewer decimal places


def render(report: Report) -> str:
    """The report as a complete HTML document that is readable without JavaScript.

    Rows are written in the order given.
    """
    classes = sorted({row.label for row in report.rows})
    return page(
        "report.html.j2",
        asset("report.css"),
        asset("report.js"),
        report=report,
        title=report.title,
        manifest=report.manifest,
        manifest_open=True,
        chart=histogram(report.scores, report.calibration, report.threshold),
        number=partial(decimal, places=places(report)),
        signed=partial(decimal, places=places(report), sign=True),
        total=sum(report.counts.values()),
        no_verdict=no_verdict_sentence(report),
        no_threshold=no_threshold_sentence(report),
        class_number={label: index for index, label in enumerate(classes, start=1)},
    )


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


def decimal(value: float | None, *, places: int = 4, sign: bool = False) -> str:
    """``value`` with fixed decimals and a minus sign (U+2212); what would round to zero keeps one digit.

    Example:
        >>> decimal(0.25), decimal(-0.25, places=2), decimal(2e-7), decimal(None)
        ('0.2500', '−0.25', '2e−07', '—')
    """
    if value is None or math.isnan(value):
        return NOTHING if value is None else "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    plus = "+" if sign and value > 0 else ""
    text = f"{value + 0.0:.{places}f}"  # −0.0 + 0.0 is 0.0
    if value and not text.strip("-0."):
        text = f"{value:.0e}"
    return plus + text.replace("-", "−")


def p_value(value: float | None) -> str:
    """Three significant digits without exponents, so that the numbers of a column are easy to compare.

    Example:
        >>> p_value(0.5), p_value(0.00123), p_value(None)
        ('0.500', '0.00123', '—')
    """
    if value is None or not 0 < value < math.inf:
        return NOTHING
    return f"{value:.{max(2, 2 - math.floor(math.log10(value)))}f}"


def share(part: int, whole: int) -> str:
    """``part`` of ``whole`` in percent with one decimal; 0% and 100% only where they are exact.

    Example:
        >>> share(1, 3), share(1, 10_000), share(9_999, 10_000), share(3, 3)
        ('33.3%', 'under 0.1%', 'over 99.9%', '100%')
    """
    if not whole:
        return NOTHING
    value = 100 * part / whole
    if 0 < value < 0.05:
        return "under 0.1%"
    if 99.95 <= value < 100:
        return "over 99.9%"
    return f"{value:.1f}%" if 0 < part < whole else f"{value:.0f}%"


def sort_key(value: float | None) -> str:
    """The full value, by which the page's script sorts rows; "" where it is not finite (such rows are last)."""
    return repr(float(value)) if value is not None and math.isfinite(value) else ""


def folder_length(path: str) -> int:
    """How many leading characters of ``path`` name the folder, its last separator included."""
    return max(path.rfind("/"), path.rfind("\\")) + 1


def data_url(thumbnail: bytes) -> str:
    """The WebP file as a URL that needs no request."""
    return "data:image/webp;base64," + base64.b64encode(thumbnail).decode("ascii")


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
