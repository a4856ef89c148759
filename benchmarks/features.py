"""Reproduce the reference numbers on real CLIP features, to 1e-4, and time the scores against plain NumPy.

    python benchmarks/features.py [--data ../shared/data/clip-features]

The data is not part of this repository: real CLIP ViT-B/32 features of 52 Caltech classes (in-distribution),
48 other Caltech classes, DTD and Flowers, and `reference.json`, computed by an independent script; for the scores
that compare with images also 300 ImageNet classes and 100 others. Exits with 1 if a number differs by more than 1e-4,
with 2 if the data is not there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from rich.console import Console
from rich.table import Table
from torch import Tensor

from deltaoe.functional.gallery import Gallery
from deltaoe.functional.metrics import auroc, fpr_at_tpr
from deltaoe.functional.scores import SCORES, Evidence
from deltaoe.functional.text_features import mine
from deltaoe.scoring.options import FRACTION, TEMPERATURE, TOP_C

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clip-features"
TOLERANCE = 1e-4
OUT_SETS = {"caltech48-near": "caltech48-near-ood", "dtd": "dtd-ood", "flowers": "flowers-ood"}
METRICS = {"auroc": auroc, "fpr95": fpr_at_tpr}

Floats = npt.NDArray[np.float64]


class Row(NamedTuple):
    """One row of the reference: a score, its τ and c, and the share of background prompts used (None for none)."""

    score: str
    temperature: float
    top_c: int
    background: float | None

    def __str__(self) -> str:
        top = f" c={self.top_c}" if self.top_c else ""
        background = f" background={self.background:g}" if self.background is not None else ""
        return f"{self.score} τ={self.temperature:g}{top}{background}"

    @property
    def known(self) -> bool:
        """Whether this release has the score."""
        return self.score in SCORES and (self.background is None or self.score == "delta_energy")


class Features(NamedTuple):
    """The arrays, float64, rows of unit length.

    Attributes:
        inside: (n, D), in-distribution images; ``labels``: (n,), their classes.
        outside: name → (m, D), out-of-distribution images.
        text: (K, D), prompts of the in-distribution classes.
        background: (M, D), background prompts.
    """

    inside: Tensor
    labels: npt.NDArray[np.int64]
    outside: dict[str, Tensor]
    text: Tensor
    background: Tensor

    @property
    def image_sets(self) -> list[Tensor]:
        """The in-distribution images, then every out-of-distribution set."""
        return [self.inside, *self.outside.values()]


class Comparison(NamedTuple):
    """One number computed by deltaoe, beside the reference's."""

    row: str
    data: str
    metric: str
    ours: float
    reference: float

    @property
    def difference(self) -> float:
        """The absolute difference."""
        return abs(self.ours - self.reference)


def read(data: Path, name: str, key: str = "features") -> Tensor:
    """An array as float64, rows at unit length again.

    Stored as float16, their lengths are off by up to 3e-4, which changes every score that depends on the level of a
    cosine: without scaling, FPR@95 is off by up to 1.6e-3.
    """
    with np.load(data / f"{name}.npz") as arrays:
        return F.normalize(torch.from_numpy(arrays[key].astype(np.float64)), dim=-1)


def load_features(data: Path) -> Features:
    """Read the arrays of the reference."""

    with np.load(data / "caltech52-id.npz") as arrays:
        labels = arrays["labels"].astype(np.int64)
    return Features(
        inside=read(data, "caltech52-id"),
        labels=labels,
        outside={name: read(data, file) for name, file in OUT_SETS.items()},
        text=read(data, "caltech52-id", "text_features"),
        background=read(data, "background-text", "text_features"),
    )


def load_reference(data: Path) -> tuple[dict[str, Any], list[tuple[Row, dict[str, dict[str, float]]]]]:
    """The whole of `reference.json`, and its rows as (row, {data set: {metric: number}})."""
    reference = json.loads((data / "reference.json").read_text(encoding="utf-8"))
    rows = []
    for entry in reference["rows"]:
        row = Row(entry["score"], entry["temperature"], entry["top_c"], entry["background_fraction"])
        rows.append((row, {name: entry[name] for name in OUT_SETS}))
    return reference, rows


def keep_background(features: Features, fraction: float) -> Tensor:
    """The share ``fraction`` of the background prompts that are least like the class prompts, (m, D).

    Likeness is the 0.95-quantile of a background prompt's cosines to the class prompts (docs/explanation/method.md,
    "Background labels").
    """
    likeness = torch.quantile(features.background @ features.text.T, 0.95, dim=-1)
    return features.background[likeness.argsort()[: int(fraction * len(likeness))]]


def our_scores(features: Features, row: Row) -> list[Floats]:
    """One row's scores (n,) of every image set, computed by `deltaoe.functional`."""
    if row.background is None:
        score = SCORES[row.score].compute
        seen = (Evidence.of_cosines(h @ features.text.T) for h in features.image_sets)
        return [score(images, row.temperature, row.top_c).numpy() for images in seen]
    background = keep_background(features, row.background)
    score = SCORES["delta_energy"]
    text = features.text
    seen = (Evidence(h, text, background, text, background) for h in features.image_sets)
    return [score(images, row.temperature, row.top_c).numpy() for images in seen]


def numpy_scores(features: Features, row: Row) -> list[Floats]:
    """The same in NumPy alone, by the formulas: independent values, and the time to compare with."""
    tau, text = row.temperature, features.text.numpy()
    prompts = text
    if row.background is not None:
        likeness = np.quantile(features.background.numpy() @ text.T, 0.95, axis=1)
        kept = np.argsort(likeness)[: int(row.background * len(likeness))]
        prompts = np.concatenate([text, features.background.numpy()[kept]])

    def energy(cosines: Floats) -> Floats:
        peak = cosines.max(axis=1, keepdims=True)
        return np.asarray(-peak[:, 0] - tau * np.log(np.exp((cosines - peak) / tau).sum(axis=1)))

    def one(h: Floats) -> Floats:
        cosines = h @ prompts.T
        if row.score == "max_logit":
            return np.asarray(cosines.max(axis=1))
        if row.score == "energy":
            return -energy(cosines)
        if row.score == "mcm":
            return np.asarray(np.exp((cosines.max(axis=1) + energy(cosines)) / tau))
        cropped = cosines.copy()
        chosen = np.argsort(-cosines[:, : len(text)], axis=1)[:, : row.top_c]
        np.put_along_axis(cropped, chosen, 0.0, axis=1)
        return energy(cropped) - energy(cosines)

    return [one(h.numpy()) for h in features.image_sets]


def compare_row(features: Features, row: Row, expected: dict[str, dict[str, float]]) -> Iterator[Comparison]:
    """Every metric of one row on every data set, beside the reference's."""
    inside, *outside = our_scores(features, row)
    for name, scores in zip(features.outside, outside, strict=True):
        for metric, compute in METRICS.items():
            yield Comparison(str(row), name, metric, compute(inside, scores), expected[name][metric])


def compare_accuracy(features: Features, reference: dict[str, Any]) -> Comparison:
    """Top-1 accuracy on the in-distribution images, beside the reference's."""
    hits = (features.inside @ features.text.T).argmax(dim=-1).numpy() == features.labels
    return Comparison("accuracy", "caltech52 (ID)", "top-1", float(hits.mean()), reference["id_accuracy"])


def default_table(features: Features) -> Table:
    """AUROC and FPR@95 on every data set: the default score beside the baselines at their published settings."""
    table = Table(title="Without tuning: our defaults beside baselines as published, AUROC / FPR@95")
    for column in ("score", *OUT_SETS):
        table.add_column(column, no_wrap=True)
    text, none = features.text, features.background[:0]
    kept = mine(features.background.numpy().astype(np.float32), text.numpy().astype(np.float32), FRACTION)
    some = features.background[kept]
    ways: list[tuple[str, str, Tensor]] = [
        ("ΔEnergy, default", "delta_energy", none),
        ("ΔEnergy, default with background labels", "delta_energy", some),
        *((SCORES[name].title, name, some) for name in ("neglabel", "mcm", "msp", "max_logit", "energy")),
    ]
    for title, name, background in ways:
        scores = [
            SCORES[name](Evidence(h, text, background, text, background), TEMPERATURE, TOP_C).numpy()
            for h in features.image_sets
        ]
        cells = [f"{auroc(scores[0], out):.4f} / {fpr_at_tpr(scores[0], out):.4f}" for out in scores[1:]]
        table.add_row(title, *cells)
    return table


def gallery_sets(data: Path) -> Iterator[tuple[str, Tensor, Gallery, list[Tensor]]]:
    """Title, text features, gallery, and image sets: in-distribution, near, DTD and Flowers."""
    far = [read(data, OUT_SETS[name]) for name in ("dtd", "flowers")]
    with np.load(data / "caltech52-id.npz") as arrays:
        labels = arrays["shots16_labels"]
    gallery = Gallery(read(data, "caltech52-id", "shots16_features").numpy(), labels)
    images = [read(data, name) for name in ("caltech52-id", "caltech48-near-ood")]
    yield "52 classes, 16 shots", read(data, "caltech52-id", "text_features"), gallery, [*images, *far]

    with np.load(data / "imagenet300-id.npz") as arrays:
        labels = arrays["labels"]
    rank = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    learned = rank < np.bincount(labels)[labels] // 2
    inside = read(data, "imagenet300-id")
    images = [inside[~learned], read(data, "imagenet100-near-ood")]
    gallery = Gallery(inside[learned].numpy(), labels[learned])
    yield "300 classes, 2 shots", read(data, "imagenet300-id", "text_features"), gallery, [*images, *far]


def gallery_table(data: Path) -> Table:
    """AUROC and FPR@95 of the scores that compare with images, beside MCM and ΔEnergy; far: mean of DTD and Flowers."""
    names = ["mcm", "delta_energy_plain", *(name for name in SCORES if "gallery" in SCORES[name].needs)]
    table = Table(title="Scores that compare with images, AUROC / FPR@95")
    table.add_column("score", no_wrap=True)
    cells: dict[str, list[str]] = {name: [] for name in names}
    for title, text, gallery, images in gallery_sets(data):
        for where in ("near", "far"):
            table.add_column(f"{title}: {where}")
        for name in names:
            inside, near, *far = (
                SCORES[name](Evidence(h, text, text[:0], text, text[:0], gallery), TEMPERATURE, TOP_C).numpy()
                for h in images
            )
            for group in ([near], far):
                means = (np.mean([metric(inside, out) for out in group]) for metric in METRICS.values())
                cells[name].append(" / ".join(f"{mean:.4f}" for mean in means))
    for name in names:
        table.add_row(SCORES[name].title, *cells[name])
    return table


def wall_times(features: Features, rows: list[Row]) -> tuple[float, float]:
    """Seconds for all rows, ours and plain NumPy: medians of three runs each, alternating."""
    ways: tuple[Callable[[Features, Row], list[Floats]], ...] = (our_scores, numpy_scores)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        for way, spent in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            for row in rows:
                way(features, row)
            spent.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def print_table(console: Console, comparisons: list[Comparison], missing: list[Row]) -> None:
    """Print one line for each comparison, and for each row of the reference that this release does not have."""
    table = Table(title="Real CLIP ViT-B/32 features: ours / reference / difference")
    for column in ("score", "data", "metric"):
        table.add_column(column, no_wrap=True)
    for column in ("ours", "reference", "difference"):
        table.add_column(column, justify="right", no_wrap=True)
    for c in comparisons:
        style = "bold red" if c.difference > TOLERANCE else None
        numbers = (f"{c.ours:.5f}", f"{c.reference:.5f}", f"{c.difference:.1e}")
        table.add_row(c.row, c.data, c.metric, *numbers, style=style)
    for row in missing:
        table.add_row(str(row), "", "not in this release", "", "", "", style="yellow")
    console.print(table)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code says whether the numbers agree."""
    parser = argparse.ArgumentParser(description="Reproduce the reference numbers on real CLIP features.")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with reference.json (%(default)s)")
    data: Path = parser.parse_args(argv).data
    if not (data / "reference.json").is_file():
        print(f"no reference data in {data}: name the folder of reference.json with --data", file=sys.stderr)
        return 2

    features = load_features(data)
    reference, expected = load_reference(data)
    rows = [row for row, _ in expected if row.known]
    missing = [row for row, _ in expected if not row.known]
    comparisons = [compare_accuracy(features, reference)]
    for row, numbers in expected:
        if row.known:
            comparisons += compare_row(features, row, numbers)

    # Wide enough for a whole line when the output is a file.
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    print_table(console, comparisons, missing)
    worst = max(comparisons, key=lambda c: c.difference)
    console.print(
        f"{len(comparisons)} numbers, {len(missing)} rows not in this release; largest difference "
        f"{worst.difference:.1e} ({worst.row}, {worst.data}, {worst.metric}), allowed {TOLERANCE:.0e}",
        soft_wrap=True,
    )
    console.print(default_table(features))
    console.print(gallery_table(data))
    ours, plain = wall_times(features, rows)
    images = sum(len(h) for h in features.image_sets)
    console.print(
        f"wall time, {len(rows)} scores of {images} images, float64, {torch.get_num_threads()} threads: "
        f"ours {ours:.2f} s / plain NumPy {plain:.2f} s = {ours / plain:.2f}",
        soft_wrap=True,
    )
    return int(worst.difference > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
