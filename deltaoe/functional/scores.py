r"""Scores that tell known from unknown. One signature, and higher means more in-distribution for all.

Each takes cosines (..., K), a temperature τ in cosine units and c, and returns (...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from deltaoe.functional.energy import at_least_single, check_temperature, delta_energy, energy

Score = Callable[[Tensor, float, int], Tensor]


def mcm(cosines: Tensor, temperature: float, top_c: int = 1) -> Tensor:
    r"""Largest softmax probability at τ: MCM (Ming et al., NeurIPS 2022) at its τ = 1.

    At CLIP's own τ = 0.01 the same formula is MSP (Hendrycks & Gimpel, ICLR 2017). ``top_c`` is not used.
    """
    check_temperature(temperature)
    scaled = at_least_single(cosines) / temperature
    return torch.exp(scaled.amax(dim=-1) - torch.logsumexp(scaled, dim=-1))


def max_logit(cosines: Tensor, temperature: float = 1.0, top_c: int = 1) -> Tensor:
    r"""Largest cosine: MaxLogit (Hendrycks et al., ICML 2022). ``temperature`` and ``top_c`` are not used."""
    return cosines.amax(dim=-1)


def negative_energy(cosines: Tensor, temperature: float, top_c: int = 1) -> Tensor:
    r"""−E_0, the energy score (Liu et al., NeurIPS 2020). ``top_c`` is not used."""
    return -energy(cosines, temperature)


SCORES: Mapping[str, Score] = MappingProxyType(
    {"delta_energy": delta_energy, "mcm": mcm, "max_logit": max_logit, "energy": negative_energy}
)
