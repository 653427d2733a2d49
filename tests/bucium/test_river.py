"""The flood's hydrology: water is kept, the cascade is Nash's, the rating curve turns round."""

from math import exp, gamma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucium.demo.river import AREA_KM2, RUNOFF, STORM, TOWN, UPSTREAM, Cascade, Rating, River

FLOWS = st.floats(0.0, 500.0)


@given(
    n=st.integers(1, 6), k_h=st.floats(0.1, 5.0), steps=st.lists(st.tuples(st.floats(0.01, 6.0), FLOWS), max_size=30)
)
def test_the_cascade_keeps_its_water(n: int, k_h: float, steps: list[tuple[float, float]]) -> None:
    row = Cascade(n, k_h, 3.0)
    stored, into, out = row.stored, 0.0, 0.0
    for hours, inflow in steps:
        into += inflow * hours * 3600
        out += row.step(hours, inflow) * hours * 3600
    assert row.stored - stored == pytest.approx(into - out, rel=1e-9, abs=1.0)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_short_pulse_leaves_as_nash_gamma_density(n: int) -> None:
    k_h, step_h = 0.9, 0.001
    row = Cascade(n, k_h, 0.0)
    row.step(step_h, 1 / step_h)  # a unit of water at once
    hours = step_h
    for _ in range(4000):
        row.step(step_h, 0.0)
        hours += step_h
    wanted = (hours / k_h) ** (n - 1) * exp(-hours / k_h) / (k_h * gamma(n))
    assert row.flow == pytest.approx(wanted, rel=0.01)


@given(st.floats(0.0, 400.0))
def test_the_rating_curve_turns_round(flow: float) -> None:
    for rating in (UPSTREAM, TOWN, Rating(5.0, 2.0, -0.3)):
        assert rating.flow(rating.stage_m(flow)) == pytest.approx(flow, rel=1e-9, abs=1e-9)


def test_the_wave_reaches_the_bridge_first_and_the_town_later_and_flatter() -> None:
    river = River()
    course = []
    for minute in range(0, 24 * 60, 2):
        river.advance(minute / 60)
        course.append((river.hours, river.upstream_m, river.town_m, river._reach.flow, river._catchment.flow))
    bridge = max(course, key=lambda row: row[1])
    town = max(course, key=lambda row: row[2])
    assert town[0] > bridge[0] + 0.3
    assert town[3] < bridge[4]
    assert bridge[1] > 6.0  # all the marks of the demo's plan are passed
    assert town[2] > 5.0
    assert course[-1][2] < 1.0


def test_what_rained_runs_off() -> None:
    river = River()
    flowed = 0.0
    for minute in range(1, 72 * 60):
        river.advance(minute / 60)
        flowed += (river._reach.flow - 3.0) * 60
    rained = RUNOFF * STORM.rain_mm_h * STORM.length_h / 1000 * AREA_KM2 * 1e6
    assert flowed == pytest.approx(rained, rel=0.01)


def test_the_course_does_not_depend_on_how_often_it_is_looked_at() -> None:
    often, seldom = River(), River()
    for tenth in range(1, 61):
        often.advance(tenth / 10)
    seldom.advance(6.0)
    assert often.town_m == pytest.approx(seldom.town_m, abs=0.01)
