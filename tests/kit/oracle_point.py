"""One point, judged in the plainest Python: whole lists instead of counters, comparisons in the order the theory gives them.

Written from cython_ext/README.md. Slow on purpose; used in tests only.
"""

from math import copysign, inf, isinf, isnan, nan
from struct import pack, unpack

from cython_ext.model import (
    NS_PER_S,
    Cause,
    Dependency,
    Direction,
    Hazard,
    Level,
    PointConfig,
    QcFlag,
    RateMethod,
    Reason,
    Status,
    Transition,
    Trouble,
)

# Plain integers: flags of enum cost ten times as much, and a campaign runs millions of cases.
NONE, MISSING, STALE, DEVICE = 0, int(Trouble.MISSING), int(Trouble.STALE), int(Trouble.DEVICE)
SENSOR_SPAN, OPERATOR_SPAN = int(Trouble.SENSOR_SPAN), int(Trouble.OPERATOR_SPAN)
SPIKE, RATE, FLAT, NOT_A_NUMBER = int(Trouble.SPIKE), int(Trouble.RATE), int(Trouble.FLAT), int(Trouble.NOT_A_NUMBER)
OUT_OF_ORDER, DUPLICATE, CLOCK = int(Trouble.OUT_OF_ORDER), int(Trouble.DUPLICATE), int(Trouble.CLOCK)
CHATTER, FLAPPING, DIRTY, TEST = int(Trouble.CHATTER), int(Trouble.FLAPPING), int(Trouble.DIRTY), int(Trouble.TEST)
S_MISSING, S_TEST = int(Status.MISSING), int(Status.TEST)
S_FAULT = int(Status.SENTINEL | Status.LOOP_FAULT | Status.DEVICE_FAULT)
BLIND = S_MISSING | S_FAULT | S_TEST
OF_SAMPLES = 0xFFF | TEST
FAILED = MISSING | STALE | DEVICE | SENSOR_SPAN | FLAT | NOT_A_NUMBER | TEST
OUT_OF_SPAN = SENSOR_SPAN | OPERATOR_SPAN | NOT_A_NUMBER
MINUTE_NS = 60 * NS_PER_S
FIRST_SIGNAL_SHOWS = {Dependency.NONE: 3, Dependency.A: 0, Dependency.B: 1, Dependency.C: 2}
CANCEL_NS = {Dependency.A: 30 * MINUTE_NS, Dependency.B: 5 * MINUTE_NS, Dependency.C: 30 * MINUTE_NS}


class Gate:
    """One Level of a point: whether it is on, and the delay that runs."""

    def __init__(self) -> None:
        self.on = False
        self.raised_ns = 0
        self.since_ns: int | None = None
        self.confirmed = False
        self.suspects = 0


class OraclePoint:
    def __init__(self, index: int, config: PointConfig, now_ns: int) -> None:
        self.index = index
        self.config = config
        self.sign = -1.0 if config.direction is Direction.FALLING else 1.0
        self.gates = [Gate(), Gate(), Gate()]
        self.level = 0
        self.level_ns = now_ns
        self.restated = 0
        self.trouble = NONE
        self.fail = NONE
        self.qc = QcFlag.UNKNOWN
        self.last_ns: int | None = None
        self.last_status = 0
        self.odd = False
        self.value = nan
        self.values: list[float] = []  # since the last break
        self.anchor: tuple[int, float] | None = None
        self.window: list[tuple[int, float]] = []
        self.robust = nan
        self.baseline = config.drift_clean
        self.drift_ns: int | None = None
        self.first_ns: int | None = None
        self.confirmed = False
        self.lowered = True
        self.raises: list[int] = []
        self.faults: list[int] = []
        self.spikes = 0
        confirm = max(3 * config.period_ns, config.confirm_ns)
        self.confirm_ns = min(confirm, 10 * NS_PER_S) if config.hazard is Hazard.FIRE else confirm
        self.tolerance = unpack("<f", pack("<f", config.flat_tolerance))[0]
        self.sensor, self.fault = self.spans()

    def spans(self) -> tuple[tuple[float, float], tuple[float, float]]:
        low, high = self.config.sensor_span
        if self.config.loop_span is None:
            return (low, high), (-inf, inf)
        at_4, at_20 = self.config.loop_span
        amps = {ma: at_4 + (at_20 - at_4) * (ma - 4.0) / 16.0 for ma in (3.6, 3.8, 20.5, 21.0)}
        usable, broken = sorted((amps[3.8], amps[20.5])), sorted((amps[3.6], amps[21.0]))
        return (max(low, usable[0]), min(high, usable[1])), (broken[0], broken[1])

    @property
    def raw(self) -> int:
        return max((k + 1 for k, gate in enumerate(self.gates) if gate.on), default=0)

    @property
    def cap(self) -> int:
        return FIRST_SIGNAL_SHOWS[self.config.dependency]

    def tell(self, cause: Cause, was: int, at_ns: int, value: float, reason: Reason) -> Transition:
        return Transition(self.index, cause, Level(was), Level(self.level), at_ns, value, reason, Trouble(self.trouble))

    # Quality.

    def blindness(self, value: float, status: int) -> int:
        if status & S_MISSING:
            return MISSING
        if status & S_FAULT:
            return DEVICE
        if status & S_TEST:
            return TEST
        if isnan(value):
            return NOT_A_NUMBER
        if not self.fault[0] <= value <= self.fault[1] or value in self.config.sentinels:
            return DEVICE
        return NONE

    def doubts(self, at_ns: int, value: float, status: int, in_order: bool) -> tuple[int, bool]:
        """Failed checks, and whether the value before is now seen to have been a spike."""
        config, fail, hindsight = self.config, NONE, False
        if status >> 7:
            fail |= DEVICE
        if not self.sensor[0] <= value <= self.sensor[1]:
            fail |= SENSOR_SPAN
        elif not config.operator_span[0] <= value <= config.operator_span[1]:
            fail |= OPERATOR_SPAN
        if isinf(value):
            return fail | NOT_A_NUMBER, False
        if not in_order:
            return fail, False
        if self.values:
            assert self.last_ns is not None
            change = abs(value - self.values[-1])
            if config.rate_limit and change / ((at_ns - self.last_ns) / 1e9) > config.rate_limit:
                fail |= RATE
            if config.spike and all(abs(value - earlier) > config.spike for earlier in self.values[-2:]):
                fail |= SPIKE
            if config.spike and len(self.values) >= 2:
                hindsight = abs(self.values[-1] - (self.values[-2] + value) / 2) > config.spike
        if config.flat_ns and self.anchor and abs(value - self.anchor[1]) <= self.tolerance:
            fail |= FLAT if at_ns - self.anchor[0] >= config.flat_ns else NONE
        return fail, hindsight

    def set_trouble(self, trouble: int, at_ns: int, value: float, reason: Reason) -> list[Transition]:
        old = self.trouble
        if trouble & ~old & OF_SAMPLES:
            self.faults.append(at_ns)
            if self.often(self.faults):
                trouble |= FLAPPING
        self.trouble = trouble
        told = []
        if old & ~trouble:
            told.append(self.tell(Cause.TROUBLE_CLEARED, self.level, at_ns, value, reason))
        if trouble & ~old:
            told.append(self.tell(Cause.TROUBLE_RAISED, self.level, at_ns, value, reason))
        return told

    def often(self, times: list[int]) -> bool:
        count = self.config.chatter_count
        return count > 0 and len(times) >= count and times[-1] - times[-count] <= self.config.chatter_ns

    # Rate of rise and drift.

    def keep(self, at_ns: int, value: float, good: bool) -> None:
        config = self.config
        self.values.append(value)
        self.value = value
        if self.anchor is None or not config.flat_ns or abs(value - self.anchor[1]) > self.tolerance:
            self.anchor = (at_ns, value)
        if not good or not config.rate_window_ns:
            return
        if self.window and at_ns - self.window[-1][0] < config.rate_window_ns // 11:
            return
        self.window = [kept for kept in self.window if at_ns - kept[0] <= config.rate_window_ns][-11:]
        self.window.append((at_ns, value))
        self.robust = self.theil_sen()

    def theil_sen(self) -> float:
        """The median of all slopes, of an even number the upper; towards danger positive. nan: not known."""
        kept = self.window
        if len(kept) < 4 or kept[-1][0] - kept[0][0] < self.config.rate_window_ns // 2:
            return nan
        slopes = sorted(
            self.sign * (b[1] - a[1]) / ((b[0] - a[0]) / 1e9) for i, a in enumerate(kept) for b in kept[i + 1 :]
        )
        return slopes[len(slopes) // 2]

    def rate(self, at_ns: int, value: float) -> float:
        config = self.config
        if not config.rate_window_ns:
            return nan
        if config.rate_method is RateMethod.ROBUST:
            return self.robust
        if not self.window:
            return nan
        span_ns = at_ns - self.window[0][0]
        if not config.rate_window_ns // 2 <= span_ns <= config.rate_window_ns + config.rate_window_ns // 11:
            return nan
        return self.sign * (value - self.window[0][1]) / (span_ns / 1e9)

    def learn(self, at_ns: int, value: float) -> list[Transition]:
        config = self.config
        if not config.drift_rate or any(gate.on or gate.since_ns is not None for gate in self.gates):
            return []
        if self.drift_ns is None:
            self.drift_ns = at_ns
            return []
        if at_ns - self.drift_ns < MINUTE_NS:
            return []
        step = config.drift_rate * 60.0
        wanted = value - self.baseline
        if abs(wanted) > step:
            wanted = copysign(step, wanted)
        low, high = config.drift_clean - config.drift_total, config.drift_clean + config.drift_total
        self.baseline = min(max(self.baseline + wanted, low), high)
        self.drift_ns = at_ns
        limit = config.drift_total * (0.9 if self.trouble & DIRTY else 1.0)
        dirty = abs(self.baseline - config.drift_clean) >= limit
        if dirty == bool(self.trouble & DIRTY):
            return []
        return self.set_trouble(self.trouble ^ DIRTY, at_ns, value, Reason.DRIFT)

    # Levels.

    def weigh(self, at_ns: int, value: float, fail: int) -> Reason | None:
        """One value against the three Levels; the reason if any changed."""
        config, changed = self.config, None
        judged = value - (self.baseline - config.drift_clean) if config.drift_rate else value
        turned, rate = self.sign * judged, self.rate(at_ns, value)
        good = not fail
        for level, gate in zip(config.levels, self.gates, strict=True):
            has_value, has_rate = not isnan(level.raise_at), not isnan(level.rate_at)
            if not has_value and not has_rate:
                continue
            above = has_value and turned >= self.sign * level.raise_at
            if gate.on:
                clear = level.raise_at if isnan(level.clear_at) else level.clear_at
                below = turned < (self.sign * clear if has_value else inf)
                if self.leaving(
                    gate, level.off_delay_ns, at_ns, good and below and (not has_rate or rate < level.rate_at)
                ):
                    changed = changed or Reason.THRESHOLD
                continue
            if self.reaching(gate, level.on_delay_ns, at_ns, above or (has_rate and rate >= level.rate_at), good):
                if good:
                    changed = Reason.THRESHOLD if above else Reason.RATE
                else:
                    changed = Reason.OUT_OF_SPAN if fail & OUT_OF_SPAN else Reason.CONFIRMED_SUSPECT
        return changed

    def reaching(self, gate: Gate, delay_ns: int, at_ns: int, met: bool, good: bool) -> bool:
        if not met:
            gate.suspects = 0
            if good:
                gate.since_ns = None
            return False
        if gate.since_ns is None:
            gate.since_ns, gate.confirmed, gate.suspects = at_ns, False, 0
        if not good:
            gate.suspects += 1
        if good or gate.suspects >= 3:
            gate.confirmed = True
        if at_ns - gate.since_ns < (delay_ns if gate.confirmed else max(delay_ns, self.confirm_ns)):
            return False
        self.reach(gate, at_ns)
        return True

    def reach(self, gate: Gate, at_ns: int) -> None:
        gate.on, gate.raised_ns, gate.since_ns, gate.suspects = True, at_ns, None, 0

    def leaving(self, gate: Gate, delay_ns: int, at_ns: int, met: bool) -> bool:
        if not met:
            gate.since_ns = None
            return False
        if gate.since_ns is None:
            gate.since_ns = at_ns
        if self.config.latch or at_ns - gate.since_ns < delay_ns:
            return False
        if at_ns - gate.raised_ns < self.config.minimum_on_ns:
            return False
        gate.on, gate.since_ns = False, None
        return True

    def gate_due(self, k: int) -> float:
        gate, level = self.gates[k], self.config.levels[k]
        if gate.since_ns is None or (gate.on and self.config.latch):
            return inf
        if gate.on:
            return max(gate.since_ns + level.off_delay_ns, gate.raised_ns + self.config.minimum_on_ns)
        delay_ns = level.on_delay_ns if gate.confirmed else max(level.on_delay_ns, self.confirm_ns)
        return gate.since_ns + delay_ns

    # What is due by time.

    def stale_due(self) -> float:
        if not self.config.stale_ns or self.trouble & STALE:
            return inf
        return (self.level_ns if self.last_ns is None else self.last_ns) + self.config.stale_ns

    def dependency_due(self) -> float:
        if self.first_ns is None or self.confirmed:
            return inf
        config = self.config
        return self.first_ns + (config.dependency_ns if self.raw > self.cap else CANCEL_NS[config.dependency])

    def chatter_due(self) -> float:
        return self.raises[-1] + self.config.chatter_ns if self.trouble & CHATTER else inf

    def flapping_due(self) -> float:
        return self.faults[-1] + self.config.chatter_ns if self.trouble & FLAPPING else inf

    def realarm_due(self) -> float:
        if not self.level or not self.config.realarm_ns:
            return inf
        return self.level_ns + (self.restated + 1) * self.config.realarm_ns

    def due(self) -> float:
        return min(
            self.gate_due(0),
            self.gate_due(1),
            self.gate_due(2),
            self.stale_due(),
            self.dependency_due(),
            self.chatter_due(),
            self.flapping_due(),
            self.realarm_due(),
        )
