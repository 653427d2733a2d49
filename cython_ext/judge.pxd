# cython: cdivision=True
"""One sample, judged: the exact way, and the band within which nothing can change (README.md §2, §6, §11)."""

from libc.float cimport FLT_MAX
from libc.math cimport INFINITY, NAN, fabs, isfinite, isnan
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from cython_ext.deadlines cimport fire
from cython_ext.due cimport due
from cython_ext.filters cimport (
    DRIFT_STEP_NS, HINDSIGHT, blindness, delta_rate, doubts, drift, offset_of, push, remember, seconds, used_up, window_rate,
)
from cython_ext.queue cimport arm
from cython_ext.state cimport (
    C_BLIND, C_CLOCK, C_DUPLICATE, C_HISTORICAL, C_OUT_OF_ORDER, C_SAMPLES, C_SPIKES, C_SUSPECT, C_UNKNOWN_POINT,
    F_LEAPT, F_ODD, NOWHERE, QUIET_BITS, R_CONFIRMED_SUSPECT, R_DRIFT, R_OUT_OF_SPAN, R_QUALITY, R_RATE, R_THRESHOLD, S_BLIND,
    S_CLOCK, S_HISTORICAL, T_CLOCK, T_DIRTY, T_DUPLICATE, T_FAILED, T_FLAPPING, T_MISSING, T_NOT_A_NUMBER, T_OPERATOR_SPAN,
    T_OUT_OF_ORDER, T_SAMPLE, T_SENSOR_SPAN, T_SPIKE, T_STALE, T_STANDING, W_DRIFT, W_RATE,
    Core, Extra, Hot, Rule, Warm, bucium_prefetch,
)
from cython_ext.verdict cimport declare, full, out_of_span, set_trouble, vote

cdef enum:
    CONFIRMING = 3  # successive samples, the first included, that raise whatever their quality


cdef inline bint same_value(double one, double other) noexcept nogil:
    """Bit for bit."""
    return memcmp(&one, &other, sizeof(double)) == 0


cdef inline bint duplicate(const Hot* hot, const Warm* warm, double value, uint16_t status) noexcept nogil:
    """The record at the same instant said the same."""
    if status != warm.last_status:
        return False
    if warm.flags & F_ODD:
        return status & S_BLIND or isnan(value)
    return same_value(value, hot.last)


cdef inline int flag_of(uint32_t fail) noexcept nogil:
    """The QARTOD flag of a sample that failed these checks."""
    if fail & T_MISSING:
        return 9
    if fail & (T_FAILED & ~T_STALE):
        return 4
    return 3 if fail else 1


cdef inline bint level_up(
    const Rule* rule, Warm* warm, int k, bint on, bint good, int64_t at_ns
) noexcept nogil:
    """An inactive Level and a sample: whether it is raised now."""
    cdef uint8_t bit = <uint8_t> (1 << k)
    cdef int seen
    cdef int64_t delay_ns
    if not on:
        if good:
            warm.pending &= <uint8_t> ~bit
        warm.counts &= <uint8_t> ~(3 << (2 * k))
        return False
    if not warm.pending & bit:
        warm.pending |= bit
        warm.since_ns[k] = at_ns
        warm.confirmed &= <uint8_t> ~bit
        warm.counts &= <uint8_t> ~(3 << (2 * k))
    if good:
        warm.confirmed |= bit
    else:
        seen = (warm.counts >> (2 * k)) & 3
        seen = seen + 1 if seen < CONFIRMING else seen
        warm.counts = <uint8_t> ((warm.counts & ~(3 << (2 * k))) | (seen << (2 * k)))
        if seen >= CONFIRMING:
            warm.confirmed |= bit
    delay_ns = rule.on_ns[k]
    if not warm.confirmed & bit and rule.confirm_ns > delay_ns:
        delay_ns = rule.confirm_ns
    if at_ns - warm.since_ns[k] < delay_ns:
        return False
    raise_level(warm, k, at_ns)
    return True


cdef inline void raise_level(Warm* warm, int k, int64_t at_ns) noexcept nogil:
    cdef uint8_t bit = <uint8_t> (1 << k)
    warm.active |= bit
    warm.pending &= <uint8_t> ~bit
    warm.counts &= <uint8_t> ~(3 << (2 * k))
    warm.raised_ns[k] = at_ns


cdef inline void drop_level(Warm* warm, int k) noexcept nogil:
    cdef uint8_t bit = <uint8_t> (1 << k)
    warm.active &= <uint8_t> ~bit
    warm.pending &= <uint8_t> ~bit
    warm.confirmed &= <uint8_t> ~bit


cdef inline bint level_down(
    const Rule* rule, Warm* warm, int k, bint off, int64_t at_ns
) noexcept nogil:
    """An active Level and a sample: whether it is left now. A latched one waits for a person."""
    cdef uint8_t bit = <uint8_t> (1 << k)
    if not off:
        warm.pending &= <uint8_t> ~bit
        return False
    if not warm.pending & bit:
        warm.pending |= bit
        warm.since_ns[k] = at_ns
    if rule.latch or at_ns - warm.since_ns[k] < rule.off_ns[k] or at_ns - warm.raised_ns[k] < rule.minimum_ns:
        return False
    drop_level(warm, k)
    return True


cdef inline void weigh(Core* core, uint32_t i, int64_t at_ns, double value, uint32_t fail, bint blind) noexcept nogil:
    """The three Levels of a point against one sample."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef Extra* extra = &core.extras[warm.extra] if warm.extra != NOWHERE else NULL
    cdef uint8_t active = warm.active
    cdef bint good = fail == 0, on, off, by_value
    cdef int k, reason = R_THRESHOLD
    cdef double turned = 0, rate = NAN
    if blind:
        warm.pending &= <uint8_t> ~active  # a running off-delay begins anew with the next good sample
        return
    turned = rule.sign * (value - (offset_of(rule, extra) if extra != NULL else 0.0))
    if rule.rated:
        rate = warm.rate if rule.robust else delta_rate(rule, extra, at_ns, value)
    for k in range(3):
        if not (rule.valued | rule.rated) & (1 << k):
            continue
        by_value = rule.valued & (1 << k) and turned >= rule.raise_at[k]
        if active & (1 << k):
            off = good and turned < rule.clear_at[k] and (not rule.rated & (1 << k) or rate < rule.rate_at[k])
            level_down(rule, warm, k, off, at_ns)
            continue
        on = by_value or (rule.rated & (1 << k) and rate >= rule.rate_at[k])
        if level_up(rule, warm, k, on, good, at_ns):
            if good:
                reason = R_THRESHOLD if by_value else R_RATE
            else:
                reason = R_OUT_OF_SPAN if out_of_span(fail) else R_CONFIRMED_SUSPECT
    if warm.active != active:
        declare(core, i, at_ns, value, reason)


cdef inline void keep(Core* core, uint32_t i, int64_t at_ns, double value, bint good) noexcept nogil:
    """A sample in order, into history and windows."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef Extra* extra
    remember(&core.hot[i], warm, at_ns, value)
    if good and rule.wants & W_RATE:
        extra = &core.extras[warm.extra]
        if extra.count == 0 or at_ns - extra.pushed_ns >= rule.spacing_ns:
            push(rule, extra, at_ns, value)
            if rule.robust and rule.rated:
                warm.rate = window_rate(rule, extra)


cdef inline void settle_drift(Core* core, uint32_t i, int64_t at_ns, double value) noexcept nogil:
    """Clean air teaches the baseline; nothing does while a Level is reached or under way."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef Extra* extra = &core.extras[warm.extra]
    cdef bint dirty
    if warm.active or warm.pending or not drift(rule, extra, at_ns, value):
        return
    dirty = used_up(rule, extra, warm.trouble & T_DIRTY)
    if dirty != (warm.trouble & T_DIRTY != 0):
        set_trouble(core, i, warm.trouble ^ T_DIRTY, at_ns, value, R_DRIFT)


cdef inline bint sample(
    Core* core, uint32_t i, int64_t at_ns, double value, uint16_t status, int64_t now_ns
) noexcept nogil:
    """Judge one record, exactly. False: what was told before it must be handed over first, then it comes again."""
    cdef uint32_t fail = 0
    if i >= core.points:
        core.counts[C_UNKNOWN_POINT] += 1
        return True
    if status & S_HISTORICAL:
        core.counts[C_HISTORICAL] += 1
        return True
    if at_ns < 0 or at_ns - now_ns > core.rules[core.warm[i].rule].period_ns or status & S_CLOCK:
        fail = T_CLOCK
    at_ns = 0 if at_ns < 0 else now_ns if at_ns > now_ns else at_ns
    if at_ns >= core.next_ns:
        fire(core, at_ns)
    if full(core):
        return False
    core.counts[C_SAMPLES] += 1
    if fail:
        core.counts[C_CLOCK] += 1
    if core.warm[i].extra != NOWHERE:
        fetch_windows(&core.extras[core.warm[i].extra])
    if fail or status or not calm(core, i, at_ns, value):
        judge(core, i, at_ns, value, status, fail)
    return True


cdef inline void fetch_windows(const Extra* extra) noexcept nogil:
    """Ask for its lines at once: else each would be waited for on its own, when the one before has said where to look."""
    cdef const char* line = <const char*> extra
    bucium_prefetch(line + 64)
    bucium_prefetch(line + 128)
    bucium_prefetch(line + 192)


cdef inline bint calm(Core* core, uint32_t i, int64_t at_ns, double value) noexcept nogil:
    """In the band, but its time was up for the rate window: keep the value and look at the rate. False: nothing is done yet."""
    cdef Hot* hot = &core.hot[i]
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef double change = fabs(value - hot.last), rate
    cdef uint8_t level = warm.level
    if hot.quiet_tick == 0 or at_ns <= hot.last_ns or not (value > hot.low and value < hot.high):
        return False
    if change > hot.spike or not change <= hot.step * <double> (at_ns - hot.last_ns):
        return False
    if rule.wants != W_RATE or (rule.flat_ns and at_ns - hot.anchor_ns >= rule.flat_ns):
        return False
    keep(core, i, at_ns, value, True)
    hot.last_ns = at_ns
    rate = warm.rate if rule.robust else delta_rate(rule, &core.extras[warm.extra], at_ns, value)
    if rule.rated and rate >= rule.rate_min:
        weigh(core, i, at_ns, value, 0, False)
        if warm.level != level:
            vote(core, i, at_ns)
        arm(core, i, due(core, i))
    quieten(core, i)
    return True


cdef inline void judge(
    Core* core, uint32_t i, int64_t at_ns, double value, uint16_t status, uint32_t fail
) noexcept nogil:
    cdef Hot* hot = &core.hot[i]
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef uint32_t before = warm.trouble & T_FAILED, blind, trouble
    cdef uint8_t level = warm.level
    cdef bint in_order = at_ns > hot.last_ns
    if not in_order:
        at_ns, fail = hot.last_ns, late(core, hot, warm, at_ns, value, status, fail)
        if fail & T_DUPLICATE:
            set_trouble(core, i, warm.trouble | T_DUPLICATE, at_ns, value, R_QUALITY)
            hot.quiet_tick = 0
            arm(core, i, due(core, i))
            return
    blind = blindness(rule, value, status)
    fail |= blind if blind else doubts(rule, hot, warm, at_ns, value, status, in_order)
    trouble = (fail & ~<uint32_t> HINDSIGHT) | <uint32_t> (T_SPIKE if fail & HINDSIGHT else 0)
    if fail & HINDSIGHT:
        core.counts[C_SPIKES] += 1
        fail &= ~<uint32_t> HINDSIGHT
    if fail:
        core.counts[C_BLIND if blind else C_SUSPECT] += 1
        if warm.trouble & T_FLAPPING:
            warm.faults_ns[0] = at_ns
    warm.fail = trouble
    warm.qc = <uint8_t> flag_of(fail)
    if in_order:
        if blind or not isfinite(value):
            warm.values = 0
            warm.flags |= F_ODD
        else:
            warm.flags &= <uint8_t> ~F_ODD
            keep(core, i, at_ns, value, fail == 0)
        hot.last_ns = at_ns
        warm.last_status = status
        if not warm.trouble & T_FLAPPING:
            trouble |= warm.trouble & ~<uint32_t> T_SAMPLE
        else:
            trouble |= warm.trouble
    else:
        trouble |= warm.trouble
    if trouble != warm.trouble:
        set_trouble(core, i, trouble, at_ns, value, R_QUALITY)
    weigh(core, i, at_ns, value, fail, blind != 0)
    if fail == 0 and rule.wants & W_DRIFT:
        settle_drift(core, i, at_ns, value)
    if warm.level != level or warm.trouble & T_FAILED != before:
        vote(core, i, at_ns)
    quieten(core, i)
    arm(core, i, due(core, i))


cdef inline uint32_t late(
    Core* core, const Hot* hot, const Warm* warm, int64_t at_ns, double value, uint16_t status, uint32_t fail
) noexcept nogil:
    """A record that does not come after the one before it."""
    if at_ns == hot.last_ns and duplicate(hot, warm, value, status):
        core.counts[C_DUPLICATE] += 1
        return fail | T_DUPLICATE
    core.counts[C_OUT_OF_ORDER] += 1
    return fail | T_OUT_OF_ORDER


cdef inline bint level_band(const Rule* rule, const Warm* warm, double* low, double* high) noexcept nogil:
    """Turned values that change no Level; False when only the exact way can tell."""
    cdef int k
    cdef uint8_t bit
    for k in range(3):
        bit = <uint8_t> (1 << k)
        if not (rule.valued | rule.rated) & bit:
            continue
        if rule.rated & bit and (warm.active | warm.pending) & bit:
            return False
        if warm.active & bit:
            if warm.pending & bit:
                high[0] = min(high[0], rule.clear_at[k])
            else:
                low[0] = max(low[0], rule.clear_at[k])
        elif warm.pending & bit:
            if not warm.confirmed & bit:
                return False
            low[0] = max(low[0], rule.raise_at[k])
        elif rule.valued & bit:
            high[0] = min(high[0], rule.raise_at[k])
    return True


cdef inline double rate_ceiling(const Rule* rule, const Extra* extra, int64_t last_ns) noexcept nogil:
    """Below this turned value the plain rate cannot reach `rate_min` before the next push."""
    cdef int64_t span_ns = last_ns - extra.kept[extra.head].at_ns
    cdef double base = rule.sign * extra.kept[extra.head].value, rise
    if span_ns < rule.window_ns // 2:
        span_ns = rule.window_ns // 2
    rise = rule.rate_min * seconds(span_ns)
    return base + rise - 1e-9 * (fabs(base) + rise)


cdef inline float inward_up(double bound) noexcept nogil:
    """A float surely above `bound`, by a few units in its last place."""
    if bound <= -FLT_MAX:
        return -FLT_MAX
    bound += 5e-7 * fabs(bound) + 1e-38
    return <float> bound if bound < FLT_MAX else FLT_MAX


cdef inline void quieten(Core* core, uint32_t i) noexcept nogil:
    """Work out the band and the time within which samples change nothing but history."""
    cdef Hot* hot = &core.hot[i]
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef Extra* extra = &core.extras[warm.extra] if warm.extra != NOWHERE else NULL
    cdef double low = -INFINITY, high = INFINITY, ceiling = INFINITY, offset, slack
    cdef int64_t last_ns = <int64_t> 0xFFFFFFFF << QUIET_BITS, until_ns = last_ns
    cdef int k
    hot.quiet_tick = 0
    if warm.fail or warm.trouble & ~<uint32_t> T_STANDING or warm.values < 2 or warm.flags & F_LEAPT:
        return
    if not level_band(rule, warm, &low, &high):
        return
    if rule.wants & W_RATE:
        if extra.count == 0:
            return
        until_ns = min(until_ns, extra.pushed_ns + rule.spacing_ns)
        if rule.rated and not rule.robust:
            ceiling = rate_ceiling(rule, extra, hot.last_ns)
    if rule.wants & W_DRIFT and not (warm.active or warm.pending):
        until_ns = min(until_ns, extra.drift_ns + DRIFT_STEP_NS)
    if rule.flat_ns:
        until_ns = min(until_ns, hot.anchor_ns + rule.flat_ns)
    offset = offset_of(rule, extra) if extra != NULL else 0.0
    slack = 1e-12 * fabs(offset)
    if rule.sign < 0:
        low, high = -high, -low
    low = max(max(low + offset + slack, rule.operator_low), max(rule.sensor_low, rule.fault_low))
    high = min(min(high + offset - slack, rule.operator_high), min(rule.sensor_high, rule.fault_high))
    if rule.sign < 0:  # the rate is of values as they came: no drift in it
        low = max(low, -ceiling)
    else:
        high = min(high, ceiling)
    for k in range(rule.sentinels):
        if low <= rule.sentinel[k] <= high:
            if rule.sentinel[k] < hot.last:
                low = rule.sentinel[k]
            else:
                high = rule.sentinel[k]
    hot.low = inward_up(low)
    hot.high = -inward_up(-high)
    if until_ns > 0:
        hot.quiet_tick = <uint32_t> (<uint64_t> min(until_ns, last_ns) >> QUIET_BITS)
