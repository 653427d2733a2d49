"""How many people of a zone live within earshot of its sirens: exact over the zone's points or cells, nobody counted twice.

    siren ─ position and radius ─┐
    zone  ─ points or cells ─────┴─ each cell: which of the zone's sirens it hears ─ people by that set ─ sum over any sirens

A cell is heard when its point or centre lies within a siren's radius on the sphere. The sets are found once for a plan; what a
choice of sirens covers is then a sum over the few sets there are. The radius is the plan's `radius_m`, else reckoned from the
level at 30 m: 30 m × 2^((sound_db − audible_db) / loss_db). That rule is a rule of thumb (wind, houses and windows decide);
where it matters, somebody walks the streets during the next exercise and writes `radius_m` down.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import asin, cos, degrees, radians, sin, sqrt
from typing import Final

from lanes.plan import Plan, Siren, Zone
from lanes.population import Cell

EARTH_M: Final = 6_371_008.8  # mean radius (IUGG)
REFERENCE_M: Final = 30.0  # where makers measure


@dataclass(frozen=True, slots=True)
class Covered:
    """People of a zone: all, and those within earshot of some sirens."""

    people: int
    total: int

    @property
    def percent(self) -> float:
        return 100.0 * self.people / self.total if self.total else 100.0


class ZoneCover:
    """One zone. `unplaced`: its sirens that have no position or no radius, and so cover nobody here."""

    def __init__(self, zone: Zone, sirens: Iterable[Siren], cells: Iterable[Cell], plan: Plan) -> None:
        self.zone = zone
        self._bit: dict[str, int] = {}
        self.unplaced: list[str] = []
        circles: list[tuple[int, float, float, float]] = []
        for siren in sirens:
            radius_m = radius_of(siren, plan)
            if siren.latitude is None or siren.longitude is None or not radius_m:
                self.unplaced.append(siren.id)
                continue
            bit = self._bit[siren.id] = 1 << len(self._bit)
            circles.append((bit, siren.latitude, siren.longitude, radius_m))
        self._people: dict[int, int] = {}
        self.total = 0
        for cell in cells:
            heard = _hears(cell, circles)
            self._people[heard] = self._people.get(heard, 0) + cell.people
            self.total += cell.people

    def covered(self, sirens: Collection[str]) -> Covered:
        """By these sirens together; those of other zones do not count."""
        chosen = 0
        for siren in sirens:
            chosen |= self._bit.get(siren, 0)
        return Covered(sum(people for heard, people in self._people.items() if heard & chosen), self.total)


def radius_of(siren: Siren, plan: Plan) -> float:
    """How far it is heard, in metres; 0: nobody knows."""
    if siren.radius_m or not siren.sound_db:
        return siren.radius_m
    doublings = (siren.sound_db - plan.audible_db) / plan.loss_db
    return REFERENCE_M * float(2.0**doublings)


def distance_m(latitude: float, longitude: float, other: tuple[float, float]) -> float:
    """Between two places on the sphere."""
    north, east = radians(other[0] - latitude), radians(other[1] - longitude)
    half = sin(north / 2) ** 2 + cos(radians(latitude)) * cos(radians(other[0])) * sin(east / 2) ** 2
    return 2 * EARTH_M * asin(min(1.0, sqrt(half)))


def _hears(cell: Cell, circles: list[tuple[int, float, float, float]]) -> int:
    heard = 0
    for bit, latitude, longitude, radius_m in circles:
        if abs(cell.latitude - latitude) > degrees(radius_m / EARTH_M) * 1.000001:
            continue  # too far north or south: most cells, and cheaper than the sphere
        if distance_m(latitude, longitude, (cell.latitude, cell.longitude)) <= radius_m:
            heard |= bit
    return heard


def covers(plan: Plan, cells: Mapping[str, Iterable[Cell]]) -> dict[str, ZoneCover]:
    """Every zone whose people are known. `cells`: of the files that the plan names."""
    found = {}
    for zone in plan.zones:
        own = tuple(Cell(*each) for each in zone.people) or tuple(cells.get(zone.id, ()))
        if own:
            sirens = [siren for siren in plan.sirens if zone.id in siren.zones]
            found[zone.id] = ZoneCover(zone, sirens, own, plan)
    return found
