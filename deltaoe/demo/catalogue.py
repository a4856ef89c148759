"""All classes of objects, by name."""

from __future__ import annotations

from deltaoe.demo.objects import (
    animals,
    buildings,
    clothing,
    household,
    kitchen,
    music,
    plants,
    vehicles,
)
from deltaoe.demo.objects.kind import Kind

_FAMILIES = (animals, buildings, clothing, household, kitchen, music, plants, vehicles)
KINDS: dict[str, Kind] = {kind.name: kind for family in _FAMILIES for kind in family.KINDS}
