"""The oracle under another configuration: what is carried over by id, in the plainest Python (cython_ext/README.md §12)."""

from cython_ext.model import PanelConfig, PointConfig, RateMethod, Reason
from tests.kit.oracle import Oracle, OracleGroup
from tests.kit.oracle_point import DIRTY, OraclePoint

CARRIED = (
    "gates", "level", "level_ns", "restated", "trouble", "fail", "qc", "last_ns", "last_status", "odd", "value", "values",
    "anchor", "first_ns", "confirmed", "lowered", "raises", "faults",
)  # fmt: skip
OF_WINDOWS = ("window", "baseline", "drift_ns")


def looks_back(config: PointConfig) -> bool:
    return bool(config.spike or config.rate_limit or config.flat_ns)


def has_windows(config: PointConfig) -> bool:
    return bool(config.rate_window_ns or config.drift_rate)


def reconfigured(before: Oracle, config: PanelConfig, now_ns: int) -> Oracle:
    """The same state under another configuration; what it tells waits in `told`."""
    before.fire(now_ns)
    after = Oracle(config, now_ns)
    after.counters, after.told = before.counters, before.told
    followed = any(looks_back(point.config) for point in before.points)
    of_points = {point.config.id: point for point in before.points}
    for point in after.points:
        if point.config.id in of_points:
            carry(of_points[point.config.id], point, followed)
    of_groups = {group.config.id: group for group in before.groups}
    for group in after.groups:
        if group.config.id in of_groups:
            carry_votes(before, of_groups[group.config.id], after, group)
    for point in after.points:
        settle(after, point, now_ns)
    for group in after.groups:
        after.count(group, now_ns)
    after.fire(now_ns, since_ns=now_ns)
    return after


def carry(old: OraclePoint, new: OraclePoint, followed: bool) -> None:
    for name in CARRIED:
        setattr(new, name, getattr(old, name))
    if not followed:
        new.values = new.values[-1:]
        if new.anchor is not None:
            assert new.last_ns is not None
            new.anchor = (new.last_ns, new.value)
    if has_windows(old.config) and has_windows(new.config):
        for name in OF_WINDOWS:
            setattr(new, name, getattr(old, name))


def carry_votes(before: Oracle, old: OracleGroup, after: Oracle, new: OracleGroup) -> None:
    new.level, new.trouble, new.counted_ns = old.level, old.trouble, old.counted_ns
    index = {point.config.id: point.index for point in after.points}
    for (member, level), left_ns in old.left_ns.items():
        now_at = index.get(before.points[member].config.id)
        if now_at in new.config.members:
            new.left_ns[now_at, level] = left_ns


def settle(oracle: Oracle, point: OraclePoint, now_ns: int) -> None:
    config, trouble = point.config, point.trouble & ~DIRTY
    point.robust = point.theil_sen() if config.rate_method is RateMethod.ROBUST else point.robust
    if config.drift_rate:
        low, high = config.drift_clean - config.drift_total, config.drift_clean + config.drift_total
        point.baseline = config.drift_clean if point.drift_ns is None else min(max(point.baseline, low), high)
        if abs(point.baseline - config.drift_clean) >= config.drift_total * (0.9 if point.trouble & DIRTY else 1.0):
            trouble |= DIRTY
    if trouble != point.trouble:
        oracle.trouble(point, trouble, now_ns, point.value, Reason.PLAN)
    for gate, level in zip(point.gates, config.levels, strict=True):
        if level.raise_at != level.raise_at and level.rate_at != level.rate_at:
            gate.on, gate.since_ns = False, None
    if point.cap == 3:
        point.confirmed, point.first_ns = False, None
    elif point.level > point.cap:
        point.confirmed = True
        point.first_ns = now_ns if point.first_ns is None else point.first_ns
    oracle.declare(point, now_ns, point.value, Reason.PLAN)
