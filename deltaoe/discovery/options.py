"""Options of ``discover``: those of scoring, and how images are grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from deltaoe.options import Option
from deltaoe.scoring.options import ScoreOptions

# benchmarks/discover.py measures these; docs/how-to/discover.md has the tables.
DISTANCE = 0.7
SMALLEST = 3
NEAR = 0.98


@dataclass(frozen=True)
class DiscoverOptions(ScoreOptions):
    """Options of :func:`deltaoe.discovery.discover.discover` and ``deltaoe discover``.

    Attributes:
        every: whether known and undecided images are grouped, too.
        distance: the largest average distance, 1 − cos, of images of one group.
        around: where directions are measured from: the mean of the known classes, or the mean of these images, which
            tells apart images that all differ from the known ones in the same way.
        smallest: the fewest different images of a group.
        near: the least cosine of near-duplicates; above 1 is no cosine, so 1 leaves files of the same content alone.
    """

    every: Annotated[bool, Option("Group all images, not only the unknown ones.", flag="all")] = False
    distance: Annotated[
        float,
        Option(
            "Largest average distance, 1 - cosine, within a group; smaller makes more and purer groups.",
            above=0,
            below=2,
            hint=f"{DISTANCE:g} is the default; 0.5 to 0.9 are usual",
        ),
    ] = DISTANCE
    around: Annotated[
        Literal["known", "these"],
        Option(
            "Compare images around the mean of the known classes; or of these images, if all differ from the known in "
            "one way, such as their style."
        ),
    ] = "known"
    smallest: Annotated[int, Option("Fewest different images of a group.", flag="min-images", at_least=2)] = (
        SMALLEST
    )
    near: Annotated[
        float,
        Option(
            "Least cosine of near-duplicates; 1 flags files of the same content alone.",
            flag="duplicates",
            above=0,
            at_most=1,
            hint=f"{NEAR:g} is the default; the measurements are in docs/how-to/discover.md",
        ),
    ] = NEAR
