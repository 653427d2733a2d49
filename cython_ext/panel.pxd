"""The panel as C sees it. Python's view is panel.pyi; the theory is README.md.

For a decoder that has no packed batch (wire.pyx), per message and with or without the GIL:

    panel._begin(now_ns)                              # once: nothing is judged later than now
    panel._sample(point, at_ns, value, status)        # each metric; at_ns on the panel's monotonic clock
    panel._feed(records, n)                           # or many at once: packed records of 24 bytes (state.Record)
    transitions = panel._collect()                    # with the GIL; a list, nearly always empty
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
    cdef void _begin(self, int64_t now_ns) noexcept nogil
    cdef void _sample(self, uint32_t point, int64_t at_ns, double value, uint16_t status) noexcept nogil
    cdef void _feed(self, const char* records, Py_ssize_t n) noexcept nogil
    cdef list _collect(self)
    cdef _transition(self, const Event* event)
    cdef dict _facts(self, uint32_t i)
    cdef dict _group_facts(self, uint32_t g)
    cdef uint32_t _index(self, index, bint groups) except? 0xFFFFFFFF
