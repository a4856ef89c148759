"""Zero-shot scores on many set-ups: the default, the baselines, and what was tried; each beside MCM, mean and worst.

A set-up is a set of in-distribution classes and a set of out-of-distribution images. *Caltech*: real CLIP ViT-B/32
features of 52 classes; *ImageNet*: of 300 classes. Near out-of-distribution images are of other classes of the same
data, far ones are textures (DTD) and flowers. *Few classes*: 2, 5, 10 and 20 of the 52 classes, and 2, 5, 10, 20 and
100 of the 300, drawn several times; the images of the others are near ones, too. *Photographs*: the four PACS domains
through the small model of the tests, against textures, scenes and objects together; background names are ImageNet's.
The background of the other set-ups is a list of object names, in another template than some classes.

The first table has AUROC / FPR@95, means over the set-ups of a column. The second has the difference to MCM: the mean
over all set-ups, and the worst one among those of real features and among the photographs. It also has top-1 accuracy
on all classes, and the worst difference to that of CLIP's own argmax.

    python benchmarks/defaults.py [--draws 3] [--markdown FILE] [--all]
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
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.reference import ModelRef
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions
from deltaoe.functional.metrics import auroc, fpr_at_tpr
from deltaoe.functional.scores import SCORES, Evidence
from deltaoe.functional.text_features import centred, mine
from deltaoe.images.imagenet import imagenet_names
from deltaoe.runtime import resolve_device
from deltaoe.scoring.options import FRACTION, TEMPERATURE, TEMPLATE, TOP_C
from deltaoe.store.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
CLIP_FEATURES = SHARED / "data" / "clip-features"
FEW = {"caltech": (2, 5, 10, 20), "imagenet": (2, 5, 10, 20, 100)}
# In the mean of K prompts, without a background, as many more count as zero (of the former default).
PRIOR_LABELS = 30
PHOTOGRAPHS = "photographs"

Rows = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class Setting(NamedTuple):
    """A score with its τ and c, the share of background labels used, and whether prompts are centred."""

    score: str
    temperature: float = 1.0
    top_c: int = 1
    fraction: float = 0.0
    centre: bool = False

    def __str__(self) -> str:
        words = [SCORES[self.score].title]
        if self.score == "delta_energy":
            words += [f"τ={self.temperature:g}", f"c={self.top_c}"]
        if self.fraction:
            words.append(f"background {self.fraction:g}")
        if self.centre:
            words.append("centred")
        if self in NOTES:
            words.append(f"({NOTES[self]})")
        return " ".join(words)


MCM = Setting("mcm")
DEFAULT = Setting("delta_energy", TEMPERATURE, TOP_C)
FORMER = Setting("delta_energy", TEMPERATURE, TOP_C, FRACTION, True)
NOTES = {DEFAULT: "default", FORMER: "former default"}
SHOWN = (
    DEFAULT,
    MCM,
    *(Setting(name) for name in ("msp", "max_logit", "energy")),
    *(DEFAULT._replace(temperature=tau) for tau in (0.05, 0.2, 1.0)),
    DEFAULT._replace(top_c=2),
    *(DEFAULT._replace(temperature=tau, fraction=FRACTION) for tau in (0.02, 0.1)),
    Setting("neglabel", fraction=FRACTION),
    FORMER,
    FORMER._replace(fraction=0.0),
)


class Bed(NamedTuple):
    """The images and prompts of one or more set-ups with the same classes.

    Attributes:
        name: of the data and the classes.
        images: (n, D), features of all images, unit rows.
        classes: (n,), index of an in-distribution image's class; −1 for the others.
        text: (K, D), prompts of the in-distribution classes.
        background: (M, D), prompts of names that are no class.
        setups: (column, name, in-distribution images (n,), out-of-distribution images (n,)) of each set-up.
    """

    name: str
    images: Rows
    classes: npt.NDArray[np.int64]
    text: Rows
    background: Rows
    setups: list[tuple[str, str, Mask, Mask]]


class Result(NamedTuple):
    """A setting on a set-up: AUROC, FPR@95, and top-1 accuracy beside that of CLIP's own argmax."""

    auroc: float
    fpr: float
    accuracy: float
    own_accuracy: float


def unit(rows: npt.NDArray[np.floating] | torch.Tensor) -> Rows:
    """The rows at unit length, float32."""
    array = np.asarray(rows, dtype=np.float64)
    return np.asarray(array / np.linalg.norm(array, axis=1, keepdims=True), dtype=np.float32)


def real_features(draws: int) -> Iterator[Bed]:
    """Beds of real CLIP features: all classes of both data sets, then ``draws`` subsets of each size."""
    caltech = load_features(CLIP_FEATURES)
    background = unit(caltech.background)
    caltech_near, *far = (unit(rows) for rows in caltech.outside.values())
    with np.load(CLIP_FEATURES / "imagenet300-id.npz") as found:
        imagenet = (unit(found["features"]), found["labels"].astype(np.int64), unit(found["text_features"]))
    with np.load(CLIP_FEATURES / "imagenet100-near-ood.npz") as found:
        imagenet_near = unit(found["features"])
    generator = np.random.default_rng(1)
    for name, (inside, labels, text), near in (
        ("caltech", (unit(caltech.inside), caltech.labels, unit(caltech.text)), caltech_near),
        ("imagenet", imagenet, imagenet_near),
    ):
        images = np.concatenate([inside, near, *far])
        kind = np.repeat(np.arange(2 + len(far)), [len(inside), len(near), *map(len, far)])
        label = np.concatenate([labels, np.full(len(images) - len(labels), -1)])
        subsets = [(f"{name} {len(text)}", np.arange(len(text)))]
        for count, _ in itertools.product(FEW[name], range(draws)):
            subsets.append((f"{name}, few", np.sort(generator.permutation(len(text))[:count])))
        for column, chosen in subsets:
            mask = (kind == 0) & np.isin(label, chosen)
            classes = np.where(mask, np.searchsorted(chosen, np.where(mask, label, chosen[0])), -1)
            setups = [(f"{column}, near", "near", mask, (kind <= 1) & ~mask)]
            setups += [
                (f"{column}, far", out, mask, kind == 2 + i) for i, out in enumerate(("DTD", "Flowers"))
            ]
            yield Bed(f"{name}, {len(chosen)} classes", images, classes, text[chosen], background, setups)


def photographs(workspace: Path) -> Iterator[Bed]:
    """The bed of photographs and drawings: each domain against all out-of-distribution folders."""
    photos, model = SHARED / "data" / "photos", f"local-dir:{SHARED / 'models' / 'photo-clip'}"
    place, options = Workspace(workspace), ExtractOptions(model=ModelOptions(model=model, offline=True))
    known = extract(photos / "pacs-mini", place, options).data
    unknown = extract(photos / "ood-mini", place, options).data
    clip = FrozenClip.load(ModelRef.parse(model), resolve_device("auto"), offline=True)
    images = np.concatenate([place.features_of(data).features(data.digests) for data in (known, unknown)])

    def encode(names: tuple[str, ...]) -> Rows:
        return np.asarray(clip.encode_text([TEMPLATE.replace("{}", name) for name in names]).numpy())

    text, background = encode(known.class_names), encode(imagenet_names())
    out = np.arange(len(images)) >= len(known)
    none = np.full(len(unknown), -1)
    domain, classes = (np.concatenate([rows, none]) for rows in (known.domain_of, known.class_of))
    setups = [(PHOTOGRAPHS, name, domain == i, out) for i, name in enumerate(known.domain_names)]
    yield Bed(PHOTOGRAPHS, images, classes, text, background, setups)


def centre_of(text: Rows, background: Rows) -> Rows:
    """The mean (D,) of all prompts, which the former default subtracted from each."""
    total = text.sum(axis=0, dtype=np.float64) + background.sum(axis=0, dtype=np.float64)
    return np.asarray(total / (len(text) + (len(background) or PRIOR_LABELS)), dtype=np.float32)


def measure(bed: Bed, settings: list[Setting]) -> Iterator[tuple[str, str, Setting, Result]]:
    """(column, set-up, setting, result) for every set-up of a bed and every setting."""
    own = (bed.images @ bed.text.T).argmax(axis=1) == bed.classes
    groups = itertools.groupby(sorted(settings, key=way), key=way)
    for (fraction, centre), group in groups:
        rows = mine(bed.background, bed.text, fraction) if fraction else np.zeros(0, dtype=np.int64)
        background = bed.background[rows]
        prompts, compared = bed.text, background
        if centre:
            middle = centre_of(bed.text, background)
            prompts, compared = centred(bed.text, middle), centred(background, middle)
        right = (bed.images @ prompts.T).argmax(axis=1) == bed.classes
        images, text = torch.from_numpy(bed.images), torch.from_numpy(bed.text)
        beside, shown, others = (torch.from_numpy(part) for part in (background, prompts, compared))
        evidence = Evidence(images, text, beside, shown, others)
        for setting in group:
            scores = SCORES[setting.score](evidence, setting.temperature, setting.top_c).numpy()
            for column, name, inside, out in bed.setups:
                two = scores[inside], scores[out]
                share = float(right[inside].mean()), float(own[inside].mean())
                yield column, f"{bed.name}, {name}", setting, Result(auroc(*two), fpr_at_tpr(*two), *share)


def way(setting: Setting) -> tuple[float, bool]:
    """The background and the centring of a setting, for which the evidence is the same."""
    return setting.fraction, setting.centre


def every_setting() -> list[Setting]:
    """The settings shown, and ΔEnergy and NegLabel on a grid."""
    grid = [
        Setting("delta_energy", tau, c, fraction, centre)
        for fraction, centre, c, tau in itertools.product(
            (0.0, 0.5, 1.0), (False, True), (1, 2), (0.02, 0.05, 0.1, 0.2, 1.0)
        )
    ]
    return list(dict.fromkeys([*SHOWN, *grid, Setting("neglabel", fraction=1.0)]))


def worst(differences: dict[str, float], where: bool, sign: int) -> str:
    """The worst difference among the photographs, or among the others, and its set-up if MCM is better there."""
    chosen = {name: value for name, value in differences.items() if name.startswith(PHOTOGRAPHS) is where}
    name = min(chosen, key=lambda one: sign * chosen[one])
    named = f" ({name.rpartition('#')[0].strip()})" if sign * chosen[name] < 0 else ""
    return f"{chosen[name]:+.4f}{named}"


def differences(found: dict[str, Result], reference: dict[str, Result]) -> list[str]:
    """Cells of the second table for a setting: results by set-up, beside those of MCM."""
    areas = {name: one.auroc - reference[name].auroc for name, one in found.items()}
    alarms = {name: one.fpr - reference[name].fpr for name, one in found.items()}
    cells = []
    for values, sign in ((areas, 1), (alarms, -1)):
        cells.append(f"{np.mean(list(values.values())):+.4f}")
        cells += [worst(values, where, sign) for where in (False, True)]
    return cells


def accuracies(found: dict[str, Result]) -> list[str]:
    """Top-1 accuracy on all classes of each data set, and the worst difference to CLIP's own over all set-ups."""
    whole = [
        next(one.accuracy for name, one in found.items() if name.startswith(start))
        for start in ("caltech, 52 classes", "imagenet, 300 classes")
    ]
    lost = min(one.accuracy - one.own_accuracy for one in found.values())
    return [*(f"{value:.3f}" for value in whole), f"{lost:+.3f}"]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "bench-out" / "photos")
    parser.add_argument("--markdown", type=Path, help="write the tables to FILE and FILE-differences")
    parser.add_argument("--all", action="store_true", help="a grid of τ, c and backgrounds as well")
    options = parser.parse_args()
    if not SHARED.is_dir():
        print(f"the shared data is not in {SHARED}", file=sys.stderr)
        return 2
    settings = every_setting() if options.all else list(SHOWN)
    columns: dict[str, dict[Setting, list[Result]]] = {}
    by_setup: dict[Setting, dict[str, Result]] = {setting: {} for setting in settings}
    for number, bed in enumerate(
        itertools.chain(real_features(options.draws), photographs(options.workspace))
    ):
        for column, name, setting, result in measure(bed, settings):
            columns.setdefault(column, {}).setdefault(setting, []).append(result)
            by_setup[setting][f"{name} #{number}"] = result
    rows = [
        [
            str(setting),
            *(
                f"{np.mean([one.auroc for one in results[setting]]):.4f} / "
                f"{np.mean([one.fpr for one in results[setting]]):.3f}"
                for results in columns.values()
            ),
        ]
        for setting in settings
    ]
    show("AUROC / FPR@95 without tuning", list(columns), rows, options.markdown)
    beside = [
        [str(setting), *differences(by_setup[setting], by_setup[MCM]), *accuracies(by_setup[setting])]
        for setting in settings
    ]
    kinds = ("mean", "worst of real features", "worst of photographs")
    named = [f"{metric}, {kind}" for metric in ("AUROC", "FPR@95") for kind in kinds]
    named += ["top-1, caltech 52", "top-1, imagenet 300", "top-1, worst difference"]
    differences_file = options.markdown and options.markdown.with_stem(f"{options.markdown.stem}-differences")
    show(f"Difference to MCM, {len(by_setup[MCM])} set-ups", named, beside, differences_file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
