# cython: cdivision=True
"""From conditions to what is told: troubles, the declared Level, EN 54-2 dependencies, chatter, votes (README.md §6–§9)."""

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from cython_ext.due cimport due
from cython_ext.filters cimport rewindow, used_up
from cython_ext.queue cimport arm
from cython_ext.state cimport (
    C_CHATTER, C_TRANSITIONS, F_CONFIRMED, F_LOWERED, LOWERED, NOWHERE, R_DEPENDENCY, R_PLAN, R_QUALITY, R_RESTART,
    R_VOTE, RAISED, RESTATED, T_CHATTER, T_DIRTY, T_FAILED, T_FLAPPING, T_NOT_A_NUMBER, T_OPERATOR_SPAN, T_SAMPLE,
    T_SENSOR_SPAN, T_VOTE_DEGRADED, TROUBLE_CLEARED, TROUBLE_RAISED, UNSET, W_DRIFT, Core, Event, Group, Member, Rule,
    Warm,
)


cdef inline void tell(
    Core* core, uint32_t point, int cause, int was, int level, int reason, int64_t at_ns, double value, uint32_t trouble,
    uint64_t evidence
) noexcept nogil:
    """A transition. There is room: no step begins without (`full`)."""
    cdef Event* event
    if core.event_count == core.event_room:
        core.event_lost += 1
        return
    event = &core.events[core.event_count]
    core.event_count += 1
    core.counts[C_TRANSITIONS] += 1
    event.at_ns = at_ns
    event.value = value
    event.evidence = evidence
    event.point = point
    event.trouble = trouble
    event.cause = <uint8_t> cause
    event.was = <uint8_t> was
    event.level = <uint8_t> level
    event.reason = <uint8_t> reason


cdef inline bint full(const Core* core) noexcept nogil:
    """What was told must be handed over before another step: a deadline, a sample, a point of another configuration."""
    return core.event_count >= core.event_pause


cdef inline bint out_of_span(uint32_t fail) noexcept nogil:
    return fail & (T_SENSOR_SPAN | T_OPERATOR_SPAN | T_NOT_A_NUMBER) != 0


cdef inline int top(int active) noexcept nogil:
    """The highest of the active Levels."""
    return 3 if active & 4 else 2 if active & 2 else 1 if active & 1 else 0


cdef inline bint often(const int64_t* times, int n, int64_t at_ns, int count, int64_t within_ns) noexcept nogil:
    """Whether `at_ns` is the `count`-th within the time, newest first."""
    return 2 <= count <= n + 1 and at_ns - times[count - 2] <= within_ns


cdef inline void note(int64_t* times, int64_t at_ns) noexcept nogil:
    times[2] = times[1]
    times[1] = times[0]
    times[0] = at_ns


cdef inline void set_trouble(
    Core* core, uint32_t i, uint32_t trouble, int64_t at_ns, double value, int reason
) noexcept nogil:
    """The point's troubles are now these; too frequent ones of samples are gathered into FLAPPING."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef uint32_t old = warm.trouble
    cdef int noted
    if trouble & ~old & T_SAMPLE:
        noted = warm.noted >> 4
        if often(warm.faults_ns, noted, at_ns, rule.chatter_count, rule.chatter_ns):
            trouble |= T_FLAPPING
        note(warm.faults_ns, at_ns)
        warm.noted = <uint8_t> ((warm.noted & 15) | ((noted + 1 if noted < 3 else 3) << 4))
    warm.trouble = trouble
    if old & ~trouble:
        tell(core, i, TROUBLE_CLEARED, warm.level, warm.level, reason, at_ns, value, trouble, 0)
    if trouble & ~old:
        tell(core, i, TROUBLE_RAISED, warm.level, warm.level, reason, at_ns, value, trouble, 0)


cdef inline bint partner(Core* core, uint32_t i, int64_t at_ns) noexcept nogil:
    """Another point of a group of this one has given a first signal: both are confirmed."""
    cdef uint32_t link, m
    cdef Member* member
    cdef Group* group
    cdef Warm* other
    cdef bint found = False
    for link in range(core.nodes[i].links, core.nodes[i + 1].links):
        group = &core.groups[core.members[core.links[link]].group]
        for m in range(group.first, group.first + group.count):
            member = &core.members[m]
            if member.point == i:
                continue
            other = &core.warm[member.point]
            if other.first_ns == UNSET:
                continue
            found = True
            if other.raw > core.rules[other.rule].cap and not other.flags & F_CONFIRMED:
                other.flags |= F_CONFIRMED
                declare(core, member.point, at_ns, core.hot[member.point].last, R_DEPENDENCY)
                vote(core, member.point, at_ns)
                arm(core, member.point, due(core, member.point))
    return found


cdef inline int depend(Core* core, uint32_t i, int64_t at_ns, int raw) noexcept nogil:
    """The Level that may be declared: a first signal alone shows `cap` at most (EN 54-2 7.12)."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    if raw > rule.cap:
        if warm.first_ns == UNSET:
            warm.first_ns = at_ns
            if partner(core, i, at_ns):
                warm.flags |= F_CONFIRMED
        elif at_ns - warm.first_ns >= rule.dependency_ns:
            warm.flags |= F_CONFIRMED
    elif raw == 0 and warm.flags & F_CONFIRMED:
        warm.flags &= <uint8_t> ~F_CONFIRMED
        warm.first_ns = UNSET
    return raw if warm.flags & F_CONFIRMED or raw < rule.cap else rule.cap


cdef inline void declare(Core* core, uint32_t i, int64_t at_ns, double value, int reason) noexcept nogil:
    """The conditions have changed: say the new Level, if it is one."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef int raw = top(warm.active), was = warm.level, level = raw
    cdef bint confirmed = warm.flags & F_CONFIRMED
    warm.raw = <uint8_t> raw
    if rule.cap < 3:
        level = depend(core, i, at_ns, raw)
        if level > was and (level < raw or (not confirmed and warm.flags & F_CONFIRMED)):
            reason = R_DEPENDENCY
    if level == was:
        return
    warm.level = <uint8_t> level
    warm.level_ns = at_ns
    warm.restated = 0
    leave(core, i, was, level, at_ns)
    if level < was:
        warm.flags |= F_LOWERED
        tell(core, i, LOWERED, was, level, reason, at_ns, value, warm.trouble, 0)
        return
    tell(core, i, RAISED, was, level, reason, at_ns, value, warm.trouble, 0)
    if warm.flags & F_LOWERED:
        warm.flags &= <uint8_t> ~F_LOWERED
        activate(core, i, at_ns, value)


cdef inline void activate(Core* core, uint32_t i, int64_t at_ns, double value) noexcept nogil:
    """A raise that is not a mere step further up counts towards chatter. It is never held back."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef int noted = warm.noted & 15
    cdef bint chatters = often(warm.raises_ns, noted, at_ns, rule.chatter_count, rule.chatter_ns)
    note(warm.raises_ns, at_ns)
    warm.noted = <uint8_t> ((warm.noted & 0xF0) | (noted + 1 if noted < 3 else 3))
    if chatters and not warm.trouble & T_CHATTER:
        core.counts[C_CHATTER] += 1
        set_trouble(core, i, warm.trouble | T_CHATTER, at_ns, value, R_QUALITY)


cdef inline void leave(Core* core, uint32_t i, int was, int level, int64_t at_ns) noexcept nogil:
    """Its groups remember for a window that the point was at the Levels it leaves."""
    cdef uint32_t link
    cdef int k
    for link in range(core.nodes[i].links, core.nodes[i + 1].links):
        for k in range(level, was):
            core.members[core.links[link]].left_ns[k] = at_ns
        for k in range(was, level):
            core.members[core.links[link]].left_ns[k] = UNSET


cdef inline void vote(Core* core, uint32_t i, int64_t at_ns) noexcept nogil:
    """Count again in every group of a point that changed."""
    cdef uint32_t link
    for link in range(core.nodes[i].links, core.nodes[i + 1].links):
        count(core, core.members[core.links[link]].group, at_ns)


cdef inline bint votes(const Core* core, const Group* group, const Member* member, int level, int64_t at_ns) noexcept nogil:
    cdef int64_t left_ns = member.left_ns[level - 1]
    return core.warm[member.point].level >= level or (left_ns != UNSET and at_ns - left_ns < group.window_ns)


cdef inline void count(Core* core, uint32_t g, int64_t at_ns) noexcept nogil:
    """k of n. A failed point votes as the policy says; absence alone never makes an alarm: one real vote is needed."""
    cdef Group* group = &core.groups[g]
    cdef uint32_t m, real = 0, failed = 0, trouble = group.trouble
    cdef uint64_t evidence = 0
    cdef int level, was = group.level
    group.counted_ns = at_ns
    for level in range(3, 0, -1):
        real = failed = 0
        evidence = 0
        for m in range(group.count):
            if votes(core, group, &core.members[group.first + m], level, at_ns):
                real += 1
                evidence |= <uint64_t> 1 << m
            elif core.warm[core.members[group.first + m].point].trouble & T_FAILED:
                failed += 1
        if real and real + (0 if group.to_silence else failed) >= group.k:
            break
    else:
        level = 0
    failed = 0
    for m in range(group.count):
        failed += 1 if core.warm[core.members[group.first + m].point].trouble & T_FAILED else 0
    trouble = T_VOTE_DEGRADED if group.count - failed < group.k else 0
    group.real = <uint8_t> real
    if trouble != group.trouble:
        group.trouble = trouble
        tell(
            core, core.points + g, TROUBLE_RAISED if trouble else TROUBLE_CLEARED, was, was, R_VOTE, at_ns, real, trouble,
            evidence
        )
    group.evidence = evidence
    if level != was:
        group.level = <uint8_t> level
        group.level_ns = at_ns
        tell(
            core, core.points + g, RAISED if level > was else LOWERED, was, level, R_VOTE, at_ns, real, trouble, evidence
        )
    arm(core, core.points + g, due(core, core.points + g))


cdef inline void resettle(Core* core, uint32_t i, int64_t now_ns) noexcept nogil:
    """A point's state under another rule: bounded as the rule says, without what it no longer has."""
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[warm.rule]
    cdef uint32_t trouble = warm.trouble & ~<uint32_t> T_DIRTY
    warm.rate = NAN
    if warm.extra != NOWHERE:
        warm.rate = rewindow(rule, &core.extras[warm.extra])
        if rule.wants & W_DRIFT and used_up(rule, &core.extras[warm.extra], warm.trouble & T_DIRTY):
            trouble |= T_DIRTY
    if trouble != warm.trouble:
        set_trouble(core, i, trouble, now_ns, core.hot[i].last, R_PLAN)
    warm.pending &= rule.valued | rule.rated
    warm.active &= rule.valued | rule.rated
    if rule.cap == 3:
        warm.flags &= <uint8_t> ~F_CONFIRMED
        warm.first_ns = UNSET
    elif warm.level > rule.cap:  # it was shown: a dependency that comes later does not take it back
        warm.flags |= F_CONFIRMED
        if warm.first_ns == UNSET:
            warm.first_ns = now_ns
    declare(core, i, now_ns, core.hot[i].last, R_PLAN)


cdef inline void adopt(Core* core, uint32_t index, int64_t now_ns, bint alike) noexcept nogil:
    """Its state has come from elsewhere: arm its deadline and, unless all is alike, leave Levels it does not have."""
    if index < core.points:
        if not alike:
            resettle(core, index, now_ns)
        core.hot[index].quiet_tick = 0
    elif not alike:
        count(core, index - core.points, now_ns)
    arm(core, index, due(core, index))


cdef inline void restate(Core* core, uint32_t index, int64_t now_ns) noexcept nogil:
    """After a restart: the Level that is held, if there is one."""
    cdef const Warm* warm
    cdef const Group* group
    if index < core.points:
        warm = &core.warm[index]
        if warm.level:
            tell(
                core, index, RESTATED, warm.level, warm.level, R_RESTART, now_ns, core.hot[index].last, warm.trouble, 0
            )
        return
    group = &core.groups[index - core.points]
    if group.level:
        tell(
            core, index, RESTATED, group.level, group.level, R_RESTART, now_ns, group.real, group.trouble, group.evidence
        )
