"""The folder that ``deltaoe export-onnx`` writes: its files, its manifest, and what is checked when it is read.

docs/reference/outputs.md describes the format. The folder is untrusted: nothing in it is executed, no file outside it
is read, and its sizes and digests are compared before anything is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltaoe.errors import DataError, first_line
from deltaoe.files import read_small_file
from deltaoe.images.decode_policy import PLAIN_DECODE_POLICY
from deltaoe.images.geometry import Geometry
from deltaoe.lite.onnx_file import external_files
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule
from deltaoe.scoring.resembling import Vocabulary
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.sealed import unseal

FORMAT = 1
MANIFEST = "manifest.json"
MODEL, WEIGHTS = "model.onnx", "model.onnx.data"
DETECTOR = "detector.safetensors"
VOCABULARY = "vocabulary.safetensors"
REQUIREMENTS = "requirements.txt"
# The names of the model's input and output.
PIXELS, FEATURES = "pixels", "features"
VOCABULARY_KEY = "deltaoe-vocabulary"
_REQUIRED, _OPTIONAL = {MODEL, DETECTOR}, {WEIGHTS, VOCABULARY, REQUIREMENTS}
FILES = {MANIFEST, *_REQUIRED, *_OPTIONAL}
_MOST_MANIFEST = 1 << 28  # bytes: a million class names take less
_HINT = "export it again: deltaoe export-onnx"


@dataclass(frozen=True)
class Bundle:
    """An exported detector, read and checked.

    Attributes:
        folder: where it lies.
        manifest: JSON values of the manifest.
        space: the feature space of the model.
        geometry: how its pictures are resized and cropped.
        detector: the detector.
        rule: the rule of the verdicts.
        vocabulary: names that unknown images are compared with; None without.
    """

    folder: Path
    manifest: Mapping[str, Any]
    space: FeatureSpace
    geometry: Geometry
    detector: Detector
    rule: Rule
    vocabulary: Vocabulary | None

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """The exported detector in a folder.

        Raises:
            DataError: there is none, it is damaged or was changed, or a newer version wrote it.
        """
        manifest = _manifest(folder)
        try:
            _check_files(folder, manifest["files"])
            space = FeatureSpace.from_dict(manifest["space"])
            geometry = _geometry(space)
            rule = _rule(manifest["rule"])
            vocabulary = _vocabulary(folder, space.dim) if VOCABULARY in manifest["files"] else None
        except Exception as cause:  # JSON and tensors of any kind: damage raises of every kind
            reason = f"missing {cause}" if isinstance(cause, KeyError) else first_line(cause)
            raise DataError(f"{folder} is not a usable export: {reason}", hint=_HINT) from cause
        if space.decode_policy != PLAIN_DECODE_POLICY:
            raise DataError(
                f"{folder} was exported by a deltaoe that decodes images by another rule "
                f"({space.decode_policy}, and here {PLAIN_DECODE_POLICY})",
                hint=f"install deltaoe {str(manifest.get('deltaoe'))[:40]}, or export it again",
            )
        detector = Detector.load(folder / DETECTOR)
        if detector.space.dim != space.dim:
            raise DataError(
                f"{folder} is not a usable export: its detector has {detector.space.dim} numbers per feature, "
                f"and its model {space.dim}",
                hint=_HINT,
            )
        if not detector.space.is_same_model(space):
            raise DataError(f"{folder} is not a usable export: its detector is of another model", hint=_HINT)
        return cls(folder, manifest, space, geometry, detector, rule, vocabulary)


def _manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", hint="deltaoe export-onnx DIR writes one")
    if not (folder / MANIFEST).exists():
        raise DataError(
            f"{folder} has no {MANIFEST}, so it is no exported detector",
            hint="deltaoe export-onnx DIR writes one",
        )
    try:
        manifest = json.loads(read_small_file(folder / MANIFEST, limit=_MOST_MANIFEST))
    except (ValueError, RecursionError) as cause:
        raise DataError(f"{folder / MANIFEST} is no JSON: {first_line(cause)}", hint=_HINT) from cause
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if type(found) is not int or found < 1:
        raise DataError(f"{folder / MANIFEST} is not that of an exported detector", hint=_HINT)
    if found > FORMAT:
        raise DataError(
            f"{folder} has format {found}, and this deltaoe reads formats up to {FORMAT}",
            hint="install a newer deltaoe: pip install --upgrade --no-deps deltaoe",
        )
    return dict(manifest)


def _check_files(folder: Path, files: Any) -> None:
    """Compare names, sizes and digests of the files with those in the manifest."""
    names = set(files)
    if unknown := sorted(names - _REQUIRED - _OPTIONAL):
        raise DataError(f"its manifest names a file that no export has, {unknown[0][:80]!r}")
    if missing := sorted(_REQUIRED - names):
        raise DataError(f"its manifest does not name {missing[0]}")
    inside = folder.resolve()
    for name, noted in files.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{name} is not there")
        if not path.resolve().is_relative_to(inside):
            raise DataError(f"{name} is a link to a file outside the folder, which is not followed")
        if path.stat().st_size != noted["bytes"]:
            raise DataError(f"{name} has {path.stat().st_size:,} bytes, and had {noted['bytes']:,}")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != noted["sha256"]:
                raise DataError(f"the content of {name} has changed since it was written")
    if elsewhere := external_files(folder / MODEL) - (names & {WEIGHTS}):
        raise DataError(f"{MODEL} has weights in another file, {min(elsewhere)[:80]!r}, which is not read")


def _geometry(space: FeatureSpace) -> Geometry:
    settings = json.loads(space.preprocess)
    if not isinstance(settings, dict):
        raise DataError("its preprocessing has no settings")
    return dataclasses.replace(
        Geometry.of(settings), sample_range=space.sample_range, decode_mode=space.decode
    )


def _rule(values: Mapping[str, Any]) -> Rule:
    alpha, per_class = values["alpha"], values["per_class"]
    if type(alpha) not in (int, float) or type(per_class) is not bool:
        raise DataError("its rule is no number alpha, and true or false per class")
    rule = Rule(alpha=alpha, per_class=per_class)
    rule.check()
    return rule


def _vocabulary(folder: Path, dim: int) -> Vocabulary:
    head, arrays, sealed = unseal(folder / VOCABULARY, VOCABULARY_KEY)
    names, features = head["names"], arrays["features"]
    if not sealed or not all(isinstance(name, str) for name in names):
        raise DataError(f"{VOCABULARY} is no list of names")
    if features.shape != (len(names), dim) or features.dtype.str != "<f4" or not len(names):
        raise DataError(f"{VOCABULARY} has not one feature per name")
    return Vocabulary(names, features)
