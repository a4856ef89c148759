"""Scoring without PyTorch: NumPy, ONNX Runtime and Pillow are all that an exported detector needs.

Installed by ``pip install --no-deps deltaoe`` and ``pip install -r DIR/requirements.txt``, where DIR is what
``deltaoe export-onnx DIR`` wrote. ``python -m deltaoe.lite DIR IMAGE...`` prints a line of JSON per image.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltaoe.lite.detector import LiteDetector as LiteDetector
    from deltaoe.lite.detector import Verdict as Verdict
    from deltaoe.lite.detector import load as load

__all__ = ["LiteDetector", "Verdict", "load"]


def __getattr__(name: str) -> Any:  # so that the command can say which package is missing
    if name in __all__:
        return getattr(importlib.import_module("deltaoe.lite.detector"), name)
    raise AttributeError(f"module 'deltaoe.lite' has no attribute {name!r}")
