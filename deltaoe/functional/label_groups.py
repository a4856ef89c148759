"""The labels nearest to images, for certain, and a log-sum-exp over all others between bounds, from 8-bit products."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from deltaoe.functional.energy import DIRECT_FROM_TEMPERATURE
from deltaoe.functional.limits import ROUNDING, check_temperature
from deltaoe.functional.quantized_labels import (
    MULTIPLE,
    SUM_ROUNDING,
    QuantizedImages,
    QuantizedLabels,
    product,
    quantized_images,
)

GROUP = 16  # labels whose largest cosine and whose sum are kept instead of each cosine
_HELD = 1 << 24  # images × groups at a time
_LEAST_IMAGES = 32  # of an 8-bit product on a GPU
_MASKED = -(2**30)  # in place of a product, of a label that is none
_MOST_GROUPS = 128  # that are looked at where fewer leave it open which labels are nearest


class Looked(NamedTuple):
    """What 8 bits, and single precision for a few labels, say of N images.

    Attributes:
        cosines: (N, m) float32, cosines with the nearest labels, largest first.
        labels: (N, m) indices of these labels.
        certain: (N,) bool, whether no other label can be nearer than these, but for rounding.
        low, high: (N,) float64, bounds of log Σ exp(s_j/τ) over all other labels; −∞ if there is none.
    """

    cosines: Tensor
    labels: Tensor
    certain: Tensor
    low: Tensor
    high: Tensor


class LabelGroups:
    """Labels in groups, ready to be compared with images.

    A group is every w-th label of a block, so that its largest product is taken across rows of memory.

    Args:
        labels: (K, D) float32, unit rows.
        quantized: the same labels in 8 bits.
        block: labels per step.
        images: image features per step of 8-bit products.
        together: image features whose groups are looked through together.
    """

    def __init__(
        self, labels: Tensor, quantized: QuantizedLabels, *, block: int, images: int, together: int
    ) -> None:
        self._labels, self._quantized = labels, quantized
        self._together = together
        self._rows: Tensor | None = None
        count, device = len(labels), labels.device
        self._blocks = [slice(start, min(start + block, count)) for start in range(0, count, block)]
        self._widths = [-(-(part.stop - part.start) // GROUP) for part in self._blocks]
        # (G, GROUP): labels of each group, K where there is none.
        self._members = torch.cat(
            [
                rows.where(rows < part.stop, count)
                for part, width in zip(self._blocks, self._widths, strict=True)
                for rows in [part.start + torch.arange(GROUP * width, device=device).view(GROUP, width).T]
            ]
        )
        self._error_norms, self._norms = (
            torch.cat([values, values.new_zeros(1)])[self._members].amax(dim=1)
            for values in (quantized.error_norms, quantized.norms)
        )
        self._images = max(_LEAST_IMAGES, min(images, _HELD // len(self._members)))

    def __len__(self) -> int:
        """K, the number of labels."""
        return len(self._labels)

    @torch.inference_mode()
    def look(self, features: Tensor, shown: int, groups: int, temperature: float | None) -> Looked:
        """The labels nearest to images, and bounds for all others.

        Args:
            features: (N, D) float32, unit rows h.
            shown: m, how many nearest labels to return, from 0 to K.
            groups: number of groups whose labels are compared in single precision; more where so many do not say for
                certain which labels are nearest.
            temperature: τ > 0, cosine units; None if no sums are wanted, which are NaN then.

        Raises:
            ConfigError: τ is out of range.

        Example:
            >>> from deltaoe.functional.quantized_labels import quantized
            >>> labels = torch.eye(40)
            >>> groups = LabelGroups(labels, quantized(labels), block=64, images=64, together=64)
            >>> found = groups.look(labels[:1], shown=1, groups=1, temperature=0.1)
            >>> found.labels.tolist(), found.certain.tolist()
            ([[0]], [True])
            >>> bool(found.low < math.log(39)), bool(math.log(39) < found.high)
            (True, True)
        """
        if temperature is not None:
            check_temperature(temperature)
        found: list[Looked] = []
        for start in range(0, max(len(features), 1), self._images):
            images = quantized_images(features[start : start + self._images], self._quantized)
            compared = self._compared(images, temperature)
            for first in range(0, max(len(images.codes), 1), self._together):
                part = slice(first, first + self._together)
                found.append(
                    self._nearest(images.rows(part), compared.rows(part), shown, groups, temperature)
                )
        return Looked(*map(torch.cat, zip(*found, strict=True)))

    def _compared(self, images: QuantizedImages, temperature: float | None) -> _Compared:
        """8-bit products of images with all labels, by group."""
        count, groups, device = len(images.codes), len(self._members), images.codes.device
        largest = torch.empty((count, groups), device=device)
        sums = torch.empty((count, groups if temperature is not None else 0), device=device)
        codes = images.codes
        if count < _LEAST_IMAGES:
            codes = torch.cat([codes, codes.new_zeros((_LEAST_IMAGES - count, codes.shape[1]))])
        space: dict[int, tuple[Tensor, ...]] = {}
        start = 0
        for part, width in zip(self._blocks, self._widths, strict=True):
            if width not in space:
                shape = (len(codes), GROUP * width)
                kinds = (torch.int32, torch.float32)
                space[width] = tuple(torch.empty(shape, dtype=kind, device=device) for kind in kinds)
            products, scaled = space[width]
            size = part.stop - part.start
            if size < GROUP * width:
                products[:, :size] = product(codes, self._padded(part))[:, :size]
                products[:, size:] = _MASKED
            else:
                product(codes, self._quantized.codes[part], out=products)
            grouped = products[:count].view(count, GROUP, width)
            highest = grouped.amax(dim=1)
            largest[:, start : start + width] = highest
            if temperature is not None:
                scaled = scaled[:count]
                scaled.copy_(grouped.sub_(highest[:, None]).view_as(scaled))
                scaled.mul_((images.steps / temperature).float()[:, None]).exp_()
                torch.sum(scaled.view(count, GROUP, width), dim=1, out=sums[:, start : start + width])
            start += width
        return _Compared(largest, sums)

    def _padded(self, part: slice) -> Tensor:
        """The codes of some labels, with rows of zeros up to a multiple of what 8-bit products ask for."""
        codes = self._quantized.codes[part]
        return torch.cat([codes, codes.new_zeros((-len(codes) % MULTIPLE, codes.shape[1]))])

    def _nearest(
        self, images: QuantizedImages, compared: _Compared, shown: int, groups: int, temperature: float | None
    ) -> Looked:
        """:meth:`look` for images whose products are known."""
        groups = min(max(groups, shown, 1), len(self._members))
        limits = compared.largest * images.steps.float()[:, None]
        limits += images.offsets.float()[:, None]
        limits += self._reach(images).add_(ROUNDING)  # no cosine with a label of the group is larger
        highest, ranked = limits.topk(min(max(groups, _MOST_GROUPS), len(self._members)), dim=-1)
        labels = self._members[ranked]
        cosines = torch.full(labels.shape, -torch.inf, device=labels.device)
        looked = torch.zeros_like(ranked, dtype=torch.bool)
        looked[:, :groups] = True
        self._compare(images.features, labels, looked, cosines)
        if shown:
            # Beside them, every group that could have a nearer label.
            farthest = cosines[:, :groups].flatten(1).topk(shown, dim=-1).values[:, -1:]
            others = (highest >= farthest) & ~looked
            self._compare(images.features, labels, others, cosines)
            looked |= others
        nearest, places = cosines.flatten(1).topk(shown, dim=-1)
        others_limit = limits.scatter_(-1, ranked, highest.masked_fill(looked, -torch.inf)).amax(dim=-1)
        certain = torch.ones_like(others_limit, dtype=torch.bool)
        if shown:
            certain = nearest[:, -1] >= others_limit
        low = high = torch.full_like(others_limit, torch.nan, dtype=torch.float64)
        if temperature is not None:
            known = cosines.flatten(1).scatter(-1, places, -torch.inf).double() / temperature
            low = high = torch.logsumexp(known, dim=-1)
            low, high = low - ROUNDING / temperature, high + ROUNDING / temperature
            terms = self._tail(images, compared, ranked, looked, others_limit.double(), temperature)
            low, high = (torch.logaddexp(*pair) for pair in zip((low, high), terms, strict=True))
        return Looked(nearest, labels.flatten(1).gather(-1, places), certain, low, high)

    def _compare(self, features: Tensor, labels: Tensor, wanted: Tensor, cosines: Tensor) -> None:
        """Write cosines of images (N, D) with labels of their own, where they are wanted, among others.

        Args:
            features: (N, D).
            labels: (N, g, GROUP) indices, K for none.
            wanted: (N, g), groups whose cosines are wanted.
            cosines: (N, g, GROUP), receives them.
        """
        found = labels[wanted]
        size = found.numel()
        if self._rows is None or len(self._rows) < size:
            self._rows = self._labels.new_empty((size, self._labels.shape[1]))
        rows = torch.index_select(
            self._labels, 0, found.clamp(max=len(self) - 1).view(-1), out=self._rows[:size]
        )
        images = features[wanted.nonzero()[:, 0]]
        products = torch.bmm(images.unsqueeze(1), rows.view(*found.shape, rows.shape[1]).mT).squeeze(1)
        cosines[wanted] = products.masked_fill_(found == len(self), -torch.inf)

    def _reach(self, images: QuantizedImages) -> Tensor:
        """Limit of |e_j| over the labels of each group, (N, G) float32."""
        reach = images.lengths[:, None] * self._error_norms
        return reach.addcmul_(images.error_norms[:, None], self._norms)

    def _tail(
        self,
        images: QuantizedImages,
        compared: _Compared,
        ranked: Tensor,
        looked: Tensor,
        limit: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """Bounds of log Σ exp(s_j/τ) over the labels of groups that are not looked at, (N,) float64."""
        largest, sums = compared
        highest = largest.scatter(-1, ranked, largest.gather(-1, ranked).masked_fill_(looked, -torch.inf))
        peak = highest.amax(dim=-1, keepdim=True).clamp(min=_MASKED)
        # Exponents of each group's largest term w, less that of the largest of all.
        exponents = highest.sub_(peak).mul_((images.steps / temperature).float()[:, None])
        terms = exponents.exp()
        weights = terms * sums
        total = weights.sum(dim=-1).double()
        # Σ w² ≤ Σ over groups of the largest w times the sum of w.
        squares = weights.mul_(terms).sum(dim=-1).double()
        middle = (images.offsets + images.steps * peak[:, 0].double()) / temperature + total.log()
        # |Σ w (exp(e/τ) − 1)| / Σ w, by Cauchy and Schwarz: exp(x) − 1 ≥ x, and ≤ x·(exp(m) − 1)/m for x ≤ m.
        some = total.clamp(min=1)  # the largest term of all is 1, if there is any
        known = squares.sqrt() * images.error_size / (temperature * some)
        most = self._farthest(images) / temperature
        low = torch.log1p(-known.clamp(max=1))
        high = torch.log1p(known * (torch.expm1(most) / most.clamp(min=1e-9)).clamp(min=1))
        if temperature < DIRECT_FROM_TEMPERATURE:  # each term by itself says more there
            reach = self._reach(images).div_(temperature)
            falls, rises = (
                ((exponents + sign * reach).exp_().mul_(sums).sum(dim=-1).double() / some).log()
                for sign in (-1, 1)
            )
            low, high = torch.maximum(low, falls), torch.minimum(high, rises)
        margin = ROUNDING / temperature + SUM_ROUNDING
        most_of_all = limit / temperature + math.log(len(self))
        low, high = middle + low - margin, torch.minimum(middle + high, most_of_all) + margin
        return low.where(total > 0, -torch.inf), high.where(total > 0, -torch.inf)

    def _farthest(self, images: QuantizedImages) -> Tensor:
        """Limit of |e_j| over all labels, (N,) float64."""
        return (images.lengths * self._error_norms.max() + images.error_norms * self._norms.max()).double()


class _Compared(NamedTuple):
    """8-bit products of N images with G groups of labels.

    Attributes:
        largest: (N, G) float32, the largest product in each group.
        sums: (N, G) float32, Σ exp((product − largest)·step/τ) over each group; (N, 0) if no sums are wanted.
    """

    largest: Tensor
    sums: Tensor

    def rows(self, rows: slice | Tensor) -> _Compared:
        """Those of some images."""
        return _Compared(self.largest[rows], self.sums[rows])
