# cython: boundscheck=False, wraparound=False, cdivision=True, autotestdict=False, auto_pickle=False
"""Every detector of a process: packed samples in, transitions out. The theory of operation is README.md beside this file."""

import struct
import sys

cimport cython

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cython_ext.block cimport make, release
from cython_ext.deadlines cimport exact_next, fire_since
from cython_ext.due cimport due
from cython_ext.filters cimport delta_rate, robust_rate
from cython_ext.judge cimport drop_level
from cython_ext.queue cimport NEVER, arm
from cython_ext.snapshot cimport load, save
from cython_ext.state cimport (
    R_RESET, RECORD_BYTES, W_DRIFT, W_RATE, Beat, Event, Extra, Hot, Node, Record, Rule, Warm,
)
from cython_ext.sweep cimport run
from cython_ext.verdict cimport adopt, declare, full, restate, vote

from cython_ext import rules
from cython_ext.errors import WireError
from cython_ext.explain import explanation
from cython_ext.model import Cause, Level, QcFlag, Reason, Transition, Trouble

cdef extern from *:
    """
    #define BUCIUM_LATEST (UINT64_C(1) << 60)
    """
    const uint64_t LATEST "BUCIUM_LATEST"

RECORD = struct.Struct("<qdIHH")
RECORD_SIZE = RECORD.size
LATEST_NS = LATEST  # 36 years of a monotonic clock: later is not a time

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


@cython.final
cdef class Panel:
    """All detectors of a process: packed samples in, transitions out.

    Times are the panel's monotonic nanoseconds, 0 to 2**60. Raises ConfigError, which names the point, when the configuration
    must not run. All its memory is taken here: within a call, transitions are handed over whenever there are `told_at_once`
    (1 to 2**20), which changes no result.
    """

    def __cinit__(self, config, now_ns=0, told_at_once=1024):
        self.core = NULL
        if not 1 <= told_at_once <= 1 << 20:
            raise ValueError(f"told_at_once is {told_at_once}: from 1 to 2**20 transitions")
        packed, index = rules.pack_rules(config)
        self._digest = rules.digest(config, packed, index)
        self.config = config
        self.now_ns = check_ns(now_ns)
        self.core = make(config, packed, index, self.now_ns, told_at_once, &self.size)

    def __dealloc__(self):
        release(self.core)

    cdef int _begin(self, int64_t now_ns) except -1:
        """What follows happened by `now_ns`. Raises ValueError when that is no time of a panel."""
        if <uint64_t> now_ns > LATEST:
            check_ns(now_ns)
        self.now_ns = now_ns
        return 0

    cdef Py_ssize_t _feed(self, const char* records, Py_ssize_t n) noexcept nogil:
        """Packed records, as `feed` judges them: how many were, before what they told had to be handed over."""
        return run(self.core, records, n, self.now_ns)

    cdef list _rest(self, const char* records, Py_ssize_t n):
        """What was told so far, and what the records that still wait tell."""
        cdef list told = self._collect()
        cdef Py_ssize_t done = 0
        while done < n:
            with nogil:
                done += run(self.core, records + done * RECORD_BYTES, n - done, self.now_ns)
            told += self._collect()
        return told

    cdef list _due(self, int64_t since_ns):
        """Everything due by now happens, and what it tells; what was due before `since_ns` happens then."""
        cdef list told = []
        cdef bint done = False
        while not done:
            with nogil:
                done = fire_since(self.core, self.now_ns, since_ns)
            told += self._collect()
        return told

    cdef list _take_over(self, bint alike):
        """State has been loaded. What is overdue under another configuration happens now, not before that configuration was."""
        cdef list told = []
        cdef uint32_t i
        for i in range(self.core.total):
            adopt(self.core, i, self.now_ns, alike)
            if full(self.core):
                told += self._collect()
        told += self._collect()
        return told if alike else told + self._due(self.now_ns)

    cdef list _collect(self):
        """The transitions since the last call."""
        cdef list told
        cdef uint32_t k, n = self.core.event_count
        if n == 0:
            return []
        if self.core.event_lost:
            raise AssertionError(f"{self.core.event_lost} transitions had no room: one step told more than step_most")
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
        cdef Py_ssize_t n = batch.shape[0], done = 0
        self._begin(check_ns(now_ns))
        if n % RECORD_BYTES:
            raise WireError("batch", f"{n} bytes are not a whole number of {RECORD_BYTES}-byte records")
        if n == 0:
            return []
        n //= RECORD_BYTES
        with nogil:
            done = run(self.core, <const char*> &batch[0], n, self.now_ns)
        return self._rest(<const char*> &batch[0] + done * RECORD_BYTES, n - done)

    def advance(self, now_ns):
        """Let time pass: everything due by now happens."""
        self._begin(check_ns(now_ns))
        return self._due(0) if self.now_ns >= self.core.next_ns else []

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
        told = self._due(0)
        if self.core.rules[warm.rule].latch and warm.active & warm.pending:
            for k in range(3):
                if warm.active & warm.pending & (1 << k):
                    drop_level(warm, k)
            declare(self.core, i, self.now_ns, self.core.hot[i].last, R_RESET)
            vote(self.core, i, self.now_ns)
            self.core.hot[i].quiet_tick = 0
            arm(self.core, i, due(self.core, i))
        return told + self._collect()

    def snapshot(self, now_ns):
        """The whole state as bytes: elapsed times, not instants, with a version, the configuration's digest and a checksum."""
        return save(self.core, self.config, self._digest, check_ns(now_ns))

    def restore(self, data, now_ns):
        """Take up a snapshot, by point id where the configuration differs; held Levels are restated.

        Raises WireError ('snapshot') when the bytes are not one, and changes nothing then.
        """
        self._begin(check_ns(now_ns))
        told = self._take_over(load(self.core, self.config, self._digest, data, self.now_ns))
        cdef uint32_t i
        for i in range(self.core.total):
            restate(self.core, i, self.now_ns)
            if full(self.core):
                told += self._collect()
        return told + self._collect()

    def reconfigure(self, config, now_ns):
        """Run another configuration from now on. State is kept by point id; Levels that no longer exist are left.

        Raises ConfigError when it must not run, and changes nothing then.
        """
        cdef Panel fresh = Panel(config, now_ns, self.core.event_pause)
        cdef bytes kept
        self._begin(check_ns(now_ns))
        told = self._due(0)
        kept = self.snapshot(self.now_ns)
        alike = load(fresh.core, config, fresh._digest, kept, self.now_ns)
        memcpy(fresh.core.counts, self.core.counts, sizeof(self.core.counts))
        told += fresh._take_over(alike)
        self.core, fresh.core = fresh.core, self.core
        self.size, self.config, self._digest = fresh.size, fresh.config, fresh._digest
        return told

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

    def last_ns(self, index):
        """When the last sample that a point took was measured, on the Panel's clock; below zero: none yet."""
        return self.core.hot[self._index(index, False)].last_ns

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
        """The size of the block that holds everything but the transitions that are not handed over yet."""
        return self.size

    @property
    def digest(self):
        """SHA-256 of the configuration, as far as it can change a verdict."""
        return self._digest


cdef int64_t check_ns(now_ns) except -1:
    if not 0 <= now_ns <= LATEST_NS:
        raise ValueError(f"now_ns is {now_ns}: monotonic nanoseconds from 0 to 2**60")
    return now_ns
