"""``export-onnx``: a detector, its image tower and a manifest in one folder, checked before it gets its name."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deltaoe.deployment.check import (
    LEAST_COSINE,
    Expected,
    Pixels,
    least_cosine,
    smallest_cosine,
    trial_pictures,
    workspace_pictures,
)
from deltaoe.deployment.folder import replacing_folder
from deltaoe.lite.bundle import (
    DETECTOR,
    FEATURES,
    FILES,
    FORMAT,
    MANIFEST,
    MODEL,
    PIXELS,
    REQUIREMENTS,
    VOCABULARY,
    VOCABULARY_KEY,
)
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.answers import check_each_alone
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.in_use import detector_in_use
from deltaoe.scoring.options import ScoreOptions
from deltaoe.scoring.resembling import Vocabulary
from deltaoe.scoring.verdicts import decide
from deltaoe.scoring.vocabulary import vocabulary_once
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.sealed import to_bytes, with_seal
from deltaoe.store.workspace import Workspace

if TYPE_CHECKING:
    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.clip.image_tower import ImageTower

# What is needed where the folder is used, beside this package, with the lower bounds of pyproject.toml.
NEEDED_TO_SCORE = ("numpy>=2.0", "onnxruntime>=1.20", "pillow>=11.0")
_MADE_WITH = ("torch", "open_clip_torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: where it lies.
        manifest: JSON values of its manifest.
        origin: where the detector comes from, in words.
        cosines: which pictures' features were compared, and the smallest cosine of each kind.
        notes: sentences for the user.
    """

    folder: Path
    manifest: dict[str, Any]
    origin: str
    cosines: list[tuple[str, float]]
    notes: list[str]


def export_onnx(
    folder: str | os.PathLike[str],
    workspace: Workspace,
    options: ScoreOptions | None = None,
    *,
    force: bool = False,
    on: OnEvent = silent,
) -> Exported:
    """Write the detector that images would be scored with, its image tower and a manifest into a new folder.

    The detector is chosen as by :func:`deltaoe.scoring.score.score`. The folder gets its name when all files are
    written, and ONNX Runtime has computed the features of test pictures as PyTorch does.

    Args:
        folder: the new folder.
        workspace: has the detectors and the features.
        options: detector or prompts, rule, vocabulary, model; None for the defaults.
        force: replace an export that is there.
        on: receives progress.

    Raises:
        ConfigError: an option is out of range, or asks for what needs all images at once; a package is missing.
        DataError: there are no class names, or no such detector.
        MismatchError, ModelError: the model cannot be used, or ONNX Runtime computes other features.
        StoreError: the folder is there, or cannot be written.
    """
    from deltaoe.deployment.onnx_export import check_installed, write_onnx

    options = options or ScoreOptions()
    options.check()
    check_each_alone(options, "an exported detector")
    check_installed()
    with replacing_folder(Path(folder), FILES, force=force) as temporary:
        chosen, behind, notes = detector_in_use(workspace, options, on)
        detector = chosen.detector
        notes += decide(detector, np.empty(0), np.empty(0, dtype=np.int64), options.rule).notes
        words = vocabulary_once(detector, options, chosen.source, workspace, on, notes.append)
        vocabulary = None if words is None else words()
        clip = chosen.source.clip()
        space = chosen.source.space()
        notes += _notes_on(space)
        expected = [_in_space(clip, space)]
        if behind is not None and not behind.is_imported and behind.space_id == space.id:
            found = workspace_pictures(behind, workspace.store(space), clip.geometry)
            expected += [found] if found is not None else []
        tower = clip.image_tower()
        expected.append(_in_fp32(tower, expected[0].pixels))
        on(Event("Writing ONNX", info={"model": space.model}))
        write_onnx(tower, temporary / MODEL, clip.image_size)
        (temporary / DETECTOR).write_bytes(detector.to_bytes())
        if vocabulary is not None:
            (temporary / VOCABULARY).write_bytes(_vocabulary_bytes(vocabulary))
        (temporary / REQUIREMENTS).write_text(requirements(), encoding="utf-8")
        manifest = _manifest(detector, chosen.origin, space, clip, options, vocabulary)
        manifest["files"] = _digests(temporary)
        _write_manifest(temporary, manifest)
        on(Event("Checking", info={"images": sum(len(one.pixels) for one in expected)}))
        cosines = _checked(temporary, expected)
        manifest["check"] = [{"images": what, "least_cosine": round(value, 7)} for what, value in cosines]
        _write_manifest(temporary, manifest)
    return Exported(Path(folder), manifest, chosen.origin, cosines, notes)


def requirements() -> str:
    """The requirements of a machine that uses an export."""
    own = f"# and, without its other requirements: pip install --no-deps deltaoe=={version('deltaoe')}"
    return "\n".join([own, *NEEDED_TO_SCORE]) + "\n"


def _in_space(clip: FrozenClip, space: FeatureSpace) -> Expected:
    """Test pictures with the features that the model gives in its precision."""
    pixels = trial_pictures(clip.image_size)
    features = clip.encode_pixels(pixels).numpy()
    return Expected(
        pixels, features, least_cosine(space), f"{len(pixels)} test pictures in {space.precision}"
    )


def _in_fp32(tower: ImageTower, pixels: Pixels) -> Expected:
    """The same pictures with the features that the module gives which is exported."""
    import torch

    with torch.inference_mode():
        features = tower.eval()(torch.from_numpy(pixels)).numpy()
    return Expected(pixels, features, LEAST_COSINE, f"{len(pixels)} test pictures in fp32")


def _checked(folder: Path, expected: Sequence[Expected]) -> list[tuple[str, float]]:
    """Which pictures' features ONNX Runtime computed as expected, and the smallest cosine. Raises ModelError."""
    from deltaoe.lite.detector import load

    detector = load(folder)
    found: dict[str, float] = {}
    for one in expected:
        cosine = smallest_cosine(detector.encode(one.pixels), one)
        found[one.what] = min(cosine, found.get(one.what, cosine))
    return list(found.items())


def _notes_on(space: FeatureSpace) -> list[str]:
    """Sentences on how the export computes other than the workspace's features were computed."""
    notes = []
    if space.precision != "fp32":
        notes.append(
            f"The features were made with --precision {space.precision}, and the export computes in fp32 with the "
            "same rounded weights: verdicts on images near the threshold can differ. Extract and tune with --precision "
            "fp32 for the same ones."
        )
    if space.decode == "gpu":
        notes.append(
            "The features were made with --decode gpu; the export decodes JPEGs exactly, so that their pixels differ "
            "a little."
        )
    return notes


def _vocabulary_bytes(vocabulary: Vocabulary) -> bytes:
    arrays = {"features": np.ascontiguousarray(vocabulary.features, dtype=np.float32)}
    return to_bytes(VOCABULARY_KEY, with_seal({"names": list(vocabulary.names)}, arrays), arrays)


def _manifest(
    detector: Detector,
    origin: str,
    space: FeatureSpace,
    clip: FrozenClip,
    options: ScoreOptions,
    vocabulary: Vocabulary | None,
) -> dict[str, Any]:
    from deltaoe.deployment.onnx_export import OPSET

    height, width = clip.image_size
    return {
        "format": FORMAT,
        "deltaoe": version("deltaoe"),
        "made_with": {"python": platform.python_version(), **_versions(_MADE_WITH)},
        "model": space.model,
        "onnx": {
            "opset": OPSET,
            "input": {"name": PIXELS, "type": "uint8", "shape": ["batch", height, width, 3]},
            "output": {"name": FEATURES, "type": "float32", "shape": ["batch", space.dim]},
        },
        "preprocessing": json.loads(space.preprocess),
        "normalisation": space.normalisation,
        "space": space.to_dict(),
        "detector": {
            "origin": origin,
            "digest": detector.digest,
            **detector.score_settings,
            "calibration_images": len(detector.calibration),
        },
        "classes": list(detector.class_names),
        "vocabulary": 0 if vocabulary is None else len(vocabulary.names),
        "rule": {"alpha": options.rule.alpha, "per_class": options.rule.per_class},
        "valid_for": _validity(detector),
    }


def _validity(detector: Detector) -> str:
    """For which images the verdicts keep their promise, in words."""
    if not len(detector.calibration):
        return "There are no calibration images: scores and classes are given, and nothing is called known or unknown."
    return (
        f"At most a share alpha of new images like the {len(detector.calibration)} calibration images is called "
        "unknown, on average. Images from another camera, place or style than theirs may be called unknown more often."
    )


def _versions(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # numpy built into another distribution, for example
            continue
    return found


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Name → size and SHA-256 of each file of an export."""
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path.name] = {
                "bytes": path.stat().st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
    return found


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="ascii")
