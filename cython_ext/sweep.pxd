# cython: cdivision=True
"""Packed records, one after the other: the quick loops that most samples never leave (README.md §11)."""

from libc.math cimport fabs
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from cython_ext.judge cimport sample
from cython_ext.state cimport C_QUIET, C_SAMPLES, QUIET_BITS, RECORD_BYTES, Core, Hot, bucium_prefetch

cdef extern from *:
    """
    #define bucium_likely(condition) ((int) __builtin_expect(!!(condition), 1))
    """
    bint bucium_likely(bint condition) noexcept nogil

cdef enum:
    AHEAD = 12  # records between a prefetch and its use: about one memory latency


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


cdef inline Py_ssize_t run(Core* core, const char* first, Py_ssize_t n, int64_t now_ns) noexcept nogil:
    """Judge `n` records, or as many of them as there is room to tell of: how many were.

    One that lies in its point's quiet band only becomes history; any other is judged the exact way.
    """
    cdef const char* end = first + n * RECORD_BYTES
    cdef const char* last = end - AHEAD * RECORD_BYTES  # from here on nothing is left to fetch ahead
    cdef const char* record = first
    cdef uint64_t exact = 0, quiet
    if n > AHEAD:
        record = sweep(core, record, last, AHEAD * RECORD_BYTES, now_ns, &exact)
    if n <= AHEAD or record == last:
        record = sweep(core, record, end, 0, now_ns, &exact)
    n = (record - first) // RECORD_BYTES
    quiet = <uint64_t> n - exact
    core.counts[C_SAMPLES] += quiet
    core.counts[C_QUIET] += quiet
    return n


cdef inline const char* sweep(
    Core* core, const char* record, const char* end, Py_ssize_t ahead, int64_t now_ns, uint64_t* exact
) noexcept nogil:
    """Judge the records up to `end`, or to the one that must wait for room; `exact`: more were judged the exact way."""
    return plain(core, record, end, ahead, now_ns, exact) if core.plain else checked(core, record, end, ahead, now_ns, exact)


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


cdef inline bint exactly(Core* core, const char* record, int64_t now_ns, int64_t* limit) noexcept nogil:
    """Judge one record the exact way; `limit`: from then on records are not quiet. Kept out of the loops: they stay small.

    False: it must wait until there is room.
    """
    cdef uint64_t whose = whose_at(record)
    cdef bint done = sample(core, <uint32_t> whose, instant_at(record), value_at(record), <uint16_t> (whose >> 32), now_ns)
    limit[0] = min(now_ns + 1, core.next_ns)
    return done


cdef inline const char* checked(
    Core* core, const char* record, const char* end, Py_ssize_t ahead, int64_t now_ns, uint64_t* exact
) noexcept nogil:
    """`sweep`, with every check."""
    cdef Hot* hot
    cdef Hot* hots = core.hot
    cdef uint64_t points = core.points
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
        if not exactly(core, record, now_ns, &limit):
            break
        exact[0] += 1
        record += RECORD_BYTES
    return record


cdef inline const char* plain(
    Core* core, const char* record, const char* end, Py_ssize_t ahead, int64_t now_ns, uint64_t* exact
) noexcept nogil:
    """The same for a panel none of whose points looks at spikes, rates of change or flat lines: x[n-1] is history enough."""
    cdef Hot* hot
    cdef Hot* hots = core.hot
    cdef uint64_t points = core.points
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
        if not exactly(core, record, now_ns, &limit):
            break
        exact[0] += 1
        record += RECORD_BYTES
    return record
