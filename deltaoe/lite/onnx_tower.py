"""The exported image tower, run by ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError, ModelError, first_line
from deltaoe.functional.unit_rows import Rows
from deltaoe.lite.bundle import FEATURES, PIXELS


class OnnxTower:
    """From pixels to image features.

    Args:
        path: the ONNX file.
        size: (H, W) of its input, in pixels.
        dim: D, components of a feature.
        threads: threads of the computation; None for one per core.
        providers: ONNX Runtime's execution providers, the preferred one first.

    Raises:
        ConfigError: ONNX Runtime is not installed, or has no such provider here.
        DataError: it is no such model.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], dim: int, threads: int | None, providers: Sequence[str]
    ) -> None:
        # Its wheels send usage data to Microsoft from 1.29 on, unless this is set before they are loaded.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime
        except ImportError as cause:
            raise ConfigError(
                f"deltaoe.lite needs ONNX Runtime: {first_line(cause)}", hint="pip install onnxruntime"
            ) from cause
        there = onnxruntime.get_available_providers()
        for name in providers:
            if name not in there:
                raise ConfigError(
                    f"ONNX Runtime has no {name} here", hint=f"it has {', '.join(there)}; leave providers out"
                )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: warnings are about the machine, and go to standard error
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=list(providers)
            )
            (taken,), (given,) = self._session.get_inputs(), self._session.get_outputs()
        except Exception as cause:  # of classes of its own, and ValueError where there are not one of each
            raise DataError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {first_line(cause)}",
                hint="install a newer onnxruntime, or export it again",
            ) from cause
        wanted = (PIXELS, "tensor(uint8)", [*size, 3]), (FEATURES, "tensor(float)", [dim])
        found = tuple((one.name, one.type, list(one.shape[1:])) for one in (taken, given))
        if found != wanted or len(taken.shape) != 4 or len(given.shape) != 2:
            raise DataError(
                f"{path} is no image tower of this detector: it has {found}, not {wanted}",
                hint="export it again: deltaoe export-onnx",
            )
        self._dim = dim

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Rows:
        """Image features (B, D), unit rows, of pixels (B, H, W, 3).

        Raises:
            ModelError: the computation fails, or a feature is not finite.
        """
        try:
            features: Rows = self._session.run([FEATURES], {PIXELS: pixels})[0]
        except Exception as cause:
            raise ModelError(
                f"ONNX Runtime cannot compute features: {first_line(cause)}", hint="check free memory"
            ) from cause
        if features.shape != (len(pixels), self._dim) or not np.isfinite(features).all():
            raise ModelError(
                "the model's features are not finite numbers, one row per image",
                hint="export it again: deltaoe export-onnx",
            )
        return features
