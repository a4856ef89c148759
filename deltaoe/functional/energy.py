r"""Energies of cosine similarities, and ΔEnergy: their change when the largest cosines are cropped.

Notation: ``s`` are the cosines between one image and the K class prompts; ``τ`` is the temperature in cosine units
(CLIP's own is 0.01); ``T_c`` are the indices of the c largest cosines; the *floor* is log Σ_{j∉T_c} exp(s_j/τ), the
log-sum-exp of all others. Higher scores mean "more in-distribution" everywhere in this package. Every function takes
tensors of PyTorch or arrays of NumPy, and gives back the same kind.
"""

from __future__ import annotations

import math
from typing import Any, cast

from deltaoe.functional.arrays import Array, at_least_single, double, largest, library, logsumexp, replaced
from deltaoe.functional.limits import check_temperature, check_top_c

# From here on, exponents of cosines stay below e^20: they can be summed in single precision without taking their
# maximum out. Below, log-sum-exps are computed and subtracted.
DIRECT_FROM_TEMPERATURE = 0.05


def energy(cosines: Array, temperature: float) -> Array:
    r"""Energy E_0 = −τ log Σ_j exp(s_j/τ) (Liu et al., NeurIPS 2020) **[source]**.

    Args:
        cosines: (..., K), in [−1, 1].
        temperature: τ > 0, cosine units.

    Returns:
        (...), in cosine units; low where some prompt fits the image.

    Raises:
        ConfigError: τ is not a positive finite number.

    Example:
        >>> import torch
        >>> round(energy(torch.tensor([0.3, 0.2, 0.1]), 0.01).item(), 3)
        -0.3
    """
    check_temperature(temperature)
    given: Any = at_least_single(cosines)
    return cast("Array", -temperature * logsumexp(given / temperature))


def crop(cosines: Array, top_c: int) -> Array:
    r"""Cosines with the c largest of each row set to zero **[source]**: "reset the top-c cosine similarities".

    Args:
        cosines: (..., K).
        top_c: c, from 1 to K. Which of several equal cosines at the c-th place is taken does not matter to
            any energy of the result.

    Returns:
        (..., K), a new tensor; gradients flow through the cosines that are not cropped.

    Raises:
        ConfigError: c is outside 1..K.

    Example:
        >>> import torch
        >>> crop(torch.tensor([[0.5, 0.25, 0.125], [0.0, -0.5, 0.75]]), top_c=1).tolist()
        [[0.0, 0.25, 0.125], [0.0, -0.5, 0.0]]
    """
    check_top_c(top_c, _width(cosines))
    return cast("Array", replaced(cosines, largest(cosines, top_c)[1], 0.0))


def delta_energy(cosines: Array, temperature: float, top_c: int) -> Array:
    r"""ΔEnergy: E_1 − E_0, the energy gained when the c largest cosines are cropped to zero **[source]**.

    E_0 and E_1 are :func:`energy` before and after :func:`crop`. At large τ it is computed as
    τ log1p( Σ_{T_c} (exp(s_j/τ) − 1) / (c + Σ_{j∉T_c} exp(s_j/τ)) ) **[derived]**, which never cancels; at small τ,
    where the exponents would overflow, as a difference of two log-sum-exps.
    ``1 − P_c`` (P_c the softmax mass of T_c) is never formed: at τ = 0.01 it has no correct digits.

    Args:
        cosines: (..., K), in [−1, 1].
        temperature: τ > 0, cosine units.
        top_c: c, from 1 to K.

    Returns:
        (...), in cosine units; ≥ 0 whenever the cropped cosines are; higher means more in-distribution.

    Raises:
        ConfigError: τ or c is out of range.

    Example:
        >>> import torch
        >>> known, unknown = [0.35, 0.15, 0.15], [0.25, 0.25, 0.25]
        >>> delta_energy(torch.tensor([known, unknown], dtype=torch.float64), 0.01, 1).round(decimals=2).tolist()
        [0.19, 0.0]
    """
    check_temperature(temperature)
    check_top_c(top_c, _width(cosines))
    given: Any = at_least_single(cosines)
    if temperature < DIRECT_FROM_TEMPERATURE:
        return cast("Array", energy(crop(given, top_c), temperature) - energy(given, temperature))
    top, places = largest(given, top_c)
    rest = library(given).exp(replaced(given, places, -math.inf) / temperature).sum(axis=-1)
    return cast("Array", temperature * _direct_change(top / temperature, rest))


def delta_energy_from_top(top_cosines: Array, floor: Array, temperature: float) -> Array:
    r"""ΔEnergy from the c largest cosines and the log-sum-exp of all others **[derived]**.

    The same number as :func:`delta_energy`, for label sets too large to hold all cosines at once.

    Args:
        top_cosines: (N, c), the cosines of T_c.
        floor: (N,), log Σ_{j∉T_c} exp(s_j/τ), from
            :func:`deltaoe.functional.label_sums.nearest_and_floor` at the same temperature and T_c.
        temperature: τ > 0, cosine units.

    Returns:
        (N,) float64, in cosine units.

    Raises:
        ConfigError: τ is not a positive finite number.

    Example:
        >>> import torch
        >>> cosines = torch.tensor([[0.35, 0.20, 0.15]], dtype=torch.float64)
        >>> floor = torch.logsumexp(cosines[:, 1:] / 0.1, dim=-1)
        >>> change = delta_energy_from_top(cosines[:, :1], floor, 0.1)
        >>> torch.allclose(change, delta_energy(cosines, 0.1, 1))
        True
    """
    check_temperature(temperature)
    scaled, others = double(top_cosines) / temperature, double(floor)
    xp = library(scaled)
    if temperature >= DIRECT_FROM_TEMPERATURE:
        change = _direct_change(scaled, xp.exp(others))
    else:
        cropped = xp.logaddexp(others, xp.full_like(others, math.log(_width(scaled))))
        change = xp.logaddexp(logsumexp(scaled), others) - cropped
    return cast("Array", temperature * change)


def _direct_change(top: Any, rest: Any) -> Any:
    r"""log( (Σ exp(top) + rest) / (c + rest) ) without cancellation; top (..., c), rest (...)."""
    xp = library(top)
    rise = xp.expm1(top).sum(axis=-1)
    falls = rise < 0
    # A fall is minus the rise that undoes it: near −1, log1p has no digits.
    one = xp.ones_like(rise)
    sign = xp.where(falls, -one, one)
    start = xp.where(falls, xp.exp(top).sum(axis=-1), top.shape[-1])
    return sign * xp.log1p(sign * rise / (start + rest))


def _width(values: Any) -> int:
    """Length of the last axis."""
    return int(values.shape[-1])
