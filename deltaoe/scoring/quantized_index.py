"""Labels in 8 bits, computed once and kept between runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from deltaoe.errors import StoreError
from deltaoe.functional.label_groups import LabelGroups
from deltaoe.functional.quantized_labels import LAYOUT, QuantizedLabels, quantized
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.label_index import LEAST_KEPT, not_kept, rebuilt
from deltaoe.store.index_cache import index_file, load_arrays, save_arrays

# Labels per step, images per step, and images whose groups are looked through together. On a CPU the products of a step
# stay in its caches; a GPU wants large steps.
_CPU_STEPS = (2048, 256, 8)
_GPU_STEPS = (65_536, 2048, 256)


def label_groups(
    labels: Rows, device: torch.device | str, folder: Path | None, notes: list[str]
) -> LabelGroups:
    """Labels in 8 bits on a device, ready to be compared with images.

    Args:
        labels: (K, D) unit rows, K ≥ 1.
        device: where to compute.
        folder: where they are kept between runs; None to keep none. A GPU computes them in less time than it takes to
            read them.
        notes: receives sentences for the user, on files that could not be used or written.
    """
    rows = np.ascontiguousarray(labels, dtype=np.float32)
    there = torch.from_numpy(rows).to(device)
    on_cpu = torch.device(device).type == "cpu"
    keeps = folder is not None and on_cpu and len(rows) >= LEAST_KEPT
    small = _kept(rows, folder, notes) if folder is not None and keeps else quantized(there)
    block, images, together = _CPU_STEPS if on_cpu else _GPU_STEPS
    # More threads share a step than two.
    images = max(images, min(2048, 64 * torch.get_num_threads())) if on_cpu else images
    return LabelGroups(there, small, block=block, images=images, together=together)


def _kept(rows: Rows, folder: Path, notes: list[str]) -> QuantizedLabels:
    """Those of the file in a folder; computed and kept there if there is none that can be used."""
    path = index_file(folder, rows, "8 bits", LAYOUT)
    count, dim = rows.shape
    try:
        arrays = load_arrays(path, QuantizedLabels.layout(count, dim))
        return QuantizedLabels(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    except FileNotFoundError:
        pass
    except StoreError as cause:
        notes.append(rebuilt(path, cause))
    made = quantized(torch.from_numpy(rows))
    try:
        save_arrays(path, {name: tensor.numpy() for name, tensor in made._asdict().items()})
    except StoreError as cause:
        notes.append(not_kept(cause))
    return made
