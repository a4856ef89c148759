"""An exported detector that scores images, with NumPy, ONNX Runtime and Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.extraction.decoding_jobs import ignore_pillow_warnings
from deltaoe.functional.unit_rows import unit_rows
from deltaoe.lite.bundle import MODEL, Bundle
from deltaoe.lite.onnx_tower import OnnxTower
from deltaoe.lite.pictures import ImageInput, pixels_of
from deltaoe.scoring.answers import Answers
from deltaoe.scoring.scorer import Scorer
from deltaoe.short_repr import counted, of_classes, short_repr
from deltaoe.store.number_format import as_kept

CPU = "CPUExecutionProvider"
TOGETHER = 16  # images that are encoded at a time
_CLASS = "class"  # the field of a record that is no name in Python


@dataclass(frozen=True)
class Verdict:
    """What an exported detector says of one image: the fields of a record in ``scores.json``.

    Attributes:
        path: as it was given; None for bytes and pictures of Pillow's.
        verdict: ``known``, ``unknown``, ``undecided``, or ``failed`` for what is no usable image.
        class_name: the predicted class (``class`` in a record); None of a failed image.
        score: higher = more in-distribution.
        p_value: conformal p-value; None without calibration images.
        margin: score minus threshold; None without a threshold.
        p_text, p_joint, p_images: p-value of each part of a fused score by itself; None of a score of one part.
        unknown_by: which sides call an unknown image unknown by themselves; empty for other verdicts, None of a score
            of one part.
        looks_like: the nearest name of the vocabulary for an unknown image, or ``none fits``; else None.
        looks_like_cosine: cosine of the image with that name.
        top: the nearest classes, each with ``class`` and ``cosine``.
        error: why it is no usable image; else None.
    """

    path: str | None
    verdict: str
    class_name: str | None
    score: float | None
    p_value: float | None
    margin: float | None
    p_text: float | None = None
    p_joint: float | None = None
    p_images: float | None = None
    unknown_by: str | None = None
    looks_like: str | None = None
    looks_like_cosine: float | None = None
    top: tuple[dict[str, Any], ...] = ()
    error: str | None = None
    _names: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, record: dict[str, Any]) -> Verdict:
        """The verdict of a record of :meth:`deltaoe.scoring.answers.Answers.records`."""
        values = {("class_name" if name == _CLASS else name): value for name, value in record.items()}
        return cls(**{**values, "top": tuple(record["top"])}, _names=tuple(record))

    def to_dict(self) -> dict[str, Any]:
        """The record: JSON values, with the names and the order of ``deltaoe score --stream``."""
        found = {name: getattr(self, "class_name" if name == _CLASS else name) for name in self._names}
        return {**found, "top": [dict(pair) for pair in self.top]}


class LiteDetector:
    """Scores images by an exported detector. Made by :func:`load`; several threads may call it.

    Attributes:
        class_names: K class names.
        alpha: α, the accepted share of in-distribution images called unknown.
        manifest: JSON values of the manifest.
        notes: sentences for the user: why nothing can be called known or unknown, for example.
    """

    def __init__(self, bundle: Bundle, threads: int | None, providers: Sequence[str]) -> None:
        space, self._geometry = bundle.space, bundle.geometry
        self._dtype, self._dim = space.dtype, space.dim
        size = self._geometry.height, self._geometry.width
        self._tower = OnnxTower(bundle.folder / MODEL, size, space.dim, threads, providers)
        scorer = Scorer(bundle.detector, device=None)
        vocabulary = bundle.vocabulary
        self._answers = Answers(
            bundle.detector, bundle.rule, scorer, None if vocabulary is None else lambda: vocabulary
        )
        self._calibration = len(bundle.detector.calibration)
        self.class_names = bundle.detector.class_names
        self.alpha = bundle.rule.alpha
        self.manifest = bundle.manifest
        self.notes = self._answers.notes

    def __repr__(self) -> str:
        """Classes and calibration images; the manifest would fill the screen."""
        images = counted(self._calibration, "calibration image")
        return short_repr(self, of_classes(self.class_names), images, f"alpha = {self.alpha:g}")

    def score(self, image: ImageInput) -> Verdict:
        """The verdict on one image: a path, the bytes of an image file, or a picture of Pillow's.

        What is no usable image has the verdict ``failed``, and :attr:`Verdict.error` says why, as in ``deltaoe score``.

        Raises:
            ConfigError: it is of another type.
            ModelError: its features cannot be computed.
        """
        return self.score_many([image])[0]

    def score_many(self, images: Iterable[ImageInput]) -> list[Verdict]:
        """The verdicts on several images, in their order. Raises as :meth:`score`."""
        given = list(images)
        found: list[Verdict] = []
        for start in range(0, len(given), TOGETHER):
            found += self._together(given[start : start + TOGETHER])
        return found

    def _together(self, images: Sequence[ImageInput]) -> list[Verdict]:
        ignore_pillow_warnings()  # each time: who tests or serves may have put the filters back since
        read = [pixels_of(image, self._geometry) for image in images]
        usable = [one.pixels for one in read if one.pixels is not None]
        features = as_kept(self.encode(np.stack(usable)), self._dtype) if usable else self._no_features()
        problems = {i: one.problem for i, one in enumerate(read) if one.pixels is None}
        records = self._answers.records([one.path or "" for one in read], features, problems)
        return [Verdict.of({**record, "path": one.path}) for record, one in zip(records, read, strict=True)]

    def encode(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Image features (B, D), unit rows, of pixels (B, H, W, 3) of the model's size. Raises ModelError."""
        return self._tower(pixels)

    def score_features(self, features: npt.ArrayLike) -> list[Verdict]:
        """The verdicts on images of which the features (N, D) are there already, from a store for example.

        Raises:
            DataError: the features have another shape, or a row is zero or not finite.
        """
        rows = unit_rows(features, dim=self._dim)
        records = self._answers.records([""] * len(rows), rows, {})
        return [Verdict.of({**record, "path": None}) for record in records]

    def _no_features(self) -> npt.NDArray[np.float32]:
        return np.empty((0, self._dim), dtype=np.float32)


def load(
    folder: str | os.PathLike[str], *, threads: int | None = None, providers: Sequence[str] = (CPU,)
) -> LiteDetector:
    """The detector in a folder that ``deltaoe export-onnx`` wrote.

    Args:
        folder: the folder. It need not be trusted: its files are checked, and no others are read.
        threads: threads of the computation; None for one per core.
        providers: ONNX Runtime's execution providers, the preferred one first; others than the CPU's need another
            distribution of it.

    Raises:
        ConfigError: there are no such threads or providers.
        DataError: there is no exported detector, it is damaged, or a newer version wrote it.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, not {threads}", hint="leave it out for one per core")
    return LiteDetector(Bundle.read(Path(folder)), threads, providers)
