# cython: cdivision=True
"""The queue of deadlines: a hierarchical timing wheel for what is far, a small heap for what is near.

After Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987). Five wheels of 256 slots; a slot of the first is
2**24 ns (17 ms), of the next 256 times that. Slots that time has reached are emptied into the heap, which orders by (due, index):
so firing is in exact order, and arming costs the same however many points there are. A node sits at or before its true deadline,
never after it: a point that is merely heard again keeps its place, and whoever empties the slot puts it further on.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from cython_ext.state cimport NOWHERE, SPOKES, WHEELS, Beat, Core, Node

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil
    int __builtin_clzll(unsigned long long) noexcept nogil

cdef enum:
    TICK_BITS = 24
    IN_WHEEL = 0x80000000

cdef extern from *:
    """
    #define BUCIUM_NEVER INT64_MAX
    """
    const int64_t NEVER "BUCIUM_NEVER"


cdef inline bint beats_before(const Beat* one, const Beat* other) noexcept nogil:
    return one.due_ns < other.due_ns or (one.due_ns == other.due_ns and one.index < other.index)


cdef inline void heap_put(Core* core, uint32_t at, Beat beat) noexcept nogil:
    core.heap[at] = beat
    core.nodes[beat.index].place = at


cdef inline void heap_up(Core* core, uint32_t at, Beat beat) noexcept nogil:
    cdef uint32_t parent
    while at > 0:
        parent = (at - 1) >> 1
        if not beats_before(&beat, &core.heap[parent]):
            break
        heap_put(core, at, core.heap[parent])
        at = parent
    heap_put(core, at, beat)


cdef inline void heap_down(Core* core, uint32_t at, Beat beat) noexcept nogil:
    cdef uint32_t child
    while True:
        child = 2 * at + 1
        if child >= core.beats:
            break
        if child + 1 < core.beats and beats_before(&core.heap[child + 1], &core.heap[child]):
            child += 1
        if not beats_before(&core.heap[child], &beat):
            break
        heap_put(core, at, core.heap[child])
        at = child
    heap_put(core, at, beat)


cdef inline void heap_remove(Core* core, uint32_t at) noexcept nogil:
    cdef Beat last
    core.beats -= 1
    if at == core.beats:
        return
    last = core.heap[core.beats]
    if at > 0 and beats_before(&last, &core.heap[(at - 1) >> 1]):
        heap_up(core, at, last)
    else:
        heap_down(core, at, last)


cdef inline void wheel_put(Core* core, uint32_t index, uint64_t tick) noexcept nogil:
    """`tick` >= core.tick."""
    cdef uint64_t difference = tick ^ core.tick
    cdef uint32_t wheel = 0
    if difference:
        wheel = <uint32_t> (63 - __builtin_clzll(difference)) >> 3
    cdef uint32_t slot = wheel * SPOKES + <uint32_t> ((tick >> (8 * wheel)) & (SPOKES - 1))
    cdef uint32_t head = core.spokes[slot]
    cdef Node* node = &core.nodes[index]
    node.next = head
    node.previous = NOWHERE
    node.place = IN_WHEEL | slot
    if head != NOWHERE:
        core.nodes[head].previous = index
    core.spokes[slot] = index
    core.bits[slot >> 6] |= <uint64_t> 1 << (slot & 63)


cdef inline void dequeue(Core* core, uint32_t index) noexcept nogil:
    cdef Node* node = &core.nodes[index]
    cdef uint32_t slot
    if node.place == NOWHERE:
        return
    if not node.place & IN_WHEEL:
        heap_remove(core, node.place)
    else:
        slot = node.place & ~<uint32_t> IN_WHEEL
        if node.next != NOWHERE:
            core.nodes[node.next].previous = node.previous
        if node.previous != NOWHERE:
            core.nodes[node.previous].next = node.next
        else:
            core.spokes[slot] = node.next
            if node.next == NOWHERE:
                core.bits[slot >> 6] &= ~(<uint64_t> 1 << (slot & 63))
    node.place = NOWHERE


cdef inline void enqueue(Core* core, uint32_t index, int64_t due_ns) noexcept nogil:
    """The node is nowhere."""
    due_ns = max(due_ns, 0)  # before the clock began: at once
    cdef uint64_t tick = <uint64_t> due_ns >> TICK_BITS
    cdef Beat beat
    core.nodes[index].due_ns = due_ns
    if tick < core.tick:
        beat.due_ns = due_ns
        beat.index = index
        beat.padding = 0
        core.beats += 1
        heap_up(core, core.beats - 1, beat)
    else:
        wheel_put(core, index, tick)


cdef inline void arm(Core* core, uint32_t index, int64_t due_ns) noexcept nogil:
    """Something is due at `due_ns` (NEVER: nothing)."""
    cdef Node* node = &core.nodes[index]
    if due_ns == NEVER or (node.place != NOWHERE and node.due_ns <= due_ns):
        return
    dequeue(core, index)
    enqueue(core, index, due_ns)
    if due_ns < core.next_ns:
        core.next_ns = due_ns


cdef inline bint wheel_first(const Core* core, uint32_t* slot, uint64_t* tick) noexcept nogil:
    """The earliest slot that holds anything, and where it begins."""
    cdef uint32_t wheel, at, word
    cdef uint64_t bits
    for wheel in range(WHEELS):
        at = <uint32_t> ((core.tick >> (8 * wheel)) & (SPOKES - 1))
        word = at >> 6
        bits = core.bits[wheel * 4 + word] & (~<uint64_t> 0 << (at & 63))
        while bits == 0 and word < 3:
            word += 1
            bits = core.bits[wheel * 4 + word]
        if bits:
            at = word * 64 + <uint32_t> __builtin_ctzll(bits)
            slot[0] = wheel * SPOKES + at
            tick[0] = ((core.tick >> (8 * (wheel + 1)) << 8) | at) << (8 * wheel)
            if tick[0] < core.tick:
                tick[0] = core.tick
            return True
    return False


cdef inline uint32_t wheel_take(Core* core, uint32_t slot) noexcept nogil:
    cdef uint32_t head = core.spokes[slot]
    core.spokes[slot] = NOWHERE
    core.bits[slot >> 6] &= ~(<uint64_t> 1 << (slot & 63))
    return head


cdef inline void wheel_turn(Core* core, uint64_t tick) noexcept nogil:
    """Time's slot is now `tick`: what lay in the wider slots that have just begun goes to narrower ones."""
    cdef uint32_t wheel, slot, index, following
    core.tick = tick
    for wheel in range(WHEELS - 1, 0, -1):
        slot = wheel * SPOKES + <uint32_t> ((tick >> (8 * wheel)) & (SPOKES - 1))
        if not core.bits[slot >> 6] & (<uint64_t> 1 << (slot & 63)):
            continue
        index = wheel_take(core, slot)
        while index != NOWHERE:
            following = core.nodes[index].next
            core.nodes[index].place = NOWHERE
            enqueue(core, index, core.nodes[index].due_ns)
            index = following
