# cython: cdivision=True, boundscheck=False, wraparound=False
"""What a sample says of itself: quality checks, rate of rise, drift. Pure arithmetic on one point's state (README.md §3–§5)."""

from libc.math cimport INFINITY, NAN, fabs, isfinite, isnan
from libc.stdint cimport int64_t, uint16_t, uint32_t

from cython_ext.state cimport (
    F_LEAPT, S_BLIND, S_FAULTS, S_KNOWN, S_MISSING, S_TEST, SLOTS, T_DEVICE, T_FLAT, T_MISSING, T_NOT_A_NUMBER,
    T_OPERATOR_SPAN, T_RATE, T_SENSOR_SPAN, T_SPIKE, T_TEST, UNSET, W_DRIFT, W_RATE,
    Extra, Hot, Rule, Warm,
)

cdef enum:
    HINDSIGHT = 1 << 30  # not of this sample: the one before was a spike

cdef extern from *:
    """
    #define BUCIUM_DRIFT_STEP_NS INT64_C(60000000000)
    """
    const int64_t DRIFT_STEP_NS "BUCIUM_DRIFT_STEP_NS"  # the baseline moves once a minute, by a minute's worth at most


cdef inline double seconds(int64_t ns) noexcept nogil:
    return <double> ns / 1e9


cdef inline uint32_t blindness(const Rule* rule, double value, uint16_t status) noexcept nogil:
    """Why there is no value at all to judge, or 0."""
    cdef int k
    if status & S_BLIND:
        if status & S_MISSING:
            return T_MISSING
        return T_DEVICE if status & S_FAULTS else T_TEST
    if isnan(value):
        return T_NOT_A_NUMBER
    if value < rule.fault_low or value > rule.fault_high:
        return T_DEVICE
    for k in range(rule.sentinels):
        if value == rule.sentinel[k]:
            return T_DEVICE
    return 0


cdef inline uint32_t doubts(
    const Rule* rule, Hot* hot, Warm* warm, int64_t at_ns, double value, uint16_t status, bint in_order
) noexcept nogil:
    """Which checks a value fails. Leaves in `warm.flags` whether it leapt."""
    cdef uint32_t fail = 0
    cdef double change
    if status & ~S_KNOWN:
        fail |= T_DEVICE
    if value < rule.sensor_low or value > rule.sensor_high:
        fail |= T_SENSOR_SPAN
    elif value < rule.operator_low or value > rule.operator_high:
        fail |= T_OPERATOR_SPAN
    if not isfinite(value):
        return fail | T_NOT_A_NUMBER
    if not in_order:
        return fail
    warm.flags &= <unsigned char> ~F_LEAPT
    if warm.values:
        change = fabs(value - hot.last)
        if change / seconds(at_ns - hot.last_ns) > rule.rate_limit:
            fail |= T_RATE
        if change > rule.spike:
            warm.flags |= F_LEAPT
            if warm.values < 2 or fabs(value - hot.before) > rule.spike:
                fail |= T_SPIKE
        if warm.values == 2 and fabs(hot.last - (hot.before + value) / 2) > rule.spike:
            fail |= HINDSIGHT
    if rule.flat_ns and hot.anchor_ns != UNSET and fabs(value - hot.anchor) <= rule.tolerance:
        if at_ns - hot.anchor_ns >= rule.flat_ns:
            fail |= T_FLAT
    return fail


cdef inline void remember(Hot* hot, Warm* warm, int64_t at_ns, double value) noexcept nogil:
    """A finite value in order becomes history, good or not (as QARTOD's tests see it)."""
    hot.before = hot.last
    hot.last = value
    if warm.values < 2:
        warm.values += 1
    if hot.anchor_ns == UNSET or fabs(value - hot.anchor) > <double> hot.tolerance:
        hot.anchor = value
        hot.anchor_ns = at_ns


cdef inline uint32_t slot_of(const Extra* extra, uint32_t nth) noexcept nogil:
    return (extra.head + nth) % SLOTS


cdef inline double robust_rate(const Extra* extra, double sign) noexcept nogil:
    """Theil–Sen: the median (of an even number the upper) of the slopes between all pairs, units per second, turned."""
    cdef double slopes[66]
    cdef double slope
    cdef uint32_t n = 0, i, j, a, b
    cdef int at
    for i in range(extra.count):
        a = slot_of(extra, i)
        for j in range(i + 1, extra.count):
            b = slot_of(extra, j)
            slope = sign * (extra.kept[b].value - extra.kept[a].value) / seconds(extra.kept[b].at_ns - extra.kept[a].at_ns)
            at = <int> n
            while at > 0 and slopes[at - 1] > slope:
                slopes[at] = slopes[at - 1]
                at -= 1
            slopes[at] = slope
            n += 1
    return slopes[n // 2]


cdef inline void push(const Rule* rule, Extra* extra, int64_t at_ns, double value) noexcept nogil:
    """Keep a good value for the rate: one a slot, none older than the window."""
    cdef uint32_t last
    cdef double slope
    while extra.count and (at_ns - extra.kept[extra.head].at_ns > rule.window_ns or extra.count == SLOTS):
        extra.head = (extra.head + 1) % SLOTS
        extra.count -= 1
    if extra.count and rule.robust and rule.rated:
        last = slot_of(extra, extra.count - 1)
        slope = rule.sign * (value - extra.kept[last].value) / seconds(at_ns - extra.kept[last].at_ns)
        extra.calm = extra.calm + 1 if slope < rule.rate_min * (1 - 1e-9) else 0
        if extra.calm > SLOTS:
            extra.calm = SLOTS
    else:
        extra.calm = 0
    last = slot_of(extra, extra.count)
    extra.kept[last].at_ns = at_ns
    extra.kept[last].value = value
    extra.count += 1
    extra.pushed_ns = at_ns


cdef inline double window_rate(const Rule* rule, const Extra* extra) noexcept nogil:
    """The robust rate after a push, turned: nan while the window is not half full, -inf when no slope can reach `rate_min`."""
    if extra.count < 4 or extra.pushed_ns - extra.kept[extra.head].at_ns < rule.window_ns // 2:
        return NAN
    if extra.calm >= extra.count - 1:
        return -INFINITY  # a slope over several slots is a mean of slopes between neighbours, so none is steeper
    return robust_rate(extra, rule.sign)


cdef inline double delta_rate(const Rule* rule, const Extra* extra, int64_t at_ns, double value) noexcept nogil:
    """(value - oldest) / time, turned; nan unless the oldest is from half a window to a window and a slot ago."""
    cdef int64_t span_ns
    if extra.count == 0:
        return NAN
    span_ns = at_ns - extra.kept[extra.head].at_ns
    if span_ns < rule.window_ns // 2 or span_ns > rule.window_ns + rule.spacing_ns or span_ns == 0:
        return NAN
    return rule.sign * (value - extra.kept[extra.head].value) / seconds(span_ns)


cdef inline double offset_of(const Rule* rule, const Extra* extra) noexcept nogil:
    """What the clean-air baseline has moved by."""
    return extra.baseline - rule.drift_clean if rule.wants & W_DRIFT else 0.0


cdef inline bint drift(const Rule* rule, Extra* extra, int64_t at_ns, double value) noexcept nogil:
    """Move the baseline towards a clean-air value, within rate and total; whether it moved (or began)."""
    cdef double step, wanted
    if extra.drift_ns == UNSET:
        extra.drift_ns = at_ns
        return False
    if at_ns - extra.drift_ns < DRIFT_STEP_NS:
        return False
    step = rule.drift_rate * seconds(DRIFT_STEP_NS)
    wanted = value - extra.baseline
    if wanted > step:
        wanted = step
    elif wanted < -step:
        wanted = -step
    wanted = extra.baseline + wanted
    if wanted > rule.drift_clean + rule.drift_total:
        wanted = rule.drift_clean + rule.drift_total
    elif wanted < rule.drift_clean - rule.drift_total:
        wanted = rule.drift_clean - rule.drift_total
    extra.baseline = wanted
    extra.drift_ns = at_ns
    return True


cdef inline bint used_up(const Rule* rule, const Extra* extra, bint dirty) noexcept nogil:
    """Whether the compensation is spent; said until a tenth of it is free again."""
    return fabs(extra.baseline - rule.drift_clean) >= rule.drift_total * (0.9 if dirty else 1.0)


cdef inline double rewindow(const Rule* rule, Extra* extra) noexcept nogil:
    """Windows filled under another rule: the baseline within this one's bounds, and the robust rate as it is seen now."""
    extra.calm = 0  # it was counted against the earlier rates
    if rule.wants & W_DRIFT:
        if extra.drift_ns == UNSET:  # nothing was compensated before
            extra.baseline = rule.drift_clean
        elif extra.baseline > rule.drift_clean + rule.drift_total:
            extra.baseline = rule.drift_clean + rule.drift_total
        elif extra.baseline < rule.drift_clean - rule.drift_total:
            extra.baseline = rule.drift_clean - rule.drift_total
    if rule.wants & W_RATE and rule.robust and rule.rated:
        return window_rate(rule, extra)
    return NAN
