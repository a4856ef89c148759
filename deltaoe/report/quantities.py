"""The quantities measured about the theorems: their headings in tables, and the formats of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deltaoe.theory.results import Part

_SHARE, _NUMBER, _DIFFERENCE = ".3f", ".4g", "+.3f"


class Quantity(NamedTuple):
    """A column's heading, and the format of its numbers."""

    heading: str
    format: str


# Parts in the order of their tables, quantities in the order of a table's columns. The names are Finding.quantity's.
QUANTITIES: Mapping[Part, Mapping[str, Quantity]] = {
    "bound": {
        "premise": Quantity("E2 ≤ E1", _SHARE),
        "bound": Quantity("bound holds", _SHARE),
        "informative": Quantity("bound > 0", _SHARE),
        "change": Quantity("mean ΔE", _NUMBER),
        "lower": Quantity("mean E2 − E0", _NUMBER),
        "gap": Quantity("mean gap", _NUMBER),
        "gap_5": Quantity("gap 5 %", _NUMBER),
        "gap_50": Quantity("50 %", _NUMBER),
        "gap_95": Quantity("95 %", _NUMBER),
        "relative": Quantity("mean gap/ΔE", _NUMBER),
        "relative_50": Quantity("median gap/ΔE", _NUMBER),
    },
    "separation": {
        "auroc": Quantity("AUROC ΔEnergy", _SHARE),
        "rival_auroc": Quantity("AUROC other", _SHARE),
        "difference": Quantity("difference", _DIFFERENCE),
        "gap": Quantity("gap/SD ΔEnergy", _SHARE),
        "rival_gap": Quantity("gap/SD other", _SHARE),
        "gap_difference": Quantity("difference of gaps", _DIFFERENCE),
    },
    "hessian": {
        "loss": Quantity("cross-entropy", _NUMBER),
        "gradient": Quantity("‖gradient‖", _NUMBER),
        "norm": Quantity("‖H‖F", _NUMBER),
        "trace": Quantity("trace H", _NUMBER),
    },
    "distance": {
        "distance": Quantity("‖Ha − Hb‖F", _NUMBER),
        "relative": Quantity("relative", _SHARE),
        "cosine": Quantity("cosine", _SHARE),
        "shuffled": Quantity("relative, domains shuffled", _SHARE),
    },
}
