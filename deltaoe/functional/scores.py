r"""Scores that tell in-distribution from out-of-distribution images: one table, ``SCORES``, and one signature.

Every score takes the :class:`Evidence` of N images, a temperature τ in cosine units and c, and returns (N,); higher
means more in-distribution. CLIP's own logits are cosines over 0.01, so that a temperature of 1 in a paper on logits
is τ = 0.01 here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from deltaoe.errors import ConfigError
from deltaoe.functional.arrays import at_least_single
from deltaoe.functional.energy import delta_energy, delta_energy_from_top, energy
from deltaoe.functional.gallery import Gallery
from deltaoe.functional.limits import CLIP_TEMPERATURE, check_temperature, check_top_c

# Weight of the Gaussian discriminants: the middle of Wang et al.'s grid, and the initial value in their code.
GDA_WEIGHT = 0.1
# Tip-Adapter's weight of the images and β: the best of the paper's ablation on ImageNet with 16 shots.
TIP_WEIGHT = 1.0
TIP_BETA = 5.5
# Prompts closer than this are one prompt, and have no boundary between them.
_SAME_PROMPT = 1e-6
# NegLabel divides 10,000 negative labels into 100 groups.
_GROUP = 100
_SHUFFLE_SEED = 0

Need = Literal["text", "background", "gallery"]


@dataclass(frozen=True)
class Evidence:
    """What a score is computed from, of N images. All rows are unit vectors of one precision, on one device.

    Attributes:
        features: (N, D), of the images.
        text: (K, D), of the classes' prompts, as the text tower gave them; (0, D) without prompts.
        background: (M, D), of the background labels' prompts, as the text tower gave them; M may be 0.
        prompts: (K, D), of the classes' prompts, as the detector compares them (perhaps centred).
        compared: (M, D), of the background labels' prompts, as the detector compares them.
        gallery: in-distribution images to compare with; None unless a score needs them.
    """

    features: Tensor
    text: Tensor
    background: Tensor
    prompts: Tensor
    compared: Tensor
    gallery: Gallery | None = None

    @cached_property
    def cosines(self) -> Tensor:
        """Cosines of images and ``text``, (N, K)."""
        return self.features @ self.text.T

    @cached_property
    def background_cosines(self) -> Tensor:
        """Cosines of images and ``background``, (N, M)."""
        return self.features @ self.background.T

    @classmethod
    def of_cosines(cls, cosines: Tensor) -> Evidence:
        """Evidence of (N, K) cosines alone: the prompts are the axes of a space of K dimensions."""
        axes = torch.eye(cosines.shape[-1], dtype=cosines.dtype, device=cosines.device)
        return cls(cosines, axes, axes[:0], axes, axes[:0])


@dataclass(frozen=True)
class Score:
    """One score, its published settings and what it needs.

    Attributes:
        name: as options and tables spell it.
        title: its name in a heading.
        paper: authors, venue and year; then published settings other than τ and c, and what is ours.
        compute: (evidence, τ, c) → (N,).
        temperature: τ as published, in cosine units; None if it takes the detector's, or has no τ.
        top_c: c as published; None if it takes the detector's, or has no c.
        needs: parts that the :class:`Evidence` must have.
    """

    name: str
    title: str
    paper: str
    compute: Callable[[Evidence, float, int], Tensor]
    temperature: float | None = None
    top_c: int | None = None
    needs: frozenset[Need] = frozenset({"text"})

    def __call__(self, evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
        """The score of N images, (N,), at its published τ and c where it has them, else at those given.

        Raises:
            ConfigError: τ or c is out of range, or the evidence lacks what the score needs.

        Example:
            >>> evidence = Evidence.of_cosines(torch.tensor([[0.3, 0.1], [0.2, 0.2]]))
            >>> [round(score, 3) for score in SCORES["msp"](evidence, temperature=0.1).tolist()]
            [1.0, 0.5]
        """
        if "text" in self.needs and not len(evidence.text):
            raise ConfigError(
                f"{self.title} needs class prompts",
                hint="knn, mahalanobis and relative_mahalanobis do without",
            )
        if "background" in self.needs and not len(evidence.background):
            raise ConfigError(
                f"{self.title} needs background labels", hint="use --background imagenet or FILE"
            )
        if "gallery" in self.needs and evidence.gallery is None:
            raise ConfigError(f"{self.title} needs in-distribution images to compare with")
        tau = self.temperature if self.temperature is not None else temperature
        return self.compute(evidence, tau, self.top_c or top_c)


def delta_energy_open(evidence: Evidence, temperature: float, top_c: int) -> Tensor:
    r"""ΔEnergy over the prompts of classes and background labels, T_c among the classes only **[derived]**.

    Prompts are compared as the detector does. With no background and no centre the score is
    :func:`deltaoe.functional.energy.delta_energy`, the paper's.
    """
    cosines = at_least_single(evidence.features @ evidence.prompts.T)
    if not len(evidence.compared):
        return delta_energy(cosines, temperature, top_c)
    check_top_c(top_c, cosines.shape[-1])
    check_temperature(temperature)
    top = cosines.topk(top_c, dim=-1)
    others = cosines.scatter(-1, top.indices, -torch.inf)
    background = at_least_single(evidence.features @ evidence.compared.T)
    floor = torch.logsumexp(torch.cat([others, background], dim=-1).double() / temperature, dim=-1)
    return delta_energy_from_top(top.values, floor, temperature)


def delta_energy_plain(evidence: Evidence, temperature: float, top_c: int) -> Tensor:
    """ΔEnergy of the classes' prompts alone, as published (Zhu et al., NeurIPS 2025) **[source]**."""
    return delta_energy(evidence.cosines, temperature, top_c)


def mcm(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    r"""Largest softmax probability, max_j softmax(s/τ)_j **[source]**; ``top_c`` is not used.

    At τ = 1 it is MCM (Ming et al., NeurIPS 2022); at CLIP's own τ = 0.01, MSP (Hendrycks & Gimpel, ICLR 2017).
    """
    check_temperature(temperature)
    scaled = at_least_single(evidence.cosines) / temperature
    return torch.exp(scaled.amax(dim=-1) - torch.logsumexp(scaled, dim=-1))


def max_logit(evidence: Evidence, temperature: float = 1.0, top_c: int = 1) -> Tensor:
    r"""Largest cosine, MaxLogit (Hendrycks et al., ICML 2022) **[source]**; τ and c are not used."""
    return evidence.cosines.amax(dim=-1)


def negative_energy(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    r"""−E_0, the energy score (Liu et al., NeurIPS 2020) **[source]**; ``top_c`` is not used."""
    return -energy(evidence.cosines, temperature)


def neglabel(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    r"""Softmax probability of the classes against negative labels, NegLabel (Jiang et al., ICLR 2024) **[source]**.

    The negative labels, here the background, are shuffled once and divided into groups of 100, as published; the
    score is the mean over the groups. Labels that fill no whole group are left out; fewer than 100 are one group.
    ``top_c`` is not used.
    """
    check_temperature(temperature)
    classes = torch.logsumexp(at_least_single(evidence.cosines) / temperature, dim=-1, keepdim=True)
    scaled = at_least_single(evidence.background_cosines) / temperature
    count = scaled.shape[-1]
    groups = max(1, count // _GROUP)
    size = min(count, _GROUP)
    shuffle = torch.randperm(count, generator=torch.Generator().manual_seed(_SHUFFLE_SEED))
    grouped = shuffle[: groups * size].to(scaled.device)
    negatives = torch.logsumexp(scaled[:, grouped].view(-1, groups, size), dim=-1)
    return torch.sigmoid(classes - negatives).mean(dim=-1)


def knn(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    """Minus the distance to the k-th nearest image of the gallery, KNN (Sun et al., ICML 2022) **[source]**.

    k grows with the gallery: :func:`deltaoe.functional.gallery.neighbours_for`.
    """
    return _gallery(evidence).negative_knn_distance(evidence.features)


def mahalanobis(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    """Minus the squared Mahalanobis distance to the nearest class mean (Lee et al., NeurIPS 2018) **[source]**.

    Means and the one covariance of all classes are those of the gallery.
    """
    return _gallery(evidence).negative_mahalanobis(evidence.features)


def relative_mahalanobis(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    """Minus the smallest difference of two squared Mahalanobis distances (Ren et al., 2021) **[source]**.

    They are the distance to a class mean, as in :func:`mahalanobis`, and that to the one Gaussian of all images of the
    gallery. With few classes that Gaussian is much like theirs and the difference says little; with one it is 0.
    """
    return _gallery(evidence).negative_relative_mahalanobis(evidence.features)


def gda(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    r"""Largest fused logit, max_j (s_j/0.01 + w d_j), of the gallery's discriminants d (Wang et al., ICLR 2024).

    The discriminants, and adding them to CLIP's logits, are the paper's **[source]**. It classifies by them, and
    chooses w from 0.0001 to 100 on a validation set. w = 0.1, the middle of that grid, and the largest logit as the
    score are ours **[reading]**. With one image of each class d is 0, and the score is that of :func:`max_logit`.
    """
    logits = at_least_single(evidence.cosines) / CLIP_TEMPERATURE
    discriminants = _gallery(evidence).discriminants(evidence.features, logits.shape[-1])
    return (logits + GDA_WEIGHT * discriminants.to(logits.device)).amax(dim=-1)


def tip_adapter(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    r"""Largest fused logit of Tip-Adapter without training (Zhang et al., ECCV 2022).

    The logit of a class is s_j/0.01 + w Σ exp(−β (1 − <h, f>)), summed over the class's images f in the gallery, with
    w = 1 and β = 5.5 **[source]**. The paper classifies by it; the largest one as the score is ours **[reading]**.
    """
    logits = at_least_single(evidence.cosines) / CLIP_TEMPERATURE
    features = at_least_single(evidence.features)
    cached = _gallery(evidence).affinities(features, logits.shape[-1], TIP_BETA)
    return (logits + TIP_WEIGHT * cached).amax(dim=-1)


def fdbd(evidence: Evidence, temperature: float, top_c: int = 1) -> Tensor:
    r"""Mean distance to the decision boundaries over the distance to the gallery's mean, fDBD (Liu & Qin, ICML 2024).

    The boundary between the predicted class p and class j is at distance (s_p − s_j)/‖z_p − z_j‖ **[source]**. The
    network's last layer is here the text features z, without a bias **[reading]**. A single class has no boundary and
    scores 0.
    """
    cosines, text = evidence.cosines.double(), evidence.text.double()
    best = cosines.max(dim=-1)
    predicted, lengths = text[best.indices], text.square().sum(dim=-1)
    squares = lengths[best.indices][:, None] + lengths - 2 * predicted @ text.T
    apart = squares.clamp_min(0).sqrt()
    distances = (best.values[:, None] - cosines) / apart.clamp_min(_SAME_PROMPT)
    total = distances.where(apart > _SAME_PROMPT, 0).sum(dim=-1) / max(len(text) - 1, 1)
    return total / _gallery(evidence).distance_to_mean(evidence.features).to(total).clamp_min(_SAME_PROMPT)


def _gallery(evidence: Evidence) -> Gallery:
    """The gallery, which :class:`Score` has checked to be there."""
    assert evidence.gallery is not None  # noqa: S101 - Score checks what it needs
    return evidence.gallery


_BACKGROUND: frozenset[Need] = frozenset({"text", "background"})
_GALLERY: frozenset[Need] = frozenset({"gallery"})
_BOTH: frozenset[Need] = frozenset({"text", "gallery"})
_ALL = (
    Score(
        "delta_energy", "ΔEnergy", "Zhu et al., NeurIPS 2025; background and centre: ours", delta_energy_open
    ),
    Score("delta_energy_plain", "ΔEnergy, classes alone", "Zhu et al., NeurIPS 2025", delta_energy_plain),
    Score("mcm", "MCM", "Ming et al., NeurIPS 2022", mcm, 1.0),
    Score("msp", "MSP", "Hendrycks & Gimpel, ICLR 2017", mcm, CLIP_TEMPERATURE),
    Score("max_logit", "MaxLogit", "Hendrycks et al., ICML 2022", max_logit),
    Score("energy", "Energy", "Liu et al., NeurIPS 2020", negative_energy, CLIP_TEMPERATURE),
    Score("neglabel", "NegLabel", "Jiang et al., ICLR 2024", neglabel, CLIP_TEMPERATURE, None, _BACKGROUND),
    Score("knn", "KNN", "Sun et al., ICML 2022", knn, None, None, _GALLERY),
    Score("mahalanobis", "Mahalanobis", "Lee et al., NeurIPS 2018", mahalanobis, None, None, _GALLERY),
    Score(
        "relative_mahalanobis",
        "Relative Mahalanobis",
        "Ren et al., 2021",
        relative_mahalanobis,
        needs=_GALLERY,
    ),
    Score("gda", "GDA", "Wang et al., ICLR 2024; weight 0.1, largest logit: our reading", gda, needs=_BOTH),
    Score(
        "tip_adapter",
        "Tip-Adapter",
        "Zhang et al., ECCV 2022; weight 1, β = 5.5; largest logit: our reading",
        tip_adapter,
        needs=_BOTH,
    ),
    Score("fdbd", "fDBD", "Liu & Qin, ICML 2024", fdbd, needs=_BOTH),
)
SCORES: Mapping[str, Score] = MappingProxyType({score.name: score for score in _ALL})
