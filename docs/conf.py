"""Sphinx configuration: `nox -s docs` builds with warnings as errors."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from signatures import signature

project = "deltaoe"
copyright = "2026, the deltaoe authors"  # noqa: A001 - Sphinx's name for it
release = metadata.version("deltaoe")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
exclude_patterns = [
    "_build",
    "explanation/tuning-table.md",
    "explanation/tuning-table-bars.md",
    "explanation/tuning-curves.md",
    "explanation/demo-table.md",
    "explanation/store-table.md",
    "explanation/defaults-table.md",
    "how-to/discover-*.md",
]
html_theme = "furo"
html_title = f"deltaoe {release}"
autodoc_typehints = "none"  # signatures.py shows them
autodoc_member_order = "bysource"
nitpicky = False
python_maximum_signature_line_length = 100


def setup(app: Any) -> None:
    """Signatures have the types that stand in the source."""
    app.connect("autodoc-process-signature", signature)
