"""Run the commands of docs/day.md and write what they print into the page: ``python docs/update_day.py``.

The demo is run first, which takes minutes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from console_page import in_a_process, rewrite

PAGE = Path(__file__).parent / "day.md"
SET_UP = ("deltaoe demo", "cd deltaoe-demo")  # shown without their output


def main() -> None:
    """Run the demo and the day, and write the page."""
    with tempfile.TemporaryDirectory() as place:
        code, told = in_a_process(["demo", "--quiet"], Path(place))
        if code:
            raise SystemExit(told)
        rewrite(PAGE, Path(place, "deltaoe-demo"), SET_UP)


if __name__ == "__main__":
    main()
