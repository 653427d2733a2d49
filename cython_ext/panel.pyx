# cython: boundscheck=False, wraparound=False, cdivision=True
"""Every detector of a process: packed samples in, transitions out. The theory of operation is README.md beside this file."""

import struct
import sys

from libc.math cimport INFINITY, NAN, fabs, isnan
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cython_ext.deadlines cimport exact_next, fire
from cython_ext.due cimport due
from cython_ext.filters cimport delta_rate, robust_rate
from cython_ext.judge cimport drop_level, sample
from cython_ext.queue cimport NEVER, TICK_BITS, arm
from cython_ext.snapshot cimport load, save
from cython_ext.state cimport (
    COUNTS, F_LOWERED, NOWHERE, QUIET_BITS, R_PLAN, R_RESET, R_RESTART, RECORD_BYTES, RESTATED, UNSET, W_DRIFT, W_RATE,
    Beat, Core, Event, Extra, Group, Hot, Member, Node, Record, Rule, Warm,
)
from cython_ext.verdict cimport declare, tell, vote

from cython_ext import rules
from cython_ext.errors import WireError
from cython_ext.explain import explanation
from cython_ext.model import Cause, Level, QcFlag, Reason, Transition, Trouble

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void** memory, size_t alignment, size_t size)

cdef extern from *:
    """
    #define bucium_prefetch(address) __builtin_prefetch((address), 1, 3)
    """
    void bucium_prefetch(const void* address) noexcept nogil

RECORD = struct.Struct("<qdIHH")
RECORD_SIZE = RECORD.size
LATEST_NS = 1 << 60  # 36 years of a monotonic clock: later is not a time

cdef enum:
    AHEAD = 12  # records between a prefetch and its use: about one memory latency
    EVENTS = 1024  # room for transitions before any must be made

cdef tuple COUNTERS = (
    "samples", "unknown_point", "historical", "duplicate", "out_of_order", "clock", "suspect", "blind", "spikes", "stale",
    "chatter", "transitions",
)
cdef tuple LEVEL_OF = tuple(Level)
cdef dict CAUSE_OF = {int(cause): cause for cause in Cause}
cdef dict REASON_OF = {int(reason): reason for reason in Reason}

assert RECORD_SIZE == RECORD_BYTES == sizeof(Record)
assert sizeof(Rule) == rules.RULE.size
assert sizeof(Hot) == 64 and sizeof(Hot) + sizeof(Warm) + sizeof(Node) + sizeof(Beat) == 256
assert sys.byteorder == "little", "the packed record is little-endian"


def pack(samples):
    """Samples (point, at_ns, value, status) as a batch."""
    cdef list parts = [RECORD.pack(at_ns, value, point, status, 0) for point, at_ns, value, status in samples]
    return b"".join(parts)


cdef inline void run(Core* core, const char* data, Py_ssize_t n, int64_t now_ns) noexcept nogil:
    """Judge `n` records. One that lies in its point's quiet band only becomes history; any other is judged the exact way."""
    cdef Record record, coming
    cdef Hot* hot
    cdef Hot* hots = core.hot
    cdef uint32_t points = core.points
    cdef int64_t limit = min(now_ns + 1, core.next_ns)
    cdef double change
    cdef Py_ssize_t k
    cdef uint64_t quiet = 0
    for k in range(n):
        if k + AHEAD < n:
            memcpy(&coming, data + (k + AHEAD) * RECORD_BYTES, RECORD_BYTES)
            if coming.point < points:
                bucium_prefetch(&hots[coming.point])
        memcpy(&record, data + k * RECORD_BYTES, RECORD_BYTES)
        if record.point < points and record.status == 0:
            hot = &hots[record.point]
            change = fabs(record.value - hot.last)
            if (
                (record.at_ns > hot.last_ns)
                & (record.at_ns < limit)
                & ((<uint64_t> record.at_ns >> QUIET_BITS) < hot.quiet_tick)
                & (record.value > hot.low)
                & (record.value < hot.high)
                & (change <= hot.spike)
                & (change <= hot.step * <double> <int64_t> (<uint64_t> record.at_ns - <uint64_t> hot.last_ns))
            ):
                if fabs(record.value - hot.anchor) > hot.tolerance:
                    hot.anchor = record.value
                    hot.anchor_ns = record.at_ns
                hot.before = hot.last
                hot.last = record.value
                hot.last_ns = record.at_ns
                quiet += 1
                continue
        sample(core, record.point, record.at_ns, record.value, record.status, now_ns)
        limit = min(now_ns + 1, core.next_ns)
    core.counts[0] += quiet


cdef class Panel:
    """All detectors of a process: packed samples in, transitions out.

    Times are the panel's monotonic nanoseconds, 0 to 2**60. Raises ConfigError, which names the point, when the configuration must
    not run.
    """

    def __cinit__(self):
        self.core = NULL

    def __init__(self, config, now_ns=0):
        if self.core != NULL:
            raise RuntimeError("a panel is made once")
        packed, index = rules.pack_rules(config)
        self._digest = rules.digest(config, packed, index)
        self.config = config
        self.now_ns = check_ns(now_ns)
        self._lay_out(packed, index)
        self._link()
        cdef uint32_t i
        for i in range(self.core.points):
            prepare(self.core, i, index[i], self.now_ns)
            arm(self.core, i, due(self.core, i))

    def __dealloc__(self):
        if self.core != NULL:
            free(self.core.events)
            free(self.core)

    cdef _lay_out(self, list packed, list index):
        """One block for everything that is kept, the hot lines first and aligned to the cache."""
        cdef size_t points = len(self.config.points), groups = len(self.config.groups)
        cdef size_t members = sum(len(group.members) for group in self.config.groups)
        cdef size_t wanted = 0, at = (sizeof(Core) + 63) & ~<size_t> 63
        cdef size_t sizes[10]
        cdef size_t offsets[10]
        cdef void* block = NULL
        cdef const Rule* rule
        cdef bytes each
        cdef int k
        cdef list wants = []
        for each in packed:
            rule = <const Rule*> <const char*> each
            wants.append(rule.wants)
        wanted = sum(1 for which in index if wants[which])
        sizes = [
            points * sizeof(Hot), points * sizeof(Warm), (points + groups) * sizeof(Node), (points + groups) * sizeof(Beat),
            len(packed) * sizeof(Rule), wanted * sizeof(Extra), groups * sizeof(Group), members * sizeof(Member),
            (points + 1) * sizeof(uint32_t), members * sizeof(uint32_t),
        ]
        for k in range(10):
            offsets[k] = at
            at += (sizes[k] + 63) & ~<size_t> 63
        if posix_memalign(&block, 64, at) != 0:
            raise MemoryError(f"{at} bytes for {points} points")
        memset(block, 0, at)
        self.core = <Core*> block
        self.size = at
        self.core.events = <Event*> malloc(EVENTS * sizeof(Event))
        if self.core.events == NULL:
            raise MemoryError("transitions")
        self.core.event_room = EVENTS
        cdef char* base = <char*> block
        self.core.hot = <Hot*> (base + offsets[0])
        self.core.warm = <Warm*> (base + offsets[1])
        self.core.nodes = <Node*> (base + offsets[2])
        self.core.heap = <Beat*> (base + offsets[3])
        self.core.rules = <Rule*> (base + offsets[4])
        self.core.extras = <Extra*> (base + offsets[5])
        self.core.groups = <Group*> (base + offsets[6])
        self.core.members = <Member*> (base + offsets[7])
        self.core.links_of = <uint32_t*> (base + offsets[8])
        self.core.links = <uint32_t*> (base + offsets[9])
        self.core.points = <uint32_t> points
        self.core.total = <uint32_t> (points + groups)
        self.core.next_ns = NEVER
        self.core.tick = <uint64_t> self.now_ns >> TICK_BITS
        memset(self.core.spokes, 0xFF, sizeof(self.core.spokes))
        memset(self.core.nodes, 0xFF, (points + groups) * sizeof(Node))
        for k in range(<int> len(packed)):
            memcpy(&self.core.rules[k], <const char*> <bytes> packed[k], sizeof(Rule))

    cdef _link(self):
        """Groups to members, and points to the memberships they have."""
        cdef uint32_t g, m = 0, i, at = 0
        cdef int k
        cdef Group* group
        cdef list of = [[] for _ in range(self.core.points)]
        for g in range(self.core.total - self.core.points):
            settings = self.config.groups[g]
            group = &self.core.groups[g]
            group.first = m
            group.count = <uint32_t> len(settings.members)
            group.k = settings.k
            group.window_ns = settings.window_ns
            group.to_silence = settings.policy
            group.level_ns = self.now_ns
            for point in settings.members:
                self.core.members[m].point = point
                self.core.members[m].group = g
                for k in range(3):
                    self.core.members[m].left_ns[k] = UNSET
                of[point].append(m)
                m += 1
        for i in range(self.core.points):
            self.core.links_of[i] = at
            for link in of[i]:
                self.core.links[at] = link
                at += 1
        self.core.links_of[self.core.points] = at

    cdef void _begin(self, int64_t now_ns) noexcept nogil:
        """What follows happened by `now_ns`."""
        self.now_ns = now_ns

    cdef void _sample(self, uint32_t point, int64_t at_ns, double value, uint16_t status) noexcept nogil:
        """One sample, as `feed` judges it."""
        cdef Record record
        record.at_ns = at_ns
        record.value = value
        record.point = point
        record.status = status
        record.reserved = 0
        run(self.core, <const char*> &record, 1, self.now_ns)

    cdef list _collect(self):
        """The transitions since the last call."""
        cdef list told
        cdef uint32_t k, n = self.core.event_count
        if n == 0:
            return []
        if self.core.event_lost:
            raise MemoryError(f"{self.core.event_lost} transitions could not be kept")
        told = [self._transition(&self.core.events[k]) for k in range(n)]
        self.core.event_count = 0
        return told

    cdef _transition(self, const Event* event):
        cdef tuple evidence = ()
        if event.evidence:
            members = self.config.groups[event.point - self.core.points].members
            evidence = tuple([point for k, point in enumerate(members) if event.evidence >> k & 1])
        return Transition(
            event.point, CAUSE_OF[event.cause], LEVEL_OF[event.was], LEVEL_OF[event.level], event.at_ns, event.value,
            REASON_OF[event.reason], Trouble(event.trouble), evidence,
        )

    def feed(self, const unsigned char[::1] batch not None, now_ns):
        """Judge packed records, in the order given; what is due by a record's time happens before it.

        Raises WireError ('batch') when the length is not a whole number of records, before any is judged.
        """
        cdef Py_ssize_t n = batch.shape[0]
        self._begin(check_ns(now_ns))
        if n % RECORD_BYTES:
            raise WireError("batch", f"{n} bytes are not a whole number of {RECORD_BYTES}-byte records")
        if n:
            with nogil:
                run(self.core, <const char*> &batch[0], n // RECORD_BYTES, self.now_ns)
        return self._collect()

    def advance(self, now_ns):
        """Let time pass: everything due by now happens."""
        self._begin(check_ns(now_ns))
        if self.now_ns >= self.core.next_ns:
            with nogil:
                fire(self.core, self.now_ns)
        return self._collect()

    def next_deadline_ns(self):
        """When `advance` will next have something to do, or None."""
        cdef int64_t when = exact_next(self.core)
        return None if when == NEVER else when

    def reset(self, index, now_ns):
        """A person resets a latch: every latched Level whose condition is seen to have gone is left."""
        cdef uint32_t i = self._index(index, False)
        cdef Warm* warm = &self.core.warm[i]
        cdef int k
        self._begin(check_ns(now_ns))
        fire(self.core, self.now_ns)
        if self.core.rules[warm.rule].latch and warm.active & warm.pending:
            for k in range(3):
                if warm.active & warm.pending & (1 << k):
                    drop_level(warm, k)
            declare(self.core, i, self.now_ns, self.core.hot[i].last, R_RESET)
            vote(self.core, i, self.now_ns)
            self.core.hot[i].quiet_tick = 0
            arm(self.core, i, due(self.core, i))
        return self._collect()

    def snapshot(self, now_ns):
        """The whole state as bytes: elapsed times, not instants, with a version, the configuration's digest and a checksum."""
        return save(self.core, self.config, self._digest, check_ns(now_ns))

    def restore(self, data, now_ns):
        """Take up a snapshot, by point id where the configuration differs; held Levels are restated.

        Raises WireError ('snapshot') when the bytes are not one, and changes nothing then.
        """
        self._begin(check_ns(now_ns))
        load(self.core, self.config, self._digest, data, self.now_ns)
        adopt(self.core, self.now_ns)
        cdef uint32_t i
        for i in range(self.core.points):
            if self.core.warm[i].level:
                tell(
                    self.core, i, RESTATED, self.core.warm[i].level, self.core.warm[i].level, R_RESTART, self.now_ns,
                    self.core.hot[i].last, self.core.warm[i].trouble, 0
                )
        for i in range(self.core.total - self.core.points):
            if self.core.groups[i].level:
                tell(
                    self.core, self.core.points + i, RESTATED, self.core.groups[i].level, self.core.groups[i].level, R_RESTART,
                    self.now_ns, self.core.groups[i].real, self.core.groups[i].trouble, self.core.groups[i].evidence
                )
        return self._collect()

    def reconfigure(self, config, now_ns):
        """Run another configuration from now on. State is kept by point id; Levels that no longer exist are left."""
        cdef Panel fresh = Panel(config, now_ns)
        cdef bytes kept
        self._begin(check_ns(now_ns))
        fire(self.core, self.now_ns)
        earlier = self._collect()
        kept = self.snapshot(self.now_ns)
        load(fresh.core, config, fresh._digest, kept, self.now_ns)
        memcpy(fresh.core.counts, self.core.counts, sizeof(self.core.counts))
        adopt(fresh.core, self.now_ns)
        self.core, fresh.core = fresh.core, self.core
        self.size, self.config, self._digest = fresh.size, fresh.config, fresh._digest
        return earlier + self._collect()

    cdef uint32_t _index(self, index, bint groups) except? 0xFFFFFFFF:
        cdef uint32_t limit = self.core.total if groups else self.core.points
        if not 0 <= index < limit:
            raise IndexError(f"index {index}: this panel has {self.core.points} points, {self.core.total} with its groups")
        return index

    def level(self, index):
        """The declared Level of a point, or of a group (index >= number of points)."""
        cdef uint32_t i = self._index(index, True)
        return LEVEL_OF[self.core.warm[i].level if i < self.core.points else self.core.groups[i - self.core.points].level]

    def trouble(self, index):
        """The troubles of a point or group."""
        cdef uint32_t i = self._index(index, True)
        return Trouble(self.core.warm[i].trouble if i < self.core.points else self.core.groups[i - self.core.points].trouble)

    def value(self, index):
        """The last finite value of a point, in its unit; nan before the first. Of a group: how many points vote."""
        cdef uint32_t i = self._index(index, True)
        return self.core.hot[i].last if i < self.core.points else float(self.core.groups[i - self.core.points].real)

    def qc(self, index):
        """The QARTOD flag of the point's last sample."""
        return QcFlag(self.core.warm[self._index(index, False)].qc)

    def rate_per_s(self, index):
        """The rate of change over the point's rate window, units per second, rising positive; nan: not known."""
        cdef uint32_t i = self._index(index, False)
        cdef const Rule* rule = &self.core.rules[self.core.warm[i].rule]
        cdef const Extra* extra
        if not rule.wants & W_RATE:
            return NAN
        extra = &self.core.extras[self.core.warm[i].extra]
        if not rule.robust:
            return rule.sign * delta_rate(rule, extra, self.core.hot[i].last_ns, self.core.hot[i].last)
        if extra.count < 4 or extra.pushed_ns - extra.at_ns[extra.head] < rule.window_ns // 2:
            return NAN
        return rule.sign * robust_rate(extra, rule.sign)

    def explain(self, index, now_ns):
        """Why a point is where it is."""
        cdef uint32_t i = self._index(index, True)
        if i >= self.core.points:
            return explanation(self.config, self._group_facts(i - self.core.points), check_ns(now_ns))
        return explanation(self.config, self._facts(i), check_ns(now_ns))

    cdef dict _facts(self, uint32_t i):
        cdef dict facts = dict(self.core.warm[i])
        cdef const Rule* rule = &self.core.rules[self.core.warm[i].rule]
        cdef const Extra* extra
        facts.update(index=i, value=self.core.hot[i].last, last_ns=self.core.hot[i].last_ns, rate=self.rate_per_s(i), offset=0.0)
        facts.update(confirm_ns=rule.confirm_ns)
        if rule.wants & W_DRIFT:
            extra = &self.core.extras[self.core.warm[i].extra]
            facts["offset"] = extra.baseline - rule.drift_clean
        return facts

    cdef dict _group_facts(self, uint32_t g):
        cdef dict facts = dict(self.core.groups[g])
        facts.update(index=self.core.points + g)
        return facts

    @property
    def counters(self):
        """What came and what became of it, since the panel was made."""
        return {name: self.core.counts[k] for k, name in enumerate(COUNTERS)}

    @property
    def state_bytes(self):
        """The size of the block that holds everything but the transitions under way."""
        return self.size

    @property
    def digest(self):
        """SHA-256 of the configuration, as far as it can change a verdict."""
        return self._digest


cdef int64_t check_ns(now_ns) except -1:
    if not 0 <= now_ns <= LATEST_NS:
        raise ValueError(f"now_ns is {now_ns}: monotonic nanoseconds from 0 to 2**60")
    return now_ns


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


cdef void adopt(Core* core, int64_t now_ns) noexcept nogil:
    """State has come from elsewhere: leave Levels that this configuration does not have, count votes, arm deadlines."""
    cdef uint32_t i
    cdef Warm* warm
    cdef const Rule* rule
    cdef uint8_t exists
    for i in range(core.points):
        warm = &core.warm[i]
        rule = &core.rules[warm.rule]
        exists = rule.valued | rule.rated
        warm.pending &= exists
        if warm.active & ~exists or warm.level > 0:
            warm.active &= exists
            declare(core, i, now_ns, core.hot[i].last, R_PLAN)
        core.hot[i].quiet_tick = 0
        arm(core, i, due(core, i))
    for i in range(core.points):
        vote(core, i, now_ns)
