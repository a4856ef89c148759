"""The ranges of τ and c, CLIP's own τ, and the positive class of FPR@95; apart from what computes with them."""

from __future__ import annotations

import math
from typing import Literal

from deltaoe.errors import ConfigError

# CLIP divides cosines by it.
CLIP_TEMPERATURE = 0.01
# Cosines are rounded to single precision: bounds are widened by more than that can change them.
ROUNDING = 2e-6
# Which images are the positive class of FPR@95.
Positive = Literal["id", "ood"]


def check_temperature(temperature: float) -> None:
    """Raise ConfigError unless the temperature τ is a positive finite number."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"the temperature must be a positive number, not {temperature}")


def check_top_c(top_c: int, classes: int) -> None:
    """Raise ConfigError unless c, the number of cropped cosines, is from 1 to the number of classes."""
    if not 1 <= top_c <= classes:
        raise ConfigError(
            f"top-c is {top_c}, but there {'is 1 class' if classes == 1 else f'are {classes} classes'}",
            hint=f"choose --top-c between 1 and {classes}" if classes else "",
        )
