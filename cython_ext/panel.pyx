# cython: boundscheck=False, wraparound=False, cdivision=True, autotestdict=False, auto_pickle=False
"""Every detector of a process: packed samples in, transitions out. The theory of operation is README.md beside this file."""

import struct
import sys

cimport cython

from libc.math cimport NAN, fabs
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from cython_ext.block cimport make, release
from cython_ext.deadlines cimport exact_next, fire, fire_since
from cython_ext.due cimport due
from cython_ext.filters cimport delta_rate, robust_rate
from cython_ext.judge cimport drop_level, sample
from cython_ext.queue cimport NEVER, arm
from cython_ext.snapshot cimport load, save
from cython_ext.state cimport (
    C_QUIET, C_SAMPLES, QUIET_BITS, R_RESET, R_RESTART, RECORD_BYTES, RESTATED, W_DRIFT, W_RATE,
    Beat, Core, Event, Extra, Hot, Node, Record, Rule, Warm, bucium_prefetch,
)
from cython_ext.verdict cimport adopt, declare, tell, vote

from cython_ext import rules
from cython_ext.errors import WireError
from cython_ext.explain import explanation
from cython_ext.model import Cause, Level, QcFlag, Reason, Transition, Trouble

cdef extern from *:
    """
    #define bucium_likely(condition) ((int) __builtin_expect(!!(condition), 1))
    #define BUCIUM_LATEST (UINT64_C(1) << 60)
    """
    const uint64_t LATEST "BUCIUM_LATEST"
    bint bucium_likely(bint condition) noexcept nogil

RECORD = struct.Struct("<qdIHH")
RECORD_SIZE = RECORD.size
LATEST_NS = LATEST  # 36 years of a monotonic clock: later is not a time

cdef enum:
    AHEAD = 12  # records between a prefetch and its use: about one memory latency

cdef tuple COUNTERS = (
    "samples", "unknown_point", "historical", "duplicate", "out_of_order", "clock", "suspect", "blind", "spikes", "stale",
    "chatter", "transitions", "quiet",
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


cdef inline int64_t instant_at(const char* record) noexcept nogil:
    cdef int64_t at_ns
    memcpy(&at_ns, record, sizeof(at_ns))
    return at_ns


cdef inline double value_at(const char* record) noexcept nogil:
    cdef double value
    memcpy(&value, record + 8, sizeof(value))
    return value


cdef inline uint64_t whose_at(const char* record) noexcept nogil:
    """The point, and above its 32 bits the status and what is reserved: less than the number of points means a clean record."""
    cdef uint64_t whose
    memcpy(&whose, record + 16, sizeof(whose))
    return whose


cdef inline void run(Core* core, const char* record, Py_ssize_t n, int64_t now_ns) noexcept nogil:
    """Judge `n` records. One that lies in its point's quiet band only becomes history; any other is judged the exact way."""
    cdef const char* end = record + n * RECORD_BYTES
    cdef const char* last = end - AHEAD * RECORD_BYTES  # from here on nothing is left to fetch ahead
    cdef uint64_t exact = 0
    if n > AHEAD:
        exact = sweep(core, record, last, AHEAD * RECORD_BYTES, now_ns)
        record = last
    exact += sweep(core, record, end, 0, now_ns)
    core.counts[C_SAMPLES] += <uint64_t> n - exact
    core.counts[C_QUIET] += <uint64_t> n - exact


cdef inline uint64_t sweep(Core* core, const char* record, const char* end, Py_ssize_t ahead, int64_t now_ns) noexcept nogil:
    """Judge the records up to `end`; how many of them the exact way."""
    return plain(core, record, end, ahead, now_ns) if core.plain else full(core, record, end, ahead, now_ns)


cdef inline void fetch(const Hot* hots, const char* record) noexcept nogil:
    """Ask for the line that a record to come will need. A point that does not exist is a harmless address."""
    bucium_prefetch(<const void*> (<uintptr_t> hots + <uintptr_t> <uint32_t> whose_at(record) * sizeof(Hot)))


cdef inline bint in_band(const Hot* hot, int64_t at_ns, double value, int64_t limit) noexcept nogil:
    """Later than the last and before every deadline, within the band and its time."""
    cdef float rough = <float> value  # rounding keeps order, so what is inside the band in single precision is inside it
    return (
        at_ns > hot.last_ns and at_ns < limit and at_ns < <int64_t> hot.quiet_tick << QUIET_BITS
        and rough > hot.low and rough < hot.high
    )


cdef int64_t exactly(Core* core, const char* record, int64_t now_ns) noexcept nogil:
    """Judge one record the exact way; the instant from which on records are not quiet. Kept out of the loops: they stay small."""
    cdef uint64_t whose = whose_at(record)
    sample(core, <uint32_t> whose, instant_at(record), value_at(record), <uint16_t> (whose >> 32), now_ns)
    return min(now_ns + 1, core.next_ns)


cdef uint64_t full(Core* core, const char* record, const char* end, Py_ssize_t ahead, int64_t now_ns) noexcept nogil:
    """How many of the records were judged the exact way."""
    cdef Hot* hot
    cdef Hot* hots = core.hot
    cdef uint64_t points = core.points, exact = 0
    cdef int64_t limit = min(now_ns + 1, core.next_ns), at_ns
    cdef double value, change
    while record < end:
        fetch(hots, record + ahead)
        if bucium_likely(whose_at(record) < points):
            hot = &hots[whose_at(record)]
            at_ns = instant_at(record)
            value = value_at(record)
            if bucium_likely(in_band(hot, at_ns, value, limit)):
                change = fabs(value - hot.last)
                if change <= hot.spike and change <= hot.step * <double> (at_ns - hot.last_ns):
                    if fabs(value - hot.anchor) > hot.tolerance:
                        hot.anchor = value
                        hot.anchor_ns = at_ns
                    hot.before = hot.last
                    hot.last = value
                    hot.last_ns = at_ns
                    record += RECORD_BYTES
                    continue
        limit = exactly(core, record, now_ns)
        exact += 1
        record += RECORD_BYTES
    return exact


cdef uint64_t plain(Core* core, const char* record, const char* end, Py_ssize_t ahead, int64_t now_ns) noexcept nogil:
    """The same for a panel none of whose points looks at spikes, rates of change or flat lines: x[n-1] is history enough."""
    cdef Hot* hot
    cdef Hot* hots = core.hot
    cdef uint64_t points = core.points, exact = 0
    cdef int64_t limit = min(now_ns + 1, core.next_ns)
    while record < end:
        fetch(hots, record + ahead)
        if bucium_likely(whose_at(record) < points):
            hot = &hots[whose_at(record)]
            if bucium_likely(in_band(hot, instant_at(record), value_at(record), limit)):
                hot.last = value_at(record)
                hot.last_ns = instant_at(record)
                record += RECORD_BYTES
                continue
        limit = exactly(core, record, now_ns)
        exact += 1
        record += RECORD_BYTES
    return exact


cdef void take_over(Core* core, int64_t now_ns, bint alike) noexcept nogil:
    """State has been loaded. What is overdue under another configuration happens now, not before that configuration was."""
    adopt(core, now_ns, alike)
    if not alike:
        fire_since(core, now_ns, now_ns)


@cython.final
cdef class Panel:
    """All detectors of a process: packed samples in, transitions out.

    Times are the panel's monotonic nanoseconds, 0 to 2**60. Raises ConfigError, which names the point, when the configuration
    must not run.
    """

    def __cinit__(self, config, now_ns=0):
        self.core = NULL
        packed, index = rules.pack_rules(config)
        self._digest = rules.digest(config, packed, index)
        self.config = config
        self.now_ns = check_ns(now_ns)
        self.core = make(config, packed, index, self.now_ns, &self.size)

    def __dealloc__(self):
        release(self.core)

    cdef int _begin(self, int64_t now_ns) except -1:
        """What follows happened by `now_ns`. Raises ValueError when that is no time of a panel."""
        if <uint64_t> now_ns > LATEST:
            check_ns(now_ns)
        self.now_ns = now_ns
        return 0

    cdef void _feed(self, const char* records, Py_ssize_t n) noexcept nogil:
        """Packed records, as `feed` judges them."""
        run(self.core, records, n, self.now_ns)

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
        take_over(self.core, self.now_ns, load(self.core, self.config, self._digest, data, self.now_ns))
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
        """Run another configuration from now on. State is kept by point id; Levels that no longer exist are left.

        Raises ConfigError when it must not run, and changes nothing then.
        """
        cdef Panel fresh = Panel(config, now_ns)
        cdef bytes kept
        self._begin(check_ns(now_ns))
        fire(self.core, self.now_ns)
        earlier = self._collect()
        kept = self.snapshot(self.now_ns)
        alike = load(fresh.core, config, fresh._digest, kept, self.now_ns)
        memcpy(fresh.core.counts, self.core.counts, sizeof(self.core.counts))
        take_over(fresh.core, self.now_ns, alike)
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
        if extra.count < 4 or extra.pushed_ns - extra.kept[extra.head].at_ns < rule.window_ns // 2:
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
