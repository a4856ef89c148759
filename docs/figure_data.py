"""What the documentation's figures show, as numbers: from the pages' tables, from formulas, and from real features.

Each function gives one figure's data as plain lists and dictionaries, which the figure carries within it as JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deltaoe.functional.conformal import p_values, threshold
from deltaoe.functional.energy import delta_energy, energy

DOCS = Path(__file__).resolve().parent
TABLES = DOCS / "explanation"
FEATURES = DOCS.parents[1] / "shared" / "data" / "clip-features"
Data = dict[str, Any]

# Cosines of two images with six class names, as CLIP gives them: all positive, all close together.
CLASSES = ("bird", "boat", "car", "clock", "fish", "mug")
EXAMPLES = {
    "known: a photo of a bird": (0.31, 0.20, 0.19, 0.18, 0.21, 0.17),
    "unknown: a photo of a teapot": (0.20, 0.19, 0.20, 0.21, 0.18, 0.24),
}
TEMPERATURE, TOP_C, ALPHA = 0.1, 1, 0.05
# Draws of shots, calibration and test images; images of each kind that are shown.
DRAWS, SHOWN = 30, 150


def table(file: str, where: Path = TABLES) -> tuple[list[str], dict[str, list[str]]]:
    """Column names and rows by name of a Markdown table.

    Raises:
        ValueError: the file holds no table.
    """
    lines = [line for line in (where / file).read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if len(cells) < 3:
        raise ValueError(f"{file} holds no table")
    return cells[0][1:], {row[0]: row[1:] for row in cells[2:]}


def method() -> Data:
    """Energies before and after the largest cosine is set to zero, for a known and an unknown image."""
    images = {}
    for name, cosines in EXAMPLES.items():
        row = np.array([cosines])
        before = float(energy(row, TEMPERATURE)[0])
        change = float(delta_energy(row, TEMPERATURE, TOP_C)[0])
        images[name] = {
            "cosines": list(cosines),
            "before": round(before, 4),
            "after": round(before + change, 4),
        }
    return {"classes": list(CLASSES), "temperature": TEMPERATURE, "images": images}


def verdict() -> Data:
    """By how much each score stays below the best single score of a set-up, in AUROC; and each score's mean."""
    scores, rows = table("verdict-table.md")
    areas = {
        setup: [float(cell.split()[0]) if cell != "–" else None for cell in cells]
        for setup, cells in rows.items()
    }
    single = [place for place, name in enumerate(scores) if not name.startswith(("its ", "verdict"))]
    best = {setup: max(value for place in single if (value := row[place])) for setup, row in areas.items()}
    shown = [*(scores[place] for place in single), "verdict"]
    below = {
        name: [round((areas[setup][scores.index(name)] or 0) - best[setup], 3) for setup in areas]
        for name in shown
    }
    return {"setups": list(areas), "below best": below}


def curves() -> Data:
    """Accuracy and AUROC while prompts are tuned, over time."""
    columns, rows = table("tuning-curves.md")
    runs: Data = {}
    for row, cells in rows.items():
        run = runs.setdefault(row.split(",")[0], {column: [] for column in columns})
        for column, cell in zip(columns, cells, strict=True):
            run[column].append(float(cell.removesuffix(" s")))
    return runs


def growth() -> Data:
    """CPU seconds and memory of what is done with a store, by its number of rows."""
    columns, rows = table("scale-table.md")
    cpu, memory = columns.index("CPU"), columns.index("MB above start")
    work: Data = {}
    for name, cells in rows.items():
        what, _, count = name.removesuffix(" rows").rpartition(", ")
        if "compacted" in what or what.startswith("machine") or "without" in what:
            continue
        entry = work.setdefault(what, {"rows": [], "CPU": [], "MB": []})
        entry["rows"].append(int(count.replace(",", "")))
        entry["CPU"].append(float(cells[cpu]))
        entry["MB"].append(float(cells[memory]))
    return work


def measured() -> tuple[Data, Data] | None:
    """Data of the figures *calibration* and *evidence*, from real CLIP features; None where these are not there.

    The detector is that of ``benchmarks/verdict.py``: 52 Caltech classes, 16 shots, zero-shot prompts and image
    evidence. Of the images that are no shots, half calibrate and half are tested. Draws differ in which these are.
    """
    if not FEATURES.is_dir():
        return None
    benchmarks = str(DOCS.parent / "benchmarks")
    if benchmarks not in sys.path:
        sys.path.insert(0, benchmarks)
    from verdict import calibrated, labelled, zero_shot
    from verdict_setups import feature_setups

    from deltaoe.scoring.image_evidence import with_image_evidence

    levels = np.round(np.arange(0.01, 0.301, 0.01), 2)
    alarms, found, first = [], [], None
    for setup in feature_setups(range(DRAWS), (("caltech", 52, (16,)),)):
        # No validation images: those that calibrate are then like those that are tested, of rare classes, too.
        spare = np.sort(np.concatenate([setup.validation, setup.calibration]))
        setup = setup._replace(validation=spare[:0], calibration=spare)
        detector = calibrated(with_image_evidence(zero_shot(setup), labelled(setup)), setup)
        known, unknown = setup.tests[""], setup.unknown["near"][0]
        parts = {
            name: detector.part_values(setup.bed.images[rows]).values
            for name, rows in (("known", known), ("unknown", unknown))
        }
        fused = {name: detector.fused_scores(values) for name, values in parts.items()}
        p = {name: p_values(values, detector.calibration) for name, values in fused.items()}
        alarms.append([float(np.mean(p["known"] <= level)) for level in levels])
        found.append([float(np.mean(p["unknown"] <= level)) for level in levels])
        if first is None:
            first = _histogram(detector.calibration, fused["unknown"]), _evidence(detector, parts, p)
    assert first is not None  # noqa: S101 - there are draws
    histogram, evidence = first
    return {
        **histogram,
        "draws": DRAWS,
        "alpha": levels.tolist(),
        "false alarms": _spread(alarms),
        "found": _spread(found),
    }, evidence


def _spread(draws: Sequence[Sequence[float]]) -> Data:
    """Mean, lowest and highest of each column."""
    values = np.array(draws)
    return {
        name: np.round(part, 4).tolist()
        for name, part in (
            ("mean", values.mean(axis=0)),
            ("lowest", values.min(axis=0)),
            ("highest", values.max(axis=0)),
        )
    }


def _histogram(calibration: Any, unknown: Any) -> Data:
    """Shares of the calibration images and of unknown images by score, and the threshold."""
    at = threshold(calibration, ALPHA)
    assert at is not None  # noqa: S101 - hundreds of images calibrate
    edges = np.linspace(min(calibration.min(), np.quantile(unknown, 0.02)), 0, 31)
    counted = {
        name: np.histogram(np.maximum(values, edges[0]), edges)[0] / len(values)
        for name, values in (("calibration", calibration), ("unknown", unknown))
    }
    return {
        "edges": np.round(edges, 4).tolist(),
        "threshold": round(float(at), 4),
        "images": len(calibration),
        **{name: np.round(share, 4).tolist() for name, share in counted.items()},
    }


def _evidence(detector: Any, parts: Data, p: Data) -> Data:
    """p-values of both sides of some known and unknown images, and the share of all that each side calls unknown."""
    text, images = detector.parts.index("text"), detector.parts.index("images")
    out: Data = {}
    for name, values in parts.items():
        sides = detector.part_p_values(values)
        rows = np.random.default_rng(0).permutation(len(values))[:SHOWN]
        shares = {"text": sides[:, text], "images": sides[:, images], "both": p[name]}
        out[name] = {
            "text": np.round(sides[rows, text], 4).tolist(),
            "images": np.round(sides[rows, images], 4).tolist(),
            "called unknown": (p[name][rows] <= ALPHA).tolist(),
            "shares": {side: round(float(np.mean(value <= ALPHA)), 4) for side, value in shares.items()},
        }
    return out
