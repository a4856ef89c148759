"""The detector: all that is needed to judge an image feature, in one safetensors file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

from deltaoe.errors import DataError, first_line
from deltaoe.functional import conformal
from deltaoe.functional.text_features import centred
from deltaoe.functional.unit_rows import are_unit_rows, unit_rows
from deltaoe.store.atomic import write_bytes
from deltaoe.store.feature_space import FeatureSpace, canonical_json

_FORMAT = 2  # 1 had neither background labels nor shots, and a calibration without classes
_KEY = "deltaoe"  # one metadata entry only: safetensors does not keep an order among several
_ROWS = ("background", "centre", "shots", "calibration_classes")  # kept where they have any
_HEAD = {
    "class_names": list,
    "temperature": float,
    "top_c": int,
    "logit_scale": float,
    "space": dict,
    "settings": dict,
    "facts": dict,
}


def _no_rows(width: int, kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.zeros((0, width), dtype=kind)


@dataclass(frozen=True)
class Detector:
    """Class prompts as features, how to score against them, and the calibration of those scores.

    Attributes:
        class_names: K names.
        text_features: (K, D) float32, unit rows, in the order of ``class_names``.
        temperature: τ of ΔEnergy, cosine units.
        top_c: c of ΔEnergy.
        calibration: (n,) float64, ascending: scores of in-distribution images that nothing was learned from.
        space: the image feature space the prompts belong to.
        logit_scale: CLIP's factor on cosines, with which it was tuned.
        context: (length, width) float32 learned context vectors, or (K, length, width) for one context per class; None
            for zero-shot prompts.
        background: (M, D) float32, unit rows: prompts of labels that are in none of the classes, over which the
            energies run as well (METHOD §4); no rows for the paper's own score.
        background_names: their M names.
        centre: (D,) float32, what is taken out of all prompts before they are compared with images
            (:func:`deltaoe.functional.text_features.centred`); empty for the prompts as they are.
        shots: (S, 32) uint8, digests of the images that it learned from: they are no test of it.
        calibration_classes: (n,) int64, the class that each calibration image was taken for, in the order of
            ``calibration``; empty if that is not known.
        settings: every option and seed it was made with, plain JSON values.
        facts: what was seen while making it (losses, counts), plain JSON values.
    """

    class_names: tuple[str, ...]
    text_features: npt.NDArray[np.float32]
    temperature: float
    top_c: int
    calibration: npt.NDArray[np.float64]
    space: FeatureSpace
    logit_scale: float
    context: npt.NDArray[np.float32] | None = None
    background: npt.NDArray[np.float32] = field(default_factory=lambda: _no_rows(0, np.float32))
    background_names: tuple[str, ...] = ()
    centre: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    shots: npt.NDArray[np.uint8] = field(default_factory=lambda: _no_rows(32, np.uint8))
    calibration_classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tuned(self) -> bool:
        """Whether its prompts were learned."""
        return self.context is not None

    @property
    def score_title(self) -> str:
        """Its score in words: ΔEnergy, τ, c and what else it compares with."""
        parts = [f"ΔEnergy, τ = {self.temperature:g}, c = {self.top_c}"]
        if len(self.background):
            parts.append(f"{len(self.background)} background labels")
        if len(self.centre):
            parts.append("prompts centred")
        return ", ".join(parts)

    @property
    def prompts(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """What images are compared with: class prompts (K, D) and background (M, D), centred if it has a centre."""
        if not len(self.centre):
            return self.text_features, self.background.reshape(-1, self.text_features.shape[1])
        background = self.background.reshape(-1, self.text_features.shape[1])
        return centred(self.text_features, self.centre), centred(background, self.centre)

    def score(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """ΔEnergy (N,) of image features (N, D) of its space, scaled to unit length here; no text tower is needed.

        Raises:
            DataError: another shape, or rows that are zero or not finite.
        """
        return self._scored(features)[0]

    def predict(self, features: npt.ArrayLike, alpha: float | None = None) -> npt.NDArray[np.int64]:
        """Class index (N,) of image features (N, D); with ``alpha``, −1 where an image is unknown at that level.

        Raises:
            DataError: as :meth:`score`; or the calibration is too small for ``alpha``.
        """
        scores, classes = self._scored(features)
        if alpha is None:
            return classes
        if self.threshold(alpha) is None:
            raise DataError(
                f"{len(self.calibration)} calibration images are too few for alpha = {alpha:g}",
                hint=f"{conformal.images_needed(alpha)} would do, or use a larger alpha",
            )
        return np.where(self.p_values(scores) <= alpha, -1, classes)

    def _scored(self, features: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        from deltaoe.functional.label_sums import (
            score_features,  # loads torch, which reading a detector does not need
        )

        rows = unit_rows(features, dim=self.text_features.shape[1])
        return score_features(rows, *self.prompts, temperature=self.temperature, top_c=self.top_c)

    def p_values(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Conformal p-values (N,) of scores (N,); see :mod:`deltaoe.functional.conformal`."""
        return conformal.p_values(scores, self.calibration)

    def threshold(self, alpha: float) -> float | None:
        """The score below which an image is unknown at ``alpha``; None if the calibration is too small."""
        return conformal.threshold(self.calibration, alpha)

    def calibrated(self, scores: npt.ArrayLike, classes: npt.ArrayLike = ()) -> Detector:
        """This detector with other calibration scores (n,), and the classes (n,) of their images if given."""
        values, homes = np.asarray(scores, dtype=np.float64), np.asarray(classes, dtype=np.int64)
        order = np.lexsort((homes, values)) if len(homes) else np.argsort(values, kind="stable")
        return dataclasses.replace(
            self, calibration=values[order], calibration_classes=homes[order] if len(homes) else homes
        )

    def to_bytes(self) -> bytes:
        """The file's content: equal detectors give equal bytes."""
        head = {
            "format": _FORMAT,
            "class_names": list(self.class_names),
            "temperature": float(self.temperature),
            "top_c": self.top_c,
            "logit_scale": float(self.logit_scale),
            "space": self.space.to_dict(),
            "settings": dict(self.settings),
            "facts": dict(self.facts),
            "background_names": list(self.background_names),
        }
        tensors: dict[str, npt.NDArray[Any]] = {
            "text_features": np.ascontiguousarray(self.text_features),
            "calibration": np.ascontiguousarray(self.calibration),
        }
        if self.context is not None:
            tensors["context"] = np.ascontiguousarray(self.context)
        for name in _ROWS:
            if len(getattr(self, name)):
                tensors[name] = np.ascontiguousarray(getattr(self, name))
        content: bytes = save(tensors, metadata={_KEY: canonical_json(head)})
        return content

    @property
    def digest(self) -> str:
        """SHA-256 of the file's content, hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write it as one file, atomically. Raises StoreError."""
        write_bytes(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> Detector:
        """Read what :meth:`save` wrote. Nothing in the file is executed, everything is checked.

        Raises:
            DataError: unreadable, not a detector, damaged, or from a newer version.
        """
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a detector", hint="name the file in it")
        try:
            with safe_open(path, framework="numpy") as file:
                head = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            _check_head(head)
            detector = cls(
                class_names=tuple(head["class_names"]),
                text_features=tensors.pop("text_features"),
                temperature=float(head["temperature"]),
                top_c=head["top_c"],
                calibration=tensors.pop("calibration"),
                space=FeatureSpace.from_dict(head["space"]),
                logit_scale=float(head["logit_scale"]),
                context=tensors.pop("context", None),
                background_names=tuple(head["background_names"] if head["format"] > 1 else ()),
                **{name: tensors.pop(name) for name in _ROWS if name in tensors},
                settings=head["settings"],
                facts=head["facts"],
            )
            if tensors:
                raise DataError(f"it holds tensors that no detector has: {', '.join(sorted(tensors))}")
            detector._check()
        except FileNotFoundError as cause:
            raise DataError(
                f"there is no detector {path}", hint="check the path, or run: deltaoe tune"
            ) from cause
        except Exception as cause:  # safetensors, JSON and numbers of any size: damage raises of every kind
            reason = f"missing {cause}" if isinstance(cause, KeyError) else first_line(cause)
            raise DataError(
                f"{path} is not a usable detector: {reason}", hint="detectors are written by: deltaoe tune"
            ) from cause
        return detector

    def _check(self) -> None:
        classes, dim = len(self.class_names), self.space.dim
        if not all(isinstance(name, str) for name in self.class_names):
            raise DataError("its class names are no text")
        if len(set(self.class_names)) < classes:
            raise DataError("its class names are not distinct")
        if self.text_features.shape != (classes, dim):
            raise DataError(f"its text features have shape {self.text_features.shape}, not {(classes, dim)}")
        if self.text_features.dtype != np.float32:
            raise DataError(f"its text features are {self.text_features.dtype}, not float32")
        if not are_unit_rows(self.text_features):
            raise DataError("its text features are not unit length")
        if self.calibration.dtype != np.float64 or self.calibration.ndim != 1:
            raise DataError("its calibration scores are not a list of numbers")
        if not np.isfinite(self.calibration).all() or (np.diff(self.calibration) < 0).any():
            raise DataError("its calibration scores are not finite and ascending")
        self._check_background()
        n = len(self.calibration_classes)
        if n and (
            self.calibration_classes.shape != self.calibration.shape
            or self.calibration_classes.dtype != np.int64
            or not ((self.calibration_classes >= 0) & (self.calibration_classes < classes)).all()
        ):
            raise DataError("its calibration classes do not fit its calibration scores")
        if self.shots.ndim != 2 or self.shots.shape[1] != 32 or self.shots.dtype != np.uint8:
            raise DataError("its shots are no list of digests")
        if not (math.isfinite(self.temperature) and self.temperature > 0 and 1 <= self.top_c <= classes):
            raise DataError("its temperature or top-c is out of range")
        if not (math.isfinite(self.logit_scale) and self.logit_scale >= 0):
            raise DataError("its logit scale is out of range")
        context = self.context
        if context is not None and not (
            context.dtype == np.float32
            # Of all classes, or of each.
            and (context.ndim == 2 or (context.ndim == 3 and len(context) == classes))
            and np.isfinite(context).all()
        ):
            raise DataError("its context is not a list of float32 vectors")

    def _check_background(self) -> None:
        rows, names, centre = self.background, self.background_names, self.centre
        if len(centre) and (
            centre.shape != (self.space.dim,) or centre.dtype != np.float32 or not np.isfinite(centre).all()
        ):
            raise DataError("its centre is no vector of float32")
        if len(names) != len(rows) or not all(isinstance(name, str) for name in names):
            raise DataError("its background has not one name per prompt")
        if len(rows) and (rows.ndim != 2 or rows.shape[1] != self.space.dim or rows.dtype != np.float32):
            raise DataError(f"its background has shape {rows.shape} and type {rows.dtype}")
        if len(rows) and not are_unit_rows(rows):
            raise DataError("its background is not unit length")


def _check_head(head: Any) -> None:
    if not isinstance(head, dict) or type(head["format"]) is not int or head["format"] < 1:
        raise DataError("it is no detector")
    if head["format"] > _FORMAT:
        raise DataError("it was written by a newer deltaoe")
    kinds = _HEAD if head["format"] == 1 else {**_HEAD, "background_names": list}
    for name, kind in kinds.items():
        if type(head[name]) is not kind and not (kind is float and type(head[name]) is int):
            raise DataError(f"its {name} is not of type {kind.__name__}")
