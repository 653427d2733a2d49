# cython: cdivision=True
"""What happens by time alone: staleness, delays, confirmation, dependencies, re-alarm, the end of chatter (README.md §10)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from cython_ext.due cimport dependency_due, due, heard_ns, level_due
from cython_ext.queue cimport NEVER, TICK_BITS, arm, enqueue, heap_remove, wheel_first, wheel_take, wheel_turn
from cython_ext.state cimport (
    C_STALE, NOWHERE, R_CONFIRMED_SUSPECT, R_DEPENDENCY, R_OFF_DELAY, R_ON_DELAY, R_OUT_OF_SPAN, R_REALARM, R_TIME, RESTATED,
    SPOKES, T_CHATTER, T_FAILED, T_FLAPPING, T_SAMPLE, T_STALE, UNSET,
    Core, Rule, Warm,
)
from cython_ext.verdict cimport count, declare, full, out_of_span, set_trouble, tell, vote


cdef inline void fire_levels(Core* core, uint32_t i, int64_t at_ns) noexcept nogil:
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef uint8_t active = warm.active, bit
    cdef int k, reason = R_OFF_DELAY
    for k in range(3):
        bit = <uint8_t> (1 << k)
        if level_due(rule, warm, k) > at_ns:
            continue
        if warm.active & bit:
            warm.active &= <uint8_t> ~bit
            warm.confirmed &= <uint8_t> ~bit
        else:
            reason = R_ON_DELAY
            if not warm.confirmed & bit:
                reason = R_OUT_OF_SPAN if out_of_span(warm.fail) else R_CONFIRMED_SUSPECT
            warm.active |= bit
            warm.raised_ns[k] = at_ns
        warm.pending &= <uint8_t> ~bit
        warm.counts &= <uint8_t> ~(3 << (2 * k))
    if warm.active != active:
        declare(core, i, at_ns, core.hot[i].last, reason)


cdef inline void fire_point(Core* core, uint32_t i, int64_t at_ns, int64_t now_ns) noexcept nogil:
    """Everything of one point that is due by `at_ns`, in this order."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef uint32_t before = warm.trouble & T_FAILED
    cdef uint8_t level = warm.level
    cdef double last = core.hot[i].last
    if rule.stale_ns and not warm.trouble & T_STALE and heard_ns(core, i) + rule.stale_ns <= at_ns:
        core.counts[C_STALE] += 1
        warm.qc = 4  # QARTOD's gap test
        warm.pending &= <uint8_t> ~warm.active  # what is not seen does not clear
        set_trouble(core, i, warm.trouble | T_STALE, at_ns, last, R_TIME)
    if warm.pending:
        fire_levels(core, i, at_ns)
    if dependency_due(rule, warm) <= at_ns:
        if warm.raw > rule.cap:
            declare(core, i, at_ns, last, R_DEPENDENCY)
        else:
            warm.first_ns = UNSET
    if warm.trouble & T_CHATTER and warm.raises_ns[0] + rule.chatter_ns <= at_ns:
        set_trouble(core, i, warm.trouble & ~<uint32_t> T_CHATTER, at_ns, last, R_TIME)
    if warm.trouble & T_FLAPPING and warm.faults_ns[0] + rule.chatter_ns <= at_ns:
        set_trouble(core, i, calm_trouble(warm), at_ns, last, R_TIME)
    if warm.level and rule.realarm_ns and warm.level_ns + (<int64_t> warm.restated + 1) * rule.realarm_ns <= at_ns:
        warm.restated = <uint32_t> ((now_ns - warm.level_ns) // rule.realarm_ns)
        tell(core, i, RESTATED, warm.level, warm.level, R_REALARM, at_ns, last, warm.trouble, 0)
    if warm.level != level or warm.trouble & T_FAILED != before:
        vote(core, i, at_ns)
    core.hot[i].quiet_tick = 0


cdef inline uint32_t calm_trouble(const Warm* warm) noexcept nogil:
    """Troubles once flapping has ended: what stands, and what the last sample still fails."""
    cdef uint32_t keep = warm.trouble & ~<uint32_t> (T_FLAPPING | T_SAMPLE)
    return keep | warm.fail | (warm.trouble & T_STALE)


cdef inline void drain(Core* core, uint32_t slot, uint64_t tick) noexcept nogil:
    """Time reaches a slot: its nodes go to where their true deadline is."""
    cdef uint32_t index = wheel_take(core, slot), following
    cdef int64_t when
    wheel_turn(core, tick + 1 if slot < SPOKES else tick)
    while index != NOWHERE:
        following = core.nodes[index].next
        core.nodes[index].place = NOWHERE
        when = due(core, index)
        if when != NEVER:
            enqueue(core, index, when)
        index = following


cdef inline bint earliest(Core* core, int64_t* when) noexcept nogil:
    """Empty slots into the heap until its first is the first of all; False when nothing waits."""
    cdef uint32_t slot = 0
    cdef uint64_t tick = 0
    while wheel_first(core, &slot, &tick):
        if core.beats and core.heap[0].due_ns < <int64_t> (tick << TICK_BITS):
            break
        drain(core, slot, tick)
    if core.beats == 0:
        return False
    when[0] = core.heap[0].due_ns
    return True


cdef inline int64_t bound(const Core* core) noexcept nogil:
    """Nothing is due before."""
    cdef uint32_t slot = 0
    cdef uint64_t tick = 0
    cdef int64_t first = core.heap[0].due_ns if core.beats else NEVER
    if wheel_first(core, &slot, &tick):
        first = min(first, <int64_t> (tick << TICK_BITS))
    return first


cdef inline bint fire(Core* core, int64_t now_ns) noexcept nogil:
    """Everything due up to now happens, at its time. False: only some of it, until there is room again."""
    return fire_since(core, now_ns, 0)


cdef inline bint fire_since(Core* core, int64_t now_ns, int64_t since_ns) noexcept nogil:
    """Everything due up to now, in order of (deadline, index); what was due before `since_ns` happens then.

    False: only some of it, until there is room again.
    """
    cdef bint done = False
    cdef int64_t when
    cdef uint32_t index, slot = 0
    cdef uint64_t tick = 0
    while True:
        while wheel_first(core, &slot, &tick) and <int64_t> (tick << TICK_BITS) <= now_ns:
            drain(core, slot, tick)
        done = core.beats == 0 or core.heap[0].due_ns > now_ns
        if done or full(core):
            break
        index = core.heap[0].index
        heap_remove(core, 0)
        core.nodes[index].place = NOWHERE
        when = due(core, index)
        if when <= core.nodes[index].due_ns:
            when = max(when, since_ns)
            if index < core.points:
                fire_point(core, index, when, now_ns)
            else:
                count(core, index - core.points, when)
            when = due(core, index)
        if when != NEVER:
            arm(core, index, when)
    core.next_ns = bound(core)
    return done


cdef inline int64_t exact_next(Core* core) noexcept nogil:
    """The next true deadline; NEVER."""
    cdef int64_t when = NEVER, true_ns
    cdef uint32_t index
    while earliest(core, &when):
        index = core.heap[0].index
        true_ns = due(core, index)
        if true_ns <= when:
            when = true_ns
            break
        heap_remove(core, 0)
        core.nodes[index].place = NOWHERE
        if true_ns != NEVER:
            enqueue(core, index, true_ns)
        when = NEVER
    core.next_ns = bound(core)
    return when
