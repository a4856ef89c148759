"""How well shuffled features predict AUROC on far out-of-distribution images: rank correlation over many settings.

On real CLIP features. Text features of the 52 classes are tuned directly (16 shots, cross-entropy + λ·EBM + an anchor,
several λ and η), then scored with ΔEnergy at several blends, τ and c, with background labels. For each setting: AUROC
against real far images (textures, flowers), against real near ones (48 other classes), and against in-distribution
images whose components were shuffled. Spearman's correlation of the third with the first two says how good a guide it
is.

    python benchmarks/pseudo_unknown.py [--data DIR]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.stats import spearmanr
from shown import show

from deltaoe.functional.ebm import ebm_loss
from deltaoe.functional.folds import shuffled_features
from deltaoe.functional.metrics import auroc
from deltaoe.functional.text_features import blend, mine
from deltaoe.scoring.many_labels import AllLabels

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "clip-features"
SCALE = 100.0


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows at unit length, float32."""
    wide = rows.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), dtype=np.float32)


def tuned(
    text: np.ndarray, shots: np.ndarray, labels: np.ndarray, weight: float, anchor: float
) -> np.ndarray:
    """Text features (K, D) learned directly from shots (n, D) with λ = ``weight`` and η = ``anchor``; unit rows."""
    start, images = torch.from_numpy(text), torch.from_numpy(shots)
    learned = start.clone().requires_grad_()
    optimiser = torch.optim.AdamW([learned], lr=1e-3)
    for _ in range(150):
        rows = F.normalize(learned, dim=1)
        loss = F.cross_entropy(SCALE * images @ rows.T, torch.from_numpy(labels))
        loss = loss + weight * SCALE * ebm_loss(images, rows, 0.01)
        loss = loss + anchor * (rows - start).square().sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return unit(learned.detach().numpy())


def main() -> int:
    """Print the correlations."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SHARED)
    data = parser.parse_args().data
    if not data.is_dir():
        print(f"no features in {data}: pass --data DIR", file=sys.stderr)
        return 2
    known = np.load(data / "caltech52-id.npz")
    images, text = unit(known["features"]), unit(known["text_features"])
    shots, labels = unit(known["shots16_features"]), known["shots16_labels"].astype(np.int64)
    near, *far = (
        unit(np.load(data / f"{name}-ood.npz")["features"]) for name in ("caltech48-near", "dtd", "flowers")
    )
    names = unit(np.load(data / "background-text.npz")["text_features"])
    background = names[mine(names, text, 0.5)]
    made = shuffled_features(images, np.random.default_rng(0), 1000)
    texts = [text] + [
        tuned(text, shots, labels, *way) for way in itertools.product((0, 0.05, 0.2, 0.5), (0, 2))
    ]
    measured = []
    for learned, share, temperature, top_c in itertools.product(
        texts, (0.5, 0.7, 1.0), (0.02, 0.05, 0.1, 0.2, 1.0), (1, 2)
    ):
        prompts = blend(text, learned, share)

        inside, *outside = (
            AllLabels((prompts, background), temperature, top_c)(rows, top_c).values[:, 0]
            for rows in (images, near, *far, made)
        )
        beyond = [auroc(inside, rows) for rows in outside]
        measured.append([beyond[0], np.mean(beyond[1:3]), beyond[3]])
    table = np.array(measured)
    cells = [
        [name, f"{spearmanr(table[:, i], table[:, 2]).statistic:.2f}"]
        for i, name in ((1, "far"), (0, "near"))
    ]
    show(
        f"Rank correlation with AUROC against shuffled features, {len(table)} settings",
        ["correlation"],
        cells,
        None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
