"""Background labels: names that are none of the classes, ranked by how similar they are to the classes.

docs/explanation/method.md, "Background labels", has the rule; :mod:`deltaoe.functional.text_features` computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, MismatchError
from deltaoe.functional.text_features import likeness, mine, nearest_label
from deltaoe.functional.unit_rows import Rows, unit_rows
from deltaoe.images.imagenet import imagenet_names
from deltaoe.images.label_files import is_name_file
from deltaoe.images.labels import read_labels
from deltaoe.interchange.reading import read_text_features
from deltaoe.scoring.options import IMAGENET, NONE, BackgroundOptions

Encode = Callable[[Sequence[str]], Rows]


@dataclass(frozen=True)
class Candidate:
    """One candidate for a background label.

    Attributes:
        name: the label.
        nearest: the class whose prompt is most similar to the label's.
        cosine: the cosine of these two prompts.
        likeness: the quantity that candidates are ranked by, a quantile of the cosines to all classes
            (:func:`deltaoe.functional.text_features.likeness`).
        kept: whether it becomes a background label.
    """

    name: str
    nearest: str
    cosine: float
    likeness: float
    kept: bool


@dataclass(frozen=True)
class Background:
    """M background labels.

    Attributes:
        names: M names.
        features: (M, D) text features, unit rows.
        candidates: number of candidates that they were taken from.
        source: where the candidates came from: a word or the name of a file.
        fraction: share of the candidates that was to be kept.
    """

    names: tuple[str, ...]
    features: Rows
    candidates: int
    source: str = NONE
    fraction: float = 1.0

    @classmethod
    def empty(cls, dim: int) -> Background:
        """No background labels, for features of D = ``dim`` numbers."""
        return cls((), np.zeros((0, dim), dtype=np.float32), 0)

    def settings(self) -> dict[str, object]:
        """Entries about the background for :attr:`Detector.settings`, JSON values."""
        if not self.candidates:
            return {"background": NONE}
        return {
            "background": self.source,
            "background_fraction": self.fraction,
            "background_labels": f"{len(self.names)} of {self.candidates}",
        }


def choose_background(
    options: BackgroundOptions,
    class_names: Sequence[str],
    text: Rows,
    encode: Encode | None,
    *,
    default: str,
) -> Background:
    """The background labels for these classes: the candidates that are least like the classes.

    Args:
        options: where the candidates come from, and the share of them to keep.
        class_names: K names; a candidate of the same name, in upper or lower case, is left out.
        text: (K, D) text features of the classes, unit rows.
        encode: maps n names to text features (n, D), with the template or context of the classes; None if there is no
            text tower.
        default: the source if the options name none.

    Raises:
        ConfigError: an option is out of range, or the candidates have no features and ``encode`` is None.
        MismatchError: the features in the file have not D numbers.
        DataError: the file cannot be read.
    """
    source = options.source or default
    options.check()
    names, features = named_labels(source, class_names, text.shape[1], encode)
    if not len(names):
        return Background.empty(text.shape[1])
    kept = mine(features, text, options.fraction)
    named = tuple(names[i] for i in kept)
    return Background(named, features[kept], len(names), Path(source).name, options.fraction)


def ranked_candidates(
    options: BackgroundOptions,
    class_names: Sequence[str],
    text: Rows,
    encode: Encode | None,
    *,
    default: str,
) -> list[Candidate]:
    """All candidates, and which of them are kept; the most like the classes first.

    Arguments and errors are those of :func:`choose_background`.
    """
    source = options.source or default
    options.check()
    names, features = named_labels(source, class_names, text.shape[1], encode)
    kept = np.zeros(len(names), dtype=bool)
    kept[mine(features, text, options.fraction)] = True
    like = likeness(features, text)
    nearest, cosine = nearest_label(features, text)
    return [
        Candidate(names[i], class_names[nearest[i]], float(cosine[i]), float(like[i]), bool(kept[i]))
        for i in np.argsort(-like, kind="stable")
    ]


def named_labels(
    source: str,
    class_names: Sequence[str],
    dim: int | None,
    encode: Encode | None,
    flag: str = "--background",
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """n names that are none of the classes, and their text features (n, D), unit rows.

    Args:
        source: as :attr:`BackgroundOptions.source`.
        class_names: K names; a label of the same name, in upper or lower case, is left out.
        dim: D; None if any dimension will do.
        encode: maps n names to text features (n, D); None if there is no text tower.
        flag: the option that names the source, for messages.

    Raises:
        ConfigError: the names have no features and ``encode`` is None.
        MismatchError: the features in the file have not D numbers.
        DataError: the file cannot be read.
    """
    none: tuple[list[str], Rows] = ([], np.zeros((0, dim or 0), dtype=np.float32))
    if source == NONE:
        return none
    classes = {name.casefold() for name in class_names}
    if source == IMAGENET or is_name_file(source):
        if encode is None:
            raise ConfigError(
                f"the text features were given, so names of {flag} cannot be encoded like them",
                hint=f"{flag} FILE.npz with the names' text features, from the same encoder and template",
            )
        listed = imagenet_names() if source == IMAGENET else read_labels(Path(source))
        names = [name for name in dict.fromkeys(listed) if name.casefold() not in classes]
        return (names, encode(names)) if names else none
    named, rows = read_text_features(Path(source))
    if dim is not None and rows.shape[1] != dim:
        raise MismatchError(
            f"the features of {flag} have {rows.shape[1]} numbers each, the classes' {dim}",
            hint="take both from the same model",
        )
    chosen = [i for i, name in enumerate(named) if name.casefold() not in classes]
    return [named[i] for i in chosen], unit_rows(rows[chosen])
