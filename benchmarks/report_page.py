"""The report's page by number of images: its size, the time to build it, and how long a browser takes with it.

    python benchmarks/report_page.py [--images N …]

Images, scores and names are made up; thumbnails are blurred noise of 128 pixels. With chromium on the path it is
also measured when the page is ready, how long another α, a search and another order take, and the script's memory.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from deltaoe.functional.conformal import p_values, threshold
from deltaoe.report.from_scores import MAX_THUMBNAILS
from deltaoe.report.model import Report, ReportRow
from deltaoe.report.render import content_security_policy, render, script

ALPHA, CALIBRATION, CLASSES, NAMES, FOLDERS = 0.05, 5000, 200, 1000, 97
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--dump-dom",
)
MEASURED = """
const took = { ready: performance.now() };
const time = (name, act) => {
  const start = performance.now();
  act();
  document.body.offsetHeight;
  took[name] = performance.now() - start;
};
const set = (id, value) => {
  const control = document.getElementById(id);
  control.value = value;
  control.dispatchEvent(new Event("input"));
};
time("alpha", () => set("alpha-slider", 15));
time("search", () => set("text", "042"));
time("order", () => { set("text", ""); set("sort", "closest"); });
took.memory = performance.memory.usedJSHeapSize;
document.body.dataset.took = JSON.stringify(took);
"""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 50_000, 100_000])
    table = Table(title=f"report.html, at most {MAX_THUMBNAILS} thumbnails")
    headings = (
        "images",
        "MB",
        "s to build",
        "MB of Python at most",
        "s until ready",
        "s for α",
        "search",
        "order",
        "MB",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for images in parser.parse_args().images:
        report = made_up(images)
        start = time.perf_counter()
        html = render(report)
        built = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        numbers = [f"{images:,}", f"{len(html.encode()) / 1e6:.1f}", f"{built:.1f}", f"{peak:.0f}"]
        took = in_browser(html)
        if took:
            seconds = (took[name] / 1000 for name in ("ready", "alpha", "search", "order"))
            numbers += [*(f"{one:.2f}" for one in seconds), f"{took['memory'] / 1e6:.0f}"]
        table.add_row(*numbers)
    Console().print(table)


def made_up(images: int) -> Report:
    """A report of so many images, a third of them unknown."""
    rng = np.random.default_rng(0)
    calibration = rng.normal(0.26, 0.01, CALIBRATION)
    scores = np.sort(rng.normal(0.25, 0.02, images))
    line = threshold(calibration, ALPHA)
    assert line is not None
    p = p_values(scores, calibration)
    closest = np.argsort(np.abs(scores - line))
    pictured = {*range(min(images, MAX_THUMBNAILS // 2)), *closest[: MAX_THUMBNAILS // 2].tolist()}
    pictures = [_picture(rng) for _ in range(100)]
    rows = []
    for i, (score, one) in enumerate(zip(scores.tolist(), p.tolist(), strict=True)):
        unknown = one <= ALPHA
        rows.append(
            ReportRow(
                path=f"collection/folder-{i % FOLDERS:02}/IMG_{i:06}.jpg",
                verdict="unknown" if unknown else "known",
                label=f"class {i * 7 % CLASSES}",
                score=score,
                p_value=one,
                margin=score - line,
                top=[(f"class {(i * 7 + 13 * rank) % CLASSES}", 0.31 - 0.02 * rank) for rank in range(3)],
                thumbnail=pictures[i % len(pictures)] if i in pictured else None,
                parts=[
                    (name, float(p[i * step % images]))
                    for name, step in (("text", 1), ("both together", 3), ("images", 7))
                ],
                reason="together" if unknown else "",
                looks_like=f"name {i * 31 % NAMES}" if unknown else "",
                looks_like_cosine=0.25 if unknown else None,
            )
        )
    unknown_images = int((p <= ALPHA).sum())
    return Report(
        title="made up",
        score_name="fused score",
        alpha=ALPHA,
        threshold=line,
        counts={"known": images - unknown_images, "unknown": unknown_images, "undecided": 0, "failed": 0},
        scores=scores,
        calibration=calibration,
        rows=rows,
        failed=[],
        manifest=[],
    )


def _picture(rng: np.random.Generator) -> bytes:
    small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    out = io.BytesIO()
    small.resize((128, 128), Image.Resampling.BICUBIC).save(out, "WEBP", quality=72)
    return out.getvalue()


def in_browser(html: str) -> dict[str, Any]:
    """Milliseconds that each step takes in headless chromium, and bytes of memory; empty without chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        return {}
    style = html.split("<style>", 1)[1].split("</style>", 1)[0]
    before, after = (
        content_security_policy(style, one).replace("'", "&#39;") for one in (script(), script() + MEASURED)
    )
    html = html.replace(script(), script() + MEASURED).replace(before, after)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(html, encoding="utf-8")
        command = [chromium, *FLAGS, f"--user-data-dir={folder}/profile", page.as_uri()]
        shown = subprocess.run(command, capture_output=True, check=True, timeout=300).stdout.decode()
    found = re.search(r'data-took="([^"]*)"', shown)
    took: dict[str, Any] = json.loads(found[1].replace("&quot;", '"')) if found else {}
    return took


if __name__ == "__main__":
    main()
