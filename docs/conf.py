"""Sphinx configuration: `nox -s docs` builds with warnings as errors."""

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
from signatures import signature

project = "deltaoe"
copyright = "2026, the deltaoe authors"  # noqa: A001 - Sphinx's name for it
release = metadata.version("deltaoe")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
# Tables that commands write stand in the pages that include them.
exclude_patterns = [
    "_build",
    "examples",
    "**/*-table*.md",
    "**/*-bars.md",
    "**/*-curves.md",
    "how-to/discover-*.md",
    "photographs",
]
html_static_path = ["static"]
html_theme = "furo"
html_title = f"deltaoe {release}"
autodoc_typehints = "none"  # signatures.py shows them
autodoc_member_order = "bysource"
nitpicky = False
python_maximum_signature_line_length = 100

# What readers by keyboard and screen reader need and Sphinx and furo leave out: boxes that scroll are reached by Tab,
# a caption that calls itself a heading has a level, and the cell in the corner of a table is no heading.
_FOR_ALL_READERS = (
    (re.compile(r"<pre>"), '<pre tabindex="0">'),
    (re.compile(r'<div class="(table-wrapper[^"]*)">'), r'<div class="\1" tabindex="0">'),
    (re.compile(r'<p class="caption" role="heading">'), '<p class="caption" role="heading" aria-level="2">'),
    # The parameters of a long signature, one to a line: a list of definitions without terms.
    (re.compile(r"<dl>(?=\n<dd><em)|(?<=</em>,</dd>\n)</dl>(?=\n\n<span class=\"sig-paren)"), ""),
    (re.compile(r"<dd>(<em class=\"sig-param\">.*?</em>,)</dd>"), r'<span class="sig-line">\1</span>'),
    (re.compile(r"<th( class=\"head[^\"]*\")><p></p></th>"), r"<td\1></td>"),
)


def _for_all_readers(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    for part in ("body", "furo_navigation_tree"):
        for pattern, better in _FOR_ALL_READERS:
            context[part] = pattern.sub(better, context.get(part) or "")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_css_file("site.css")
    app.connect("html-page-context", _for_all_readers, priority=900)
    app.connect("autodoc-process-signature", signature)
