"""Zero-shot, CoOp and deltaoe on real photographs, leaving one domain out, over several seeds, against set margins.

Runs the protocol pacs-lodo, that is ``deltaoe tune`` at its defaults beside CoOp as published and zero-shot prompts: 16
shots per class from three domains, evaluated on their other images (source) and on the fourth domain (held-out),
against all out-of-distribution folders. Numbers are means over the domains and seeds; ± is half of Student's 95 %
interval over the seeds. Ours is ΔEnergy at the detector's τ and c, CoOp's is the best of MCM, MaxLogit and Energy.

``--curves`` prints instead the numbers of both schedules by step, on one split: CoOp's, and deltaoe's for class prompts
and for energy prompts.

    python benchmarks/tuning.py [--seeds 1 2 3] [--markdown FILE] [--curves]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import torch
from shown import show

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.reference import ModelRef
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.evaluation.protocol import load
from deltaoe.evaluation.results import MEAN, Evaluation, Measurement
from deltaoe.evaluation.run_protocol import run_protocol
from deltaoe.evaluation.tuned_runs import METHODS
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions
from deltaoe.functional.metrics import auroc
from deltaoe.functional.sampling import few_shot_split
from deltaoe.functional.scores import SCORES, Evidence
from deltaoe.functional.text_features import blend
from deltaoe.progress import Event
from deltaoe.runtime import generator, resolve_device
from deltaoe.scoring.options import TEMPLATE
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.loop import TrainingSet, fit_context
from deltaoe.tuning.recipe import Recipe

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
THEIRS = ("mcm", "max_logit", "energy")
BASE, COOP, OURS = METHODS


def number(found: Evaluation, method: str, metric: str, where: str, score: str = "") -> Measurement:
    """One measurement of a method; with a score, of the mean over the out-of-distribution sets."""
    wanted = {"detector": method, "metric": metric, "known": where}
    if score:
        wanted |= {"score": score, "unknown": MEAN}
    [row] = found.find(**wanted)
    return row


def shown(row: Measurement) -> str:
    """The mean, and half the width of its interval."""
    return f"{row.value:.3f} ± {(row.high - row.low) / 2:.3f}"


def bars(found: Evaluation) -> list[list[str]]:
    """The table of margins: deltaoe's number, the one compared with, difference, margin, and whether it is reached."""
    rows = []
    for where, other, margin in (("source", COOP, 0.0), ("held-out", BASE, 0.015)):
        ours, theirs = (number(found, name, "accuracy", where) for name in (OURS, other))
        rows.append((f"accuracy {where}", ours, f"{other}", theirs, margin))
    for where, margin in (("source", 0.08), ("held-out", 0.05)):
        ours = number(found, OURS, "auroc", where, "delta_energy")
        best = max(THEIRS, key=lambda score: number(found, COOP, "auroc", where, score).value)
        rows.append(
            (f"AUROC {where}", ours, f"{COOP}, {best}", number(found, COOP, "auroc", where, best), margin)
        )
    return [
        [
            name,
            shown(ours),
            f"{shown(theirs)} ({what})",
            f"{100 * (ours.value - theirs.value):+.1f}",
            f"{100 * margin:+.1f}",
            "reached" if ours.value >= theirs.value + margin else "MISSED",
        ]
        for name, ours, what, theirs, margin in rows
    ]


def everything(found: Evaluation) -> list[list[str]]:
    """Accuracy and AUROC of all methods and scores, on source and held-out domains."""
    rows = [
        [f"accuracy {where}", *(shown(number(found, name, "accuracy", where)) for name in METHODS)]
        for where in ("source", "held-out")
    ]
    for score in ("delta_energy", *THEIRS):
        for where in ("source", "held-out"):
            cells = (shown(number(found, name, "auroc", where, score)) for name in METHODS)
            rows.append([f"AUROC {SCORES[score].title} {where}", *cells])
    return rows


def curves(photos: Path, model: str, workspace: Path) -> list[list[str]]:
    """Time, cross-entropy, accuracy and AUROC along the schedules of CoOp and of deltaoe, with sketches held out."""
    place = Workspace(workspace)
    options = ExtractOptions(model=ModelOptions(model=model, offline=True))
    known, unknown = (extract(photos / name, place, options).data for name in ("pacs-mini", "ood-mini"))
    clip = FrozenClip.load(ModelRef.parse(model), resolve_device("auto"), offline=True)
    features, outside = (
        torch.from_numpy(place.features_of(data).features(data.digests)) for data in (known, unknown)
    )
    held = known.rows_in(["sketch"])
    drawn = few_shot_split(np.where(held, -1, known.class_of).tolist(), known.keys(), 16, 1)
    zero = clip.encode_text([TEMPLATE.replace("{}", name) for name in known.class_names]).numpy()
    labels = torch.from_numpy(known.class_of)
    rows = []
    for name, recipe in (
        (COOP, Recipe.coop()),
        ("class prompts", Recipe(ebm_weight=0.0)),
        ("energy prompts", Recipe()),
    ):
        learner = clip.prompt_learner(known.class_names, None, None, generator(1))
        epochs = recipe.epochs_for(len(drawn.shots), 16)
        per_epoch = -(-len(drawn.shots) // recipe.batch(len(drawn.shots)))
        moments = [max(1, round(epochs * share)) for share in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)]
        times, losses = dict[int, float](), dict[int, float]()
        contexts = dict[int, torch.Tensor]()
        start = time.perf_counter()

        def note(progress, times=times, losses=losses, contexts=contexts, start=start):  # type: ignore[no-untyped-def]
            times[progress.last.epoch] = time.perf_counter() - start
            losses[progress.last.epoch] = progress.last.cross_entropy
            contexts[progress.last.epoch] = progress.context

        fit_context(
            learner,
            TrainingSet(
                features[drawn.shots].to(clip.device),
                labels[drawn.shots].to(clip.device),
                clip.logit_scale,
                torch.from_numpy(zero).to(clip.device),
            ),
            recipe,
            epochs=epochs,
            generator=generator(1),
            on_epoch=note,
        )
        for moment in moments:
            with torch.no_grad():
                learner.context.copy_(contexts[moment])
                text = torch.from_numpy(blend(zero, learner().cpu().numpy(), recipe.blend))
            beyond = SCORES["delta_energy"].compute(
                Evidence.of_cosines(outside @ text.T), recipe.temperature, recipe.top_c
            )
            cells = []
            for inside in (drawn.rest, np.flatnonzero(held)):
                cosines = features[inside] @ text.T
                right = (cosines.argmax(dim=1) == labels[inside]).double().mean().item()
                score = SCORES["delta_energy"].compute(
                    Evidence.of_cosines(cosines), recipe.temperature, recipe.top_c
                )
                cells += [f"{right:.3f}", f"{auroc(score.numpy(), beyond.numpy()):.3f}"]
            rows.append(
                [
                    f"{name}, step {moment * per_epoch}",
                    f"{times[moment]:.1f} s",
                    f"{losses[moment]:.3f}",
                    *cells,
                ]
            )
    return rows


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, default=SHARED / "data" / "photos")
    parser.add_argument("--model", default=f"local-dir:{SHARED / 'models' / 'photo-clip'}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "bench-out" / "photos")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--curves", action="store_true")
    options = parser.parse_args()
    if not options.photos.is_dir():
        print(
            f"no photographs in {options.photos}: pass --photos DIR (with pacs-mini/ and ood-mini/)",
            file=sys.stderr,
        )
        return 2
    if options.curves:
        columns = ["time", "CE", "source acc.", "source AUROC", "held-out acc.", "held-out AUROC"]
        rows = curves(options.photos, options.model, options.workspace)
        show("Both schedules, sketches held out, seed 1", columns, rows, options.markdown)
        return 0
    protocol = dataclasses.replace(load("pacs-lodo"), seeds=tuple(options.seeds))
    start = time.perf_counter()

    def report(event: Event) -> None:
        if event.stage.startswith("Run ") and ":" not in event.stage:
            print(event.stage, *event.info.values(), f"{time.perf_counter() - start:.0f} s", file=sys.stderr)

    found = run_protocol(
        Workspace(options.workspace),
        protocol,
        options.photos,
        EvaluateOptions(
            known="",
            unknown={},
            scores=("delta_energy", *THEIRS),
            model=ModelOptions(model=options.model, offline=True),
        ),
        options.workspace / "evaluation",
        report,
    )
    title = f"16 shots, leave one domain out, seeds {options.seeds}"
    show(title, list(METHODS), everything(found), options.markdown)
    rows = bars(found)
    more = None if options.markdown is None else options.markdown.with_stem(options.markdown.stem + "-bars")
    show("Bars", ["deltaoe", "compared with", "points", "wanted", ""], rows, more)
    return 0 if all(row[-1] == "reached" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
