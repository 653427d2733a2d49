"""Hostile panels and streams from a seed: numbers that collide with thresholds, times that stand, step back, leap."""

from collections.abc import Sequence
from math import inf, nan
from random import Random
from typing import TypeVar

from cython_ext.model import (
    NS_PER_S,
    Dependency,
    Direction,
    GroupConfig,
    Hazard,
    LevelConfig,
    PanelConfig,
    PointConfig,
    RateMethod,
    VotePolicy,
)

T = TypeVar("T")
Sample = tuple[int, int, float, int]
ODD_VALUES = (
    nan,
    inf,
    -inf,
    -nan,
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    1.7e308,
    -1.7e308,
    2.2250738585072014e-308,
    1e-300,
    -9999.0,
)
ODD_TIMES = (-(1 << 63), (1 << 63) - 1, -1, 0, 1)
STATUSES = (1, 2, 4, 8, 16, 32, 64, 65, 24, 128, 1 << 15, 65535)
STEPS_NS = tuple(
    tuple(int(step * NS_PER_S) for step in steps)
    for steps in ((1.0,), (1.0, 1.0, 0.5), (0.3, 1.0, 7.0), (1.0, 20.0, 70.0))
)
QUARTERS = tuple(n / 4 for n in range(-4, 20))


def below(random: Random, limit: int) -> int:
    """Faster than randrange, and even enough."""
    return int(random.random() * limit)


def pick(random: Random, choices: Sequence[T]) -> T:
    return choices[int(random.random() * len(choices))]


def seconds(random: Random, *choices: float) -> int:
    return int(pick(random, choices) * NS_PER_S)


def level(random: Random, raise_at: float, sign: float, rated: bool) -> LevelConfig:
    if random.random() < 0.15:
        raise_at = nan
    clear_at = nan if random.random() < 0.3 else raise_at - sign * pick(random, (0.0, 0.25, 0.5))
    rate_at = pick(random, (0.05, 0.25, 1.0)) if rated and random.random() < 0.5 else nan
    return LevelConfig(raise_at, clear_at, seconds(random, 0, 0, 0, 1, 3), seconds(random, 0, 0, 2, 4), rate_at)


def point(random: Random, index: int) -> PointConfig:
    some = random.random
    falling = some() < 0.25
    sign = -1.0 if falling else 1.0
    rated = some() < 0.35
    dependency = pick(random, (Dependency.NONE,) * 3 + (Dependency.A, Dependency.B, Dependency.C))
    heights = [1.0, 2.0, 3.0] if not falling else [3.0, 2.0, 1.0]
    drifting = some() < 0.2
    looped = some() < 0.1
    return PointConfig(
        id=f"p{index}",
        hazard=pick(random, (Hazard.FLOOD, Hazard.FIRE)),
        direction=Direction.FALLING if falling else Direction.RISING,
        levels=tuple(level(random, height, sign, rated) for height in heights),
        period_ns=seconds(random, 1, 1, 0.5, 6),
        confirm_ns=seconds(random, 0, 0, 5),
        stale_ns=seconds(random, 0, 3, 10),
        latch=some() < 0.2,
        realarm_ns=seconds(random, 0, 0, 0, 20),
        minimum_on_ns=seconds(random, 0, 0, 0, 6),
        sensor_span=(-2.0, 5.0) if some() < 0.3 else (-inf, inf),
        operator_span=(-0.5, 3.75) if some() < 0.3 else (-inf, inf),
        spike=pick(random, (0.0, 0.0, 0.5, 1.5)),
        rate_limit=pick(random, (0.0, 0.0, 0.5, 2.0)),
        flat_ns=seconds(random, 0, 0, 3, 5),
        flat_tolerance=pick(random, (0.0, 0.1, 0.25)),
        rate_window_ns=seconds(random, 4, 11, 0.5) if rated or some() < 0.1 else 0,
        rate_method=pick(random, (RateMethod.ROBUST, RateMethod.DELTA)),
        chatter_count=pick(random, (0, 2, 3, 4)),
        chatter_ns=seconds(random, 5, 60, 0),
        dependency=dependency,
        dependency_ns=seconds(random, 0, 2, 60),
        drift_rate=pick(random, (0.001, 0.02)) if drifting else 0.0,
        drift_total=pick(random, (0.3, 0.9)) if drifting else 0.0,
        drift_clean=(4.0 if falling else 0.0) if drifting else 0.0,
        sentinels=pick(random, ((-9999.0,), (0.25, -0.0))) if some() < 0.15 else (),
        loop_span=pick(random, ((0.0, 4.0), (4.0, 0.0))) if looped else None,
    )


def panel(random: Random) -> PanelConfig:
    count = pick(random, (1, 1, 2, 3, 4))
    points = tuple(point(random, index) for index in range(count))
    groups = []
    for index in range(pick(random, (0, 0, 1, 2)) if count > 1 else 0):
        members = tuple(random.sample(range(count), random.randint(1, count)))
        policy = pick(random, (VotePolicy.TO_ALARM, VotePolicy.TO_SILENCE))
        groups.append(
            GroupConfig(f"g{index}", members, random.randint(1, len(members)), seconds(random, 0, 2, 30), policy)
        )
    return PanelConfig(points, tuple(groups))


def samples(random: Random, points: int, count: int, start_ns: int) -> list[Sample]:
    """A stream whose values walk over the thresholds, with plateaus, leaps and every kind of nonsense in it."""
    made = []
    at_ns = start_ns
    heights = [pick(random, QUARTERS) for _ in range(points)]
    hostile = pick(random, (0.0, 0.0, 0.02, 0.2))
    steps = pick(random, STEPS_NS)
    moves = pick(random, ((0.0,), (0.0, 0.25, -0.25), (0.01, -0.01, 0.003), (1.0, -1.0, 0.25), (0.25, 0.1)))
    leaping = pick(random, (0.0, 0.03))
    for _ in range(count):
        which = below(random, points)
        at_ns += pick(random, steps) // points
        heights[which] += pick(random, moves)
        value, when, status = heights[which], at_ns, 0
        if random.random() < hostile:
            kind = below(random, 6)
            if kind == 0:
                value = pick(random, ODD_VALUES)
            elif kind == 1:
                when = pick(random, (*ODD_TIMES, at_ns - NS_PER_S, at_ns + NS_PER_S, at_ns - 10 * NS_PER_S))
            elif kind == 2:
                status = pick(random, STATUSES)
            elif kind == 3:
                value = heights[which] = pick(random, QUARTERS)
            elif kind == 4 and made:
                which, when, value, status = made[-1]
            else:
                which = pick(random, (which, points, 0xFFFFFFFF))
        made.append((which, when, value, status))
        if random.random() < leaping:
            heights[which % points] = pick(random, QUARTERS)
    return made
