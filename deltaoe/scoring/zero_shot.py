"""A detector without tuning: class names in a template, calibrated on the extracted images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import MismatchError
from deltaoe.functional.limits import check_temperature, check_top_c
from deltaoe.functional.sampling import few_shot_split
from deltaoe.functional.text_features import centre_of
from deltaoe.functional.unit_rows import unit_rows
from deltaoe.progress import Event, OnEvent
from deltaoe.scoring.background import Background, BackgroundOptions, choose_background
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.scorer import Scorer, score_stored
from deltaoe.scoring.selection import TEMPERATURES, TOP_CS, choose
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.text_cache import load_texts, prompts_key, save_texts
from deltaoe.store.workspace import Workspace

TEMPLATE = "a photo of a {}."
# docs/explanation/defaults.md says how they were found.
TEMPERATURE = 0.1
TOP_C = 1
_SELECTION_SEED = 0
_SELECTION_IMAGES = 20_000


def zero_shot_detector(
    class_names: Sequence[str],
    template: str,
    source: ModelSource,
    workspace: Workspace,
    on: OnEvent,
    *,
    temperature: float | None = None,
    top_c: int | None = None,
    background: BackgroundOptions | None = None,
) -> Detector:
    """A detector with one prompt per class, not calibrated yet.

    Raises:
        ConfigError: τ, c or the background is out of range.
        DataError: the background's file cannot be read.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    options = background or BackgroundOptions()
    _check(temperature, top_c, len(class_names))
    options.check()

    def encode(names: Sequence[str]) -> npt.NDArray[np.float32]:
        return text_features(names, template, source, workspace, on)

    features = encode(class_names)
    chosen = choose_background(options, class_names, features, encode)
    space = source.known_space() or source.space()
    settings = {"template": template, **chosen.settings(options)}
    return _detector(class_names, features, space, temperature, top_c, chosen, options.centre, settings)


def given_detector(
    class_names: Sequence[str],
    features: npt.NDArray[np.float32],
    space: FeatureSpace | None,
    *,
    temperature: float | None = None,
    top_c: int | None = None,
    background: BackgroundOptions | None = None,
) -> Detector:
    """A detector of text features (K, D) that somebody else has computed, not calibrated yet.

    Raises:
        ConfigError: τ or c is out of range, or the background is of names without features.
        DataError: the background's file cannot be read.
        MismatchError: the features have not the dimension of the space of the images.
    """
    _check(temperature, top_c, len(class_names))
    if space is None or features.shape[1] != space.dim:
        raise MismatchError(
            f"the text features have {features.shape[1]} numbers each, the image features "
            f"{space.dim if space else 'are gone'}",
            hint="take both from the same model",
        )
    options = background or BackgroundOptions()
    text = unit_rows(features, what="text features")
    chosen = choose_background(options, class_names, text, None)
    settings = chosen.settings(options)
    return _detector(class_names, text, space, temperature, top_c, chosen, options.centre, settings)


def _check(temperature: float | None, top_c: int | None, classes: int) -> None:
    check_temperature(TEMPERATURE if temperature is None else temperature)
    check_top_c(TOP_C if top_c is None else top_c, classes)


def _detector(
    class_names: Sequence[str],
    features: npt.NDArray[np.float32],
    space: FeatureSpace,
    temperature: float | None,
    top_c: int | None,
    background: Background,
    centre: bool,
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
        background=background.features,
        background_names=background.names,
        centre=centre_of(features, background.features) if centre else np.zeros(0, dtype=np.float32),
        settings={**settings, "temperature": temperature, "top_c": top_c, "centred": centre},
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


def selected(
    detector: Detector,
    data: DataSet,
    store: FeatureStore,
    rows: npt.NDArray[np.int64],
    *,
    temperature: float | None,
    top_c: int | None,
) -> Detector:
    """The detector at the τ and c that tell images of held-out classes best from the others.

    Those given are fixed. What was tried is in its facts. Raises DataError with fewer than three classes.
    """
    place = {name: i for i, name in enumerate(detector.class_names)}
    home = np.array([place[name] for name in data.class_names], dtype=np.int64)
    rows = np.random.default_rng(_SELECTION_SEED).permutation(rows)[:_SELECTION_IMAGES]
    tried = choose(
        store.features(data.digests[rows]),
        home[data.class_of[rows]],
        detector.text_features,
        detector.background,
        centre=len(detector.centre) > 0,
        generator=np.random.default_rng(_SELECTION_SEED),
        temperatures=TEMPERATURES if temperature is None else (temperature,),
        top_cs=TOP_CS if top_c is None else (top_c,),
    )
    best = tried[0]
    chosen: dict[str, Any] = {"temperature": best.temperature, "top_c": best.top_c}
    listed = [f"τ={t.temperature:g} c={t.top_c}: {t.auroc:.4f} ± {t.error:.4f}" for t in tried]
    return dataclasses.replace(
        detector,
        **chosen,
        settings={**detector.settings, **chosen, "select": "held-out classes"},
        facts={**detector.facts, "held_out_class_auroc": listed},
    )


def calibrate(
    detector: Detector, data: DataSet, store: FeatureStore, rows: npt.NDArray[np.int64], on: OnEvent
) -> Detector:
    """The detector with the scores of these rows of the data set as its calibration."""
    scored = score_stored(Scorer(detector), store, data.digests[rows], on)
    return detector.calibrated(scored.scores, scored.labels[:, 0])


def distinct_rows(data: DataSet) -> npt.NDArray[np.int64]:
    """Rows of the data set that have a class, one per distinct image."""
    return few_shot_split(data.class_of.tolist(), data.keys(), 0, 0).rest
