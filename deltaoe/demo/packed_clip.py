"""A small CLIP in a small file: only the rows of the token table that were trained, the others made anew.

Of CLIP's 49,408 tokens a small model learns a few hundred; the others would be most of its file. They are filled with
numbers that follow from a token's id alone, so that unknown words have distinct features, without any meaning.
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
    """The file's content: float32 becomes float16, which is finer than these weights were learned.

    Args:
        config: of open_clip: ``model_cfg`` and ``preprocess_cfg``.
        weights: the state dictionary; its token table holds the rows of ``tokens`` only.
        tokens: (n,) ids of the tokens in the table, ascending.
    """
    half = {name: w.astype(np.float16) if w.dtype == np.float32 else w for name, w in weights.items()}
    content: bytes = save(
        {**{name: np.ascontiguousarray(w) for name, w in half.items()}, _TOKENS: tokens},
        metadata={_KEY: json.dumps(config, sort_keys=True)},
    )
    return content


def unpack(source: Path, folder: Path) -> None:
    """Write the model as a folder in open_clip's ``local-dir:`` format, if it is not there already.

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
        # Written again only if different: a feature cache goes by size and time of these files.
        if not (target.is_file() and target.read_bytes() == content):
            write_bytes(target, content)


def _whole(rows: npt.NDArray[Any], tokens: npt.NDArray[Any], vocabulary: int) -> npt.NDArray[Any]:
    """The table with all rows, the others uniform noise of the trained rows' size.

    The noise is the raw stream of a counter-based generator, which NumPy promises to keep (NEP 19).
    """
    width = rows.shape[1]
    raw = np.random.Philox(key=0).random_raw(vocabulary * width)
    noise = (raw >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - 1  # −1 … 1
    table = noise.reshape(vocabulary, width) * np.float32(3**0.5 * float(rows.astype(np.float32).std()))
    table[tokens] = rows
    whole: npt.NDArray[Any] = table.astype(rows.dtype)
    return whole
