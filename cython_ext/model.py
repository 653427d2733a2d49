"""The words: what a point, a level, a trouble and a transition are. Frozen, slotted, without behaviour.

Numbers of the enumerations are on the wire, in the journal and in `panel.pxd`: never renumber.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from math import inf

NS_PER_S = 1_000_000_000


class Level(IntEnum):
    """How bad it is at a point (design §3; colours and Romanian cote in `docs/thresholds.md`)."""

    NORMAL = 0
    ATTENTION = 1  # CA, yellow
    ALARM = 2  # CI, orange: flood, or fire alarm
    DANGER = 3  # CP, red


class Hazard(IntEnum):
    """What people are warned of."""

    FLOOD = 1
    FIRE = 2


class Direction(IntEnum):
    """The side on which danger lies."""

    RISING = 0
    FALLING = 1


class Status(IntFlag):
    """What the device or its driver says of a sample; bits of the packed record."""

    OK = 0
    MISSING = 1 << 0  # the read failed: there is no value
    SENTINEL = 1 << 1  # the device's own "no value" code
    LOOP_FAULT = 1 << 2  # NAMUR NE 43: current below 3.6 mA or above 21 mA
    DEVICE_FAULT = 1 << 3  # a status bit says fault
    CLOCK_UNTRUSTED = 1 << 4
    HISTORICAL = 1 << 5  # late: never judged as live
    TEST = 1 << 6  # the device is in test


class Trouble(IntFlag):
    """Why we cannot see (or doubt what we see) at a point; several may be true at once."""

    NONE = 0
    MISSING = 1 << 0
    STALE = 1 << 1
    DEVICE = 1 << 2  # sentinel, NE 43 or a status bit
    SENSOR_SPAN = 1 << 3  # outside what the sensor can measure: QARTOD 4
    OPERATOR_SPAN = 1 << 4  # outside what can be true here: QARTOD 3
    SPIKE = 1 << 5
    RATE = 1 << 6  # changed faster than it can
    FLAT = 1 << 7
    NOT_A_NUMBER = 1 << 8
    OUT_OF_ORDER = 1 << 9
    DUPLICATE = 1 << 10
    CLOCK = 1 << 11
    CHATTER = 1 << 12
    FLAPPING = 1 << 13
    DIRTY = 1 << 14  # smoke: drift compensation is used up
    VOTE_DEGRADED = 1 << 15  # too few healthy points in a group
    TEST = 1 << 16  # the device is in test: what it says is not judged


class QcFlag(IntEnum):
    """QARTOD primary flags (US IOOS)."""

    GOOD = 1
    UNKNOWN = 2
    SUSPECT = 3
    FAIL = 4
    MISSING = 9


class Cause(IntEnum):
    """What a transition is."""

    RAISED = 1  # Level went up
    LOWERED = 2  # Level went down (to `level`, perhaps NORMAL)
    TROUBLE_RAISED = 3
    TROUBLE_CLEARED = 4
    RESTATED = 5  # a held Level said again: after a restart, or re-alarm


class Reason(IntEnum):
    """Why the core decided so."""

    THRESHOLD = 1
    RATE = 2  # rate of rise
    VOTE = 3
    CONFIRMED_SUSPECT = 4  # quality failed, successive samples confirmed
    OUT_OF_SPAN = 5  # beyond the span on the danger side
    ON_DELAY = 6  # the on-delay ran out by time
    OFF_DELAY = 7
    QUALITY = 8
    TIME = 9  # staleness or another deadline
    RESTART = 10
    RESET = 11  # a person reset a latch
    REALARM = 12
    DEPENDENCY = 13  # EN 54-2 type A, B or C
    DRIFT = 14
    PLAN = 15  # another configuration no longer has this Level


class VotePolicy(IntEnum):
    """What a group does when points fail."""

    TO_ALARM = 0  # a failed point counts as a vote for the alarm: 2oo3 becomes 1oo2
    TO_SILENCE = 1  # a failed point counts for nothing: 2oo3 becomes 2oo2


class Dependency(IntEnum):
    """EN 54-2 dependency on more than one alarm signal (7.12)."""

    NONE = 0
    A = 1
    B = 2
    C = 3


class RateMethod(IntEnum):
    """How the rate of rise is taken from its window."""

    DELTA = 0  # last minus first in the window
    ROBUST = 1  # Theil–Sen: the median of slopes


@dataclass(frozen=True, slots=True)
class LevelConfig:
    """When a Level is entered and left. `raise_at` nan: this point has no such Level."""

    raise_at: float = float("nan")
    clear_at: float = float("nan")
    on_delay_ns: int = 0
    off_delay_ns: int = 0
    rate_at: float = float("nan")  # units per second over the rate window that raise this Level on their own


@dataclass(frozen=True, slots=True)
class PointConfig:
    """One sensor channel, as the core judges it. Values in the point's unit, times in nanoseconds."""

    id: str
    hazard: Hazard = Hazard.FLOOD
    direction: Direction = Direction.RISING
    levels: tuple[LevelConfig, LevelConfig, LevelConfig] = (LevelConfig(), LevelConfig(), LevelConfig())
    period_ns: int = NS_PER_S
    confirm_ns: int = 0  # 0: three periods (design §6 rule 2)
    stale_ns: int = 0  # 0: never stale
    latch: bool = False
    realarm_ns: int = 0
    minimum_on_ns: int = 0
    sensor_span: tuple[float, float] = (-inf, inf)
    operator_span: tuple[float, float] = (-inf, inf)
    spike: float = 0.0  # 0: off
    rate_limit: float = 0.0  # units per second a true value cannot exceed; 0: off
    flat_ns: int = 0
    flat_tolerance: float = 0.0
    rate_window_ns: int = 0
    rate_method: RateMethod = RateMethod.ROBUST
    chatter_count: int = 3
    chatter_ns: int = 60 * NS_PER_S
    dependency: Dependency = Dependency.NONE
    dependency_ns: int = 60 * NS_PER_S
    drift_rate: float = 0.0  # smoke: largest change of the clean-air baseline, units per second; 0: off
    drift_total: float = 0.0
    drift_clean: float = 0.0  # the clean-air value it starts from
    sentinels: tuple[float, ...] = ()  # at most four values by which the device says "no value"
    loop_span: tuple[float, float] | None = None  # the values at 4 mA and at 20 mA: NAMUR NE 43 is checked


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """k of n points vote within a window. A group has a Level of its own, at index len(points) + its own."""

    id: str
    members: tuple[int, ...]
    k: int
    window_ns: int
    policy: VotePolicy = VotePolicy.TO_ALARM


@dataclass(frozen=True, slots=True)
class PanelConfig:
    """What a panel judges: its points, and the votes over them."""

    points: tuple[PointConfig, ...]
    groups: tuple[GroupConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Transition:
    """A point (or group: index ≥ number of points) changed, and why. Times are the panel's monotonic nanoseconds."""

    point: int
    cause: Cause
    was: Level
    level: Level
    at_ns: int
    value: float
    reason: Reason
    trouble: Trouble  # the point's troubles after the change
    evidence: tuple[int, ...] = ()  # points whose votes made it


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a point is where it is, for people and for the journal."""

    point: int
    level: Level
    trouble: Trouble
    qc: QcFlag
    value: float
    rate_per_s: float
    since_ns: int
    pending: Level | None  # a Level that a running delay will reach
    pending_at_ns: int
    time_to_next_s: float  # at the present rate; inf: never
    latched: bool
    words: tuple[str, ...] = field(default=())
