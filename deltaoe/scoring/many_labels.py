"""ΔEnergy over label sets of any size, by PyTorch: exactly from all labels, or bounded from the nearest ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.functional.energy import delta_energy_from_top
from deltaoe.functional.label_sums import delta_energy_bounds, nearest_and_floor, tail_bounds
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.detector_fields import DetectorFields
from deltaoe.scoring.label_index import LabelIndex
from deltaoe.scoring.options import IndexKind
from deltaoe.scoring.parts import PartValues

_IMAGES = 2048  # scored at a time
_RECALL_IMAGES = 256  # on which the recall of an approximate index is measured

Floats = npt.NDArray[np.float64]


class AllLabels:
    """Exact ΔEnergy, and the nearest labels, in memory that does not grow with images × labels.

    Args:
        prompts: text features (K, D) of the classes and (M, D) of the background, unit rows.
        temperature: τ > 0, cosine units.
        top_c: c, from 1 to K.
        device: where to compute.

    Raises:
        ConfigError: when it is called, if τ or c is out of range.

    Example:
        >>> prompts = np.eye(2, dtype=np.float32)[:1]
        >>> found = AllLabels((prompts, prompts[:0]), temperature=0.01, top_c=1)(np.eye(2, dtype=np.float32), 1)
        >>> found.values.round(3).tolist(), found.labels.tolist()
        ([[1.0], [0.0]], [[0], [0]])
    """

    def __init__(
        self, prompts: tuple[Rows, Rows], temperature: float, top_c: int, device: torch.device | str = "cpu"
    ) -> None:
        self._temperature, self._top_c, self._device = temperature, top_c, device
        self._labels, self._background = (
            torch.from_numpy(np.ascontiguousarray(rows)).to(device) for rows in prompts
        )

    def __call__(self, features: Rows, shown: int) -> PartValues:
        """ΔEnergy (N, 1) and the ``shown`` nearest labels of image features (N, D), unit rows."""
        blocks = [features[start : start + _IMAGES] for start in range(0, max(len(features), 1), _IMAGES)]
        columns = zip(*(self._block(rows, shown) for rows in blocks), strict=True)
        return PartValues(*(np.concatenate(column) for column in columns))

    @torch.inference_mode()
    def _block(self, features: Rows, shown: int) -> tuple[npt.NDArray[Any], ...]:
        cosines, labels, floor = nearest_and_floor(
            torch.from_numpy(features).to(self._device),
            self._labels,
            self._background,
            shown=shown,
            top_c=self._top_c,
            temperature=self._temperature,
        )
        scores = delta_energy_from_top(cosines[:, : self._top_c], floor, self._temperature)
        return scores[:, None].cpu().numpy(), labels.cpu().numpy(), cosines.cpu().numpy()


class NearestLabels:
    """ΔEnergy between two bounds, from the labels that FAISS finds nearest to each image.

    Args:
        detector: its class prompts, τ and c are used.
        prompts: text features (K, D) of the classes and (M, D) of the background that ΔEnergy is computed with.
        neighbours: number of labels to look up per image.
        index: kind of FAISS index.
        shown: number of nearest labels that are returned per image.
        gpu: whether FAISS may search on a GPU.

    Attributes:
        recall: share of the true nearest labels that an approximate index finds, measured on the first images that
            are scored; None before that, or if the index is exact.
    """

    def __init__(
        self,
        detector: DetectorFields,
        prompts: tuple[Rows, Rows],
        neighbours: int,
        index: IndexKind,
        shown: int,
        *,
        gpu: bool,
    ) -> None:
        self.recall: float | None = None
        self._temperature, self._top_c = detector.temperature, detector.top_c
        self._neighbours, self._shown = neighbours, shown
        # Classes are predicted by prompts of their own, if the energies have others.
        own = len(detector.energy_features) > 0
        self._class_index = LabelIndex(detector.text_features, index, gpu=gpu) if own else None
        self._indexes = [
            (LabelIndex(rows, index, gpu=gpu), rows.sum(axis=0, dtype=np.float64))
            for rows in prompts
            if len(rows)
        ]

    @torch.inference_mode()
    def __call__(
        self, features: Rows
    ) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.float32], Floats | None]:
        """Scores from the nearest labels, and bounds on what the labels that were not looked up add.

        Args:
            features: (N, D), unit rows.

        Returns:
            Scores (N,), the middle of their bounds; the nearest labels and their cosines, (N, ``shown``); and the
            bounds (N, 2), None of an approximate index.
        """
        temperature, top_c = self._temperature, self._top_c
        class_index = self._indexes[0][0]
        if not class_index.exact and self.recall is None:
            self.recall = class_index.recall(features[:_RECALL_IMAGES], self._shown)
        # Terms of the log-sum-exp outside the c largest cosines: (N,) each, once as lower and once as upper bounds.
        lower: list[torch.Tensor] = []
        upper: list[torch.Tensor] = []
        nearest: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]] = []
        for number, (index, label_sum) in enumerate(self._indexes):
            cosines, labels = index.search(features, min(len(index), max(self._neighbours, self._shown)))
            nearest.append((cosines, labels))
            values = torch.from_numpy(cosines).double()
            outside = values[:, top_c:] if number == 0 else values
            known_term = torch.logsumexp(outside / temperature, dim=-1)
            lower.append(known_term)
            upper.append(known_term)
            others = torch.tensor(float(len(index) - values.shape[1]))
            if others > 0:
                all_cosines = torch.from_numpy(features.astype(np.float64) @ label_sum)
                mean = (all_cosines - values.sum(dim=-1)) / others
                low_term, high_term = tail_bounds(others, mean, values[:, -1], temperature)
                lower.append(low_term)
                upper.append(high_term)
        cosines, labels = nearest[0]
        low, high = (torch.logsumexp(torch.stack(terms), dim=0) for terms in (lower, upper))
        bounds = torch.stack(
            delta_energy_bounds(torch.from_numpy(cosines[:, :top_c]), low, high, temperature), dim=1
        ).numpy()
        if self._class_index is not None:
            cosines, labels = self._class_index.search(features, self._shown)
        certified = bounds if class_index.exact else None
        return bounds.mean(axis=1), labels[:, : self._shown], cosines[:, : self._shown], certified
