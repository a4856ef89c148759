r"""Hessians of several losses, compared by their products with random probe vectors: no Hessian is ever formed.

With probes v of independent entries ±1, E[v vᵀ] = I, so E‖Hv‖² = ‖H‖_F², E⟨H_a v, H_b v⟩ = ⟨H_a, H_b⟩_F and
E[vᵀHv] = tr H (Hutchinson, Commun. Stat. 1989) **[derived]**. The Gram matrices of the products suffice.
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
    """Products of the Hessians H_1 … H_d of d losses with m probes. Methods take indices of losses, from 0.

    Attributes:
        grams: (m, d, d), ⟨H_a v, H_b v⟩ for each probe v; units of (loss / parameter²)².
        traces: (m, d), vᵀHv; units of loss / parameter².
    """

    grams: Floats
    traces: Floats

    def norm(self, a: int) -> Estimate:
        """Frobenius norm of H_a."""
        return _jackknife(self.grams, lambda g: math.sqrt(g[a, a]))

    def trace(self, a: int) -> Estimate:
        """Trace of H_a, by Hutchinson's estimator."""
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
        """:meth:`mean_distance` minus that of ``other``, which must be of the same probes and as many losses."""
        both = np.stack([self.grams, other.grams], axis=1)
        return _jackknife(both, lambda g: _mean(g[0], pairs, relative) - _mean(g[1], pairs, relative))


def rademacher(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Probe vectors (count, size) of independent entries ±1, float32, on the CPU.

    Raises:
        ConfigError: ``count`` is below 1.
    """
    if count < 1:
        raise ConfigError(f"the number of probes must be at least 1, not {count}", hint="16 is usual")
    return torch.randint(0, 2, (count, size), generator=generator).float() * 2 - 1


def gradients_and_products(losses: Sequence[Tensor], parameter: Tensor) -> tuple[list[Tensor], list[Product]]:
    """The gradient of each scalar loss with respect to one parameter, and the function v ↦ H v of its Hessian.

    The products are computed by double backward: all operations of the losses must have second derivatives.

    Args:
        losses: d scalars, computed from ``parameter``.
        parameter: of any shape, with ``size`` entries.

    Returns:
        d gradients, flat (size,); and d functions from v (size,) to H v (size,).
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
    """Multiply d Hessians with m probes.

    Args:
        products: d functions v ↦ H v, as :func:`gradients_and_products` returns them.
        probes: (m, size), as :func:`rademacher` returns them.
        on_probe: called with the number of finished probes.

    Example:
        >>> hessians = torch.diag(torch.tensor([3.0, 4.0])), torch.diag(torch.tensor([3.0, 0.0]))
        >>> found = curvature([hessian.mv for hessian in hessians], torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        >>> found.norm(0), found.trace(0).value, found.distance(0, 1).value
        (Estimate(value=5.0, error=0.0), 7.0, 4.0)
    """
    grams, traces = [], []
    for done, v in enumerate(probes, start=1):
        # On the CPU: not every device has double precision.
        rows = torch.stack([times(v) for times in products]).cpu().double()
        grams.append((rows @ rows.T).numpy())
        traces.append((rows @ v.cpu().double()).numpy())
        on_probe(done)
    return Curvature(np.stack(grams), np.stack(traces))


def _distance(gram: Floats, a: int, b: int) -> float:
    """‖H_a − H_b‖_F from the mean Gram matrix (d, d)."""
    # Rounding may leave a distance of 0 a little below.
    return math.sqrt(max(0.0, gram[a, a] + gram[b, b] - 2 * gram[a, b]))


def _relative(gram: Floats, a: int, b: int) -> float:
    """:meth:`Curvature.relative_distance` from the mean Gram matrix (d, d)."""
    return _ratio(_distance(gram, a, b), (gram[a, a] * gram[b, b]) ** 0.25)


def _mean(gram: Floats, pairs: Sequence[tuple[int, int]], relative: bool) -> float:
    """Mean over pairs of :func:`_relative` or of :func:`_distance`."""
    measure = _relative if relative else _distance
    return float(np.mean([measure(gram, a, b) for a, b in pairs]))


def _ratio(numerator: float, denominator: float) -> float:
    """The quotient, NaN where the denominator is not positive."""
    return float(numerator / denominator) if denominator > 0 else math.nan


def _jackknife(samples: Floats, statistic: Callable[[Floats], float]) -> Estimate:
    """A statistic of the mean over m samples (m, …), and its jackknife standard error, leaving out one at a time."""
    m = len(samples)
    value = statistic(samples.mean(axis=0))
    if m < 2:
        return Estimate(value, math.nan)
    total = samples.sum(axis=0)
    without_one = np.array([statistic((total - sample) / (m - 1)) for sample in samples])
    return Estimate(value, math.sqrt((m - 1) * float(np.mean((without_one - without_one.mean()) ** 2))))
