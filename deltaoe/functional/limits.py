"""The ranges of τ and c. They stand apart from what computes with them, to be checked before torch is loaded."""

from __future__ import annotations

import math

from deltaoe.errors import ConfigError


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
