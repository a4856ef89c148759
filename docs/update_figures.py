"""Make the documentation's figures anew: ``python docs/update_figures.py [NAME ...]``. Needs matplotlib.

Writes docs/figures/NAME.svg. Their numbers come from the tables in docs/explanation/, from formulas, and, of
*calibration* and *evidence*, from real CLIP features beside the repository; where these are not there, such a figure
keeps its numbers. Each figure carries its numbers as JSON, so that a test can compare them with the tables. The same
version of matplotlib writes the same bytes.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import unescape

import figure_data

FIGURES = Path(__file__).resolve().parent / "figures"
FROM_PAGES = ("method", "verdict", "curves", "growth")
FROM_FEATURES = ("calibration", "evidence")
Data = dict[str, Any]


def main(names: list[str]) -> None:
    """Write the figures of these names, or all."""
    wrong = set(names) - {*FROM_PAGES, *FROM_FEATURES}
    if wrong:
        raise SystemExit(f"no such figure: {', '.join(sorted(wrong))}")
    wanted = names or [*FROM_PAGES, *FROM_FEATURES]
    for name, data in numbers(wanted).items():
        path = FIGURES / f"{name}.svg"
        path.write_bytes(svg(name, data))
        sys.stdout.write(f"{path}\n")


def numbers(names: list[str]) -> Mapping[str, Data]:
    """What the figures of these names show."""
    found = {name: getattr(figure_data, name)() for name in names if name in FROM_PAGES}
    asked = [name for name in names if name in FROM_FEATURES]
    measured = figure_data.measured() if asked else None
    if asked and measured is None:
        sys.stderr.write(f"{figure_data.FEATURES} is not there: {', '.join(asked)} keep their numbers\n")
    for name in asked:
        found[name] = (
            carried(FIGURES / f"{name}.svg") if measured is None else measured[FROM_FEATURES.index(name)]
        )
    return found


def carried(figure: Path) -> Data:
    """The numbers that a figure carries."""
    text = figure.read_text(encoding="utf-8")
    found = re.search(r"<dc:description>(.*?)</dc:description>", text, re.DOTALL)
    if found is None:
        raise ValueError(f"{figure} carries no numbers")
    data: Data = json.loads(unescape(found[1]))
    return data


def svg(name: str, data: Data) -> bytes:
    """A figure as an SVG file, with what it shows as JSON."""
    import matplotlib
    from figure_drawings import STYLE, drawn

    target = io.BytesIO()
    about = {
        "Creator": f"docs/update_figures.py, matplotlib {matplotlib.__version__}",
        "Date": None,
        "Description": json.dumps(data, ensure_ascii=False),
    }
    with matplotlib.rc_context(STYLE):
        drawn(name, data).savefig(target, format="svg", metadata=about)
    lines = target.getvalue().decode().splitlines()
    return ("\n".join(line.rstrip() for line in lines) + "\n").encode()


if __name__ == "__main__":
    main(sys.argv[1:])
