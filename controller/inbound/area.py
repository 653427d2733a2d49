"""Whether the area of a CAP message touches a zone: the same code, or polygons and circles that overlap.

Plane geometry on latitude and longitude, which is exact enough between neighbours and wrong across the date line; a circle is a
polygon of 32 corners around it. Touching is overlapping: who stands on the border is warned.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sin
from typing import Final

from lanes.plan import Zone

Position = tuple[float, float]  # latitude, longitude, in degrees
KM_PER_DEGREE: Final = 111.195  # of latitude, on a sphere of 6,371 km
CORNERS: Final = 32
POINT_KM: Final = 0.001  # a circle of radius 0 is a point, and a point has a metre around it
POSITIONS_MAX: Final = 5_000  # of one message: a county's border; looked at in some 50 ms for a hundred zones


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon without its repeated last corner, and the box around it."""

    corners: tuple[Position, ...]
    south: float
    north: float
    west: float
    east: float

    @classmethod
    def of(cls, corners: Sequence[Position]) -> "Shape":
        points = tuple(corners[:-1]) if len(corners) > 1 and corners[0] == corners[-1] else tuple(corners)
        latitudes, longitudes = [p[0] for p in points], [p[1] for p in points]
        return cls(points, min(latitudes), max(latitudes), min(longitudes), max(longitudes))


def circle(latitude: float, longitude: float, radius_km: float) -> Shape:
    """The polygon around a circle: never smaller than it."""
    reach = max(radius_km, POINT_KM) / cos(pi / CORNERS) / KM_PER_DEGREE
    stretch = max(cos(radians(min(abs(latitude), 89.0))), 0.01)
    turns = [2 * pi * n / CORNERS for n in range(CORNERS)]
    return Shape.of([(latitude + reach * cos(turn), longitude + reach / stretch * sin(turn)) for turn in turns])


def overlap(one: Shape, two: Shape) -> bool:
    """Whether they have a point in common."""
    if one.south > two.north or two.south > one.north or one.west > two.east or two.west > one.east:
        return False
    if _holds(one, two.corners[0]) or _holds(two, one.corners[0]):
        return True
    near = [edge for edge in _edges(one) if _reaches(edge, two)]
    others = [edge for edge in _edges(two) if _reaches(edge, one)]
    return any(_cross(a, b, c, d) for a, b in near for c, d in others)


def _edges(shape: Shape) -> Iterable[tuple[Position, Position]]:
    return zip(shape.corners, (*shape.corners[1:], shape.corners[0]), strict=True)


def _reaches(edge: tuple[Position, Position], shape: Shape) -> bool:
    """Whether the edge comes into the box of the shape."""
    (a, b), (c, d) = edge
    return not (max(a, c) < shape.south or min(a, c) > shape.north or max(b, d) < shape.west or min(b, d) > shape.east)


def _holds(shape: Shape, point: Position) -> bool:
    """Whether the point lies inside (by the number of edges that a line from it crosses)."""
    latitude, longitude = point
    inside = False
    for (a, b), (c, d) in _edges(shape):
        if (a > latitude) != (c > latitude) and longitude < (d - b) * (latitude - a) / (c - a) + b:
            inside = not inside
    return inside


def _cross(a: Position, b: Position, c: Position, d: Position) -> bool:
    """Whether the segments have a point in common."""
    turns = (_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b))
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((turns[0], a, b, c), (turns[1], a, b, d), (turns[2], c, d, a), (turns[3], c, d, b))
    return any(turn == 0 and _between(p, q, r) for turn, p, q, r in ends)


def _turn(a: Position, b: Position, c: Position) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _between(a: Position, b: Position, c: Position) -> bool:
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


@dataclass(frozen=True, slots=True)
class Ground:
    """A zone as areas are compared with it."""

    zone: str
    shapes: tuple[Shape, ...]
    codes: frozenset[tuple[str, str]]  # (name, value), in capitals

    @classmethod
    def of(cls, zone: Zone) -> "Ground":
        shapes = [Shape.of(zone.polygon)] if zone.polygon else []
        if zone.circle:
            shapes.append(circle(*zone.circle))
        return cls(zone.id, tuple(shapes), frozenset(_code(*pair) for pair in zone.geocodes.items()))

    def touches(self, shapes: Sequence[Shape], codes: Iterable[tuple[str, str]]) -> bool:
        """Whether an area with these shapes and codes reaches this zone. An area is all of what it names together."""
        return any(self._named(*_code(*pair)) for pair in codes) or any(
            overlap(own, other) for own in self.shapes for other in shapes
        )

    def _named(self, name: str, value: str) -> bool:
        """The same code; of the NUTS hierarchy also one that the zone's lies in (RO22 holds RO224)."""
        if name.startswith("NUTS"):
            return bool(value) and any(own.startswith("NUTS") and code.startswith(value) for own, code in self.codes)
        return (name, value) in self.codes


def _code(name: str, value: str) -> tuple[str, str]:
    return name.strip().upper(), value.strip().upper()
