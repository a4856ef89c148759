r"""ΔEnergy over label sets too large to hold all cosines: streamed exactly, or bounded from a few neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deltaoe.errors import ConfigError
from deltaoe.functional.energy import (
    at_least_single,
    delta_energy_from_top,
)
from deltaoe.functional.limits import check_temperature, check_top_c
from deltaoe.functional.unit_rows import Rows

# From here on exp(s/τ) of any cosine fits into single precision many times over, and no maximum is taken out.
_DIRECT_FROM_TEMPERATURE = 0.05
# Images scored at a time by score_features.
_IMAGES = 2048
# Cosines are rounded to single precision: bounds are widened by more than that can do.
ROUNDING = 2e-6


class _Tail:
    """log Σ exp(s/τ) of what is added, block by block: (N,), float64."""

    def __init__(self, count: int, temperature: float, device: torch.device) -> None:
        self._temperature = temperature
        self._direct = temperature >= _DIRECT_FROM_TEMPERATURE
        self._peak = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)
        self._total = torch.zeros(count, dtype=torch.float64, device=device)

    def add(self, cosines: Tensor) -> None:
        """Add (N, k) cosines, which are overwritten; −∞ adds nothing."""
        scaled = cosines.div_(self._temperature)
        if self._direct:
            self._total += scaled.exp_().sum(dim=-1).double()
            return
        peak = torch.maximum(self._peak, scaled.amax(dim=-1).double())
        # Where all is −∞ so far, a finite stand-in keeps −∞ − (−∞) out.
        anchor = torch.where(torch.isfinite(peak), peak, 0.0)
        grown = scaled.sub_(anchor.to(scaled.dtype).unsqueeze(1)).exp_().sum(dim=-1).double()
        self._total = self._total * torch.exp(self._peak - anchor) + grown
        self._peak = peak

    def log(self) -> Tensor:
        """The sum's logarithm; −∞ of nothing."""
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
    r"""One pass over all labels: the nearest ones, and log Σ exp(<h, z_j>/τ) outside T_c **[derived]**.

    T_c is never in the sum, so that nothing is subtracted: 1 − P_c has no digits at τ = 0.01.

    Args:
        features: (N, D), unit rows h; half precision is computed in single.
        labels: (K, D), unit rows z.
        background: (M, D), unit rows, in the sum but never in T_c; M may be 0.
        shown: how many nearest labels to return, from ``top_c`` to K.
        top_c: c, from 1 to K.
        temperature: τ > 0, cosine units.
        block: labels per step; memory is N × ``block``.

    Returns:
        Cosines (N, ``shown``), largest first; their indices; the floor (N,), float64, −∞ of an empty sum.

    Raises:
        ConfigError: τ or c is out of range, or ``shown`` is not between c and K.
    """
    check_temperature(temperature)
    check_top_c(top_c, len(labels))
    if not top_c <= shown <= len(labels):
        raise ConfigError(f"shown must lie between {top_c} and {len(labels)}, not {shown}")
    features = at_least_single(features)
    n, device = len(features), features.device
    tail = _Tail(n, temperature, device)
    best = torch.full((n, shown), -torch.inf, dtype=features.dtype, device=device)
    where = torch.zeros((n, shown), dtype=torch.long, device=device)
    for start in range(0, len(labels), block):
        cosines = features @ labels[start : start + block].to(features.dtype).T
        values, places = cosines.topk(min(shown, cosines.shape[1]), dim=-1)
        tail.add(cosines.scatter_(-1, places, -torch.inf))
        values, places = torch.cat([best, values], dim=-1), torch.cat([where, places + start], dim=-1)
        best, order = values.topk(shown, dim=-1)
        where = places.gather(-1, order)
        tail.add(values.scatter_(-1, order, -torch.inf))
    if shown > top_c:
        tail.add(best[:, top_c:].clone())
    for start in range(0, len(background), block):
        tail.add(features @ background[start : start + block].to(features.dtype).T)
    return best, where, tail.log()


def score_features(
    features: Rows, prompts: Rows, background: Rows, *, temperature: float, top_c: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """ΔEnergy and the nearest class of image features, in memory that does not grow with their number.

    Args:
        features: (N, D) unit rows.
        prompts: (K, D) unit rows, the classes' prompts.
        background: (M, D) unit rows, over which the energies run as well; M may be 0.
        temperature: τ > 0, cosine units.
        top_c: c, from 1 to K.

    Returns:
        ΔEnergy (N,), cosine units; index of the nearest class (N,).

    Raises:
        ConfigError: τ or c is out of range.
    """
    labels, others = (torch.from_numpy(np.ascontiguousarray(rows)) for rows in (prompts, background))
    scores, classes = [np.empty(0)], [np.empty(0, dtype=np.int64)]
    for start in range(0, len(features), _IMAGES):
        part = torch.from_numpy(features[start : start + _IMAGES])
        top, where, floor = nearest_and_floor(
            part, labels, others, shown=top_c, top_c=top_c, temperature=temperature
        )
        scores.append(delta_energy_from_top(top, floor, temperature).numpy())
        classes.append(where[:, 0].numpy())
    return np.concatenate(scores), np.concatenate(classes)


def tail_bounds(rest: Tensor, mean: Tensor, largest: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    r"""Bounds of log Σ exp(s_j/τ) over r cosines of which only the mean and an upper limit are known **[derived]**.

    exp is convex. Jensen: Σ ≥ r·exp(mean/τ). The chord from −1 to the limit s lies above it:
    Σ ≤ r·(exp(−1/τ) + (mean + 1)/(s + 1)·(exp(s/τ) − exp(−1/τ))), which is never more than METHOD §3's r·exp(s/τ).
    Both are widened by what single precision can have moved the cosines.

    Args:
        rest: (N,) or scalar, r ≥ 0.
        mean: (N,), their mean, which one product of h with the sum of all labels gives.
        largest: (N,), none of them is larger.
        temperature: τ > 0.

    Returns:
        Lower and upper bound, (N,) float64; −∞ where r is 0.
    """
    rest, mean, limit = rest.double(), mean.double(), largest.double() + ROUNDING
    mean = torch.minimum(mean, limit)
    low = torch.log(rest) + (mean - ROUNDING).clamp(min=-1) / temperature
    share = ((mean + ROUNDING + 1) / (limit + 1)).clamp(min=1e-12, max=1)
    # log(share·e^{s/τ} + (1 − share)·e^{−1/τ})
    high = torch.log(rest) + torch.logaddexp(
        torch.log(share) + limit / temperature, torch.log1p(-share.clamp(max=1 - 1e-15)) - 1 / temperature
    )
    return low, high


def delta_energy_bounds(
    top_cosines: Tensor, low: Tensor, high: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    r"""ΔEnergy's bounds from those of its floor **[derived]**: it is monotone in the floor.

    It falls with a rising floor where the cropped cosines are ≥ 0 on the whole, and rises otherwise.

    Args:
        top_cosines: (N, c), the cosines of T_c.
        low, high: (N,), bounds of the log-sum-exp of all others.
        temperature: τ > 0.

    Returns:
        Lower and upper bound, (N,) float64.
    """
    ends = [delta_energy_from_top(top_cosines, floor, temperature) for floor in (low, high)]
    return torch.minimum(*ends) - ROUNDING, torch.maximum(*ends) + ROUNDING
