"""The fused verdict beside every single score, on few and many classes, near and far, features and photographs.

A set-up draws shots, validation, calibration and test images of in-distribution classes. *Caltech* and *ImageNet* are
real CLIP ViT-B/32 features, of all classes or of some; near out-of-distribution images are of other classes of the
same data, far ones textures (DTD) and flowers. *Photographs* are the four PACS domains through the small model of the
tests: one domain is left out, and judged as well; out-of-distribution images are textures, scenes and objects. There
the prompts are tuned, too (``--no-tuning`` leaves that out). *One class* is one of the Caltech classes.

Rows: every single score, with zero-shot prompts and the shots as gallery; then the verdict of ``deltaoe``, with
weights from folds, and with the fixed weights that it falls back to. The first table has AUROC / FPR@95, means over
seeds and sets. The second has the mean over the columns, and the worst distance of a column's AUROC to that of the best
single score in the column. The third has accuracy: text alone, and with the Gaussian discriminants. The last has what
was to be reached.

    python benchmarks/verdict.py [--seeds 3] [--first-seed 0] [--markdown FILE] [--no-tuning]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from defaults import CLIP_FEATURES, REPOSITORY, SHARED, Rows
from shown import show
from verdict_setups import SetUp, feature_setups, one_class_setups, photograph_setups, rows_of

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import ModelRef
from deltaoe.functional.gallery import Gallery
from deltaoe.functional.metrics import auroc, fpr_at_tpr
from deltaoe.functional.scores import SCORES, Evidence
from deltaoe.functional.text_features import mine
from deltaoe.runtime import resolve_device
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.image_evidence import PRIOR, LabelledImages, with_image_evidence
from deltaoe.scoring.options import FRACTION, TEMPERATURE, TEMPLATE, TOP_C
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.tuning.data import Shots, TuningData, remembering
from deltaoe.tuning.fit_detector import fit_detector
from deltaoe.tuning.image_side import with_image_side
from deltaoe.tuning.options import TuningOptions

KINDS = (
    ("caltech", 52, (16, 4, 1)),
    ("caltech", 20, (16,)),
    ("caltech", 10, (16, 4)),
    ("caltech", 5, (4,)),
    ("imagenet", 300, (2,)),
    ("imagenet", 100, (2,)),
)
SINGLE = tuple(name for name in SCORES if name != "delta_energy")
VERDICT, FIXED, TUNED = "verdict", "verdict, fixed weights", "verdict, tuned prompts"
TEXT, IMAGES = "its text part", "its images part"
# What was to be reached: (column, row, AUROC, FPR@95 or None); and (accuracy's column, row, accuracy).
BARS = (
    ("caltech 52, 16 shots near", VERDICT, 0.935, 0.20),
    ("caltech 52, 16 shots far", VERDICT, 0.988, 0.05),
    ("photographs, 16 shots source", TUNED, 0.95, None),
    ("photographs, 16 shots held out", TUNED, 0.84, None),
)
ACCURACY_BARS = (
    ("photographs, 16 shots source", TUNED, 0.735),
    ("photographs, 16 shots held out", TUNED, 0.635),
)
MEAN_BAR, WORST_BAR = 0.03, -0.05


class Tuner:
    """Tunes prompts of the photographs' classes with the small model of the tests."""

    def __init__(self, workspace: Path) -> None:
        model = f"local-dir:{SHARED / 'models' / 'photo-clip'}"
        self._clip = FrozenClip.load(ModelRef.parse(model), resolve_device("auto"), offline=True)
        self._encode = remembering(self._zero_shot)
        self._names = tuple(
            sorted(path.name for path in (SHARED / "data" / "photos" / "pacs-mini" / "photo").iterdir())
        )
        self.seconds: list[float] = []

    def _zero_shot(self, names: object) -> Rows:
        prompts = [TEMPLATE.replace("{}", name) for name in names]  # type: ignore[attr-defined]
        return np.asarray(self._clip.encode_text(prompts).numpy())

    def __call__(self, setup: SetUp, shots: int) -> Detector:
        """The tuned detector of a set-up, with image evidence."""
        features, classes, domains = rows_of(setup, setup.shots)
        checked, checked_classes, checked_domains = rows_of(setup, setup.validation)
        data = TuningData(
            class_names=self._names,
            shots=Shots(features[None], classes),
            domains=domains,
            validation=checked,
            validation_classes=checked_classes,
            validation_domains=checked_domains,
            zero_shot=self._encode(self._names),
            encode=self._encode,
            identity={},
        )
        options = TuningOptions(shots=shots, seed=setup.seed)
        start = time.perf_counter()
        fitted = fit_detector(
            self._clip, self._clip.space, data, options, np.zeros((0, 32), np.uint8), lambda event: None
        )
        detector = with_image_side(fitted.detector, data, options)
        self.seconds.append(time.perf_counter() - start)
        return detector


def zero_shot(setup: SetUp) -> Detector:
    """A detector of the bed's prompts, with its background if there is more than one class."""
    bed = setup.bed
    rows = mine(bed.background, bed.text, FRACTION)
    return Detector(
        class_names=tuple(f"class {i}" for i in range(len(bed.text))),
        text_features=bed.text,
        temperature=TEMPERATURE,
        top_c=TOP_C,
        calibration=np.empty(0),
        space=FeatureSpace("any", "weights", "any", "{}", "fp32", 1, bed.images.shape[1]),
        logit_scale=0.0,
        background=bed.background[rows],
        background_names=tuple(f"label {i}" for i in rows.tolist()),
    )


def labelled(setup: SetUp) -> LabelledImages:
    """The shots and validation images."""
    rows = np.concatenate([setup.shots, setup.validation])
    return LabelledImages(*rows_of(setup, rows), np.arange(len(rows)) >= len(setup.shots), setup.seed)


def calibrated(detector: Detector, setup: SetUp) -> Detector:
    """The detector with the set-up's calibration images."""
    found = detector.part_values(setup.bed.images[setup.calibration])
    return detector.calibrated(found.values, found.labels[:, 0])


def verdicts(setup: SetUp, tuner: Tuner | None) -> Iterator[tuple[str, Detector]]:
    """Names and calibrated detectors of a set-up."""
    fitted = with_image_evidence(zero_shot(setup), labelled(setup))
    yield VERDICT, calibrated(fitted, setup)
    fixed = np.array([PRIOR[part] for part in fitted.parts])
    yield FIXED, calibrated(dataclasses.replace(fitted, part_weights=fixed / fixed.sum()), setup)
    if tuner is not None and setup.held_out >= 0:
        yield TUNED, calibrated(tuner(setup, shots_of(setup)), setup)


def shots_of(setup: SetUp) -> int:
    """Shots per class of a set-up."""
    return int(np.bincount(setup.bed.classes[setup.shots]).max())


def single_scores(setup: SetUp, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Every single score of some images, with the shots as gallery."""
    bed = setup.bed
    features, classes, _ = rows_of(setup, setup.shots)
    background = torch.from_numpy(bed.background[mine(bed.background, bed.text, FRACTION)])
    text = torch.from_numpy(bed.text)
    evidence = Evidence(
        torch.from_numpy(bed.images[rows]), text, background, text, background, Gallery(features, classes)
    )
    return {name: SCORES[name](evidence, TEMPERATURE, TOP_C).double().numpy() for name in SINGLE}


def measure(setup: SetUp, tuner: Tuner | None) -> Iterator[tuple[str, str, float, float]]:
    """(column, row, AUROC, FPR@95) of a set-up, and (column, row, accuracy, accuracy of text alone) of its verdicts."""
    bed = setup.bed
    rows = np.arange(len(bed.images))
    scores = single_scores(setup, rows)
    for name, detector in verdicts(setup, tuner):
        found = detector.part_values(bed.images)
        scores[name] = detector.fused_scores(found.values)
        for part in ("text", "images"):
            if name == VERDICT and part in detector.parts:
                scores[TEXT if part == "text" else IMAGES] = found.values[:, detector.parts.index(part)]
        plain = (
            (bed.images @ detector.text_features.T).argmax(axis=1) if len(detector.text_features) else None
        )
        for test, tested in setup.tests.items():
            right = float(np.mean(found.labels[tested, 0] == bed.classes[tested]))
            own = right if plain is None else float(np.mean(plain[tested] == bed.classes[tested]))
            yield f"accuracy: {setup.name} {test}".strip(), name, right, own
    for (test, tested), (kind, sets) in itertools.product(setup.tests.items(), setup.unknown.items()):
        column = " ".join(part for part in (setup.name, test, kind) if part)
        for name, values in scores.items():
            pairs = [(values[tested], values[out]) for out in sets]
            measured = [(auroc(*pair), fpr_at_tpr(*pair)) for pair in pairs]
            yield column, name, *np.mean(measured, axis=0).tolist()


def interval(values: list[float]) -> str:
    """Mean and half-width of Student's 95 % interval over seeds."""
    from scipy.stats import t

    if len(values) < 2:
        return f"{np.mean(values):.3f}"
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):.3f} ± {half:.3f}"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "bench-out" / "photos")
    parser.add_argument(
        "--markdown", type=Path, help="write the tables to FILE, FILE-summary, FILE-accuracy and FILE-bars"
    )
    parser.add_argument("--no-tuning", action="store_true")
    options = parser.parse_args()
    if not CLIP_FEATURES.is_dir():
        print(f"the shared data is not in {SHARED}", file=sys.stderr)
        return 2
    tuner = None if options.no_tuning else Tuner(options.workspace)
    results: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    setups = itertools.chain(
        feature_setups(seeds, KINDS),
        photograph_setups(seeds, options.workspace, (16, 4)),
        one_class_setups(seeds),
    )
    for setup in setups:
        for column, row, first, second in measure(setup, tuner):
            results.setdefault(column, {}).setdefault(row, []).append((setup.seed, first, second))
    detection = {name: rows for name, rows in results.items() if not name.startswith("accuracy")}
    accuracy = {name: rows for name, rows in results.items() if name not in detection}
    report(detection, accuracy, options.markdown)
    if tuner and tuner.seconds:
        print(f"tuning, with both contexts and image evidence: median {np.median(tuner.seconds):.1f} s")
    return 0


def report(
    detection: dict[str, dict[str, list[tuple[int, float, float]]]],
    accuracy: dict[str, dict[str, list[tuple[int, float, float]]]],
    markdown: Path | None,
) -> None:
    """Print the three tables."""
    order = [*SINGLE, TEXT, IMAGES, FIXED, VERDICT, TUNED]
    columns = list(detection)

    def by_seed(found: list[tuple[int, float, float]], which: int) -> list[float]:
        seeds = sorted({one[0] for one in found})
        return [float(np.mean([one[which] for one in found if one[0] == seed])) for seed in seeds]

    def cell(name: str, row: str) -> str:
        found = detection[name].get(row)
        if not found:
            return "–"
        shown = (
            interval(by_seed(found, 1)) if row in (VERDICT, TUNED) else f"{np.mean(by_seed(found, 1)):.3f}"
        )
        return f"{shown} / {np.mean(by_seed(found, 2)):.2f}"

    rows = [[row, *(cell(name, row) for name in columns)] for row in order]
    flipped = [[name, *(line[i + 1] for line in rows)] for i, name in enumerate(columns)]
    show("AUROC / FPR@95", order, flipped, markdown)
    means = {
        row: np.array(
            [np.mean([one[1] for one in detection[name].get(row, [(0, math.nan, 0)])]) for name in columns]
        )
        for row in order
    }
    # Tuned prompts where there are some, else the verdict without tuning.
    means[TUNED] = np.where(np.isnan(means[TUNED]), means[VERDICT], means[TUNED])
    several = np.array([not name.startswith("one class") for name in columns])
    best = np.nanmax(np.stack([means[row] for row in SINGLE]), axis=0)
    summary = []
    for row in order:
        gap = means[row] - best
        worst = int(np.nanargmin(gap))
        summary.append(
            [
                row,
                f"{np.nanmean(means[row]):.4f}",
                f"{np.nanmean(means[row][several]):.4f}",
                f"{gap[worst]:+.3f} ({columns[worst]})",
            ]
        )
    names = ["mean AUROC", "without one class", "worst distance to a column's best single score"]
    show("Over the columns", names, summary, markdown and markdown.with_stem(f"{markdown.stem}-summary"))
    lines = [
        [
            name.removeprefix("accuracy: "),
            row,
            f"{np.mean(by_seed(found, 2)):.3f}",
            interval(by_seed(found, 1)),
        ]
        for name, by_row in accuracy.items()
        for row, found in by_row.items()
        if row != FIXED
    ]
    named = ["", "text alone", "with the images' discriminants"]
    show("Accuracy", named, lines, markdown and markdown.with_stem(f"{markdown.stem}-accuracy"))
    bars = []

    def bar(what: str, found: float, wanted: float, sign: int = 1) -> None:
        reached = "reached" if sign * (found - wanted) >= 0 else "not reached"
        bars.append([what, f"{found:.3f}", f"{'≥' if sign > 0 else '≤'} {wanted:g}", reached])

    for name, row, area, rate in BARS:
        if row in detection.get(name, {}):
            bar(f"{name}: AUROC", float(np.mean(by_seed(detection[name][row], 1))), area)
            if rate is not None:
                bar(f"{name}: FPR@95", float(np.mean(by_seed(detection[name][row], 2))), rate, -1)
    for name, row, wanted in ACCURACY_BARS:
        if row in accuracy.get(f"accuracy: {name}", {}):
            bar(f"{name}: accuracy", float(np.mean(by_seed(accuracy[f"accuracy: {name}"][row], 1))), wanted)
    leader = max(SINGLE, key=lambda row: float(np.nanmean(means[row])))
    bar(
        f"mean AUROC above {leader}, the best single score on average",
        float(np.nanmean(means[TUNED]) - np.nanmean(means[leader])),
        MEAN_BAR,
    )
    bar("worst column: distance to its best single score", float(np.nanmin(means[TUNED] - best)), WORST_BAR)
    file = markdown and markdown.with_stem(f"{markdown.stem}-bars")
    show("What was to be reached", ["found", "wanted", ""], bars, file)


if __name__ == "__main__":
    sys.exit(main())
