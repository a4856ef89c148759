"""deltaoe: out-of-distribution detection with CLIP by ΔEnergy, and few-shot tuning of its prompts.

The names below are imported on first use: ``import deltaoe`` loads neither torch nor faiss nor open_clip. What it
does is to ask OpenMP for threads that sleep while they wait (:mod:`deltaoe.threads`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deltaoe.threads import wait_passively as _wait_passively

if TYPE_CHECKING:
    from deltaoe.clip.frozen import FrozenClip as FrozenClip
    from deltaoe.clip.options import ModelOptions as ModelOptions
    from deltaoe.clip.reference import ModelRef as ModelRef
    from deltaoe.cluster.options import ClusterOptions as ClusterOptions
    from deltaoe.discovery.discover import discover as discover
    from deltaoe.discovery.options import DiscoverOptions as DiscoverOptions
    from deltaoe.errors import DeltaoeError as DeltaoeError
    from deltaoe.estimator import DeltaoeClassifier as DeltaoeClassifier
    from deltaoe.evaluation.evaluate import evaluate as evaluate
    from deltaoe.evaluation.options import EvaluateOptions as EvaluateOptions
    from deltaoe.extraction.extract import extract as extract
    from deltaoe.extraction.options import ExtractOptions as ExtractOptions
    from deltaoe.extraction.options import IngestOptions as IngestOptions
    from deltaoe.functional.energy import delta_energy as delta_energy
    from deltaoe.functional.energy import energy as energy
    from deltaoe.progress_line import rich_progress as rich_progress
    from deltaoe.scoring.detector import Detector as Detector
    from deltaoe.scoring.options import BackgroundOptions as BackgroundOptions
    from deltaoe.scoring.options import PromptOptions as PromptOptions
    from deltaoe.scoring.options import Rule as Rule
    from deltaoe.scoring.options import ScoreOptions as ScoreOptions
    from deltaoe.scoring.score import score as score
    from deltaoe.scoring.scorer import Scorer as Scorer
    from deltaoe.scoring.stream import ScoreStream as ScoreStream
    from deltaoe.store.workspace import Workspace as Workspace
    from deltaoe.tuning.options import ContextOptions as ContextOptions
    from deltaoe.tuning.options import TuneOptions as TuneOptions
    from deltaoe.tuning.options import TuningOptions as TuningOptions
    from deltaoe.tuning.recipe import Recipe as Recipe
    from deltaoe.tuning.tune import tune_workspace as tune_workspace
    from deltaoe.tuning.tune_arrays import tune as tune

_HOMES = {
    "BackgroundOptions": "scoring.options",
    "ClusterOptions": "cluster.options",
    "ContextOptions": "tuning.options",
    "DeltaoeClassifier": "estimator",
    "DeltaoeError": "errors",
    "Detector": "scoring.detector",
    "DiscoverOptions": "discovery.options",
    "EvaluateOptions": "evaluation.options",
    "ExtractOptions": "extraction.options",
    "FrozenClip": "clip.frozen",
    "IngestOptions": "extraction.options",
    "ModelOptions": "clip.options",
    "ModelRef": "clip.reference",
    "PromptOptions": "scoring.options",
    "Recipe": "tuning.recipe",
    "Rule": "scoring.options",
    "ScoreOptions": "scoring.options",
    "ScoreStream": "scoring.stream",
    "Scorer": "scoring.scorer",
    "TuneOptions": "tuning.options",
    "TuningOptions": "tuning.options",
    "Workspace": "store.workspace",
    "delta_energy": "functional.energy",
    "discover": "discovery.discover",
    "energy": "functional.energy",
    "evaluate": "evaluation.evaluate",
    "extract": "extraction.extract",
    "rich_progress": "progress_line",
    "score": "scoring.score",
    "tune": "tuning.tune_arrays",
    "tune_workspace": "tuning.tune",
}
__all__ = sorted(_HOMES)

_wait_passively()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"deltaoe.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'deltaoe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
