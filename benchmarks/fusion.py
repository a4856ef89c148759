"""What image evidence costs: to fit, in the detector's file, and to score with, beside prompts alone in the same run.

    python benchmarks/fusion.py [--images 50000] [--classes 1000] [--dim 768] [--shots 16]

Made-up unit rows, since time does not depend on what they show. Scoring is `deltaoe.scoring.scorer.Scorer` on a block
after another, as `deltaoe score` does it on stored features; *reading* is the time that the feature store takes to
hand them over; *fusing* is the ranks and their weighted sum alone. Every figure is the median of five rounds in turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from shown import show

from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.image_evidence import LabelledImages, with_image_evidence
from deltaoe.scoring.scorer import IMAGE_BLOCK, Scorer
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore

ROUNDS = 5
BACKGROUND = 500


def rows(count: int, dim: int, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Unit rows."""
    made = generator.standard_normal((count, dim), dtype=np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("images", 50_000), ("classes", 1000), ("dim", 768), ("shots", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    text = rows(options.classes, options.dim, generator)
    classes = np.repeat(np.arange(options.classes), options.shots)
    near = text[classes] + 0.5 * rows(len(classes), options.dim, generator)
    shots = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    images = rows(options.images, options.dim, generator)
    plain = Detector(
        class_names=tuple(f"class {i}" for i in range(options.classes)),
        text_features=text,
        temperature=0.1,
        top_c=1,
        calibration=np.empty(0),
        space=FeatureSpace("any", "weights", "any", "{}", "fp32", 1, options.dim),
        logit_scale=100.0,
        background=rows(BACKGROUND, options.dim, generator),
        background_names=tuple(f"label {i}" for i in range(BACKGROUND)),
    )
    start = time.perf_counter()
    ClassGaussians.fit(shots, classes)
    gaussians = time.perf_counter() - start
    start = time.perf_counter()
    fitted = with_image_evidence(plain, LabelledImages.shots(shots, classes))
    everything = time.perf_counter() - start
    calibration = rows(2000, options.dim, generator)
    found = fitted.part_values(calibration)
    fused = fitted.calibrated(found.values, found.labels[:, 0])
    values = np.concatenate([found.values] * (options.images // 2000 + 1))[: options.images]

    def scored(detector: Detector) -> Callable[[], object]:
        scorer = Scorer(detector)
        return lambda: [scorer(images[i : i + IMAGE_BLOCK]) for i in range(0, len(images), IMAGE_BLOCK)]

    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), plain.space)
        digests = np.stack(
            [np.frombuffer(hashlib.sha256(b"%d" % i).digest(), np.uint8) for i in range(len(images))]
        )
        with store.writer() as writer:
            for digest, image in zip(digests, images, strict=True):
                writer.add_features(digest.tobytes(), image[None], [0])
                if writer.pending >= IMAGE_BLOCK:
                    writer.flush()
            writer.flush()
        work: dict[str, Callable[[], object]] = {
            "reading": lambda: list(store.blocks(digests, rows=IMAGE_BLOCK)),
            "prompts alone": scored(plain),
            "with image evidence": scored(fused),
            "fusing": lambda: fused.fused_scores(values),
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(ROUNDS):
            for name, run in work.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(found) for name, found in times.items()}
    base = seconds["reading"] + seconds["prompts alone"]
    lines = [
        [name, f"{value:.3f} s", f"{1e6 * value / options.images:.1f} µs", f"{value / base:.2f}"]
        for name, value in seconds.items()
    ]
    show(
        f"{options.images} images, {options.classes} classes, {BACKGROUND} background labels, {options.dim} numbers",
        ["all", "an image", "of reading and prompts alone"],
        lines,
        None,
    )
    size = len(fused.to_bytes()) - len(dataclasses.replace(plain, calibration=fused.calibration).to_bytes())
    print(
        f"Gaussians of {len(shots)} images: {gaussians:.2f} s; with folds, weights and all: {everything:.1f} s"
    )
    print(f"image evidence in the detector's file: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
