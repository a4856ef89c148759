"""ΔEnergy over label sets of any size, by PyTorch: exactly from all labels, or bounded by 8-bit products."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.functional.energy import delta_energy_from_top
from deltaoe.functional.label_groups import GROUP
from deltaoe.functional.label_sums import delta_energy_bounds, nearest_and_floor, tail_bounds
from deltaoe.functional.limits import ROUNDING
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.detector_fields import DetectorFields
from deltaoe.scoring.label_index import LabelIndex
from deltaoe.scoring.options import IndexKind
from deltaoe.scoring.parts import PartValues
from deltaoe.scoring.quantized_index import label_groups

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


class Bounded(NamedTuple):
    """Scores and nearest labels of N images.

    Attributes:
        scores: (N,) ΔEnergy, the middle of its bounds.
        labels, cosines: (N, m) indices of the nearest classes, and the images' cosines with them.
        bounds: (N, 2); None of an approximate index.
        open: (m,) rows of which this says nothing for certain, since too many labels are about as near.
    """

    scores: Floats
    labels: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]
    bounds: Floats | None
    open: npt.NDArray[np.int64]


class BoundedLabels:
    """ΔEnergy between two bounds, from all labels in 8 bits and the nearest ones in single precision.

    Args:
        detector: its class prompts, τ and c are used.
        prompts: text features (K, D) of the classes and (M, D) of the background that ΔEnergy is computed with.
        neighbours: number of labels to compare in single precision, at least.
        shown: number of nearest labels that are returned per image.
        device: where to compute.
        folder: where labels in 8 bits are kept between runs; None to keep none.

    Attributes:
        notes: sentences for the user, on files of indexes that could not be used or written.
    """

    recall = None

    def __init__(
        self,
        detector: DetectorFields,
        prompts: tuple[Rows, Rows],
        neighbours: int,
        shown: int,
        *,
        device: torch.device | str = "cpu",
        folder: Path | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._temperature, self._top_c = detector.temperature, detector.top_c
        self._groups, self._shown, self._device = -(-neighbours // GROUP), shown, device
        own = len(detector.energy_features) > 0
        wanted = (*prompts, detector.text_features if own else detector.text_features[:0])
        # Classes are predicted by prompts of their own, if the energies have others.
        self._labels, self._background, self._classes = (
            label_groups(rows, device, folder, self.notes) if len(rows) else None for rows in wanted
        )

    @torch.inference_mode()
    def __call__(self, features: Rows) -> Bounded:
        """Scores of image features (N, D), unit rows."""
        temperature, top_c, groups = self._temperature, self._top_c, self._groups
        images = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)).to(self._device)
        assert self._labels is not None  # noqa: S101 - for the type checker: there is at least one class
        near = self._labels.look(images, self._shown, groups, temperature)
        # The labels that are shown beside T_c are known but for rounding.
        beside = torch.logsumexp(near.cosines[:, top_c:].double() / temperature, dim=-1)
        margin = ROUNDING / temperature
        lower, upper = [beside - margin, near.low], [beside + margin, near.high]
        if self._background is not None:
            others = self._background.look(images, 0, groups, temperature)
            lower.append(others.low)
            upper.append(others.high)
        low, high = (torch.logsumexp(torch.stack(terms), dim=0) for terms in (lower, upper))
        bounds = torch.stack(delta_energy_bounds(near.cosines[:, :top_c], low, high, temperature), dim=1)
        certain = near.certain
        if self._classes is not None:
            near = self._classes.look(images, self._shown, groups, None)
            certain = certain & near.certain
        return Bounded(
            bounds.mean(dim=1).cpu().numpy(),
            near.labels.cpu().numpy(),
            near.cosines.cpu().numpy(),
            bounds.cpu().numpy(),
            (~certain).nonzero()[:, 0].cpu().numpy(),
        )


class ApproximateLabels:
    """ΔEnergy from the labels that an approximate index finds nearest to each image; its error is not bounded.

    Args:
        detector, prompts, shown, folder: as of :class:`BoundedLabels`.
        neighbours: number of labels to look up per image.
        index: kind of FAISS index.

    Attributes:
        recall: share of the true nearest labels that the index finds, measured on the first images that are scored;
            None before that.
        notes: sentences for the user, on files of indexes that could not be used or written.
    """

    def __init__(
        self,
        detector: DetectorFields,
        prompts: tuple[Rows, Rows],
        neighbours: int,
        index: IndexKind,
        shown: int,
        *,
        folder: Path | None = None,
    ) -> None:
        self.recall: float | None = None
        self._temperature, self._top_c = detector.temperature, detector.top_c
        self._neighbours, self._shown = neighbours, shown
        own = len(detector.energy_features) > 0
        self._classes = LabelIndex(detector.text_features, index, folder=folder) if own else None
        self._indexes = [
            (LabelIndex(rows, index, folder=folder), rows.sum(axis=0, dtype=np.float64))
            for rows in prompts
            if len(rows)
        ]
        indexes = [one for one, _ in self._indexes] + ([self._classes] if self._classes else [])
        self.notes = [note for one in indexes for note in one.notes]

    @torch.inference_mode()
    def __call__(self, features: Rows) -> Bounded:
        """Scores of image features (N, D), unit rows, in the middle of what the labels that were not found can add."""
        temperature, top_c = self._temperature, self._top_c
        if self.recall is None:
            self.recall = self._indexes[0][0].recall(features[:_RECALL_IMAGES], self._shown)
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
        if self._classes is not None:
            cosines, labels = self._classes.search(features, self._shown)
        nothing = np.zeros(0, dtype=np.int64)
        return Bounded(
            bounds.mean(axis=1), labels[:, : self._shown], cosines[:, : self._shown], None, nothing
        )
