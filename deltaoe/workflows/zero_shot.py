"""A detector without tuning: class names in a template, calibrated on the extracted images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deltaoe.data.dataset import DataSet
from deltaoe.data.detector import Detector
from deltaoe.data.features import FeatureStore
from deltaoe.data.space import FeatureSpace
from deltaoe.data.texts import load_texts, prompts_key, save_texts
from deltaoe.data.workspace import Workspace
from deltaoe.errors import MismatchError
from deltaoe.functional.energy import check_temperature, check_top_c
from deltaoe.functional.sampling import few_shot_split
from deltaoe.workflows.progress import Event, OnEvent
from deltaoe.workflows.scoring import Scorer, score_stored
from deltaoe.workflows.source import ModelSource

TEMPLATE = "a photo of a {}."
# Without tuning, real CLIP features favour a small τ and c = 1 (docs/explanation/method.md).
TEMPERATURE = 0.1
TOP_C = 1


def zero_shot_detector(
    class_names: Sequence[str],
    template: str,
    source: ModelSource,
    workspace: Workspace,
    on: OnEvent,
    *,
    temperature: float | None = None,
    top_c: int | None = None,
) -> Detector:
    """A detector with one prompt per class, not calibrated yet.

    Raises:
        ConfigError: τ or c is out of range.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    _check(temperature, top_c, len(class_names))
    features = text_features(class_names, template, source, workspace, on)
    space = source.known_space() or source.space()
    return _detector(class_names, features, space, temperature, top_c, {"template": template})


def given_detector(
    class_names: Sequence[str],
    features: npt.NDArray[np.float32],
    space: FeatureSpace | None,
    *,
    temperature: float | None = None,
    top_c: int | None = None,
) -> Detector:
    """A detector of text features (K, D) that somebody else has computed, not calibrated yet.

    Raises:
        ConfigError: τ or c is out of range.
        MismatchError: the features have not the dimension of the space of the images.
    """
    _check(temperature, top_c, len(class_names))
    if space is None or features.shape[1] != space.dim:
        raise MismatchError(
            f"the text features have {features.shape[1]} numbers each, the image features "
            f"{space.dim if space else 'are gone'}",
            hint="take both from the same model",
        )
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return _detector(class_names, (features / length).astype(np.float32), space, temperature, top_c, {})


def _check(temperature: float | None, top_c: int | None, classes: int) -> None:
    check_temperature(TEMPERATURE if temperature is None else temperature)
    check_top_c(TOP_C if top_c is None else top_c, classes)


def _detector(
    class_names: Sequence[str],
    features: npt.NDArray[np.float32],
    space: FeatureSpace,
    temperature: float | None,
    top_c: int | None,
    settings: dict[str, object],
) -> Detector:
    temperature = TEMPERATURE if temperature is None else temperature
    top_c = TOP_C if top_c is None else top_c
    return Detector(
        class_names=tuple(class_names),
        text_features=features,
        temperature=temperature,
        top_c=top_c,
        calibration=np.empty(0),
        space=space,
        logit_scale=0.0,
        settings={**settings, "temperature": temperature, "top_c": top_c},
    )


def text_features(
    class_names: Sequence[str], template: str, source: ModelSource, workspace: Workspace, on: OnEvent
) -> npt.NDArray[np.float32]:
    """Features (K, D) of the class names in a template, from the workspace if they were encoded before."""
    prompts = [template.replace("{}", name) for name in class_names]
    key = prompts_key(prompts)
    space = source.known_space()
    if space is not None:
        kept = load_texts(workspace.text_file(space, key), (len(prompts), space.dim))
        if kept is not None:
            return kept
    clip = source.clip()
    features: npt.NDArray[np.float32] = clip.encode_text(
        prompts, lambda done: on(Event("Encoding prompts", done, len(prompts)))
    ).numpy()
    save_texts(workspace.text_file(source.space(), key), features)
    return features


def calibrate(
    detector: Detector, data: DataSet, store: FeatureStore, rows: npt.NDArray[np.int64], on: OnEvent
) -> Detector:
    """The detector with the scores of these rows of the data set as its calibration."""
    scores, _, _ = score_stored(Scorer(detector), store, data.digests[rows], on)
    return detector.calibrated(scores)


def distinct_rows(data: DataSet) -> npt.NDArray[np.int64]:
    """Rows of the data set that have a class, one per distinct image."""
    return few_shot_split(data.class_of.tolist(), data.keys(), 0, 0).rest
