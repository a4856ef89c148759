"""The identity of a feature space: which vectors may be compared with each other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deltaoe.errors import ConfigError, StoreError
from deltaoe.images.decode_policy import DECODE_MODES, EXACT
from deltaoe.images.range_names import AUTO, canonical_range
from deltaoe.store.file_text import text_problem

_DTYPES = ("float16", "float32")
_PRECISIONS = ("fp32", "bf16", "fp16")
_NORMALISATIONS = ("l2",)
_NEWER = {
    "normalisation": "l2",
    "sample_range": AUTO,
    "decode": EXACT,
}  # fields that older versions did not name
# Those that a user chooses with an option of the same name, as to how files become pixels.
_CHOSEN = ("sample_range", "decode")
_MOST_DIM = 1 << 16
_MOST_CHARACTERS = 8192  # of a field; a model's name may hold a path

# What an import calls a model that it was not told.
UNNAMED = "unknown"


@dataclass(frozen=True)
class FeatureSpace:
    """All that decides the feature vector of given image bytes.

    Attributes:
        model: the name it was loaded by (``ViT-B-16/openai``, ``local-dir:…``). For people: **not** part of the
            identity, so that a model folder may move and two names of the same weights share one store.
        weights: SHA-256 over all parameters and buffers: names, shapes, types and bytes.
        config: SHA-256 over the architecture's configuration, activation included.
        preprocess: size, mean, deviation, interpolation and resize mode, as canonical JSON.
        precision: arithmetic of the image tower: ``fp32``, ``bf16`` or ``fp16``.
        decode_policy: version of the rule that turns the bytes of plain 8-bit files into RGB pixels, as which all other
            files can be kept; 0 for features made elsewhere. What a newer rule shows otherwise is encoded anew, file by
            file: see ``deltaoe.images.decode_policy``.
        dim: D, components of a feature.
        dtype: number format on disk, ``float16`` or ``float32``.
        normalisation: ``l2``: features are divided by their Euclidean length.
        sample_range: what is black and white of samples of more than eight bits: ``auto``, found per file, or
            ``LOW..HIGH``.
        decode: how JPEGs become pixels: ``exact``, ``fast`` or ``gpu``, as ``deltaoe.images.decode_policy`` says.

    Example:
        >>> space = FeatureSpace.imported("my-clip", dim=512, dtype="float32")
        >>> space.is_imported, space.id
        (True, '123f2d4d17cdb850')
    """

    model: str
    weights: str
    config: str
    preprocess: str
    precision: str
    decode_policy: int
    dim: int
    dtype: str = "float16"
    normalisation: str = "l2"
    sample_range: str = AUTO
    decode: str = EXACT

    @classmethod
    def imported(cls, model: str, dim: int, dtype: str) -> FeatureSpace:
        """The space of features made elsewhere: all that is known of them is the name that their owner gives the model.

        Args:
            model: that name.
            dim: D, components of a feature.
            dtype: number format on disk, ``float16`` or ``float32``.
        """
        return cls(model, f"imported:{model}", "imported", "imported", "imported", 0, dim, dtype)

    @property
    def is_imported(self) -> bool:
        """Whether its features were made elsewhere."""
        return self.decode_policy == 0

    @property
    def id(self) -> str:
        """16 hexadecimal digits, a digest of everything but the model's name."""
        identity = {k: v for k, v in dataclasses.asdict(self).items() if k not in self._not_in_id()}
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]

    def _not_in_id(self) -> set[str]:
        # Older versions did not name these, and had none other than the default: their stores keep their ids.
        return {"model"} | {name for name, default in _NEWER.items() if getattr(self, name) == default}

    @property
    def options(self) -> str:
        """The options by which files became its pixels, where these are not the usual ones; empty where they are.

        Example:
            >>> FeatureSpace("m", "w", "c", "{}", "fp32", 1, 512, decode="fast").options
            '--decode fast'
        """
        values = {name: getattr(self, name) for name in _CHOSEN}
        return " ".join(f"{_option(name)} {value}" for name, value in values.items() if value != _NEWER[name])

    def is_same_model(self, other: FeatureSpace) -> bool:
        """Whether the same weights made both, whatever their names and in whatever arithmetic."""
        mine, theirs = ((one.weights, one.config, one.preprocess) for one in (self, other))
        return mine == theirs

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain values, for JSON; ``sample_range`` and ``decode`` only if they were chosen.

        Older versions did not have them: what was written by them, and is compared by its digest, stays the same.
        """
        values = dataclasses.asdict(self)
        for name in _CHOSEN:
            if values[name] == _NEWER[name]:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureSpace:
        """The inverse of :meth:`to_dict`.

        Raises:
            StoreError: a field is missing, unknown, of the wrong type or has a value that no space has.
        """
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        values = {**_NEWER, **values}
        valid = set(values) == set(fields) and all(
            type(values[name]) is (int if kind == "int" else str) for name, kind in fields.items()
        )
        problem = _problem(values) if valid else "its fields are not those of one"
        if problem:
            raise StoreError(
                f"not a description of a feature space: {problem}",
                hint="the file is damaged or from another version",
            )
        return cls(**values)

    def other_pixels(self, other: FeatureSpace) -> dict[str, tuple[str, str]]:
        """Where two spaces differ only in how files become pixels: option → its value in this one, and in the other.

        Example:
            >>> space = FeatureSpace("m", "w", "c", "{}", "fp32", 1, 512)
            >>> dataclasses.replace(space, decode="fast").other_pixels(space)
            {'--decode': ('fast', 'exact')}
        """
        alike = dataclasses.replace(self, **{name: getattr(other, name) for name in _CHOSEN})
        if alike.id != other.id:
            return {}
        values = {name: (str(getattr(self, name)), str(getattr(other, name))) for name in _CHOSEN}
        return {_option(name): pair for name, pair in values.items() if pair[0] != pair[1]}

    def differences(self, other: FeatureSpace) -> list[str]:
        """Each attribute that differs, but for the model's name, as "name this / other", for an error message."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        digests = {"weights", "config"}
        return [
            f"{name} {str(mine[name])[:12]} / {str(theirs[name])[:12]}"
            if name in digests
            else f"{name} {mine[name]} / {theirs[name]}"
            for name in mine
            if name != "model" and mine[name] != theirs[name]
        ]


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _problem(values: Mapping[str, Any]) -> str:
    """Which field, of the right type, has a value that no space has; empty if none has."""
    imported = values["decode_policy"] == 0
    for name, value in values.items():
        if isinstance(value, str) and (wrong := text_problem(value, _MOST_CHARACTERS)):
            return f"its {name} is {wrong}"
    wanted = {
        "dtype": values["dtype"] in _DTYPES,
        "precision": values["precision"] in _PRECISIONS or (imported and values["precision"] == "imported"),
        "normalisation": values["normalisation"] in _NORMALISATIONS,
        "sample_range": _is_range(values["sample_range"]),
        "decode": values["decode"] in DECODE_MODES,
        "dim": 1 <= values["dim"] <= _MOST_DIM,
        "decode_policy": 0 <= values["decode_policy"] < _MOST_DIM,
        "model": bool(values["model"]),
        "weights": bool(values["weights"]),
    }
    unfit = next((name for name, fits in wanted.items() if not fits), None)
    return f"its {unfit} is {str(values[unfit])[:60]!r}" if unfit else ""


def _is_range(text: str) -> bool:
    try:
        return canonical_range(text) == text
    except ConfigError:
        return False


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text, and so equal digests.

    Example:
        >>> canonical_json({"b": 1, "a": [2, 3]})
        '{"a":[2,3],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
