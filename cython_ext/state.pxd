"""The layout of a panel: what each point, group and deadline keeps. No behaviour; the theory is in README.md.

Values are judged turned so that danger is upwards (`Rule.sign`). Times are the panel's monotonic nanoseconds; UNSET: never.
After a restart what happened before it lies below 0.
A point keeps one Hot line (one cache line, all that an unremarkable sample touches), one Warm record and one queue node with its
heap entry: 64 + 152 + 24 + 16 = 256 bytes. Rate windows and drift are Extra, only for points that ask for them.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #define BUCIUM_UNSET INT64_MIN
    """
    const int64_t UNSET "BUCIUM_UNSET"

cdef extern from *:
    """
    #define bucium_prefetch(address) __builtin_prefetch((address), 1, 3)
    """
    void bucium_prefetch(const void* address) noexcept nogil  # for writing, and to stay

cdef enum:
    RECORD_BYTES = 24
    LEVELS = 3
    SLOTS = 12  # rules.RATE_SLOTS
    WHEELS = 5
    SPOKES = 256
    NOWHERE = 0xFFFFFFFF
    QUIET_BITS = 26  # a quiet time ends on a multiple of 67 ms; 32 bits of them are 9 years

# model.Status
cdef enum:
    S_MISSING = 1
    S_FAULTS = 2 | 4 | 8  # sentinel, loop fault, device fault
    S_CLOCK = 16
    S_HISTORICAL = 32
    S_TEST = 64
    S_BLIND = 1 | 2 | 4 | 8 | 64
    S_KNOWN = 127

# model.Trouble
cdef enum:
    T_MISSING = 1 << 0
    T_STALE = 1 << 1
    T_DEVICE = 1 << 2
    T_SENSOR_SPAN = 1 << 3
    T_OPERATOR_SPAN = 1 << 4
    T_SPIKE = 1 << 5
    T_RATE = 1 << 6
    T_FLAT = 1 << 7
    T_NOT_A_NUMBER = 1 << 8
    T_OUT_OF_ORDER = 1 << 9
    T_DUPLICATE = 1 << 10
    T_CLOCK = 1 << 11
    T_CHATTER = 1 << 12
    T_FLAPPING = 1 << 13
    T_DIRTY = 1 << 14
    T_VOTE_DEGRADED = 1 << 15
    T_TEST = 1 << 16
    T_SAMPLE = 0xFFF | (1 << 16)  # said of samples: gone with the next sample that passes
    T_FAILED = 0x18F | (1 << 16)  # missing, stale, device, sensor span, flat, not a number, test: no vote of its own
    T_STANDING = (1 << 12) | (1 << 14)  # chatter, dirty: samples are still judged quickly

# model.Cause
cdef enum:
    RAISED = 1
    LOWERED = 2
    TROUBLE_RAISED = 3
    TROUBLE_CLEARED = 4
    RESTATED = 5

# model.Reason
cdef enum:
    R_THRESHOLD = 1
    R_RATE = 2
    R_VOTE = 3
    R_CONFIRMED_SUSPECT = 4
    R_OUT_OF_SPAN = 5
    R_ON_DELAY = 6
    R_OFF_DELAY = 7
    R_QUALITY = 8
    R_TIME = 9
    R_RESTART = 10
    R_RESET = 11
    R_REALARM = 12
    R_DEPENDENCY = 13
    R_DRIFT = 14
    R_PLAN = 15

# Warm.flags
cdef enum:
    F_ODD = 1  # the last record carried no finite value
    F_LEAPT = 2  # the last value lay further than `spike` from the one before
    F_CONFIRMED = 4  # dependency: a second signal came
    F_LOWERED = 8  # the last change of Level was downwards (or there was none): the next raise is an activation

# Rule.wants
cdef enum:
    W_RATE = 1
    W_DRIFT = 2

# Core.counts, in the order of Panel.counters
cdef enum:
    C_SAMPLES
    C_UNKNOWN_POINT
    C_HISTORICAL
    C_DUPLICATE
    C_OUT_OF_ORDER
    C_CLOCK
    C_SUSPECT
    C_BLIND
    C_SPIKES
    C_STALE
    C_CHATTER
    C_TRANSITIONS
    C_QUIET  # samples that lay in their quiet band
    COUNTS

cdef struct Record:  # the packed sample, little-endian
    int64_t at_ns
    double value
    uint32_t point
    uint16_t status
    uint16_t reserved

cdef struct Rule:  # rules.RULE, field by field
    double sign
    double raise_at[3]
    double clear_at[3]
    double rate_at[3]
    double sensor_low
    double sensor_high
    double operator_low
    double operator_high
    double fault_low
    double fault_high
    double spike
    double rate_limit
    double tolerance
    double drift_rate
    double drift_total
    double drift_clean
    double sentinel[4]
    double rate_min
    int64_t on_ns[3]
    int64_t off_ns[3]
    int64_t period_ns
    int64_t confirm_ns
    int64_t stale_ns
    int64_t realarm_ns
    int64_t minimum_ns
    int64_t flat_ns
    int64_t window_ns
    int64_t spacing_ns
    int64_t chatter_ns
    int64_t dependency_ns
    int64_t cancel_ns
    uint8_t latch
    uint8_t robust
    uint8_t chatter_count
    uint8_t cap
    uint8_t valued
    uint8_t rated
    uint8_t wants
    uint8_t sentinels

cdef struct Hot:
    int64_t last_ns  # of the last record in order
    double last  # x[n-1], the last finite value in order
    double before  # x[n-2]
    double anchor  # the flat line's first value
    int64_t anchor_ns
    uint32_t quiet_tick  # the band below holds while at_ns >> QUIET_BITS is less
    float low  # within (low, high) no sample changes a verdict
    float high
    float spike
    float step  # largest change per nanosecond
    float tolerance

cdef struct Warm:
    int64_t since_ns[3]  # when the running delay of a Level began
    int64_t raised_ns[3]
    int64_t level_ns  # when the Level was reached (or the point was made)
    int64_t first_ns  # dependency: the first signal
    int64_t raises_ns[3]  # activations, newest first
    int64_t faults_ns[3]  # troubles, newest first
    double rate  # robust, turned; nan: unknown; -inf: below every rate_at
    uint32_t trouble
    uint32_t fail  # what the last sample failed
    uint32_t rule
    uint32_t extra
    uint32_t restated
    uint16_t last_status
    uint8_t level  # as declared
    uint8_t raw  # the highest active Level, before a dependency holds it back
    uint8_t active  # a bit per Level
    uint8_t pending  # its delay is running
    uint8_t confirmed  # the pending raise rests on a good sample, or on enough suspect ones
    uint8_t counts  # successive suspect samples, two bits per Level
    uint8_t values  # finite values seen, up to 2
    uint8_t qc
    uint8_t flags
    uint8_t noted  # how many of raises_ns (low half) and faults_ns (high half) are set

cdef struct Kept:
    int64_t at_ns
    double value

cdef struct Extra:
    int64_t pushed_ns
    uint32_t head  # the oldest
    uint32_t count
    uint32_t calm  # pushes since a slope between neighbours reached rate_min
    uint32_t padding
    double baseline
    int64_t drift_ns
    Kept kept[12]

cdef struct Node:  # a point's or group's place in the queue of deadlines
    int64_t due_ns
    uint32_t next
    uint32_t previous
    uint32_t place  # NOWHERE, or a position in the heap, or WHEEL_BIT | slot
    uint32_t links  # a point's memberships: links[nodes[i].links : nodes[i + 1].links], indices into members

cdef struct Beat:  # a heap entry
    int64_t due_ns
    uint32_t index
    uint32_t padding

cdef struct Member:
    int64_t left_ns[3]  # when the point last went below the Level
    uint32_t point
    uint32_t group

cdef struct Group:
    uint64_t evidence
    int64_t window_ns
    int64_t level_ns
    int64_t counted_ns
    uint32_t first  # its members are members[first : first + count]
    uint32_t count
    uint32_t k
    uint32_t trouble
    uint8_t to_silence
    uint8_t level
    uint8_t real
    uint8_t padding[5]

cdef struct Event:
    int64_t at_ns
    double value
    uint64_t evidence
    uint32_t point
    uint32_t trouble
    uint8_t cause
    uint8_t was
    uint8_t level
    uint8_t reason

cdef struct Core:
    Hot* hot
    Warm* warm
    Node* nodes
    Beat* heap
    Rule* rules
    Extra* extras
    Group* groups
    Member* members
    uint32_t* links
    uint32_t points
    uint32_t total  # points and groups
    uint32_t extra_count
    uint32_t plain  # no point looks at spikes, rates of change or flat lines
    # the queue
    uint32_t beats
    int64_t next_ns  # nothing is due before
    uint64_t tick  # of 2**24 ns; every wheel entry before it has gone to the heap
    uint32_t spokes[1280]  # WHEELS * SPOKES list heads
    uint64_t bits[20]
    # what happened
    Event* events  # room for `event_pause` and the most that one step can tell (block.step_most)
    uint32_t event_count
    uint32_t event_room
    uint32_t event_pause  # so many are handed over before another step begins
    uint64_t event_lost  # stays 0
    uint64_t counts[16]
