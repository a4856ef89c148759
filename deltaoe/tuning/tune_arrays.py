"""Tuning on arrays in memory, without workspace or files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.prompt_tokens import prompt_of
from deltaoe.errors import DataError, MismatchError
from deltaoe.functional.unit_rows import Rows, unit_rows
from deltaoe.progress import OnEvent, silent
from deltaoe.runtime import resolve_device
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import TEMPLATE
from deltaoe.tuning.data import Shots, TuningData, draw, remembering
from deltaoe.tuning.fit_detector import fit_detector
from deltaoe.tuning.image_side import with_image_side
from deltaoe.tuning.options import TuningOptions


def tune(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    model: FrozenClip | str | None = None,
    domains: npt.ArrayLike | None = None,
    options: TuningOptions | None = None,
    device: str = "auto",
    offline: bool = False,
    on: OnEvent = silent,
) -> Detector:
    """Learn prompts from a few images per class and calibrate on other images: ``deltaoe tune``, on arrays.

    Args:
        features: (n, D) image features of ``model``; scaled to unit length here.
        labels: (n,) class indices from 0 to K − 1.
        class_names: K names.
        model: a loaded model, or the name of one, such as ``ViT-B-16/openai`` or ``local-dir:DIR``; None for
            $DELTAOE_MODEL, else ``ViT-B-16/openai``.
        domains: (n,) domain indices, −1 for none.
        options: shots, seed, context, recipe and background; None for the defaults.
        device: device for a model that is loaded here.
        offline: whether a model must be loaded without a network.
        on: receives progress.

    Returns:
        The detector; it is calibrated unless all images were used as shots or for validation.

    Raises:
        ConfigError: an option is out of range, or a prompt is too long.
        DataError: the arrays do not fit together, a number is not finite, or a class has too few images.
        MismatchError: the features have not the dimension of the model's.
        ModelError: the model cannot be loaded or tuned, or the loss diverged.
        KeyboardInterrupt: Ctrl-C; there is no detector then.
    """
    options = options or TuningOptions()
    rows, classes, domain_of = _checked(features, labels, class_names, domains)
    options.check(len(class_names))
    digests = np.stack([np.frombuffer(hashlib.sha256(row.tobytes()).digest(), np.uint8) for row in rows])
    drawn = draw(
        classes.tolist(),
        [digest.tobytes() for digest in digests],
        class_names,
        shots=options.shots,
        seed=options.seed,
    )
    clip = (
        model
        if isinstance(model, FrozenClip)
        else FrozenClip.load(
            ModelOptions(model=model).reference(), resolve_device(device), offline=offline, on=on
        )
    )
    if rows.shape[1] != clip.space.dim:
        raise MismatchError(
            f"the features have {rows.shape[1]} numbers each, the model's {clip.space.dim}",
            hint="pass the model that made them",
        )

    def encode(names: Sequence[str]) -> Rows:
        text: Rows = clip.encode_text([prompt_of(TEMPLATE, name) for name in names]).numpy()
        return text

    shots, validation = drawn.split.shots, drawn.validation
    data = TuningData(
        class_names=tuple(class_names),
        shots=Shots(rows[None, shots], classes[shots]),
        domains=domain_of[shots],
        validation=rows[validation],
        validation_classes=classes[validation],
        validation_domains=domain_of[validation],
        zero_shot=encode(class_names),
        encode=remembering(encode),
        identity={},
    )
    fitted = fit_detector(clip, clip.space, data, options, digests[shots], on)
    if fitted.stopped:
        raise KeyboardInterrupt
    detector = with_image_side(fitted.detector, data, options)
    found = detector.part_values(rows[drawn.calibration])
    return detector.calibrated(found.values, found.labels[:, 0])


def _checked(
    features: npt.ArrayLike, labels: npt.ArrayLike, class_names: Sequence[str], domains: npt.ArrayLike | None
) -> tuple[Rows, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Unit rows (n, D), class indices (n,) and domain indices (n,). Raises DataError unless they fit together."""
    rows = unit_rows(features)
    if not len(rows):
        raise DataError(f"features must be (n, D), not {rows.shape}")
    if len(set(class_names)) < len(class_names) or len(class_names) < 2:
        raise DataError("there must be two classes or more, each name once")
    indices = []
    for name, array in (("labels", labels), ("domains", domains)):
        values = np.full(len(rows), -1) if array is None else np.asarray(array)
        if values.shape != (len(rows),) or values.dtype.kind not in "iu":
            raise DataError(
                f"{name} must be ({len(rows)},) integers, not {values.shape} of {values.dtype}",
                hint="one index per row of features",
            )
        indices.append(values.astype(np.int64))
    classes, domain_of = indices
    if classes.min() < 0 or classes.max() >= len(class_names):
        raise DataError(
            f"labels run from {classes.min()} to {classes.max()}, but there are {len(class_names)} class names"
        )
    return rows, classes, domain_of
