"""Areas against zones: polygons and circles that touch, checked against an independent count of points; codes."""

from math import cos, radians

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inbound.area import KM_PER_DEGREE, Ground, Position, Shape, circle, overlap
from lanes.plan import Zone

SQUARE = ((45.0, 28.0), (45.0, 28.1), (45.1, 28.1), (45.1, 28.0), (45.0, 28.0))


def ground(**more: object) -> Ground:
    return Ground.of(Zone.model_validate({"id": "quay", **more}))


def moved(shape: tuple[Position, ...], north: float, east: float) -> Shape:
    return Shape.of([(latitude + north, longitude + east) for latitude, longitude in shape])


@pytest.mark.parametrize(
    ("north", "east", "touch"),
    [
        (0, 0, True),
        (0.05, 0.05, True),  # across a corner
        (0.1, 0.0, True),  # along an edge
        (0.1, 0.1, True),  # at one point
        (0.11, 0.0, False),
        (0.0, 0.2, False),
        (-0.05, 0.0, True),
    ],
)
def test_squares_overlap_or_not(north: float, east: float, touch: bool) -> None:
    assert overlap(Shape.of(SQUARE), moved(SQUARE, north, east)) is touch
    assert overlap(moved(SQUARE, north, east), Shape.of(SQUARE)) is touch


def test_one_within_the_other_and_a_cross_without_a_corner_inside() -> None:
    inner = Shape.of([(45.04, 28.04), (45.04, 28.06), (45.06, 28.05), (45.04, 28.04)])
    assert overlap(Shape.of(SQUARE), inner)
    assert overlap(inner, Shape.of(SQUARE))
    high = Shape.of([(44.0, 28.04), (44.0, 28.06), (46.0, 28.06), (46.0, 28.04), (44.0, 28.04)])
    wide = Shape.of([(45.04, 27.0), (45.04, 29.0), (45.06, 29.0), (45.06, 27.0), (45.04, 27.0)])
    assert overlap(high, wide)


def test_a_hollow_is_not_inside() -> None:
    """A U round the square, whose box covers it."""
    letter = [
        (44.9, 27.9),
        (44.9, 28.3),
        (45.3, 28.3),
        (45.3, 28.2),
        (44.95, 28.2),
        (44.95, 27.95),
        (45.3, 27.95),
        (45.3, 27.9),
    ]
    assert not overlap(Shape.of([*letter, letter[0]]), Shape.of(SQUARE))


COORDINATES = st.tuples(st.floats(45, 46), st.floats(28, 29))


@given(
    st.lists(COORDINATES, min_size=3, max_size=8, unique=True),
    st.lists(COORDINATES, min_size=3, max_size=8, unique=True),
)
def test_overlap_is_mutual_and_a_shape_overlaps_itself(one: list[Position], two: list[Position]) -> None:
    a, b = Shape.of([*one, one[0]]), Shape.of([*two, two[0]])
    assert overlap(a, b) == overlap(b, a)
    assert overlap(a, a)


@given(st.floats(-60, 60), st.floats(-170, 170), st.floats(0, 50), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_a_circle_reaches_what_is_within_its_radius(
    latitude: float, longitude: float, radius_km: float, north: float, east: float
) -> None:
    point = (latitude + north, longitude + east)
    far_km = ((north * KM_PER_DEGREE) ** 2 + (east * KM_PER_DEGREE * cos(radians(latitude))) ** 2) ** 0.5
    speck = Shape.of([point, (point[0] + 1e-9, point[1]), (point[0], point[1] + 1e-9), point])
    reached = overlap(circle(latitude, longitude, radius_km), speck)
    if far_km <= radius_km * 0.999:
        assert reached
    if far_km > radius_km * 1.006 + 0.002:  # a polygon of 32 corners around it is 0.5 % larger
        assert not reached


def test_codes_name_a_zone_and_nuts_is_a_hierarchy() -> None:
    zone = ground(geocodes={"EMMA_ID": "RO014", "NUTS3": "RO224"})
    for code in (("EMMA_ID", "RO014"), ("emma_id", "ro014"), ("NUTS3", "RO224"), ("NUTS2", "RO22"), ("NUTS0", "RO")):
        assert zone.touches((), [code]), code
    for code in (
        ("EMMA_ID", "RO01"),
        ("NUTS3", "RO225"),
        ("NUTS3", ""),
        ("EMMA_ID", ""),
        ("FIPS", "RO014"),
        ("NUTS3", "RO2241"),
    ):
        assert not zone.touches((), [code]), code


def test_an_area_is_all_that_it_names_together() -> None:
    zone = ground(polygon=SQUARE, geocodes={"EMMA_ID": "RO014"})
    far = moved(SQUARE, 5, 5)
    assert not zone.touches([far], [])
    assert zone.touches([far, Shape.of(SQUARE)], [("EMMA_ID", "RO999")])
    assert zone.touches([far], [("EMMA_ID", "RO014")])
    assert zone.touches([circle(45.2, 28.05, 12)], [])
    assert not zone.touches([circle(45.2, 28.05, 11)], [])
    assert not ground().touches([Shape.of(SQUARE)], [("EMMA_ID", "RO014")]), (
        "a zone without an area is reached by nothing"
    )
