"""What axe-core, the engine that Lighthouse's accessibility audit uses, finds in a page in headless chromium."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from browser import Tab

SERIOUS = ("serious", "critical")


@dataclass(frozen=True)
class Finding:
    """A rule that a page breaks, how bad axe calls it, and the elements that break it."""

    rule: str
    impact: str
    elements: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.impact} {self.rule}: " + "; ".join(self.elements[:5])


def axe() -> str:
    """The engine's source: the file that AXE names (a newer one, say), or the one of the package axe-core-python."""
    if named := os.environ.get("AXE"):
        return Path(named).read_text(encoding="utf-8")
    return resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def findings(tab: Tab) -> list[Finding]:
    """What axe finds in the page as it is shown now, serious or not."""
    if not tab.run("typeof axe === 'object'"):
        tab.run(f"{axe()};0")
    told = tab.run(
        "axe.run(document, {resultTypes: ['violations']}).then((all) => JSON.stringify(all.violations.map((one) =>"
        " [one.id, one.impact, one.nodes.map((node) => node.target.join(' ') + ' ' + node.html.slice(0, 120)"
        " + ' ' + (node.any[0]?.message || ''))])))"
    )
    return [Finding(rule, impact, tuple(elements)) for rule, impact, elements in json.loads(told)]


def serious(tab: Tab) -> list[str]:
    """Those findings that keep somebody out."""
    return [str(finding) for finding in findings(tab) if finding.impact in SERIOUS]
