from libc.stdint cimport int64_t, uint32_t

from cython_ext.state cimport Core

cdef Core* make(object config, list packed, list index, int64_t now_ns, uint32_t told_at_once, size_t* size) except NULL
cdef void release(Core* core) noexcept
