"""Detectors without tuning: zero-shot prompts or given text features, and their calibration on stored images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.prompt_tokens import prompt_of
from deltaoe.clip.source import ModelSource
from deltaoe.errors import MismatchError
from deltaoe.functional.limits import check_top_c
from deltaoe.functional.unit_rows import Rows, unit_rows
from deltaoe.progress import Event, OnEvent
from deltaoe.scoring.background import Background, choose_background
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import TEMPERATURE, TEMPLATE, TOP_C, ZERO_SHOT_BACKGROUND, PromptOptions
from deltaoe.scoring.scorer import Scorer, score_stored
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.text_cache import load_texts, prompts_key, save_texts
from deltaoe.store.workspace import Workspace

_SELECTION_SEED = 0
_SELECTION_IMAGES = 20_000  # at most so many images choose τ and c


def zero_shot_detector(
    class_names: Sequence[str],
    options: PromptOptions,
    source: ModelSource,
    workspace: Workspace,
    on: OnEvent,
    background: str = ZERO_SHOT_BACKGROUND,
) -> Detector:
    """A detector with one zero-shot prompt per class, not calibrated yet.

    Args:
        class_names: K names.
        options: template, τ, c and background.
        source: loads the model that encodes the prompts, if their features are not in the workspace.
        workspace: stores text features.
        on: receives progress.
        background: source of background labels unless the options name one.

    Raises:
        ConfigError: τ, c or an option of the background is out of range.
        DataError: the background's file cannot be read.
        MismatchError: the background's features have another dimension than the prompts'.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    _check_options(options, len(class_names))
    template = options.template or TEMPLATE

    def encode(names: Sequence[str]) -> Rows:
        return text_features(names, template, source, workspace, on)

    features = encode(class_names)
    labels = choose_background(options.background, class_names, features, encode, default=background)
    space = source.known_space() or source.space()
    return _uncalibrated(class_names, features, space, labels, options, {"template": template})


def detector_of_text_features(
    class_names: Sequence[str], features: Rows, space: FeatureSpace | None, options: PromptOptions
) -> Detector:
    """A detector of text features that were computed elsewhere, not calibrated yet.

    Args:
        class_names: K names.
        features: (K, D), not necessarily unit rows.
        space: the feature space of the images; None if the workspace has it no more.
        options: τ, c and background.

    Raises:
        ConfigError: τ or c is out of range, or the background labels have no features.
        DataError: a text feature is zero, or the background's file cannot be read.
        MismatchError: the text features, or those of the background, have not the dimension of the image features.
    """
    _check_options(options, len(class_names))
    if space is None or features.shape[1] != space.dim:
        raise MismatchError(
            f"the text features have {features.shape[1]} numbers each, the image features "
            f"{space.dim if space else 'are gone'}",
            hint="take both from the same model",
        )
    text = unit_rows(features, what="text features")
    background = choose_background(options.background, class_names, text, None, default=ZERO_SHOT_BACKGROUND)
    return _uncalibrated(class_names, text, space, background, options, {})


def _check_options(options: PromptOptions, classes: int) -> None:
    options.check()
    check_top_c(TOP_C if options.top_c is None else options.top_c, classes)


def _uncalibrated(
    class_names: Sequence[str],
    text: Rows,
    space: FeatureSpace,
    background: Background,
    options: PromptOptions,
    settings: dict[str, object],
) -> Detector:
    """The detector of K prompts (K, D), unit rows, and a background; ``settings`` are recorded with its own."""
    temperature = TEMPERATURE if options.temperature is None else options.temperature
    top_c = TOP_C if options.top_c is None else options.top_c
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
        settings={
            **settings,
            **background.settings(),
            "temperature": temperature,
            "top_c": top_c,
        },
    )


def text_features(
    class_names: Sequence[str], template: str, source: ModelSource, workspace: Workspace, on: OnEvent
) -> npt.NDArray[np.float32]:
    """Text features (K, D), unit rows, of class names in a template; encoded only if the workspace has them not.

    Raises:
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    prompts = [prompt_of(template, name) for name in class_names]
    key = prompts_key(prompts)
    space = source.known_space()
    if space is not None:
        stored = load_texts(workspace.text_file(space, key), (len(prompts), space.dim))
        if stored is not None:
            return stored
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
    """The detector with the τ and c that separate images of held-out classes best from the others.

    Args:
        detector: its prompts and background are used.
        data: in-distribution images of some of the detector's classes.
        store: has the features of the data set.
        rows: (m,) rows of the data set to choose with; of more than 20,000 a random part is used.
        options: a τ or c that is given here is not chosen.

    Returns:
        The detector; its facts list the settings that were tried.

    Raises:
        DataError: fewer than three classes have images.
        StoreError: a feature is missing or a shard cannot be read.
    """
    from deltaoe.scoring.selection import TEMPERATURES, TOP_CS, select_settings  # it loads PyTorch

    index_of = {name: i for i, name in enumerate(detector.class_names)}
    class_of = np.array([index_of[name] for name in data.class_names], dtype=np.int64)[data.class_of]
    rows = np.random.default_rng(_SELECTION_SEED).permutation(rows)[:_SELECTION_IMAGES]
    tried = select_settings(
        store.features(data.digests[rows]),
        class_of[rows],
        detector.text_features,
        detector.background,
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
    """The detector, calibrated with the parts' values and predicted classes of these rows (n,) of a data set.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    scored = score_stored(Scorer(detector, images=len(rows)), store, data.digests[rows], on)
    values = scored.scores if scored.parts is None else scored.parts
    return detector.calibrated(values, scored.labels[:, 0])
