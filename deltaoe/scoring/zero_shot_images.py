"""Image evidence without tuning: half of the in-distribution images is fitted on, the other half calibrates."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError, StoreError
from deltaoe.functional.conformal import images_needed
from deltaoe.functional.sampling import share_of_each_class
from deltaoe.progress import OnEvent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import ALPHA, Evidence
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.workspace import Workspace

Indices = npt.NDArray[np.int64]

# Calibration images that must remain, so that an image can be called unknown at the usual α.
FEWEST_CALIBRATION = images_needed(ALPHA)
_SEED = 0
# To be raised when the same images and prompts no longer give the same detector.
_VERSION = 1
_KEPT = 16  # files of the cache of one feature space


def fitting_rows(data: DataSet, evidence: Evidence) -> Indices | None:
    """Rows of a data set to fit image evidence on: half of the images of each class, rounded down, by their content.

    Args:
        data: labelled in-distribution images.
        evidence: ``text`` fits nothing.

    Returns:
        (m,) rows; None if nothing is to be fitted: with ``text``, or with ``auto`` if fewer than 19 images would
        remain to calibrate, or no class has two images.

    Raises:
        DataError: the images are too few, and ``images`` or ``both`` asks for them.

    Example:
        >>> FEWEST_CALIBRATION
        19
    """
    if evidence == "text":
        return None
    fitted, others = share_of_each_class(data.class_of.tolist(), data.keys(), 1 / 2, _SEED)
    if len(fitted) and len(others) >= FEWEST_CALIBRATION:
        return fitted
    if evidence == "auto":
        return None
    raise DataError(
        f"{data.title} has {len(fitted) + len(others)} distinct images, too few to fit image evidence and calibrate "
        "with the rest",
        hint=f"half of them must be {FEWEST_CALIBRATION} or more: extract more, or use --evidence text",
    )


def why_not_fitted(data: DataSet) -> str:
    """Why ``auto`` fits no image evidence on the images of a data set, in words, and how many images would do."""
    rows = data.distinct_rows()
    if np.bincount(data.class_of[rows]).max(initial=0) < 2:
        return (
            f"no class of {data.title} has two images, one to fit image evidence on and one to calibrate with"
        )
    return (
        f"{data.title} has {len(rows)} distinct images, too few to fit image evidence on half of them and leave "
        f"{FEWEST_CALIBRATION} to calibrate with; {2 * FEWEST_CALIBRATION} would do"
    )


def with_images_of(
    detector: Detector, data: DataSet, workspace: Workspace, rows: Indices, evidence: Evidence, on: OnEvent
) -> Detector:
    """The detector with image evidence of some images of a data set, calibrated on its other images.

    It is stored in the workspace under a digest of all that it depends on, and read from there the next time.

    Args:
        detector: its class names include those of the data set.
        data: labelled images.
        workspace: has their features.
        rows: (m,) rows to fit on, from :func:`fitting_rows`.
        evidence: as for :func:`deltaoe.scoring.image_evidence.with_image_evidence`.
        on: receives progress.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    classes = class_rows(detector, data)
    path = workspace.zero_shot_file(detector.space, _key(detector, data, classes, rows, evidence))
    if path.is_file():
        try:
            return Detector.load(path)
        except DataError:
            pass  # damaged, or of another version: it is made again
    # Imported here: it loads SciPy, which a stored detector does not need.
    from deltaoe.scoring.image_evidence import LabelledImages, with_image_evidence
    from deltaoe.scoring.zero_shot import calibrate

    store = workspace.features_of(data)
    images = LabelledImages.shots(store.features(data.digests[rows]), classes[rows], data.domain_of[rows])
    fitted = with_image_evidence(detector, images, evidence)
    fitted = calibrate(fitted, data, store, np.setdiff1d(data.distinct_rows(), rows), on)
    # Only a cache: where it cannot be written, the evidence is fitted the next time, too.
    with contextlib.suppress(StoreError, OSError):
        fitted.save(path)
        _keep_latest(path.parent)
    return fitted


def _keep_latest(folder: Path) -> None:
    """Delete all but the latest files of the cache: each change of the images makes a new one."""
    files = sorted(folder.glob("[!.]*.safetensors"), key=lambda file: file.stat().st_mtime_ns)
    for file in files[:-_KEPT]:
        file.unlink(missing_ok=True)


def _key(detector: Detector, data: DataSet, classes: Indices, rows: Indices, evidence: Evidence) -> str:
    """A digest of all that a zero-shot detector with image evidence depends on, 32 hexadecimal digits."""
    digest = hashlib.sha256(f"{_VERSION} {evidence} ".encode())
    digest.update(detector.digest.encode())
    for array in (data.digests, classes, data.domain_of, rows):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def class_rows(detector: Detector, data: DataSet) -> Indices:
    """Index of each image's class among the detector's, (n,); −1 for images without a class."""
    index_of = {name: i for i, name in enumerate(detector.class_names)}
    indices = np.array([*(index_of[name] for name in data.class_names), -1], dtype=np.int64)
    return indices[data.class_of]


def image_detector(class_names: Sequence[str], space: FeatureSpace) -> Detector:
    """A detector of images alone, nothing fitted yet: it needs no prompts and no names that a model understands."""
    return Detector(
        class_names=tuple(class_names),
        text_features=np.zeros((0, space.dim), dtype=np.float32),
        temperature=1.0,
        top_c=1,
        calibration=np.empty(0),
        space=space,
        logit_scale=0.0,
    )
