r"""Hessians of several losses compared through random probes: no Hessian is ever formed.

With probes v of independent entries ±1, E[v vᵀ] = I, so E‖Hv‖² = ‖H‖_F², E⟨H_a v, H_b v⟩ = ⟨H_a, H_b⟩_F and
E[vᵀHv] = tr H (Hutchinson, Commun. Stat. 1989) **[derived]**. The products' Gram matrices hold all that is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deltaoe.errors import ConfigError

Floats = npt.NDArray[np.float64]
Product = Callable[[Tensor], Tensor]


class Estimate(NamedTuple):
    """A number and its standard error over probes; NaN for a single probe."""

    value: float
    error: float


@dataclass(frozen=True)
class Curvature:
    """What m probes saw of the Hessians H_1 … H_d of d losses.

    Attributes:
        grams: (m, d, d), ⟨H_a v, H_b v⟩ for each probe v; in units of the loss squared over the parameter's to the 4th.
        traces: (m, d), vᵀHv.
    """

    grams: Floats
    traces: Floats

    def norm(self, a: int) -> Estimate:
        """Frobenius norm of H_a."""
        return _jackknife(self.grams, lambda g: math.sqrt(g[a, a]))

    def trace(self, a: int) -> Estimate:
        """Trace of H_a, by Hutchinson."""
        return _jackknife(self.traces, lambda t: float(t[a]))

    def distance(self, a: int, b: int) -> Estimate:
        """Frobenius distance ‖H_a − H_b‖_F."""
        return _jackknife(self.grams, lambda g: _distance(g, a, b))

    def relative_distance(self, a: int, b: int) -> Estimate:
        """‖H_a − H_b‖_F / √(‖H_a‖_F ‖H_b‖_F): 0 for equal Hessians, √2 for orthogonal ones of one norm."""
        return _jackknife(self.grams, lambda g: _relative(g, a, b))

    def cosine(self, a: int, b: int) -> Estimate:
        """⟨H_a, H_b⟩_F / (‖H_a‖_F ‖H_b‖_F), from −1 to 1."""
        return _jackknife(self.grams, lambda g: _ratio(g[a, b], math.sqrt(g[a, a] * g[b, b])))

    def mean_distance(self, pairs: Sequence[tuple[int, int]], *, relative: bool) -> Estimate:
        """Mean over pairs of :meth:`distance`, or of :meth:`relative_distance`."""
        return _jackknife(self.grams, lambda g: _mean(g, pairs, relative))

    def change_from(self, other: Curvature, pairs: Sequence[tuple[int, int]], *, relative: bool) -> Estimate:
        """:meth:`mean_distance` here minus that of ``other``, which must have seen the same probes."""
        both = np.stack([self.grams, other.grams], axis=1)
        return _jackknife(both, lambda g: _mean(g[0], pairs, relative) - _mean(g[1], pairs, relative))


def rademacher(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Probes (count, size) of independent entries ±1, float32, on the CPU. Raises ConfigError for a count below 1."""
    if count < 1:
        raise ConfigError(f"the number of probes must be at least 1, not {count}", hint="16 is usual")
    return torch.randint(0, 2, (count, size), generator=generator).float() * 2 - 1


def gradients_and_products(losses: Sequence[Tensor], parameter: Tensor) -> tuple[list[Tensor], list[Product]]:
    """Gradients of scalar losses with respect to one parameter of any shape, and v ↦ H v for each.

    v and H v are flat, (size,). By double backward: what the losses are made of must have second derivatives.
    """
    slopes = [torch.autograd.grad(loss, parameter, create_graph=True)[0].reshape(-1) for loss in losses]

    def product(slope: Tensor) -> Product:
        def times(v: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(slope @ v, parameter, retain_graph=True)
            return found.reshape(-1)

        return times

    return [slope.detach() for slope in slopes], [product(slope) for slope in slopes]


def curvature(
    products: Sequence[Product], probes: Tensor, on_probe: Callable[[int], None] = lambda done: None
) -> Curvature:
    """Apply d Hessians, given as products v ↦ H v, to probes (m, size); ``on_probe`` is told how many are done."""
    grams, traces = [], []
    for done, v in enumerate(probes, start=1):
        # On the CPU: not every device has double precision.
        seen = torch.stack([times(v) for times in products]).cpu().double()
        grams.append((seen @ seen.T).numpy())
        traces.append((seen @ v.cpu().double()).numpy())
        on_probe(done)
    return Curvature(np.stack(grams), np.stack(traces))


def _distance(gram: Floats, a: int, b: int) -> float:
    # Rounding may leave a distance of 0 a little below.
    return math.sqrt(max(0.0, gram[a, a] + gram[b, b] - 2 * gram[a, b]))


def _relative(gram: Floats, a: int, b: int) -> float:
    return _ratio(_distance(gram, a, b), (gram[a, a] * gram[b, b]) ** 0.25)


def _mean(gram: Floats, pairs: Sequence[tuple[int, int]], relative: bool) -> float:
    measure = _relative if relative else _distance
    return float(np.mean([measure(gram, a, b) for a, b in pairs]))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan


def _jackknife(samples: Floats, statistic: Callable[[Floats], float]) -> Estimate:
    """A statistic of the mean over probes, and its standard error by leaving out one probe at a time."""
    m = len(samples)
    value = statistic(samples.mean(axis=0))
    if m < 2:
        return Estimate(value, math.nan)
    total = samples.sum(axis=0)
    left = np.array([statistic((total - one) / (m - 1)) for one in samples])
    return Estimate(value, math.sqrt((m - 1) * float(np.mean((left - left.mean()) ** 2))))
