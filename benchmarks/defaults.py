"""AUROC without tuning by τ, c, background and centring, on near and far out-of-distribution images of several kinds.

Three test beds. *Caltech*: real CLIP ViT-B/32 features of 52 classes; near out-of-distribution images are the other
Caltech classes, far ones textures and flowers. *Few classes*: 5 or 20 of the 52, drawn several times; the images of the
others are near out-of-distribution images. *Photographs*: the four PACS domains through the small model of the tests,
against textures, scenes and objects; background names are ImageNet's. Every number is a mean AUROC; *all* is the mean
of the columns before it. The background of the first two is another list of names, in another template than some
classes.

    python benchmarks/defaults.py [--draws 5] [--markdown FILE] [--all]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from features import load_features
from shown import show

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.imagenet import imagenet_names
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.reference import ModelRef
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions
from deltaoe.functional.metrics import auroc, fpr_at_tpr
from deltaoe.functional.scores import SCORES, Evidence
from deltaoe.functional.text_features import centre_of, centred, mine
from deltaoe.runtime import resolve_device
from deltaoe.scoring.options import TEMPERATURE, TEMPLATE, TOP_C
from deltaoe.store.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
TAUS = (0.02, 0.05, 0.1, 0.2, 1.0)
CS = (1, 2)
FRACTIONS = (0.0, 0.5, 1.0)

Rows = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class Setting(NamedTuple):
    """A score with its τ and c, the share of background labels used, and whether prompts are centred."""

    score: str
    temperature: float
    top_c: int
    fraction: float
    centre: bool

    def __str__(self) -> str:
        words = [SCORES[self.score].title]
        if self.score == "delta_energy":
            words += [f"τ={self.temperature:g}", f"c={self.top_c}"]
        if self.fraction:
            words.append(f"background {self.fraction:g}")
        if self.centre:
            words.append("centred")
        return " ".join(words)


class Bed(NamedTuple):
    """One test bed.

    Attributes:
        images: (n, D), features of all images, unit rows.
        text: (K, D), prompts of the in-distribution classes.
        background: (M, D), prompts of names that are no class.
        columns: column → pairs of masks (n,): in-distribution and out-of-distribution images to be told apart.
    """

    images: Rows
    text: Rows
    background: Rows
    columns: dict[str, list[tuple[Mask, Mask]]]


def unit(rows: npt.NDArray[np.floating] | torch.Tensor) -> Rows:
    """The rows at unit length, float32."""
    array = np.asarray(rows, dtype=np.float64)
    return np.asarray(array / np.linalg.norm(array, axis=1, keepdims=True), dtype=np.float32)


def caltech(draws: int) -> Iterator[Bed]:
    """Test beds of real CLIP features: all 52 classes, then ``draws`` subsets of 5 and of 20 classes."""
    data = load_features(SHARED / "data" / "clip-features")
    images = unit(np.concatenate([part.numpy() for part in data.image_sets]))
    kind = np.repeat(np.arange(len(data.image_sets)), [len(part) for part in data.image_sets])
    label = np.concatenate([data.labels, np.full(len(images) - len(data.labels), -1)])
    text, background = unit(data.text), unit(data.background)
    inside, count = kind == 0, len(data.image_sets)
    far = [(inside, kind == number) for number in range(2, count)]
    yield Bed(images, text, background, {"near": [(inside, kind == 1)], "far": far})
    generator = np.random.default_rng(1)
    for classes, _ in itertools.product((5, 20), range(draws)):
        chosen = np.sort(generator.permutation(len(text))[:classes])
        inside = np.isin(label, chosen)
        near = (kind <= 1) & ~inside
        far = [(inside, kind == number) for number in range(2, count)]
        columns = {f"near, {classes} classes": [(inside, near)], f"far, {classes} classes": far}
        yield Bed(images, text[chosen], background, columns)


def photographs(workspace: Path) -> Iterator[Bed]:
    """The test bed of photographs and drawings: each domain against all out-of-distribution folders."""
    photos, model = SHARED / "data" / "photos", f"local-dir:{SHARED / 'models' / 'photo-clip'}"
    place, options = Workspace(workspace), ExtractOptions(model=ModelOptions(model=model, offline=True))
    known = extract(photos / "pacs-mini", place, options).data
    unknown = extract(photos / "ood-mini", place, options).data
    clip = FrozenClip.load(ModelRef.parse(model), resolve_device("auto"), offline=True)
    store = place.store(clip.space)
    images = np.concatenate([store.features(known.digests), store.features(unknown.digests)])

    def encode(names: tuple[str, ...]) -> Rows:
        return np.asarray(clip.encode_text([TEMPLATE.replace("{}", name) for name in names]).numpy())

    text, background = encode(known.class_names), encode(imagenet_names())
    out = np.zeros(len(images), dtype=bool)
    out[len(known) :] = True
    domain = np.concatenate([known.domain_of, np.full(len(unknown), -1)])
    pairs = [(domain == i, out) for i in range(len(known.domain_names))]
    yield Bed(images, text, background, {"photographs": pairs})


def measure(bed: Bed, settings: list[Setting]) -> Iterator[tuple[str, Setting, float, float]]:
    """(column, setting, mean AUROC, mean FPR@95) for every column of a test bed and every setting."""
    groups = itertools.groupby(settings, key=lambda s: (s.fraction, s.centre))
    for (fraction, centre), group in groups:
        rows = mine(bed.background, bed.text, fraction) if fraction else np.zeros(0, dtype=np.int64)
        background = bed.background[rows]
        prompts, compared = bed.text, background
        if centre:
            middle = centre_of(bed.text, background)
            prompts, compared = centred(bed.text, middle), centred(background, middle)
        images, text = torch.from_numpy(bed.images), torch.from_numpy(bed.text)
        beside, shown, others = (torch.from_numpy(part) for part in (background, prompts, compared))
        evidence = Evidence(images, text, beside, shown, others)
        for setting in group:
            scores = SCORES[setting.score](evidence, setting.temperature, setting.top_c).numpy()
            for column, pairs in bed.columns.items():
                each = [(scores[inside], scores[out]) for inside, out in pairs]
                areas, kept = ([metric(*two) for two in each] for metric in (auroc, fpr_at_tpr))
                yield column, setting, float(np.mean(areas)), float(np.mean(kept))


def every_setting() -> list[Setting]:
    """Baselines as published, and ΔEnergy and NegLabel on a grid; ordered by background and centring."""
    baselines = [Setting(name, 1.0, 1, 0.0, False) for name in ("mcm", "msp", "max_logit", "energy")]
    grid = [
        Setting("delta_energy", tau, c, fraction, centre)
        for fraction, centre, c, tau in itertools.product(FRACTIONS, (False, True), CS, TAUS)
    ]
    negative = [Setting("neglabel", 1.0, 1, fraction, False) for fraction in FRACTIONS if fraction]
    return sorted([*baselines, *grid, *negative], key=lambda s: (s.fraction, s.centre))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "bench-out" / "photos")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--all", action="store_true", help="every setting, not the best and the telling ones")
    options = parser.parse_args()
    if not SHARED.is_dir():
        print(f"the shared data is not in {SHARED}", file=sys.stderr)
        return 2
    settings = every_setting()
    values: dict[str, dict[Setting, list[float]]] = {}
    false: dict[str, dict[Setting, list[float]]] = {}
    for bed in itertools.chain(caltech(options.draws), photographs(options.workspace)):
        for column, setting, area, kept in measure(bed, settings):
            values.setdefault(column, {}).setdefault(setting, []).append(area)
            false.setdefault(column, {}).setdefault(setting, []).append(kept)
        print(f"{', '.join(bed.columns)}: done", file=sys.stderr)
    columns = list(values)
    means = {s: [float(np.mean(values[column][s])) for column in columns] for s in settings}
    order = sorted(settings, key=lambda s: -float(np.mean(means[s])))
    default = {Setting("delta_energy", TEMPERATURE, TOP_C, f, True) for f in (0.0, 0.5)}
    telling = default | {
        s
        for s in settings
        if s.score not in {"delta_energy", "neglabel"}
        or (s.fraction in {0.0, 0.5} and s.temperature in {0.05, 0.1, 1.0} and s.top_c == 1)
        or (s.score == "neglabel" and s.fraction in {0.5, 1.0})
        or (s.top_c == 2 and s.centre and s.fraction == 0.5)
    }
    shown = [s for s in order if options.all or s in telling or s in order[:3]]
    rows = [
        [
            f"{setting} (default)" if setting in default else str(setting),
            *(f"{value:.4f}" for value in means[setting]),
            f"{np.mean(means[setting]):.4f}",
            f"{np.mean([np.mean(false[column][setting]) for column in columns]):.3f}",
        ]
        for setting in shown
    ]
    title = f"AUROC without tuning; few classes: {options.draws} draws"
    show(title, [*columns, "all", "FPR@95, all"], rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
