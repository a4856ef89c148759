r"""Energy-bound maximisation (EBM): the mask on image features and the loss that prompt tuning adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from deltaoe.functional.energy import crop, energy


@dataclass(frozen=True)
class EbmTerms:
    r"""The three energies of a batch; each is (N,), in cosine units.

    ``e0`` is the energy of the features, ``e1`` after cropping the top-c cosines, ``e2`` of the masked
    features.
    """

    e0: Tensor
    e1: Tensor
    e2: Tensor

    @property
    def loss(self) -> Tensor:
        r"""mean(E_0 − E_2) **[reading]**: minimising it raises E_2 − E_0, a lower bound of ΔEnergy."""
        return (self.e0 - self.e2).mean()

    @property
    def bound_share(self) -> Tensor:
        r"""Share of samples with E_2 ≤ E_1, the premise of ΔEnergy ≥ E_2 − E_0 **[derived]**; a scalar."""
        return (self.e2 <= self.e1).to(self.e2.dtype).mean()


def mask_features(features: Tensor, text_features: Tensor) -> Tensor:
    r"""h' = normalise(h ⊙ 1[h ⊙ z_top1 > 0]) **[source: mask by top-1 similarity; negative products go]**.

    The mask is a selection: no gradient flows through it, nor through which class is top-1 **[reading]**.

    Args:
        features: (N, D), unit rows h.
        text_features: (K, D), unit rows z.

    Returns:
        (N, D), unit rows; a row without any positive product is all zero.
    """
    with torch.no_grad():
        top1 = (features @ text_features.T).argmax(dim=-1)
        keep = features * text_features[top1] > 0
    # The default eps is zero in float16, and a row without any positive product would be 0/0.
    return F.normalize(features * keep, dim=-1, eps=torch.finfo(features.dtype).tiny)


def ebm_loss(features: Tensor, text_features: Tensor, temperature: float) -> Tensor:
    r"""L_EBM = mean(E_0 − E_2) **[reading]**: E_2 − E_0 bounds ΔEnergy from below, so minimising this raises it.

    Args:
        features: (N, D), unit rows; constants while tuning.
        text_features: (K, D), unit rows; gradients flow here.
        temperature: τ > 0, cosine units.

    Returns:
        A scalar, in cosine units.

    Raises:
        ConfigError: τ is not a positive finite number.
    """
    masked = mask_features(features, text_features) @ text_features.T
    return (energy(features @ text_features.T, temperature) - energy(masked, temperature)).mean()


def ebm_terms(features: Tensor, text_features: Tensor, temperature: float, top_c: int) -> EbmTerms:
    r"""E_0, E_1 and E_2 of a batch, with which the bound's premise and its tightness are checked.

    Args:
        features: (N, D), unit rows.
        text_features: (K, D), unit rows.
        temperature: τ > 0, cosine units.
        top_c: c, from 1 to K; enters E_1.

    Raises:
        ConfigError: τ or c is out of range.
    """
    cosines = features @ text_features.T
    masked = mask_features(features, text_features) @ text_features.T
    return EbmTerms(
        e0=energy(cosines, temperature),
        e1=energy(crop(cosines, top_c), temperature),
        e2=energy(masked, temperature),
    )
