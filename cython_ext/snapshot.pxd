from libc.stdint cimport int64_t

from cython_ext.state cimport Core

cdef bytes save(Core* core, object config, bytes digest, int64_t now_ns)
cdef object load(Core* core, object config, bytes digest, object data, int64_t now_ns)
