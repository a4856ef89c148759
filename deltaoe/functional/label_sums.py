r"""ΔEnergy over label sets too large to hold all cosines: streamed exactly, or bounded from a few neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from deltaoe.errors import ConfigError
from deltaoe.functional.arrays import at_least_single, double
from deltaoe.functional.energy import DIRECT_FROM_TEMPERATURE, delta_energy_from_top
from deltaoe.functional.limits import ROUNDING, check_temperature, check_top_c

DOUBLE_ROUNDING = 1e-14  # of ΔEnergy in double precision


class _LogSumExp:
    """log Σ exp(s/τ) of cosines that are added block by block: (N,) float64."""

    def __init__(self, count: int, temperature: float, device: torch.device) -> None:
        self._temperature = temperature
        self._direct = temperature >= DIRECT_FROM_TEMPERATURE
        self._peak = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)
        self._total = torch.zeros(count, dtype=torch.float64, device=device)

    def add(self, cosines: Tensor) -> None:
        """Add (N, k) cosines, which are overwritten; a cosine of −∞ adds nothing."""
        scaled = cosines.div_(self._temperature)
        if self._direct:
            self._total += scaled.exp_().sum(dim=-1).double()
            return
        peak = torch.maximum(self._peak, scaled.amax(dim=-1).double())
        # Where all is −∞ so far, a finite stand-in keeps −∞ − (−∞) out.
        anchor = torch.where(torch.isfinite(peak), peak, 0.0)
        added = scaled.sub_(anchor.to(scaled.dtype).unsqueeze(1)).exp_().sum(dim=-1).double()
        self._total = self._total * torch.exp(self._peak - anchor) + added
        self._peak = peak

    def value(self) -> Tensor:
        """The sum's logarithm, (N,) float64; −∞ of an empty sum."""
        if self._direct:
            return torch.log(self._total)
        return torch.where(self._total > 0, self._peak + torch.log(self._total), -torch.inf)


def nearest_and_floor(
    features: Tensor,
    labels: Tensor,
    background: Tensor,
    *,
    shown: int,
    top_c: int,
    temperature: float,
    block: int = 8192,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The nearest labels of each image and its floor, log Σ_{j∉T_c} exp(⟨h, z_j⟩/τ), in one pass **[derived]**.

    T_c never enters the sum, so that nothing is subtracted: 1 − P_c has no digits at τ = 0.01.

    Args:
        features: (N, D), unit rows h; half precision is computed in single.
        labels: (K, D), unit rows z.
        background: (M, D), unit rows that enter the sum but never T_c; M may be 0.
        shown: how many nearest labels to return, from ``top_c`` to K.
        top_c: c, from 1 to K.
        temperature: τ > 0, cosine units.
        block: labels per step; memory is N × ``block``.

    Returns:
        Cosines of the nearest labels (N, ``shown``), largest first; their indices into ``labels``, (N, ``shown``);
        the floor (N,), float64, −∞ of an empty sum.

    Raises:
        ConfigError: τ or c is out of range, or ``shown`` is not between c and K.

    Example:
        >>> images, labels = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> outputs = nearest_and_floor(images, labels, labels[:0], shown=1, top_c=1, temperature=0.1)
        >>> cosines, indices, floor = (output.double().round(decimals=2).tolist() for output in outputs)
        >>> cosines, indices, floor
        ([[0.8]], [[1.0]], [6.0])
    """
    check_temperature(temperature)
    check_top_c(top_c, len(labels))
    if not top_c <= shown <= len(labels):
        raise ConfigError(f"shown must lie between {top_c} and {len(labels)}, not {shown}")
    features = at_least_single(features)
    n, device = len(features), features.device
    others = _LogSumExp(n, temperature, device)
    nearest = torch.full((n, shown), -torch.inf, dtype=features.dtype, device=device)
    indices = torch.zeros((n, shown), dtype=torch.long, device=device)
    for start in range(0, len(labels), block):
        cosines = features @ labels[start : start + block].to(features.dtype).T
        values, places = cosines.topk(min(shown, cosines.shape[1]), dim=-1)
        others.add(cosines.scatter_(-1, places, -torch.inf))
        values, places = torch.cat([nearest, values], dim=-1), torch.cat([indices, places + start], dim=-1)
        nearest, order = values.topk(shown, dim=-1)
        indices = places.gather(-1, order)
        others.add(values.scatter_(-1, order, -torch.inf))
    if shown > top_c:
        others.add(nearest[:, top_c:].clone())
    for start in range(0, len(background), block):
        others.add(features @ background[start : start + block].to(features.dtype).T)
    return nearest, indices, others.value()


def tail_bounds(count: Tensor, mean: Tensor, largest: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    r"""Bounds of log Σ exp(s_j/τ) over a tail: r cosines of which only mean and upper limit are known **[derived]**.

    exp is convex. Jensen: Σ ≥ r·exp(mean/τ). The chord from −1 to the limit s lies above it:
    Σ ≤ r·(exp(−1/τ) + (mean + 1)/(s + 1)·(exp(s/τ) − exp(−1/τ))), which is never more than r·exp(s/τ).
    Both are widened by as much as single precision can have changed the cosines.

    Args:
        count: (N,) or scalar, r ≥ 0.
        mean: (N,), the cosines' mean: one product of h with the sum of all labels gives it.
        largest: (N,), a limit that none of the cosines exceeds.
        temperature: τ > 0, cosine units.

    Returns:
        Lower and upper bound, (N,) float64; −∞ where r is 0.

    Example:
        >>> count, mean, largest = torch.tensor([8.0]), torch.tensor([0.15]), torch.tensor([0.2])
        >>> [round(bound.item(), 1) for bound in tail_bounds(count, mean, largest, temperature=0.1)]
        [3.6, 4.0]
    """
    count, mean, limit = count.double(), mean.double(), largest.double() + ROUNDING
    mean = torch.minimum(mean, limit)
    low = torch.log(count) + (mean - ROUNDING).clamp(min=-1) / temperature
    share = ((mean + ROUNDING + 1) / (limit + 1)).clamp(min=1e-12, max=1)
    # log(share·e^{s/τ} + (1 − share)·e^{−1/τ})
    high = torch.log(count) + torch.logaddexp(
        torch.log(share) + limit / temperature, torch.log1p(-share.clamp(max=1 - 1e-15)) - 1 / temperature
    )
    return low, high


def delta_energy_bounds(
    top_cosines: Tensor, low: Tensor, high: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    r"""Bounds of ΔEnergy from those of the floor **[derived]**.

    ΔEnergy is monotone in the floor: with a rising floor it falls if Σ_{T_c} (exp(s_j/τ) − 1) is ≥ 0, and rises
    otherwise. It rises with each cosine of T_c, so that their rounding widens the bounds by a share of ΔEnergy, which
    over a million labels is smaller than the rounding itself.

    Args:
        top_cosines: (N, c), the cosines of T_c.
        low: (N,), lower bound of the floor.
        high: (N,), upper bound of the floor.
        temperature: τ > 0, cosine units.

    Returns:
        Lower and upper bound, (N,) float64, cosine units.

    Raises:
        ConfigError: τ is not a positive finite number.

    Example:
        >>> top, low, high = torch.tensor([[0.3]]), torch.tensor([3.6]), torch.tensor([4.0])
        >>> [round(bound.item(), 3) for bound in delta_energy_bounds(top, low, high, temperature=0.1)]
        [0.03, 0.041]
    """
    lower, upper = (
        [delta_energy_from_top(double(top_cosines) + shift, floor, temperature) for floor in (low, high)]
        for shift in (-ROUNDING, ROUNDING)
    )
    return torch.minimum(*lower) - DOUBLE_ROUNDING, torch.maximum(*upper) + DOUBLE_ROUNDING
