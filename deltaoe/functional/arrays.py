"""One formula for NumPy's arrays and PyTorch's tensors: the operations that the two spell differently.

A few cosines are computed in NumPy before PyTorch would be loaded, many of them by PyTorch, on any device. What both
spell alike (``@``, ``.T``, ``.sum(axis=-1)``) needs nothing from here; functions of equal names come from
:func:`library`. PyTorch is imported only where a tensor is at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

if TYPE_CHECKING:
    import torch

# An array of NumPy or a tensor of PyTorch; all that meet in one function are of the same kind.
Array = TypeVar("Array")


def library(values: object) -> Any:
    """The module that has the functions for these values: ``numpy`` or ``torch``.

    Example:
        >>> library(np.zeros(2)).__name__
        'numpy'
    """
    if isinstance(values, np.ndarray):
        return np
    import torch

    return torch


def logsumexp(values: Array) -> Array:
    """log Σ exp over the last axis, without overflow; −∞ of an empty sum and of nothing but −∞.

    Example:
        >>> logsumexp(np.log([[1.0, 3.0]])).round(3).tolist()
        [1.386]
    """
    if not isinstance(values, np.ndarray):
        import torch

        return cast("Array", torch.logsumexp(cast("torch.Tensor", values), dim=-1))
    peak = values.max(axis=-1, initial=-np.inf)
    # Where all is −∞, a finite stand-in keeps −∞ − (−∞) out.
    anchor = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return cast("Array", anchor + np.log(np.exp(values - anchor[..., None]).sum(axis=-1)))


def at_least_single(values: Array) -> Array:
    """The same numbers, float16 and bfloat16 as float32: they hold too few digits for a difference of energies."""
    given, xp = cast("Any", values), library(values)
    if given.dtype in (xp.float32, xp.float64):
        return values
    return cast("Array", given.astype(np.float32) if xp is np else given.float())


def largest(values: Any, count: int) -> tuple[Any, Any]:
    """The ``count`` largest values of each row, (..., count), descending, and their places in the row.

    Example:
        >>> largest(np.array([[0.1, 0.3, 0.2]]), 2)
        (array([[0.3, 0.2]]), array([[1, 2]]))
    """
    if not isinstance(values, np.ndarray):
        top = values.topk(count, dim=-1)
        return top.values, top.indices
    places = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    return taken(values, places), places


def taken(values: Any, places: Any) -> Any:
    """The values at some places of each row, (..., count)."""
    if isinstance(values, np.ndarray):
        return np.take_along_axis(values, places, axis=-1)
    return values.gather(-1, places)


def replaced(values: Any, places: Any, number: float) -> Any:
    """A copy of the values with one number at some places of each row."""
    if not isinstance(values, np.ndarray):
        return values.scatter(-1, places, number)
    copy = values.copy()
    np.put_along_axis(copy, places, number, axis=-1)
    return copy


def double(values: Any) -> Any:
    """The same numbers in float64."""
    return values.astype(np.float64) if isinstance(values, np.ndarray) else values.double()
