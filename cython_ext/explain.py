"""Why a point or group is where it is: facts of the panel put into an Explanation. People's texts are elsewhere."""

from collections.abc import Mapping
from math import inf, isnan, nan
from typing import Any

from .model import NS_PER_S, Direction, Explanation, GroupConfig, Level, PanelConfig, PointConfig, QcFlag, Trouble

NEVER_NS = -(1 << 63)


def explanation(config: PanelConfig, facts: Mapping[str, Any], now_ns: int) -> Explanation:
    """`facts` are the fields of `state.pxd` by name, with index, value, rate, offset and confirm_ns of a point."""
    index: int = facts["index"]
    if index >= len(config.points):
        return _of_group(config.groups[index - len(config.points)], config, facts, now_ns)
    point = config.points[index]
    pending, pending_at_ns = _pending(point, facts)
    words = [*_level_words(point, facts, now_ns), *_quality_words(point, facts, now_ns)]
    if pending is not None:
        words.append(f"{pending.name.lower()} due in {(pending_at_ns - now_ns) / NS_PER_S:.3f} s")
    return Explanation(
        index,
        Level(facts["level"]),
        Trouble(facts["trouble"]),
        QcFlag(facts["qc"]),
        facts["value"],
        facts["rate"],
        facts["level_ns"],
        pending,
        pending_at_ns,
        time_to_next_s(point, facts["level"], facts["value"] - facts["offset"], facts["rate"]),
        bool(point.latch and facts["active"]),
        tuple(words),
    )


def time_to_next_s(point: PointConfig, level: int, value: float, rate_per_s: float) -> float:
    """Seconds until the next higher Level's raise at the present rate; inf: never, or not known."""
    sign = -1.0 if point.direction is Direction.FALLING else 1.0
    for settings in point.levels[level:]:
        if isnan(settings.raise_at):
            continue
        distance = sign * (settings.raise_at - value)
        if distance <= 0:
            return 0.0
        return distance / (sign * rate_per_s) if sign * rate_per_s > 0 else inf
    return inf


def _pending(point: PointConfig, facts: Mapping[str, Any]) -> tuple[Level | None, int]:
    """The highest Level that a running delay will reach, and when."""
    for k in (2, 1, 0):
        bit = 1 << k
        if facts["pending"] & bit and not facts["active"] & bit:
            delay_ns = point.levels[k].on_delay_ns
            if not facts["confirmed"] & bit:
                delay_ns = max(delay_ns, facts["confirm_ns"])
            return Level(k + 1), facts["since_ns"][k] + delay_ns
    return None, 0


def _level_words(point: PointConfig, facts: Mapping[str, Any], now_ns: int) -> list[str]:
    words = []
    for k, settings in enumerate(point.levels):
        bit, name = 1 << k, Level(k + 1).name.lower()
        if facts["active"] & bit:
            words.append(
                f"{name} raised {(now_ns - facts['raised_ns'][k]) / NS_PER_S:.3f} s ago at {settings.raise_at}"
                f", clears at {settings.raise_at if isnan(settings.clear_at) else settings.clear_at}"
            )
            if facts["pending"] & bit:
                left_s = (now_ns - facts["since_ns"][k]) / NS_PER_S
                words.append(f"{name} condition gone for {left_s:.3f} s" + (", latched" if point.latch else ""))
    if facts["raw"] > facts["level"]:
        words.append(f"dependency {point.dependency.name} holds {Level(facts['raw']).name.lower()} back")
    if not words:
        words.append("no Level is reached")
    return words


def _quality_words(point: PointConfig, facts: Mapping[str, Any], now_ns: int) -> list[str]:
    words = [f"{bit.name.lower().replace('_', ' ')}" for bit in Trouble(facts["trouble"]) if bit.name]
    if facts["last_ns"] == NEVER_NS:
        words.append("never heard")
    else:
        words.append(f"heard {(now_ns - facts['last_ns']) / NS_PER_S:.3f} s ago")
    if facts["offset"]:
        words.append(f"drift compensated by {facts['offset']:.6g} of {point.drift_total:.6g}")
    return words


def _of_group(group: GroupConfig, config: PanelConfig, facts: Mapping[str, Any], now_ns: int) -> Explanation:
    voters = [config.points[m].id for k, m in enumerate(group.members) if facts["evidence"] >> k & 1]
    words = [
        f"{facts['real']} of {len(group.members)} vote, {group.k} needed, failed points {group.policy.name.lower()}",
        f"since {(now_ns - facts['level_ns']) / NS_PER_S:.3f} s",
    ]
    if voters:
        words.append("voting: " + ", ".join(voters))
    return Explanation(
        facts["index"],
        Level(facts["level"]),
        Trouble(facts["trouble"]),
        QcFlag.UNKNOWN,
        float(facts["real"]),
        nan,
        facts["level_ns"],
        None,
        0,
        inf,
        False,
        tuple(words),
    )
