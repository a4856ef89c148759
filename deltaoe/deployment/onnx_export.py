"""The image tower as an ONNX file."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from deltaoe.clip.image_tower import ImageTower
from deltaoe.errors import ConfigError, ModelError, first_line
from deltaoe.lite.bundle import FEATURES, PIXELS

OPSET = 18  # what PyTorch's exporter writes without conversion, and what ONNX Runtime has read since 1.14
NEEDED = ("onnx", "onnxscript", "onnxruntime")
# An ONNX file is one protocol buffer, which has at most 2 GiB; of larger models the weights are a file of their own.
_MOST_IN_ONE_FILE = 2**31 - 2**26


def check_installed() -> None:
    """Raise ConfigError unless the packages that write and check an ONNX file are installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"export-onnx needs {', '.join(missing)}", hint="pip install 'deltaoe[onnx]', or those packages"
        )


def write_onnx(tower: ImageTower, path: Path, size: tuple[int, int]) -> None:
    """Write an image tower as an ONNX file, with any number of images per call.

    PyTorch's exporter is the one that traces with ``torch.export``: the older one fails on the fused attention of
    open_clip's transformers.

    Args:
        tower: the image tower.
        path: the file; weights of more than 2 GiB are written beside it, as ``model.onnx.data``.
        size: (H, W) of its input, in pixels.

    Raises:
        ModelError: the tower computes something that has no form in ONNX.
        OSError: the file cannot be written.
    """
    pixels = torch.zeros(
        (2, *size, 3), dtype=torch.uint8
    )  # with one image, that number would be taken for fixed
    weights = [*tower.parameters(), *tower.buffers()]
    apart = sum(weight.nbytes for weight in weights) > _MOST_IN_ONE_FILE
    try:
        with torch.no_grad(), _quiet():
            torch.onnx.export(
                tower.eval(),
                (pixels,),
                str(path),
                dynamo=True,
                opset_version=OPSET,
                input_names=[PIXELS],
                output_names=[FEATURES],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=apart,
                verbose=False,
            )
    except OSError:
        raise
    except Exception as cause:  # of many classes, and their texts run over pages
        raise ModelError(
            f"the image tower cannot be written as ONNX: {first_line(cause)}",
            hint="newer versions of torch and onnxscript know more operations",
        ) from cause
    _anonymise(path)


def _anonymise(path: Path) -> None:
    """Drop what the exporter notes of every operation: stack traces with paths of this machine."""
    import onnx

    model: Any = onnx.load(str(path), load_external_data=False)
    for owner in (model.graph, *model.functions):
        for node in owner.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    onnx.save(model, str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Context without the exporter's warnings and logs, which are about itself."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
