"""The panel as C sees it. Python's view is panel.pyi; the theory is README.md.

For a decoder (wire_feed.pyx), per message:

    panel._begin(now_ns)                      # nothing is judged later than now; ValueError when that is no time
    done = panel._feed(records, n)            # packed records of 24 bytes (state.Record), with or without the GIL
    told = panel._rest(rest of them, n - done)  # the transitions; a list, nearly always empty, as the rest is
"""

cimport cython
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from cython_ext.state cimport Core, Event


@cython.final
cdef class Panel:
    cdef Core* core
    cdef size_t size  # of the block that `core` begins
    cdef int64_t now_ns
    cdef object config
    cdef bytes _digest
    cdef int _begin(self, int64_t now_ns) except -1
    cdef Py_ssize_t _feed(self, const char* records, Py_ssize_t n) noexcept nogil
    cdef list _rest(self, const char* records, Py_ssize_t n)
    cdef list _due(self, int64_t since_ns)
    cdef list _take_over(self, bint alike)
    cdef list _collect(self)
    cdef _transition(self, const Event* event)
    cdef dict _facts(self, uint32_t i)
    cdef dict _group_facts(self, uint32_t g)
    cdef uint32_t _index(self, index, bint groups) except? 0xFFFFFFFF
