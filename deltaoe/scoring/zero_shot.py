"""A detector without tuning: class names in a template, calibrated on the extracted images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import MismatchError
from deltaoe.functional.limits import check_top_c
from deltaoe.functional.text_features import centre_of
from deltaoe.functional.unit_rows import Rows, unit_rows
from deltaoe.progress import Event, OnEvent
from deltaoe.scoring.background import Background, choose_background
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import TEMPERATURE, TEMPLATE, TOP_C, PromptOptions
from deltaoe.scoring.scorer import Scorer, score_stored
from deltaoe.scoring.selection import TEMPERATURES, TOP_CS, select_settings
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.text_cache import load_texts, prompts_key, save_texts
from deltaoe.store.workspace import Workspace

_SELECTION_SEED = 0
_SELECTION_IMAGES = 20_000


def zero_shot_detector(
    class_names: Sequence[str],
    options: PromptOptions,
    source: ModelSource,
    workspace: Workspace,
    on: OnEvent,
) -> Detector:
    """A detector with one prompt per class, not calibrated yet.

    Args:
        class_names: K names.
        options: template, τ, c and background.
        source: the model that encodes the prompts, if they are not in the workspace.
        workspace: keeps text features.
        on: progress.

    Raises:
        ConfigError: τ, c or the background is out of range.
        DataError: the background's file cannot be read.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    _check(options, len(class_names))
    template = options.template or TEMPLATE

    def encode(names: Sequence[str]) -> Rows:
        return text_features(names, template, source, workspace, on)

    features = encode(class_names)
    background = choose_background(options.background, class_names, features, encode)
    space = source.known_space() or source.space()
    return _detector(class_names, features, space, background, options, {"template": template})


def given_detector(
    class_names: Sequence[str], features: Rows, space: FeatureSpace | None, options: PromptOptions
) -> Detector:
    """A detector of text features that somebody else has computed, not calibrated yet.

    Args:
        class_names: K names.
        features: (K, D), of any length.
        space: the feature space of the images; None if it is gone.
        options: τ, c and background.

    Raises:
        ConfigError: τ or c is out of range, or the background is of names without features.
        DataError: a text feature is zero, or the background's file cannot be read.
        MismatchError: the features have not the dimension of the space of the images.
    """
    _check(options, len(class_names))
    if space is None or features.shape[1] != space.dim:
        raise MismatchError(
            f"the text features have {features.shape[1]} numbers each, the image features "
            f"{space.dim if space else 'are gone'}",
            hint="take both from the same model",
        )
    text = unit_rows(features, what="text features")
    background = choose_background(options.background, class_names, text, None)
    return _detector(class_names, text, space, background, options, {})


def _check(options: PromptOptions, classes: int) -> None:
    options.check()
    check_top_c(TOP_C if options.top_c is None else options.top_c, classes)


def _detector(
    class_names: Sequence[str],
    text: Rows,
    space: FeatureSpace,
    background: Background,
    options: PromptOptions,
    settings: dict[str, object],
) -> Detector:
    temperature = TEMPERATURE if options.temperature is None else options.temperature
    top_c = TOP_C if options.top_c is None else options.top_c
    centre = options.background.centre
    return Detector(
        class_names=tuple(class_names),
        text_features=text,
        temperature=temperature,
        top_c=top_c,
        calibration=np.empty(0),
        space=space,
        logit_scale=0.0,
        background=background.features,
        background_names=background.names,
        centre=centre_of(text, background.features) if centre else np.zeros(0, dtype=np.float32),
        settings={
            **settings,
            **background.settings(options.background),
            "temperature": temperature,
            "top_c": top_c,
            "centred": centre,
        },
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


def with_selected_settings(
    detector: Detector,
    data: DataSet,
    store: FeatureStore,
    rows: npt.NDArray[np.int64],
    options: PromptOptions,
) -> Detector:
    """The detector at the τ and c that tell images of held-out classes best from the others.

    Args:
        detector: whose prompts and background.
        data: in-distribution images; ``store`` holds their features.
        store: of the data set.
        rows: (m,) which of the images.
        options: τ and c, where they are given, stay.

    Returns:
        The detector; what was tried is in its facts.

    Raises:
        DataError: fewer than three classes have images.
    """
    place = {name: i for i, name in enumerate(detector.class_names)}
    class_of = np.array([place[name] for name in data.class_names], dtype=np.int64)[data.class_of]
    rows = np.random.default_rng(_SELECTION_SEED).permutation(rows)[:_SELECTION_IMAGES]
    tried = select_settings(
        store.features(data.digests[rows]),
        class_of[rows],
        detector.text_features,
        detector.background,
        centre=len(detector.centre) > 0,
        generator=np.random.default_rng(_SELECTION_SEED),
        temperatures=TEMPERATURES if options.temperature is None else (options.temperature,),
        top_cs=TOP_CS if options.top_c is None else (options.top_c,),
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
