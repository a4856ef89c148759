"""Data frames of pandas, which is optional: it is imported when a frame is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deltaoe.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from pandas import DataFrame as DataFrame


def data_frame(columns: Mapping[str, Any]) -> DataFrame:
    """A frame of columns of equal length, with a row number as its index.

    Raises:
        ConfigError: pandas is not installed.
    """
    return _pandas().DataFrame(columns)


def categorical(codes: Any, names: Sequence[str]) -> pd.Categorical:
    """A column of names that repeat, each row given by its place among them; −1 is missing.

    Args:
        codes: (n,) integers.
        names: distinct names, in the order in which they sort.

    Raises:
        ConfigError: pandas is not installed.
    """
    return _pandas().Categorical.from_codes(codes, categories=list(names))


def texts(values: Sequence[str | None]) -> pd.Series:
    """A column of texts, None where there is none; file names that are not UTF-8 keep their bytes.

    Raises:
        ConfigError: pandas is not installed.
    """
    series = _pandas().Series
    try:
        "".join(value for value in values if value is not None).encode()
    except UnicodeEncodeError:  # pandas' own type for texts holds UTF-8 alone
        return series(list(values), dtype=object)
    return series(list(values), dtype=None if any(values) else object)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ConfigError("pandas is not installed", hint='pip install "deltaoe[pandas]"') from None
    return pandas
