"""One formula for NumPy's arrays and PyTorch's tensors: the operations that the two spell differently.

A few cosines are computed in NumPy before PyTorch would be loaded, many of them by PyTorch, on any device. What both
spell alike (``@``, ``.T``, ``.sum(axis=-1)``) needs nothing from here; functions of equal names come from
:func:`library`. PyTorch is imported only where a tensor is at hand.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

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
    given: Any = values
    if not isinstance(given, np.ndarray):
        import torch

        found: Any = torch.logsumexp(given, dim=-1)
        return found
    peak = given.max(axis=-1, initial=-np.inf)
    # Where all is −∞, a finite stand-in keeps −∞ − (−∞) out.
    anchor = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        logarithm: Any = anchor + np.log(np.exp(given - anchor[..., None]).sum(axis=-1))
    return logarithm


def largest(values: Array, count: int) -> tuple[Array, Array]:
    """The ``count`` largest values of each row, (..., count), descending, and their places in the row.

    Example:
        >>> largest(np.array([[0.1, 0.3, 0.2]]), 2)
        (array([[0.3, 0.2]]), array([[1, 2]]))
    """
    given: Any = values
    if not isinstance(given, np.ndarray):
        top = given.topk(count, dim=-1)
        return top.values, top.indices
    places: Any = np.argsort(-given, axis=-1, kind="stable")[..., :count]
    return taken(values, places), places


def taken(values: Array, places: Array) -> Array:
    """The values at some places of each row, (..., count)."""
    given: Any = values
    found: Any = (
        np.take_along_axis(given, places, axis=-1)  # type: ignore[call-overload]
        if isinstance(given, np.ndarray)
        else given.gather(-1, places)
    )
    return found


def replaced(values: Array, places: Array, number: float) -> Array:
    """A copy of the values with one number at some places of each row."""
    given: Any = values
    if not isinstance(given, np.ndarray):
        scattered: Any = given.scatter(-1, places, number)
        return scattered
    copy: Any = given.copy()
    np.put_along_axis(copy, places, number, axis=-1)  # type: ignore[arg-type]
    return copy


def double(values: Array) -> Array:
    """The same numbers in float64."""
    given: Any = values
    converted: Any = given.astype(np.float64) if isinstance(given, np.ndarray) else given.double()
    return converted


def at_least_single(values: Array) -> Array:
    """The same numbers, float16 and bfloat16 as float32: they hold too few digits for a difference of energies."""
    given: Any = values
    xp = library(given)
    if given.dtype in (xp.float32, xp.float64):
        return values
    converted: Any = given.astype(np.float32) if xp is np else given.float()
    return converted
