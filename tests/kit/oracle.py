"""The panel in the plainest Python: what the compiled core must equal, transition for transition. Tests only."""

from collections import Counter
from collections.abc import Iterable
from math import inf, isfinite, isnan
from struct import pack

from cython_ext.model import (
    Cause,
    GroupConfig,
    Level,
    PanelConfig,
    QcFlag,
    Reason,
    Status,
    Transition,
    Trouble,
    VotePolicy,
)
from tests.kit.oracle_point import (
    BLIND,
    CHATTER,
    CLOCK,
    DUPLICATE,
    FAILED,
    FLAPPING,
    MISSING,
    NONE,
    OF_SAMPLES,
    OUT_OF_ORDER,
    OUT_OF_SPAN,
    SPIKE,
    STALE,
    OraclePoint,
)

Sample = tuple[int, int, float, int]  # point, at_ns, value, status


HISTORICAL, CLOCK_UNTRUSTED = int(Status.HISTORICAL), int(Status.CLOCK_UNTRUSTED)
DEGRADED = int(Trouble.VOTE_DEGRADED)


class OracleGroup:
    def __init__(self, index: int, config: GroupConfig) -> None:
        self.index = index
        self.config = config
        self.level = 0
        self.real = 0
        self.counted_ns = 0
        self.trouble = NONE
        self.left_ns: dict[tuple[int, int], int] = {}  # (point, Level) to when it was last there


class Oracle:
    """Same calls and same answers as Panel, for feed, advance, next_deadline_ns, reset and the readings."""

    def __init__(self, config: PanelConfig, now_ns: int = 0) -> None:
        self.points = [OraclePoint(i, point, now_ns) for i, point in enumerate(config.points)]
        self.groups = [OracleGroup(len(self.points) + g, group) for g, group in enumerate(config.groups)]
        self.counters: Counter[str] = Counter()
        self.told: list[Transition] = []

    def feed(self, samples: Iterable[Sample], now_ns: int) -> list[Transition]:
        for point, at_ns, value, status in samples:
            self.sample(point, at_ns, value, status, now_ns)
        return self.collect()

    def advance(self, now_ns: int) -> list[Transition]:
        self.fire(now_ns)
        return self.collect()

    def collect(self) -> list[Transition]:
        told, self.told = self.told, []
        return told

    def next_deadline_ns(self) -> int | None:
        dues = [point.due() for point in self.points] + [self.group_due(group) for group in self.groups]
        first = min(dues, default=inf)
        return None if first == inf else int(first)

    def reset(self, index: int, now_ns: int) -> list[Transition]:
        self.fire(now_ns)
        point = self.points[index]
        if point.config.latch:
            for gate in point.gates:
                if gate.on and gate.since_ns is not None:
                    gate.on, gate.since_ns = False, None
            self.declare(point, now_ns, point.value, Reason.RESET)
            self.vote(point, now_ns)
        return self.collect()

    # A sample.

    def sample(self, index: int, at_ns: int, value: float, status: int, now_ns: int) -> None:
        if index >= len(self.points):
            self.counters["unknown_point"] += 1
            return
        if status & HISTORICAL:
            self.counters["historical"] += 1
            return
        self.counters["samples"] += 1
        point = self.points[index]
        fail = NONE
        if at_ns < 0 or at_ns - now_ns > point.config.period_ns or status & CLOCK_UNTRUSTED:
            fail |= CLOCK
            self.counters["clock"] += 1
        at_ns = min(max(at_ns, 0), now_ns)
        self.fire(at_ns)
        before = (point.level, point.trouble & FAILED)
        self.judge(point, at_ns, value, status, fail)
        if (point.level, point.trouble & FAILED) != before:
            self.vote(point, at_ns if point.last_ns is None else max(at_ns, point.last_ns))

    def judge(self, point: OraclePoint, at_ns: int, value: float, status: int, fail: int) -> None:
        in_order = point.last_ns is None or at_ns > point.last_ns
        if not in_order:
            assert point.last_ns is not None
            if at_ns == point.last_ns and self.said_before(point, value, status):
                self.counters["duplicate"] += 1
                self.trouble(point, point.trouble | DUPLICATE, at_ns, value)
                return
            self.counters["out_of_order"] += 1
            fail |= OUT_OF_ORDER
            at_ns = point.last_ns
        blind, hindsight = point.blindness(value, status), False
        fail |= blind
        if not blind:
            doubts, hindsight = point.doubts(at_ns, value, status, in_order)
            fail |= doubts
        self.counters["spikes"] += hindsight
        shown = fail | (SPIKE if hindsight else NONE)
        if fail:
            self.counters["blind" if blind else "suspect"] += 1
            if point.trouble & FLAPPING:
                point.faults[-1] = at_ns
        point.fail = shown
        point.qc = self.flag(fail)
        standing = point.trouble
        if in_order:
            if blind or not isfinite(value):
                point.values.clear()
                point.odd = True
            else:
                point.odd = False
                point.keep(at_ns, value, not fail)
            point.last_ns, point.last_status = at_ns, status
            if not standing & FLAPPING:
                standing &= ~OF_SAMPLES
        self.trouble(point, standing | shown, at_ns, value)
        if blind:
            for gate in point.gates:
                if gate.on:
                    gate.since_ns = None
            return
        reason = point.weigh(at_ns, value, fail)
        if reason is not None:
            self.declare(point, at_ns, value, reason)
        if not fail:
            self.told += point.learn(at_ns, value)

    def said_before(self, point: OraclePoint, value: float, status: int) -> bool:
        if status != point.last_status:
            return False
        if point.odd:
            return bool(status & BLIND) or isnan(value)
        return pack("<d", value) == pack("<d", point.value)

    def flag(self, fail: int) -> QcFlag:
        if fail & MISSING:
            return QcFlag.MISSING
        if fail & FAILED:
            return QcFlag.FAIL
        return QcFlag.SUSPECT if fail else QcFlag.GOOD

    def trouble(
        self, point: OraclePoint, trouble: int, at_ns: int, value: float, reason: Reason = Reason.QUALITY
    ) -> None:
        self.told += point.set_trouble(trouble, at_ns, value, reason)

    # Levels.

    def declare(self, point: OraclePoint, at_ns: int, value: float, reason: Reason) -> None:
        was, raw, confirmed = point.level, point.raw, point.confirmed
        if point.cap < 3:
            self.depend(point, at_ns)
            level = raw if point.confirmed else min(raw, point.cap)
            if level > was and (level < raw or point.confirmed > confirmed):
                reason = Reason.DEPENDENCY
        else:
            level = raw
        if level == was:
            return
        point.level, point.level_ns, point.restated = level, at_ns, 0
        for group in self.groups_of(point):
            for passed in range(level + 1, was + 1):
                group.left_ns[point.index, passed] = at_ns
            for passed in range(was + 1, level + 1):
                group.left_ns.pop((point.index, passed), None)
        if level < was:
            point.lowered = True
            self.told.append(point.tell(Cause.LOWERED, was, at_ns, value, reason))
            return
        self.told.append(point.tell(Cause.RAISED, was, at_ns, value, reason))
        if point.lowered:
            point.lowered = False
            point.raises.append(at_ns)
            if point.often(point.raises) and not point.trouble & CHATTER:
                self.counters["chatter"] += 1
                self.trouble(point, point.trouble | CHATTER, at_ns, value)

    def depend(self, point: OraclePoint, at_ns: int) -> None:
        if point.raw > point.cap:
            if point.first_ns is None:
                point.first_ns = at_ns
                if self.partner(point, at_ns):
                    point.confirmed = True
            elif at_ns - point.first_ns >= point.config.dependency_ns:
                point.confirmed = True
        elif point.raw == 0 and point.confirmed:
            point.confirmed, point.first_ns = False, None

    def partner(self, point: OraclePoint, at_ns: int) -> bool:
        found = False
        for group in self.groups_of(point):
            for member in group.config.members:
                other = self.points[member]
                if other is point or other.first_ns is None:
                    continue
                found = True
                if other.raw > other.cap and not other.confirmed:
                    other.confirmed = True
                    self.declare(other, at_ns, other.value, Reason.DEPENDENCY)
                    self.vote(other, at_ns)
        return found

    # Votes.

    def groups_of(self, point: OraclePoint) -> list[OracleGroup]:
        return [group for group in self.groups if point.index in group.config.members]

    def vote(self, point: OraclePoint, at_ns: int) -> None:
        for group in self.groups_of(point):
            self.count(group, at_ns)

    def voters(self, group: OracleGroup, level: int, at_ns: int) -> list[int]:
        voters = []
        for member in group.config.members:
            left_ns = group.left_ns.get((member, level))
            recently = left_ns is not None and at_ns - left_ns < group.config.window_ns
            if self.points[member].level >= level or recently:
                voters.append(member)
        return voters

    def count(self, group: OracleGroup, at_ns: int) -> None:
        group.counted_ns = at_ns
        failed = {member for member in group.config.members if self.points[member].trouble & FAILED}
        for level in (3, 2, 1, 0):
            voters = self.voters(group, max(level, 1), at_ns)
            helped = failed - set(voters) if group.config.policy is VotePolicy.TO_ALARM else set()
            if voters and len(voters) + len(helped) >= group.config.k:
                break
        group.real = len(voters)
        healthy = len(group.config.members) - len(failed)
        trouble = DEGRADED if healthy < group.config.k else NONE
        if trouble != group.trouble:
            group.trouble = trouble
            cause = Cause.TROUBLE_RAISED if trouble else Cause.TROUBLE_CLEARED
            self.tell_group(group, cause, group.level, at_ns, voters)
        was, group.level = group.level, level
        if level != was:
            self.tell_group(group, Cause.RAISED if level > was else Cause.LOWERED, was, at_ns, voters)

    def tell_group(self, group: OracleGroup, cause: Cause, was: int, at_ns: int, voters: list[int]) -> None:
        self.told.append(
            Transition(
                group.index,
                cause,
                Level(was),
                Level(group.level),
                at_ns,
                float(group.real),
                Reason.VOTE,
                Trouble(group.trouble),
                tuple(voters),
            )
        )

    def group_due(self, group: OracleGroup) -> float:
        ends = [
            left_ns + group.config.window_ns for (_, level), left_ns in group.left_ns.items() if level <= group.level
        ]
        return min((end for end in ends if end > group.counted_ns), default=inf)

    # Time.

    def fire(self, now_ns: int, since_ns: int = 0) -> None:
        while True:
            waiting = [(point.due(), point.index) for point in self.points]
            waiting += [(self.group_due(group), group.index) for group in self.groups]
            due, index = min(waiting, default=(inf, 0))
            if due > now_ns:
                return
            at_ns = max(int(due), since_ns)
            if index < len(self.points):
                self.fire_point(self.points[index], at_ns, now_ns)
            else:
                self.count(self.groups[index - len(self.points)], at_ns)

    def fire_point(self, point: OraclePoint, at_ns: int, now_ns: int) -> None:
        before = (point.level, point.trouble & FAILED)
        if point.stale_due() <= at_ns:
            for gate in point.gates:
                if gate.on:
                    gate.since_ns = None
            self.counters["stale"] += 1
            point.qc = QcFlag.FAIL
            self.trouble(point, point.trouble | STALE, at_ns, point.value, Reason.TIME)
        reason = None
        for k, gate in enumerate(point.gates):
            if point.gate_due(k) > at_ns:
                continue
            if gate.on:
                gate.on, gate.since_ns = False, None
                reason = reason or Reason.OFF_DELAY
            else:
                reason = Reason.ON_DELAY
                if not gate.confirmed:
                    reason = Reason.OUT_OF_SPAN if point.fail & OUT_OF_SPAN else Reason.CONFIRMED_SUSPECT
                point.reach(gate, at_ns)
        if reason is not None:
            self.declare(point, at_ns, point.value, reason)
        if point.dependency_due() <= at_ns:
            if point.raw > point.cap:
                self.declare(point, at_ns, point.value, Reason.DEPENDENCY)
            else:
                point.first_ns = None
        if point.chatter_due() <= at_ns:
            self.trouble(point, point.trouble & ~CHATTER, at_ns, point.value, Reason.TIME)
        if point.flapping_due() <= at_ns:
            kept = point.trouble & ~(FLAPPING | OF_SAMPLES)
            self.trouble(point, kept | point.fail | (point.trouble & STALE), at_ns, point.value, Reason.TIME)
        if point.realarm_due() <= at_ns:
            point.restated = (now_ns - point.level_ns) // point.config.realarm_ns
            self.told.append(point.tell(Cause.RESTATED, point.level, at_ns, point.value, Reason.REALARM))
        if (point.level, point.trouble & FAILED) != before:
            self.vote(point, at_ns)
