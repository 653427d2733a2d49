# cython: boundscheck=False, wraparound=False, cdivision=True, autotestdict=False
"""The one block of memory that a panel lives in: laid out, filled from the configuration, and given back."""

from libc.math cimport INFINITY, NAN
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cython_ext.due cimport due
from cython_ext.queue cimport NEVER, TICK_BITS, arm
from cython_ext.state cimport (
    F_LOWERED, NOWHERE, UNSET, Beat, Core, Event, Extra, Group, Hot, Member, Node, Rule, Warm,
)

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void** memory, size_t alignment, size_t size)

cdef enum:
    # What a step can say of one point, by its own kind of change: troubles of its sample or of staleness (cleared and
    # raised), the end of flapping (as much), drift or the end of chatter, a Level and its chatter, a Level that a dependency
    # held back, a re-alarm.
    OWN_MOST = 11
    GROUP_MOST = 2  # each time a group is counted: its trouble, its Level
    PARTNER_MOST = 2  # another point that a first signal confirms: its Level and its chatter


cdef Core* make(
    object config, list packed, list index, int64_t now_ns, uint32_t told_at_once, size_t* size
) except NULL:
    """A panel that has heard nothing. `packed` are the different rules, `index` says which is each point's."""
    cdef Core* core = lay_out(config, packed, index, now_ns, size)
    cdef uint32_t i
    try:
        link(core, config, now_ns)
        make_room(core, index, told_at_once)
    except BaseException:
        release(core)
        raise
    core.plain = True
    for i in range(<uint32_t> len(packed)):
        if core.rules[i].spike != INFINITY or core.rules[i].rate_limit != INFINITY or core.rules[i].flat_ns:
            core.plain = False
    for i in range(core.points):
        prepare(core, i, index[i], now_ns)
        arm(core, i, due(core, i))
    return core


cdef void release(Core* core) noexcept:
    if core != NULL:
        free(core.events)
        free(core)


cdef Core* lay_out(object config, list packed, list index, int64_t now_ns, size_t* size) except NULL:
    """One block for everything that is kept, the hot lines first and aligned to the cache."""
    cdef size_t points = len(config.points), groups = len(config.groups)
    cdef size_t members = sum(len(group.members) for group in config.groups)
    cdef size_t wanted = 0, at = (sizeof(Core) + 63) & ~<size_t> 63
    cdef size_t sizes[9]
    cdef size_t offsets[9]
    cdef void* block = NULL
    cdef char* base
    cdef Core* core
    cdef const Rule* rule
    cdef bytes each
    cdef int k
    cdef list wants = []
    for each in packed:
        rule = <const Rule*> <const char*> each
        wants.append(rule.wants)
    wanted = sum(1 for which in index if wants[which])
    sizes = [
        points * sizeof(Hot), points * sizeof(Warm), (points + groups + 1) * sizeof(Node), (points + groups) * sizeof(Beat),
        len(packed) * sizeof(Rule), wanted * sizeof(Extra), groups * sizeof(Group), members * sizeof(Member),
        members * sizeof(uint32_t),
    ]
    for k in range(9):
        offsets[k] = at
        at += (sizes[k] + 63) & ~<size_t> 63
    if posix_memalign(&block, 64, at) != 0:
        raise MemoryError(f"{at} bytes for {points} points")
    memset(block, 0, at)
    core = <Core*> block
    base = <char*> block
    size[0] = at
    core.hot = <Hot*> (base + offsets[0])
    core.warm = <Warm*> (base + offsets[1])
    core.nodes = <Node*> (base + offsets[2])
    core.heap = <Beat*> (base + offsets[3])
    core.rules = <Rule*> (base + offsets[4])
    core.extras = <Extra*> (base + offsets[5])
    core.groups = <Group*> (base + offsets[6])
    core.members = <Member*> (base + offsets[7])
    core.links = <uint32_t*> (base + offsets[8])
    core.points = <uint32_t> points
    core.total = <uint32_t> (points + groups)
    core.next_ns = NEVER
    core.tick = <uint64_t> now_ns >> TICK_BITS
    memset(core.spokes, 0xFF, sizeof(core.spokes))
    memset(core.nodes, 0xFF, (points + groups + 1) * sizeof(Node))
    for k in range(<int> len(packed)):
        memcpy(&core.rules[k], <const char*> <bytes> packed[k], sizeof(Rule))
    return core


cdef link(Core* core, object config, int64_t now_ns):
    """Groups to members, and points to the memberships they have."""
    cdef uint32_t g, m = 0, i, at = 0
    cdef int k
    cdef Group* group
    cdef list of = [[] for _ in range(core.points)]
    for g in range(core.total - core.points):
        settings = config.groups[g]
        group = &core.groups[g]
        group.first = m
        group.count = <uint32_t> len(settings.members)
        group.k = settings.k
        group.window_ns = settings.window_ns
        group.to_silence = settings.policy
        group.level_ns = now_ns
        for point in settings.members:
            core.members[m].point = point
            core.members[m].group = g
            for k in range(3):
                core.members[m].left_ns[k] = UNSET
            of[point].append(m)
            m += 1
    for i in range(core.points):
        core.nodes[i].links = at
        for membership in of[i]:
            core.links[at] = membership
            at += 1
    core.nodes[core.points].links = at


cdef int make_room(Core* core, list index, uint32_t told_at_once) except -1:
    """Room for every transition there can be before what was told is handed over: none is made later."""
    cdef uint64_t most = step_most(core, index)
    if told_at_once + most > 0xFFFFFFFF:
        raise MemoryError(f"{most} transitions that one sample of these groups can make")
    core.event_pause = told_at_once
    core.event_room = <uint32_t> (told_at_once + most)
    core.events = <Event*> malloc(core.event_room * sizeof(Event))
    if core.events == NULL:
        raise MemoryError(f"room for {core.event_room} transitions")
    return 0


cdef uint64_t step_most(Core* core, list index) except 0:
    """The most transitions that one step makes: a deadline, a sample, or a point taken over. README.md §13.

    A first signal confirms every other point of its groups that has a dependency too, each once, and each has its own groups
    counted.
    """
    cdef uint64_t most = 0, own
    cdef uint32_t i, link, m, other
    cdef const Group* group
    cdef uint32_t* noted = <uint32_t*> malloc(core.points * sizeof(uint32_t) + 1)
    if noted == NULL:
        raise MemoryError(f"a note for each of {core.points} points")
    memset(noted, 0xFF, core.points * sizeof(uint32_t))  # who was last added up for whom: nobody
    for i in range(core.points):
        own = OWN_MOST + GROUP_MOST * <uint64_t> memberships(core, i)
        if core.rules[<uint32_t> index[i]].cap < 3:
            noted[i] = i
            for link in range(core.nodes[i].links, core.nodes[i + 1].links):
                group = &core.groups[core.members[core.links[link]].group]
                for m in range(group.first, group.first + group.count):
                    other = core.members[m].point
                    if noted[other] != i and core.rules[<uint32_t> index[other]].cap < 3:
                        noted[other] = i
                        own += PARTNER_MOST + GROUP_MOST * <uint64_t> memberships(core, other)
        most = max(most, own)
    free(noted)
    return max(most, <uint64_t> OWN_MOST)


cdef inline uint32_t memberships(const Core* core, uint32_t i) noexcept:
    return core.nodes[i + 1].links - core.nodes[i].links


cdef void prepare(Core* core, uint32_t i, uint32_t rule_index, int64_t now_ns) noexcept nogil:
    """A point that nothing has been heard of."""
    cdef Hot* hot = &core.hot[i]
    cdef Warm* warm = &core.warm[i]
    cdef const Rule* rule = &core.rules[rule_index]
    hot.last_ns = hot.anchor_ns = UNSET
    hot.last = NAN
    hot.spike = below(rule.spike)
    hot.step = below(rule.rate_limit / 1e9)
    hot.tolerance = <float> rule.tolerance
    warm.rule = rule_index
    warm.level_ns = now_ns
    warm.first_ns = UNSET
    warm.rate = NAN
    warm.qc = 2
    warm.flags = F_LOWERED
    warm.extra = NOWHERE
    if rule.wants:
        warm.extra = core.extra_count
        core.extra_count += 1
        core.extras[warm.extra].baseline = rule.drift_clean
        core.extras[warm.extra].drift_ns = UNSET


cdef float below(double limit) noexcept nogil:
    """A float not above the limit; infinity stays."""
    return <float> limit if limit == INFINITY else <float> (limit * (1 - 1e-6))
