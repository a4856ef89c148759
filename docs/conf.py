"""Sphinx configuration: `nox -s docs` builds with warnings as errors."""

from importlib import metadata

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
    "photographs",
]
html_theme = "furo"
html_title = f"deltaoe {release}"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
nitpicky = False
