"""Zero-shot, CoOp and CoOp + EBM on real photographs: leave one domain out, several seeds.

For each of the four PACS domains held out: 16 shots per class from the other three, evaluation on the rest of
those (source) and on the held-out domain, against all out-of-distribution folders. Every number is the mean over
the held-out domains; ± is the half width of the 95 % t-interval over seeds. ΔEnergy is taken at our defaults,
MCM and Energy at τ = 1. False alarms: share of in-distribution images called unknown at α = 0.05, calibrated on
one half of the source images that were not shots and counted on the other half.

    python benchmarks/photos.py [--seeds 1 2 3] [--shots 16] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from shown import show

from deltaoe.data.dataset import DataSet
from deltaoe.data.workspace import Workspace
from deltaoe.functional import conformal, metrics
from deltaoe.functional.energy import delta_energy
from deltaoe.functional.sampling import few_shot_split
from deltaoe.functional.scores import SCORES, Evidence
from deltaoe.models.clip import FrozenClip
from deltaoe.models.reference import ModelRef
from deltaoe.models.tuning import Recipe, default_epochs, fit_context
from deltaoe.runtime import generator, resolve_device
from deltaoe.workflows.extract import ExtractOptions, extract
from deltaoe.workflows.zero_shot import TEMPERATURE, TEMPLATE, TOP_C

REPOSITORY = Path(__file__).resolve().parents[1]
METHODS = {"zero-shot": None, "CoOp (λ = 0)": Recipe(ebm_weight=0.0), "CoOp + EBM": Recipe()}
ALPHA = 0.05


class Photos:
    """Features and labels of the photographs, on the model's device."""

    def __init__(self, photos: Path, model: str, workspace: Path) -> None:
        self.place = Workspace(workspace)
        options = ExtractOptions(model=model, offline=True)
        self.known = extract(photos / "pacs-mini", self.place, options).data
        unknown = extract(photos / "ood-mini", self.place, options).data
        self.clip = FrozenClip.load(ModelRef.parse(model), resolve_device("auto"), offline=True)
        store = self.place.store(self.clip.space)
        self.features = torch.from_numpy(store.features(self.known.digests))
        self.unknown = torch.from_numpy(store.features(unknown.digests))
        self.labels = torch.from_numpy(self.known.class_of)

    def text(self, recipe: Recipe | None, shots: np.ndarray, count: int, seed: int) -> torch.Tensor:
        """Text features of a method (K, D): zero-shot prompts, or tuned on these rows."""
        names = self.known.class_names
        if recipe is None:
            return self.clip.encode_text([TEMPLATE.replace("{}", name) for name in names])
        learner = self.clip.prompt_learner(names, None, None, generator(seed))
        fit_context(
            learner,
            self.features[shots].to(self.clip.device),
            self.labels[shots].to(self.clip.device),
            recipe,
            epochs=default_epochs(count),
            logit_scale=self.clip.logit_scale,
            generator=generator(seed),
        )
        with torch.no_grad():
            text: torch.Tensor = learner()
            return text.cpu()


def measure(
    photos: Photos, text: torch.Tensor, recipe: Recipe | None, rest: np.ndarray, held: np.ndarray
) -> dict[str, float]:
    """All numbers of one run."""
    temperature, top_c = (recipe.temperature, recipe.top_c) if recipe else (TEMPERATURE, TOP_C)
    settings = {
        "delta_energy": (temperature, top_c),
        "mcm": (1.0, 1),
        "max_logit": (1.0, 1),
        "energy": (1.0, 1),
    }
    outside = photos.unknown @ text.T
    out: dict[str, float] = {}
    for where, rows in (("source", rest), ("held-out", held)):
        cosines = photos.features[rows] @ text.T
        out[f"accuracy {where}"] = (cosines.argmax(dim=1) == photos.labels[rows]).double().mean().item()
        for name, (tau, c) in settings.items():
            inside = SCORES[name].compute(Evidence.of_cosines(cosines), tau, c).numpy()
            beyond = SCORES[name].compute(Evidence.of_cosines(outside), tau, c).numpy()
            out[f"AUROC {name} {where}"] = metrics.auroc(inside, beyond)
            out[f"FPR@95 {name} {where}"] = metrics.fpr_at_tpr(inside, beyond)

    def ours(cosines: torch.Tensor) -> np.ndarray:
        return delta_energy(cosines, temperature, top_c).numpy()

    scores = ours(photos.features[rest] @ text.T)
    fresh = ours(photos.features[held] @ text.T)
    out["false alarms source"] = float(np.mean(conformal.p_values(scores[1::2], scores[::2]) <= ALPHA))
    out["false alarms held-out"] = float(np.mean(conformal.p_values(fresh, scores[::2]) <= ALPHA))
    return out


def split(data: DataSet, held_out: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the shots, of the other source images, and of the held-out domain."""
    held = data.rows_in([held_out])
    drawn = few_shot_split(np.where(held, -1, data.class_of).tolist(), data.keys(), count, seed)
    return drawn.shots, drawn.rest, np.flatnonzero(held)


def interval(values: list[float]) -> str:
    """Mean ± half width of the 95 % t-interval."""
    mean = float(np.mean(values))
    if len(values) < 2 or np.ptp(values) == 0:
        return f"{mean:.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean:.3f} ± {half:.3f}"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = REPOSITORY.parent / "shared"
    parser.add_argument("--photos", type=Path, default=shared / "data" / "photos")
    parser.add_argument("--model", default=f"local-dir:{shared / 'models' / 'photo-clip'}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "bench-out" / "photos")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--ebm-weight", type=float, help="λ of the third method")
    parser.add_argument("--ebm-temperature", type=float, help="τ of its EBM loss")
    options = parser.parse_args()
    if not options.photos.is_dir():
        print(
            f"no photographs in {options.photos}: pass --photos DIR (with pacs-mini/ and ood-mini/)",
            file=sys.stderr,
        )
        return 2
    methods = dict(METHODS)
    changed = {k: v for k in ("ebm_weight", "ebm_temperature") if (v := getattr(options, k)) is not None}
    methods["CoOp + EBM"] = dataclasses.replace(Recipe(), **changed)
    photos = Photos(options.photos, options.model, options.workspace)
    # results[method][number] holds one value per seed: the mean over held-out domains.
    results: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in methods}
    seconds: dict[str, list[float]] = defaultdict(list)
    for seed in options.seeds:
        for name, recipe in methods.items():
            runs = []
            for domain in photos.known.domain_names:
                shots, rest, held = split(photos.known, domain, options.shots, seed)
                start = time.perf_counter()
                text = photos.text(recipe, shots, options.shots, seed)
                seconds[name].append(time.perf_counter() - start)
                runs.append(measure(photos, text, recipe, rest, held))
            for number in runs[0]:
                results[name][number].append(float(np.mean([run[number] for run in runs])))
            print(f"seed {seed}, {name}: done", file=sys.stderr)
    rows = [
        [number, *(interval(results[name][number]) for name in methods)] for number in results["zero-shot"]
    ]
    rows.append(["seconds per tuning", *(f"{np.median(seconds[name]):.1f}" for name in methods)])
    title = f"{options.shots} shots, leave one domain out, seeds {options.seeds}"
    show(title, list(methods), rows, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
