"""Background labels: names that are none of the classes, mined against them (METHOD §4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.clip.imagenet import imagenet_names
from deltaoe.errors import ConfigError, MismatchError
from deltaoe.functional.text_features import likeness, mine, nearest_label
from deltaoe.functional.unit_rows import Rows, unit_rows
from deltaoe.images.labels import read_labels
from deltaoe.interchange.reading import read_text_features
from deltaoe.scoring.options import BackgroundOptions

IMAGENET = "imagenet"
NONE = "none"
_NAMES_ONLY = frozenset({".txt", ".lst"})

Encode = Callable[[Sequence[str]], Rows]


@dataclass(frozen=True)
class Candidate:
    """One label that was offered: the class nearest to it, their cosine, its likeness, and whether it was kept."""

    name: str
    nearest: str
    cosine: float
    likeness: float
    kept: bool


@dataclass(frozen=True)
class Background:
    """The labels kept, M names and their features (M, D); ``offered`` of how many."""

    names: tuple[str, ...]
    features: Rows
    offered: int

    @classmethod
    def empty(cls, dim: int) -> Background:
        """None at all."""
        return cls((), np.zeros((0, dim), dtype=np.float32), 0)

    def settings(self, options: BackgroundOptions) -> dict[str, object]:
        """What a detector says about it."""
        if not self.offered:
            return {"background": NONE}
        return {
            "background": Path(options.source).name if options.source else IMAGENET,
            "background_fraction": options.fraction,
            "background_labels": f"{len(self.names)} of {self.offered}",
        }


def choose_background(
    options: BackgroundOptions, class_names: Sequence[str], text: Rows, encode: Encode | None
) -> Background:
    """Read the labels, encode them like the classes, keep the ones least like them.

    Args:
        options: which.
        class_names: K names; a label of the same name in any case is left out.
        text: (K, D) unit rows, the classes' prompts.
        encode: names to features, with the classes' own template or context; None where prompts cannot be encoded.

    Raises:
        ConfigError: a value is out of range, or the names have no features and nothing can encode them.
        MismatchError: the file's features have another dimension.
        DataError: the file cannot be read.
    """
    names, features = _offered(options, class_names, text.shape[1], encode)
    if not len(names):
        return Background.empty(text.shape[1])
    kept = mine(features, text, options.fraction)
    return Background(tuple(names[i] for i in kept), features[kept], len(names))


def candidates(
    options: BackgroundOptions, class_names: Sequence[str], text: Rows, encode: Encode | None
) -> list[Candidate]:
    """Every label offered and what became of it, the most like the classes first. Raises as choose_background."""
    names, features = _offered(options, class_names, text.shape[1], encode)
    kept = np.zeros(len(names), dtype=bool)
    kept[mine(features, text, options.fraction)] = True
    like = likeness(features, text)
    near, cosine = nearest_label(features, text)
    return [
        Candidate(names[i], class_names[near[i]], float(cosine[i]), float(like[i]), bool(kept[i]))
        for i in np.argsort(-like, kind="stable")
    ]


def _offered(
    options: BackgroundOptions, class_names: Sequence[str], dim: int, encode: Encode | None
) -> tuple[list[str], npt.NDArray[np.float32]]:
    options.check()
    source = options.source or (IMAGENET if encode is not None else NONE)
    nothing: tuple[list[str], Rows] = ([], np.zeros((0, dim), dtype=np.float32))
    if source == NONE:
        return nothing
    own = {name.casefold() for name in class_names}
    if source == IMAGENET or Path(source).suffix.lower() in _NAMES_ONLY or not Path(source).suffix:
        if encode is None:
            raise ConfigError(
                "the text features were given, so background names cannot be encoded like them",
                hint="--background FILE.npz with the names' text features, from the same encoder and template",
            )
        given = imagenet_names() if source == IMAGENET else read_labels(Path(source))
        names = [name for name in dict.fromkeys(given) if name.casefold() not in own]
        return (names, encode(names)) if names else nothing
    listed, rows = read_text_features(Path(source))
    if rows.shape[1] != dim:
        raise MismatchError(
            f"the background's features have {rows.shape[1]} numbers each, the classes' {dim}",
            hint="take both from the same model",
        )
    chosen = [i for i, name in enumerate(listed) if name.casefold() not in own]
    return [listed[i] for i in chosen], unit_rows(rows[chosen])
