"""The Python API on arrays: no folder, no workspace, nothing on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import DEFAULT_MODEL, ModelRef
from deltaoe.errors import DataError, MismatchError
from deltaoe.functional.unit_rows import Rows, unit_rows
from deltaoe.progress import OnEvent, silent
from deltaoe.runtime import resolve_device
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import TEMPLATE
from deltaoe.tuning.data import Shots, TuningData, draw
from deltaoe.tuning.fit_detector import fit_detector
from deltaoe.tuning.options import TuningOptions


def tune(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    model: FrozenClip | str = DEFAULT_MODEL,
    domains: npt.ArrayLike | None = None,
    options: TuningOptions | None = None,
    device: str = "auto",
    offline: bool = False,
    on: OnEvent = silent,
) -> Detector:
    """Learn prompts from a few of these images, calibrate on the others: what ``deltaoe tune`` does, on arrays.

    Args:
        features: (n, D) image features of ``model``; scaled to unit length here.
        labels: (n,) class indices from 0 to K − 1.
        class_names: K names.
        model: a loaded model, or what to load, e.g. ``ViT-B-16/openai`` or ``local-dir:DIR``.
        domains: (n,) integers, for data from several domains: one at a time is held out when settings are chosen.
        options: shots, seed, context, recipe, background, what is chosen.
        device: for a model that is loaded here.
        offline: never contact a network.
        on: progress.

    Returns:
        A detector: :meth:`~deltaoe.scoring.detector.Detector.score`, ``predict``, ``p_values``, ``save``.

    Raises:
        ConfigError: an option does not fit.
        DataError: arrays that do not fit together, hold numbers that are not finite, or too few images of a class.
        MismatchError: the features have not the model's dimension.
        ModelError: the model can't be loaded or tuned; the loss diverged.
    """
    options = options or TuningOptions()
    rows, classes, homes = _checked(features, labels, class_names, domains)
    options.check(len(class_names))
    digests = np.stack([np.frombuffer(hashlib.sha256(row.tobytes()).digest(), np.uint8) for row in rows])
    drawn = draw(
        classes.tolist(),
        [digest.tobytes() for digest in digests],
        class_names,
        shots=options.shots,
        seed=options.seed,
        validate=options.select == "auto",
    )
    clip = (
        model
        if isinstance(model, FrozenClip)
        else FrozenClip.load(ModelRef.parse(str(model)), resolve_device(device), offline=offline)
    )
    if rows.shape[1] != clip.space.dim:
        raise MismatchError(
            f"the features have {rows.shape[1]} numbers each, the model's {clip.space.dim}",
            hint="pass the model that made them",
        )

    def encode(names: Sequence[str]) -> Rows:
        text: Rows = clip.encode_text([TEMPLATE.replace("{}", name) for name in names]).numpy()
        return text

    shots, validation = drawn.split.shots, drawn.validation
    fitted = fit_detector(
        clip,
        clip.space,
        TuningData(
            class_names=tuple(class_names),
            shots=Shots(rows[None, shots], classes[shots]),
            domains=homes[shots],
            validation=rows[validation],
            validation_classes=classes[validation],
            validation_domains=homes[validation],
            zero_shot=encode(class_names),
            encode=encode,
            identity={},
        ),
        options,
        digests[shots],
        on,
    )
    if fitted.stopped:
        raise KeyboardInterrupt
    detector, calibration = fitted.detector, rows[drawn.calibration]
    if not len(calibration):
        return detector
    return detector.calibrated(detector.score(calibration), detector.predict(calibration))


def _checked(
    features: npt.ArrayLike, labels: npt.ArrayLike, class_names: Sequence[str], domains: npt.ArrayLike | None
) -> tuple[Rows, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    rows = unit_rows(features)
    if not len(rows):
        raise DataError(f"features must be (n, D), not {rows.shape}")
    if len(set(class_names)) < len(class_names) or len(class_names) < 2:
        raise DataError("there must be two classes or more, each name once")
    found = []
    for name, given in (("labels", labels), ("domains", domains)):
        values = np.full(len(rows), -1) if given is None else np.asarray(given)
        if values.shape != (len(rows),) or values.dtype.kind not in "iu":
            raise DataError(
                f"{name} must be ({len(rows)},) integers, not {values.shape} of {values.dtype}",
                hint="one index per row of features",
            )
        found.append(values.astype(np.int64))
    if found[0].min() < 0 or found[0].max() >= len(class_names):
        raise DataError(
            f"labels run from {found[0].min()} to {found[0].max()}, but there are {len(class_names)} class names"
        )
    return rows, found[0], found[1]
