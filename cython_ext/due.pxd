# cython: cdivision=True
"""When a point or group next changes by time alone. Reads only (README.md §10)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from cython_ext.queue cimport NEVER
from cython_ext.state cimport F_CONFIRMED, T_CHATTER, T_FLAPPING, T_STALE, UNSET, Core, Group, Rule, Warm


cdef inline int64_t heard_ns(const Core* core, uint32_t i) noexcept nogil:
    """When the point last spoke; one that never did counts from when it was made."""
    return core.hot[i].last_ns if core.hot[i].last_ns != UNSET else core.warm[i].level_ns


cdef inline int64_t level_due(const Rule* rule, const Warm* warm, int k) noexcept nogil:
    """When the running delay of a Level ends."""
    cdef uint8_t bit = <uint8_t> (1 << k)
    cdef int64_t delay_ns
    if not warm.pending & bit:
        return NEVER
    if warm.active & bit:
        if rule.latch:
            return NEVER
        return max(warm.since_ns[k] + rule.off_ns[k], warm.raised_ns[k] + rule.minimum_ns)
    delay_ns = rule.on_ns[k]
    if not warm.confirmed & bit and rule.confirm_ns > delay_ns:
        delay_ns = rule.confirm_ns
    return warm.since_ns[k] + delay_ns


cdef inline int64_t dependency_due(const Rule* rule, const Warm* warm) noexcept nogil:
    if warm.first_ns == UNSET or warm.flags & F_CONFIRMED:
        return NEVER
    return warm.first_ns + (rule.dependency_ns if warm.raw > rule.cap else rule.cancel_ns)


cdef inline int64_t point_due(const Core* core, uint32_t i) noexcept nogil:
    cdef const Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef int64_t first = NEVER
    cdef int k
    if rule.stale_ns and not warm.trouble & T_STALE:
        first = heard_ns(core, i) + rule.stale_ns
    if warm.pending:
        for k in range(3):
            first = min(first, level_due(rule, warm, k))
    if warm.first_ns != UNSET:
        first = min(first, dependency_due(rule, warm))
    if warm.trouble & (T_CHATTER | T_FLAPPING):
        if warm.trouble & T_CHATTER:
            first = min(first, warm.raises_ns[0] + rule.chatter_ns)
        if warm.trouble & T_FLAPPING:
            first = min(first, warm.faults_ns[0] + rule.chatter_ns)
    if warm.level and rule.realarm_ns:
        first = min(first, warm.level_ns + (<int64_t> warm.restated + 1) * rule.realarm_ns)
    return first


cdef inline int64_t group_due(const Core* core, uint32_t g) noexcept nogil:
    """When the next remembered vote is forgotten."""
    cdef const Group* group = &core.groups[g]
    cdef int64_t first = NEVER, left_ns
    cdef uint32_t m
    cdef int k
    if not group.level:
        return NEVER
    for m in range(group.first, group.first + group.count):
        for k in range(group.level):
            left_ns = core.members[m].left_ns[k]
            if left_ns != UNSET and left_ns + group.window_ns > group.counted_ns:
                first = min(first, left_ns + group.window_ns)
    return first


cdef inline int64_t due(const Core* core, uint32_t index) noexcept nogil:
    """When the point or group next changes by time alone; NEVER."""
    return point_due(core, index) if index < core.points else group_due(core, index - core.points)
