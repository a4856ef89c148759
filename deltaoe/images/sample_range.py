"""Samples of more than eight bits, as integers or floating-point numbers, to 8 bit: which range is black to white.

Files say how wide their samples are stored, and seldom what white is: 12 bits of a sensor in a file of 16 are almost
black if 65535 is white, and one infinite number is brighter than all others. So the range is found per file
**[derived]**, by :func:`find_range`, or said once for all files. ``docs/explanation/pixels.md`` explains the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltaoe.images.range_names import Range

_DEPTHS = (8, 10, 12)  # bits that sensors and programs use, below the 16 of a photograph
_WIDE_DEPTHS = (16, 24)  # likewise in samples of 32 bits and more
_USUAL = (1.0, 255.0, 1023.0, 4095.0, 65535.0)  # white, where samples are floating-point numbers
_HOT = 10_000  # one sample in so many may lie beyond a range anywhere: hot pixels
_RINGING = (
    1.25,
    0.01,
)  # and this share of samples within this multiple of it: overshoot of a resampling filter
_FEW = 256  # samples; of fewer not one may lie beyond
_SMALL_PART = 16  # a picture in less than one part in so many of its range has hardly any contrast
_DARK_PART = 4  # and one in the lowest of so many parts is dark, or holds fewer bits than it could
_ABSURD = 1e30  # floating-point numbers beyond are no samples: ±1e38 is a usual mark of missing data
_SAMPLED = 2**20  # samples, evenly spaced, that quantiles are taken of
_BLOCK_ROWS = 256

Values = NDArray[Any]


@dataclass(frozen=True)
class Samples:
    """The samples of a picture as its file stores them.

    Attributes:
        values: (H, W) or (H, W, C), integers or floating-point numbers; C are colours, without transparency.
        white: the largest value that the file can mean, such as 65535, where ``values`` are integers.
        declared: the lowest and highest value of the range, where the file declares it.
        missing: the value that marks missing data, where the file declares one.
    """

    values: Values
    white: int = 65535
    declared: tuple[float, float] | None = None
    missing: float | None = None


def find_range(samples: Samples) -> Range:
    """The range of a picture's samples that is shown from black to white.

    What the file declares, else what the values show. Integers are taken for samples of the fewest of 8, 10 and 12
    bits that hold them, else for as many as the file can hold; floating-point numbers for 0…1, 0…255 or a range of
    10, 12 or 16 bits, else for what lies between their quantiles. A few outliers, and marks of missing data, have no
    part in it. A picture of one value keeps the range of its file: nothing shows another.
    """
    values = samples.values
    if samples.declared is not None:
        return Range(*samples.declared)
    if values.dtype.kind == "f":
        flat = values.ravel()
        return _of_floats(_valid(flat.astype(np.float32) if flat.dtype == np.float16 else flat, samples))
    return _of_integers(values.ravel(), samples)


def to_8_bit(values: Values, shown: Range) -> NDArray[np.uint8]:
    """Samples (…) as uint8 (…): the range linearly to 0…255, rounded; beyond it black or white, NaN black."""
    low, step = shown.low, (shown.high - shown.low) / 255
    if values.dtype == np.uint16:
        every = np.clip(np.rint((np.arange(65536) - low) / step), 0, 255).astype(np.uint8)
        return np.take(every, values)
    out = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        with np.errstate(over="ignore", invalid="ignore"):
            block = (values[part].astype(np.float64) - low) / step
        out[part] = np.clip(np.rint(np.nan_to_num(block, nan=0.0, posinf=255.0, neginf=0.0)), 0, 255)
    return out


def _of_integers(flat: Values, samples: Samples) -> Range:
    full = Range(0.0, float(samples.white))
    values = _valid(flat, samples)
    if not len(values) or values.min() == values.max():
        return full
    bits = samples.white.bit_length()
    white, note = samples.white, ""
    for depth in (*_DEPTHS, *(_WIDE_DEPTHS if bits > 16 else ())):
        if depth < bits and _holds(values, 2**depth - 1):
            white, note = (
                2**depth - 1,
                f"{depth}-bit samples in a file of {_file_bits(bits)}, by their values",
            )
            break
    if _is_negative(values, white):
        return _between_quantiles(values)
    low, high = np.quantile(_evenly(values), (0.001, 0.999))
    if white >= 2**14 and (high - low < white / _SMALL_PART or high < white / _DARK_PART):
        note = f"a small part of the {white.bit_length()}-bit range is used"
    return Range(0.0, float(white), note)


def _of_floats(values: Values) -> Range:
    if not len(values):
        return Range(0.0, 1.0, "no finite samples")
    levels = (0.001, 0.01, 0.8, 0.99, 0.999)
    least, first, bright, last, most = (float(one) for one in np.quantile(_evenly(values), levels))
    # Few values beyond a range, or more of them just beyond it, are the overshoot of a filter.
    over = _RINGING[0]
    white = next((one for one in _USUAL if last <= one or (bright <= one and most <= over * one)), None)
    if values.min() == values.max():
        return Range(0.0, white if white in (1, 255) else 65535.0)
    if white is None:
        return _between_quantiles(values)
    below = first < -0.05 * white and least < (1 - over) * min(white, most)
    flat = white > 255 and most - least < white / _SMALL_PART
    if below or flat or most < white / _SMALL_PART:
        return _between_quantiles(values)
    note = "" if white in (1, 255, 65535) else f"samples from 0 to {white:g}, by their values"
    return Range(0.0, white, note)


def _holds(values: Values, white: int) -> bool:
    """Whether values are samples up to ``white``, but for outliers."""
    count = len(values)
    beyond = int(np.count_nonzero(values > white))
    if beyond <= (max(1, count // _HOT) if count >= _FEW else 0):
        return True
    multiple, share = _RINGING
    return beyond <= share * count and bool(values.max() <= multiple * white)


def _is_negative(values: Values, white: float) -> bool:
    """Whether values below zero mean something, rather than being the undershoot of a filter."""
    below = int(np.count_nonzero(values < -0.05 * white))
    return below > len(values) // _HOT


def _between_quantiles(values: Values) -> Range:
    low, high = (float(one) for one in np.quantile(_evenly(values).astype(np.float64), (0.001, 0.999)))
    if not low < high:
        low, high = float(values.min()), float(values.max())
    if not low < high:
        return Range(low, low + 1.0)
    return Range(low, high, "shown between the quantiles of its values, for want of a usual range")


def _valid(values: Values, samples: Samples) -> Values:
    """The values, (n,), without marks of missing data and without what is no number."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
        values = values[np.abs(values) < _ABSURD]
    if samples.missing is not None:
        values = (
            values[values != values.dtype.type(samples.missing)] if _fits(values, samples.missing) else values
        )
    limit = 255 if values.dtype.kind == "f" else samples.white
    for _ in range(2):  # −9999 and −32768 occur together
        if not len(values):
            break
        least = values.min()
        rest = values[values > least] if least < 0 else values[:0]
        if not len(rest):
            break
        nearest = float(rest.min())
        highest = float(np.quantile(_evenly(_without_highest(rest, limit)), 0.999))
        if nearest - float(least) < highest - nearest:
            break
        values = rest
    return _without_highest(values, limit)


def _without_highest(values: Values, limit: float) -> Values:
    """The values, (n,), without their highest if that lies as far from the others as they are spread, at a limit."""
    if not len(values) or values.max() < limit or (values.dtype.kind == "f" and values.max() == limit):
        return values
    rest = values[values < values.max()]
    if not len(rest):
        return values
    nearest, low = float(rest.max()), float(np.quantile(_evenly(rest), 0.001))
    far = float(values.max()) - nearest >= nearest - low > 0
    return rest if far else values


def _fits(values: Values, number: float) -> bool:
    if values.dtype.kind == "f":
        return True
    info = np.iinfo(values.dtype)
    return number == int(number) and info.min <= number <= info.max if np.isfinite(number) else False


def _evenly(values: Values) -> Values:
    return values[:: -(-len(values) // _SAMPLED)]


def _file_bits(bits: int) -> int:
    return next((one for one in (8, 16, 32, 64) if bits <= one), bits)
