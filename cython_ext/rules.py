"""Configuration to rules: refuses what must not run, and packs the rest into the C layout of `state.pxd` (struct Rule).

Every ConfigError names the point or group, says what is wrong, and what would be right.
"""

import struct
from hashlib import sha256
from math import inf, isfinite, isinf, isnan, nan
from typing import Final

from .errors import ConfigError
from .model import (
    NS_PER_S,
    Dependency,
    Direction,
    GroupConfig,
    Hazard,
    LevelConfig,
    PanelConfig,
    PointConfig,
)
from .topics import require_id

RULE: Final = struct.Struct("<27d17q8B")  # struct Rule of state.pxd, field by field
LONGEST_NS: Final = 366 * 86_400 * NS_PER_S  # a year: longer delays are mistakes, and sums stay far from 2**63
MEMBERS_MAX: Final = 64  # evidence of a vote is a 64-bit mask
SENTINELS_MAX: Final = 4
CHATTER_MAX: Final = 4  # three earlier instants are kept per point
RATE_SLOTS: Final = 12  # samples kept of a rate window: 66 slopes, median in well under a microsecond
SMOKE_CONFIRM_NS: Final = 10 * NS_PER_S  # design §6 rule 2: smoke, 10 s in all
TYPE_A_INHIBIT_NS: Final = 60 * NS_PER_S  # EN 54-2 7.12.1: not inhibited longer (domain.md §3.1)
CANCEL_NS: Final = {
    Dependency.NONE: 0,
    Dependency.A: 30 * 60 * NS_PER_S,  # 7.12.1: cancelled within 30 minutes
    Dependency.B: 5 * 60 * NS_PER_S,  # 7.12.2: not before 5 minutes
    Dependency.C: 30 * 60 * NS_PER_S,
}
CAP: Final = {Dependency.NONE: 3, Dependency.A: 0, Dependency.B: 1, Dependency.C: 2}
NAMES: Final = ("attention", "alarm", "danger")


def pack_rule(point: PointConfig) -> bytes:
    """The point's rule, validated. Values are turned so that danger is always upwards."""
    _check_numbers(point)
    sign = -1.0 if point.direction is Direction.FALLING else 1.0
    low, high, fault_low, fault_high = _spans(point)
    raises, clears, rates, valued, rated = _levels(point, sign, low, high)
    _check_drift(point, raises, sign)
    confirm = max(3 * point.period_ns, point.confirm_ns)
    if point.hazard is Hazard.FIRE:
        confirm = min(confirm, SMOKE_CONFIRM_NS)
    sentinels = (*point.sentinels, *(nan,) * (SENTINELS_MAX - len(point.sentinels)))
    flat = struct.unpack("<f", struct.pack("<f", point.flat_tolerance))[0] if point.flat_ns else -1.0
    return RULE.pack(
        sign, *raises, *clears, *rates, low, high, *point.operator_span, fault_low, fault_high,
        point.spike or inf, point.rate_limit or inf, flat,
        point.drift_rate, point.drift_total, point.drift_clean, *sentinels, min(rates),
        *(level.on_delay_ns for level in point.levels), *(level.off_delay_ns for level in point.levels),
        point.period_ns, confirm, point.stale_ns, point.realarm_ns, point.minimum_on_ns, point.flat_ns,
        point.rate_window_ns, point.rate_window_ns // (RATE_SLOTS - 1),
        point.chatter_ns, point.dependency_ns, CANCEL_NS[point.dependency],
        point.latch, point.rate_method, point.chatter_count, CAP[point.dependency], valued, rated,
        (1 if point.rate_window_ns else 0) | (2 if point.drift_rate else 0), len(point.sentinels),
    )  # fmt: skip


def _refuse(point: PointConfig, message: str) -> ConfigError:
    return ConfigError(f"point {point.id!r}: {message}")


def _check_numbers(point: PointConfig) -> None:
    if len(point.levels) != len(NAMES):
        raise _refuse(point, f"has {len(point.levels)} levels: give attention, alarm and danger")
    times = {
        name: getattr(point, name)
        for name in (
            "period_ns", "confirm_ns", "stale_ns", "realarm_ns", "minimum_on_ns", "flat_ns", "rate_window_ns",
            "chatter_ns", "dependency_ns",
        )
    }  # fmt: skip
    for level, name in zip(point.levels, NAMES, strict=True):
        times[f"{name}.on_delay_ns"] = level.on_delay_ns
        times[f"{name}.off_delay_ns"] = level.off_delay_ns
    for name, value in times.items():
        if not 0 <= value <= LONGEST_NS:
            raise _refuse(point, f"{name} is {value}: it must be from 0 to 366 days in nanoseconds")
    if 0 < point.realarm_ns < NS_PER_S:
        raise _refuse(point, f"realarm_ns is {point.realarm_ns}: 0 (off) or at least a second")
    if point.period_ns == 0:
        raise _refuse(point, "period_ns is 0: give the time between samples")
    if 0 < point.rate_window_ns < RATE_SLOTS:
        raise _refuse(point, f"rate_window_ns is {point.rate_window_ns}: shorter than its {RATE_SLOTS} slots")
    for name in ("spike", "rate_limit", "flat_tolerance", "drift_rate", "drift_total"):
        value = getattr(point, name)
        if not (0 <= value < 3e38):  # the quick checks keep some of them in single precision
            raise _refuse(point, f"{name} is {value}: it must be a number from 0 to 3e38")
    if point.chatter_count not in (0, 2, 3, CHATTER_MAX):
        raise _refuse(point, f"chatter_count is {point.chatter_count}: it must be 0 (off), 2, 3 or {CHATTER_MAX}")
    if point.dependency is Dependency.A and point.dependency_ns > TYPE_A_INHIBIT_NS:
        raise _refuse(point, "dependency A may hold a first signal back for 60 s at most (EN 54-2 7.12.1)")
    if len(point.sentinels) > SENTINELS_MAX or not all(map(isfinite, point.sentinels)):
        raise _refuse(point, f"sentinels {point.sentinels}: at most {SENTINELS_MAX} finite values")


def _spans(point: PointConfig) -> tuple[float, float, float, float]:
    """Sensor span, and the limits beyond which the current says that the sensor is broken (NAMUR NE 43)."""
    for name in ("sensor_span", "operator_span"):
        low, high = getattr(point, name)
        if not low < high:
            raise _refuse(point, f"{name} is {(low, high)}: the first must be below the second")
    low, high = point.sensor_span
    if point.loop_span is None:
        return low, high, -inf, inf
    at_4, at_20 = point.loop_span
    if not (isfinite(at_4) and isfinite(at_20)) or at_4 == at_20:
        raise _refuse(point, f"loop_span is {point.loop_span}: two different values, at 4 mA and at 20 mA")

    def at(milliampere: float) -> float:
        return at_4 + (at_20 - at_4) * (milliampere - 4.0) / 16.0

    usable = sorted((at(3.8), at(20.5)))
    fault = sorted((at(3.6), at(21.0)))
    return max(low, usable[0]), min(high, usable[1]), fault[0], fault[1]


def _levels(
    point: PointConfig, sign: float, low: float, high: float
) -> tuple[list[float], list[float], list[float], int, int]:
    raises, clears, rates = [], [], []
    valued = rated = 0
    below, below_name = -inf, ""
    for k, (level, name) in enumerate(zip(point.levels, NAMES, strict=True)):
        raises.append(_raise_at(point, level, name, sign, low, high))
        clears.append(inf if isnan(level.raise_at) else _clear_at(point, level, name, sign))
        rates.append(_rate_at(point, level, name))
        valued |= (not isnan(level.raise_at)) << k
        rated |= (not isnan(level.rate_at)) << k
        if not isnan(level.raise_at):
            if raises[k] <= below:
                raise _refuse(point, f"{name} raises at {level.raise_at}, not beyond {below_name}: set it further out")
            below, below_name = raises[k], name
    return raises, clears, rates, valued, rated


def _raise_at(point: PointConfig, level: LevelConfig, name: str, sign: float, low: float, high: float) -> float:
    if isnan(level.raise_at):
        if not isnan(level.clear_at):
            raise _refuse(point, f"{name} has clear_at {level.clear_at} but no raise_at")
        return inf
    if isinf(level.raise_at):
        raise _refuse(point, f"{name} raises at {level.raise_at}: it must be finite (nan: no such Level)")
    if not low <= level.raise_at <= high:
        raise _refuse(point, f"{name} raises at {level.raise_at}, which the sensor ({low} to {high}) never shows")
    return sign * level.raise_at


def _clear_at(point: PointConfig, level: LevelConfig, name: str, sign: float) -> float:
    if isnan(level.clear_at):
        return sign * level.raise_at
    if isinf(level.clear_at):
        raise _refuse(point, f"{name} clears at {level.clear_at}: it must be finite (nan: where it raises)")
    if sign * level.clear_at > sign * level.raise_at:
        side = "above" if sign > 0 else "below"
        raise _refuse(point, f"{name} clears at {level.clear_at}, {side} its raise at {level.raise_at}: swap them")
    return sign * level.clear_at


def _rate_at(point: PointConfig, level: LevelConfig, name: str) -> float:
    if isnan(level.rate_at):
        return inf
    if not 0 < level.rate_at < inf:
        raise _refuse(point, f"{name} has rate_at {level.rate_at}: a rate towards danger, units per second, above 0")
    if not point.rate_window_ns:
        raise _refuse(point, f"{name} has rate_at {level.rate_at} but the point has no rate_window_ns")
    return level.rate_at


def _check_drift(point: PointConfig, raises: list[float], sign: float) -> None:
    if not point.drift_rate:
        return
    if not point.drift_total or not isfinite(point.drift_clean):
        raise _refuse(point, "drift_rate needs drift_total above 0 and a finite drift_clean")
    room = min(raises) - sign * point.drift_clean
    if not point.drift_total < room:
        raise _refuse(point, f"drift_total {point.drift_total} could hide the lowest Level, {room} from clean air")


def check_group(group: GroupConfig, points: int) -> None:
    """Refuses a group whose vote could not be counted."""
    require_id(group.id, "group")
    n = len(group.members)
    if not 1 <= n <= MEMBERS_MAX:
        raise ConfigError(f"group {group.id!r}: has {n} members: from 1 to {MEMBERS_MAX}")
    if len(set(group.members)) != n or not all(0 <= member < points for member in group.members):
        raise ConfigError(f"group {group.id!r}: members must be different points of this panel")
    if not 1 <= group.k <= n:
        raise ConfigError(f"group {group.id!r}: k is {group.k}: from 1 to its {n} members")
    if not 0 <= group.window_ns <= LONGEST_NS:
        raise ConfigError(f"group {group.id!r}: window_ns is {group.window_ns}: from 0 to 366 days in nanoseconds")


def pack_rules(config: PanelConfig) -> tuple[list[bytes], list[int]]:
    """The different rules, and for each point the index of its own. Points alike share one."""
    seen: set[str] = set()
    of_settings: dict[tuple[object, ...], int] = {}
    rules: list[bytes] = []
    index: list[int] = []
    for point in config.points:
        if point.id in seen:
            raise ConfigError(f"point {point.id!r}: this id is given twice")
        seen.add(require_id(point.id, "point"))
        settings = tuple(getattr(point, name) for name in SETTINGS)
        which = of_settings.get(settings)
        if which is None:
            which = of_settings[settings] = len(rules)
            rules.append(pack_rule(point))
        index.append(which)
    for group in config.groups:
        if group.id in seen:
            raise ConfigError(f"group {group.id!r}: this id is given twice")
        seen.add(group.id)
        check_group(group, len(config.points))
    return rules, index


SETTINGS: Final = tuple(name for name in PointConfig.__slots__ if name != "id")


def digest(config: PanelConfig, rules: list[bytes], index: list[int]) -> bytes:
    """SHA-256 of everything that can change a verdict."""
    state = sha256(struct.pack("<II", len(config.points), len(config.groups)))
    for rule in rules:
        state.update(rule)
    state.update(struct.pack(f"<{len(index)}I", *index))
    for point in config.points:
        state.update(point.id.encode() + b"\0")
    for group in config.groups:
        state.update(group.id.encode() + struct.pack("<xIqB", group.k, group.window_ns, group.policy))
        state.update(struct.pack(f"<{len(group.members)}I", *group.members))
    return state.digest()
