"""The detector that images are scored with one by one, and what there is to say about it."""

from __future__ import annotations

from typing import NamedTuple

from deltaoe.progress import OnEvent
from deltaoe.scoring.options import ScoreOptions
from deltaoe.scoring.resolve import Chosen, chosen_detector, saved_detector
from deltaoe.scoring.staleness import data_behind, staleness
from deltaoe.scoring.vocabulary import check_vocabulary, vocabulary_source
from deltaoe.store.dataset import DataSet
from deltaoe.store.workspace import Workspace


class InUse(NamedTuple):
    """A detector in use.

    Attributes:
        chosen: the detector, and where it and its model come from.
        data: the data set behind it; None if there is none here.
        notes: sentences for the user: what is out of date, then what was chosen.
    """

    chosen: Chosen
    data: DataSet | None
    notes: list[str]


def detector_in_use(workspace: Workspace, options: ScoreOptions, on: OnEvent) -> InUse:
    """The detector that these options choose, as :func:`deltaoe.scoring.score.score` does.

    Args:
        workspace: has the detectors and the features.
        options: detector or prompts, rule, vocabulary, model.
        on: receives progress.

    Raises:
        ConfigError, DataError, MismatchError, ModelError, StoreError: there is no such detector, or it cannot be used.
    """
    saved = saved_detector(workspace, options)
    data = data_behind(workspace, options, saved[0] if saved else None)
    stale = staleness(workspace, options, saved[0] if saved else None, data, on)
    chosen = chosen_detector(saved, None, workspace, options, on)
    check_vocabulary(vocabulary_source(chosen.detector, options))
    return InUse(chosen, data, [*stale, *chosen.notes])
