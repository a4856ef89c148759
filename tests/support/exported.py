"""Exported detectors for tests: one of the tiny model, and others made of it without tracing the model again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from deltaoe.lite.bundle import DETECTOR, MANIFEST
from deltaoe.scoring.detector import Detector

# What may be imported where an exported detector is used, beside the standard library.
ALLOWED = ("deltaoe", "numpy", "onnxruntime", "PIL")
# Runs before anything else in a process, which can then import nothing else.
BLOCK = f"""
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {ALLOWED!r} or top in sys.stdlib_module_names:
            return None
        raise ModuleNotFoundError(f"No module named {{name!r}} (blocked by a test)")
sys.meta_path.insert(0, Block())
"""


def copied_export(source: Path, target: Path) -> Path:
    """The same export elsewhere, with its model as a hard link."""
    shutil.copytree(source, target, copy_function=_linked)
    return target


def _linked(source: str, target: str) -> None:
    if source.endswith(".onnx"):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def with_manifest(folder: Path, **changes: Any) -> None:
    """Change entries of an export's manifest."""
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def noted(folder: Path, *names: str) -> None:
    """Write sizes and digests of changed files into the manifest, as somebody would who means harm."""
    files = json.loads((folder / MANIFEST).read_text())["files"]
    for name in names:
        content = (folder / name).read_bytes()
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with_manifest(folder, files=files)


def with_detector(source: Path, target: Path, detector: Detector, **rule: Any) -> Path:
    """The export of another detector of the same model."""
    copied_export(source, target)
    space = json.loads((target / MANIFEST).read_text())["space"]
    own = dataclasses.replace(detector.space, **space)
    (target / DETECTOR).write_bytes(dataclasses.replace(detector, space=own).to_bytes())
    noted(target, DETECTOR)
    with_manifest(target, rule={"alpha": 0.05, "per_class": False} | rule)
    return target
