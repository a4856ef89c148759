r"""Energy-bound maximisation (EBM): the mask on image features and the loss that prompt tuning adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from deltaoe.functional.energy import crop, energy


@dataclass(frozen=True)
class EbmTerms:
    r"""The three energies of N images, between which EBM's bound lies: ΔEnergy = E_1 − E_0 ≥ E_2 − E_0.

    Attributes:
        e0: (N,), energy of the cosines.
        e1: (N,), energy after the c largest cosines are cropped.
        e2: (N,), energy of the masked features' cosines. All are in cosine units.
    """

    e0: Tensor
    e1: Tensor
    e2: Tensor

    @property
    def loss(self) -> Tensor:
        r"""mean(E_0 − E_2) **[reading]**, a scalar: minimising it raises E_2 − E_0, a lower bound of ΔEnergy."""
        return (self.e0 - self.e2).mean()

    @property
    def bound_share(self) -> Tensor:
        r"""Share of images whose ΔEnergy is bounded by E_2 − E_0, that is with E_2 ≤ E_1 **[derived]**; a scalar."""
        return (self.e2 <= self.e1).to(self.e2.dtype).mean()


def mask_features(features: Tensor, text_features: Tensor) -> Tensor:
    r"""Masked features h' = normalise(h ⊙ 1[h ⊙ z_top1 > 0]) **[source]**, z_top1 the prompt nearest to h.

    The mask is a selection: no gradient flows through it, nor through which class is nearest **[reading]**.

    Args:
        features: (N, D), unit rows h.
        text_features: (K, D), unit rows z.

    Returns:
        (N, D), unit rows; a row without any positive product is all zero.

    Example:
        >>> h, z = torch.tensor([[0.6, 0.8]]), torch.tensor([[0.8, -0.6], [-1.0, 0.0]])
        >>> mask_features(h, z).round(decimals=3).tolist()
        [[1.0, 0.0]]
    """
    with torch.no_grad():
        nearest = (features @ text_features.T).argmax(dim=-1)
        mask = features * text_features[nearest] > 0
    # The default eps is zero in float16, and a row without any positive product would be 0/0.
    return F.normalize(features * mask, dim=-1, eps=torch.finfo(features.dtype).tiny)


def ebm_loss(features: Tensor, text_features: Tensor, temperature: float) -> Tensor:
    r"""L_EBM = mean(E_0 − E_2) **[reading]**: E_2 − E_0 bounds ΔEnergy from below, and minimising this raises it.

    Args:
        features: (N, D), unit rows; constants while tuning.
        text_features: (K, D), unit rows; gradients flow here.
        temperature: τ > 0, cosine units.

    Returns:
        A scalar, in cosine units.

    Raises:
        ConfigError: τ is not a positive finite number.

    Example:
        >>> h, z = torch.tensor([[0.96, -0.28]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> round(ebm_loss(h, z, 0.01).item(), 3)
        0.04
    """
    masked = mask_features(features, text_features) @ text_features.T
    return (energy(features @ text_features.T, temperature) - energy(masked, temperature)).mean()


def ebm_terms(features: Tensor, text_features: Tensor, temperature: float, top_c: int) -> EbmTerms:
    r"""E_0, E_1 and E_2 of N images: by them one sees where the bound holds and how tight it is.

    Args:
        features: (N, D), unit rows.
        text_features: (K, D), unit rows.
        temperature: τ > 0, cosine units.
        top_c: c, from 1 to K; enters E_1.

    Raises:
        ConfigError: τ or c is out of range.

    Example:
        >>> h, z = torch.tensor([[0.96, -0.28]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> terms = ebm_terms(h, z, temperature=0.01, top_c=1)
        >>> [round(term.item(), 3) for term in (terms.e0, terms.e1, terms.e2, terms.bound_share)]
        [-0.96, -0.352, -1.0, 1.0]
    """
    cosines = features @ text_features.T
    masked = mask_features(features, text_features) @ text_features.T
    return EbmTerms(
        e0=energy(cosines, temperature),
        e1=energy(crop(cosines, top_c), temperature),
        e2=energy(masked, temperature),
    )
