# The judged path, for other extensions: bytes of a DATA (or birth) payload become records, with no Python object.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from .names cimport Names


cdef packed struct Record:  # '<qdIHH', the Panel's packed record (24 bytes, naturally aligned)
    int64_t at_ns
    double value
    uint32_t point
    uint16_t status  # model.Status
    uint16_t reserved


cdef struct Slot:
    uint64_t alias
    int32_t point  # -1: known, and not judged
    uint8_t datatype  # 0: the slot is free


cdef class AliasTable:
    cdef Slot* slots
    cdef uint64_t mask
    cdef Py_ssize_t count
    cdef Names names
    cdef Slot* find(self, uint64_t alias) noexcept nogil
    cdef int bind_slot(self, uint64_t alias, uint8_t datatype, int32_t point) except -1
    cdef int bind_name(self, bytes name, uint8_t datatype, int32_t point) except -1
    cdef int read(self, const uint8_t* data, Py_ssize_t size, int64_t received_ns, Record* records) noexcept nogil
