"""Does a name of the vocabulary fit? Kept names of images whose name is in the vocabulary, refused ones of others.

    python benchmarks/looks_like.py [--data DIR]

A part of the classes is the vocabulary, alone and with 1,579 other names. Images of these classes have a name that
fits; images of the other classes have none, though names of kin may fit them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from features import DATA
from rich.console import Console
from rich.table import Table

from deltaoe.functional.nearest_names import nearest_names
from deltaoe.functional.unit_rows import unit_rows
from deltaoe.scoring.resembling import FITTING

LIMITS = (0.1, FITTING, 0.3, 0.5)
SETS = {
    "imagenet300-id": ("imagenet100-near-ood", "dtd-ood", "flowers-ood"),
    "caltech52-id": ("caltech48-near-ood", "dtd-ood", "flowers-ood"),
}
CHOSE = "imagenet300-id"  # on which the limit was chosen; the other one checks it
NAMED = 2 / 3  # of the classes


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    folder = parser.parse_args().data
    table = Table(title="Share of images with a name that fits, by the least probability of the name")
    for heading in ("images", "names", "of", *(f"p ≥ {limit:g}" for limit in LIMITS)):
        table.add_column(heading, justify="left" if heading in ("images", "of") else "right")
    background = unit_rows(np.load(folder / "background-text.npz")["text_features"])
    for name, others in SETS.items():
        data = np.load(folder / f"{name}.npz")
        features, labels, text = unit_rows(data["features"]), data["labels"], unit_rows(data["text_features"])
        chosen = np.random.default_rng(0).permutation(len(text))[: round(NAMED * len(text))]
        named = np.isin(labels, chosen)
        for more in (background[:0], background):
            vocabulary = np.concatenate([text[chosen], more])
            own = nearest_names(features[named], vocabulary)
            class_of = np.concatenate([chosen, np.full(len(more), -1)])
            right = class_of[own.place] == labels[named]
            rows = {
                "named classes, rightly named": own.probability[right],
                "other classes": nearest_names(features[~named], vocabulary).probability,
            }
            for other in others:
                images = unit_rows(np.load(folder / f"{other}.npz")["features"])
                rows[other] = nearest_names(images, vocabulary).probability
            for title, found in rows.items():
                shares = (f"{(found >= limit).mean():.2f}" for limit in LIMITS)
                table.add_row(
                    title, str(len(vocabulary)), name + (" (chose)" if name == CHOSE else ""), *shares
                )
            table.add_section()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
