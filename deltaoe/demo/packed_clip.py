"""The file of the demo's small CLIP: without the token embeddings that were not trained, which are made again.

Of CLIP's 49,408 tokens a small model learns a few hundred; the others would be most of its file. They are filled with
noise that follows from a token's id alone, so that unknown words have distinct features, without any meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from deltaoe.errors import ModelError, first_line
from deltaoe.store.atomic import write_bytes

TABLE = "token_embedding.weight"
CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"
_TOKENS, _KEY = "deltaoe.tokens", "open_clip_config"

Tensors = Mapping[str, npt.NDArray[Any]]


def pack(config: Mapping[str, Any], weights: Tensors, tokens: npt.NDArray[np.int32]) -> bytes:
    """The bytes of a packed model. Float32 becomes float16, which is more precise than these weights need.

    Args:
        config: open_clip's configuration, with ``model_cfg`` and ``preprocess_cfg``.
        weights: the state dictionary; its token embedding has the rows of ``tokens`` only.
        tokens: (n,) ids of these tokens, ascending.
    """
    half = {name: w.astype(np.float16) if w.dtype == np.float32 else w for name, w in weights.items()}
    content: bytes = save(
        {**{name: np.ascontiguousarray(w) for name, w in half.items()}, _TOKENS: tokens},
        metadata={_KEY: json.dumps(config, sort_keys=True)},
    )
    return content


def unpack(source: Path, folder: Path) -> None:
    """Write a packed model as a folder in open_clip's ``local-dir:`` format, unless it is there already.

    Args:
        source: the packed model's file.
        folder: the folder to write; it is created.

    Raises:
        ModelError: ``source`` is no packed model.
        StoreError: the folder cannot be written.
    """
    try:
        with safe_open(source, "numpy") as file:
            config = json.loads(file.metadata()[_KEY])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        tokens = weights.pop(_TOKENS)
        weights[TABLE] = _whole(weights[TABLE], tokens, int(config["model_cfg"]["text_cfg"]["vocab_size"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError) as cause:
        raise ModelError(
            f"cannot read the packed model {source}: {first_line(cause)}", hint="install deltaoe again"
        ) from cause
    for target, content in (
        (folder / WEIGHTS_FILE, save(weights)),
        (folder / CONFIG_FILE, (json.dumps(config, indent=1) + "\n").encode()),
    ):
        # Written only if different: stored features are reused while these files keep their size and time.
        if not (target.is_file() and target.read_bytes() == content):
            write_bytes(target, content)


def _whole(rows: npt.NDArray[Any], tokens: npt.NDArray[Any], vocabulary: int) -> npt.NDArray[Any]:
    """The token embedding (vocabulary, width): the trained ``rows`` at ``tokens``, and noise elsewhere.

    The noise is uniform, with the trained rows' standard deviation. It is the raw stream of a counter-based generator,
    which NumPy promises to keep (NEP 19).
    """
    width = rows.shape[1]
    raw = np.random.Philox(key=0).random_raw(vocabulary * width)
    noise = (raw >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - 1  # −1 … 1
    table = noise.reshape(vocabulary, width) * np.float32(3**0.5 * float(rows.astype(np.float32).std()))
    table[tokens] = rows
    whole: npt.NDArray[Any] = table.astype(rows.dtype)
    return whole
