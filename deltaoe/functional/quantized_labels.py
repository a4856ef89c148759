r"""Label features in 8 bits, and what they certify: the nearest labels, and a log-sum-exp between two bounds.

An 8-bit product costs a fraction of one in single precision, so that every label is compared in 8 bits first. With the
labels' mean μ, an orthogonal Q, z_j = μ + Qᵀ(ẑ_j + δ_j) and Qh = ĥ + γ, where ẑ_j and ĥ are whole multiples of a step,

    ⟨h, z_j⟩ = ⟨h, μ⟩ + ⟨ĥ, ẑ_j⟩ + e_j,   e_j = ⟨Qh, δ_j⟩ + ⟨γ, ẑ_j⟩,

    |e_j| ≤ ‖δ_j‖ + ‖γ‖·‖ẑ_j‖,   (Σ_j e_j²)^½ ≤ (hᵀQᵀ(Σ δδᵀ)Qh)^½ + (γᵀ(Σ ẑẑᵀ)γ)^½   **[derived]**.

The first bound says which labels can be among the nearest. The second is known exactly, and smaller by about √D
per label: with Cauchy and Schwarz's inequality it bounds a sum of exponentials. Subtracting μ and turning by Q
leave no coordinate much larger than others, which is what 8 bits need; CLIP's features have such coordinates.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from deltaoe.functional.limits import ROUNDING

LAYOUT = "1"  # changes when the numbers of the same labels do
_LEVELS = 127  # the largest multiple of a step
_CLIPPED = 4.5  # coordinates are cut at so many standard deviations
MULTIPLE = 16  # of dimensions and of images, which 8-bit products on a GPU ask for
_BUILT = 16_384  # labels quantized at a time
_SEED = 2024  # of Q
SUM_ROUNDING = 1e-5  # of sums in single precision, relative


class QuantizedLabels(NamedTuple):
    """Label features (K, D) in 8 bits. D′ is D, rounded up to a multiple of 16.

    Attributes:
        codes: (K, D′) int8, ẑ_j divided by its step.
        steps: (1,) float64, the step.
        mean: (D,) float64, μ.
        rotation: (D, D′) float32, Qᵀ.
        error_norms: (K,) float32, ‖δ_j‖.
        norms: (K,) float32, ‖ẑ_j‖.
        error_gram: (D′, D′) float64, Σ δδᵀ.
        gram: (D′, D′) float64, Σ ẑẑᵀ.
    """

    codes: Tensor
    steps: Tensor
    mean: Tensor
    rotation: Tensor
    error_norms: Tensor
    norms: Tensor
    error_gram: Tensor
    gram: Tensor

    @staticmethod
    def layout(count: int, dim: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type, as NumPy writes it, and shape of each array, of K labels of D dimensions."""
        width = -(-dim // MULTIPLE) * MULTIPLE
        return {
            "codes": ("|i1", (count, width)),
            "steps": ("<f8", (1,)),
            "mean": ("<f8", (dim,)),
            "rotation": ("<f4", (dim, width)),
            "error_norms": ("<f4", (count,)),
            "norms": ("<f4", (count,)),
            "error_gram": ("<f8", (width, width)),
            "gram": ("<f8", (width, width)),
        }


@torch.inference_mode()
def quantized(labels: Tensor) -> QuantizedLabels:
    """Label features (K, D), unit rows, K ≥ 1, in 8 bits; computed where they are.

    Example:
        >>> small = quantized(torch.eye(3))
        >>> small.codes.dtype, tuple(small.codes.shape), bool(small.error_norms.max() < 0.01)
        (torch.int8, (3, 16), True)
    """
    count, dim = labels.shape
    device, width = labels.device, -(-dim // MULTIPLE) * MULTIPLE
    blocks = [slice(start, start + _BUILT) for start in range(0, count, _BUILT)]
    mean = torch.stack([labels[part].sum(dim=0, dtype=torch.float64) for part in blocks]).sum(dim=0) / count
    square = torch.randn(width, width, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    rotation = torch.linalg.qr(square).Q[:dim].float().to(device)
    middle = mean.float()
    size = sum(float((labels[part] - middle).square_().sum()) for part in blocks)
    step = _CLIPPED * math.sqrt(size / (count * width)) / _LEVELS or 1.0
    codes = torch.empty((count, width), dtype=torch.int8, device=device)
    norms, error_norms = (torch.empty(count, device=device) for _ in range(2))
    gram, error_gram = (torch.zeros((width, width), dtype=torch.float64, device=device) for _ in range(2))
    for part in blocks:
        exact = (labels[part] - middle) @ rotation
        rounded = (exact / step).round_().clamp_(-_LEVELS, _LEVELS)
        codes[part] = rounded
        gram += product(codes[part].T.contiguous(), codes[part].T.contiguous()).double() * step**2
        errors = exact.sub_(rounded, alpha=step)
        norms[part], error_norms[part] = rounded.norm(dim=1).mul_(step), errors.norm(dim=1)
        error_gram += (errors.T @ errors).double()
    steps = torch.tensor([step], dtype=torch.float64, device=device)
    return QuantizedLabels(codes, steps, mean, rotation, error_norms, norms, error_gram, gram)


class QuantizedImages(NamedTuple):
    """N images in 8 bits.

    Attributes:
        features: (N, D) float32.
        codes: (N, D′) int8, ĥ divided by its step.
        steps: (N,) float64, product of the step of each image and the labels' step.
        offsets: (N,) float64, ⟨h, μ⟩.
        lengths: (N,) float32, ‖Qh‖.
        error_norms: (N,) float32, ‖γ‖.
        error_size: (N,) float64, limit of (Σ_j e_j²)^½ over all labels.
    """

    features: Tensor
    codes: Tensor
    steps: Tensor
    offsets: Tensor
    lengths: Tensor
    error_norms: Tensor
    error_size: Tensor

    def rows(self, rows: slice | Tensor) -> QuantizedImages:
        """Some of them."""
        return QuantizedImages(*(values[rows] for values in self))


def quantized_images(features: Tensor, labels: QuantizedLabels) -> QuantizedImages:
    """Image features (N, D) in 8 bits, each with a step of its own."""
    turned = features @ labels.rotation
    steps = turned.abs().amax(dim=1, keepdim=True).div_(_LEVELS).clamp_(min=1e-12)
    codes = (turned / steps).round_()
    errors = turned - codes * steps
    error_size = _size(turned, labels.error_gram) + _size(errors, labels.gram)
    count = len(labels.codes)
    return QuantizedImages(
        features,
        codes.to(torch.int8),
        steps[:, 0].double() * labels.steps,
        features.double() @ labels.mean,
        turned.norm(dim=1),
        errors.norm(dim=1),
        error_size * (1 + SUM_ROUNDING) + ROUNDING * math.sqrt(count),
    )


def _size(rows: Tensor, gram: Tensor) -> Tensor:
    """(xᵀGx)^½ of each row x of (N, D′), (N,) float64."""
    values = rows.double()
    return ((values @ gram) * values).sum(dim=-1).clamp(min=0).sqrt()


def product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Products (N, K) int32 of rows of int8 (N, D) and (K, D), by whichever of two ways is exact and faster here."""
    if _has_int8_products(str(left.device)):
        return torch._int_mm(left, right.T) if out is None else torch._int_mm(left, right.T, out=out)
    # Whole numbers below 2²⁴ are exact in single precision.
    found = (left.float() @ right.float().T).to(torch.int32)
    return found if out is None else out.copy_(found)


@functools.cache
def _has_int8_products(device: str) -> bool:
    """Whether 8-bit products are exact here, and faster than in single precision.

    Without instructions for them PyTorch multiplies in a plain loop, and some processors saturate sums of two products.
    """
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(0, 2, (64, 512), generator=generator).mul_(2 * _LEVELS).sub_(_LEVELS)
    right = torch.randint(0, 2, (1024, 512), generator=generator).mul_(2 * _LEVELS).sub_(_LEVELS)
    left[0], right[0], right[1] = _LEVELS, _LEVELS, -_LEVELS
    expected = (left @ right.T).to(torch.int32)
    rows, columns = (values.to(torch.int8).to(device) for values in (left, right))
    try:
        if not torch.equal(torch._int_mm(rows, columns.T).cpu(), expected):
            return False
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    if device != "cpu":
        return True
    return _seconds(torch._int_mm, rows, columns.T) <= _seconds(torch.mm, rows.float(), columns.float().T)


def _seconds(compute: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> float:
    """How long a product takes, the second time."""
    compute(left, right)
    start = time.perf_counter()
    compute(left, right)
    return time.perf_counter() - start
