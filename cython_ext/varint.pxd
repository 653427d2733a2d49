# Protobuf's alphabet, bounded: a cursor that never passes its end, and a fault for every way bytes can be wrong.
# All functions are inline, without Python, and return 0 or a Fault.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef enum Fault:  # negative, so that counts and faults share an int; names: faults.FAULTS
    FAULT_SIZE = -1  # more bytes than a payload may have
    FAULT_TRUNCATED = -2
    FAULT_VARINT = -3  # longer than 10 bytes, or beyond 64 bits
    FAULT_FIELD = -4  # field number 0 or above 2^29 - 1
    FAULT_TYPE = -5  # not the wire type of that field, or a group
    FAULT_REPEATED = -6  # a field that may occur once occurs twice
    FAULT_RANGE = -7  # a number that its type cannot hold
    FAULT_NAME = -8  # no name and no alias, an empty or a too long name
    FAULT_UTF8 = -9
    FAULT_METRICS = -10  # too many
    FAULT_CARRIER = -11  # the value is not in the field that its datatype asks for
    FAULT_NULL = -12  # null, and yet a value
    FAULT_VALUE = -13  # neither null nor a value
    FAULT_ALIAS = -14  # not in the birth
    FAULT_QUALITY = -15  # not 0, 192 or 500
    FAULT_PROPERTIES = -16  # keys and values do not match, or are too many
    FAULT_SEQ = -17  # above 255
    FAULT_DATATYPE = -18  # unknown, or not the one of the birth


cdef enum:
    VARINT = 0  # wire types
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


cdef struct Cursor:
    const uint8_t* at
    const uint8_t* end


cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil


cdef inline int read_varint(Cursor* c, uint64_t* out) noexcept nogil:
    if c.at < c.end and c.at[0] < 0x80:
        out[0] = c.at[0]
        c.at += 1
        return 0
    return read_long_varint(c, out)


cdef inline int read_long_varint(Cursor* c, uint64_t* out) noexcept nogil:
    # Eight bytes at once where there are eight: a timestamp has six. Then byte by byte.
    cdef uint64_t word, stop
    if c.end - c.at >= 8:
        memcpy(&word, c.at, 8)
        stop = ~word & 0x8080808080808080ULL  # the first byte without its high bit ends the number
        if stop:
            c.at += (__builtin_ctzll(stop) >> 3) + 1
            word &= (stop ^ (stop - 1)) & 0x7F7F7F7F7F7F7F7FULL
            word = (word & 0x7F007F007F007F00ULL) >> 1 | (word & 0x007F007F007F007FULL)
            word = (word & 0x3FFF00003FFF0000ULL) >> 2 | (word & 0x00003FFF00003FFFULL)
            out[0] = (word & 0x0FFFFFFF00000000ULL) >> 4 | (word & 0x000000000FFFFFFFULL)
            return 0
    return read_slow_varint(c, out)


cdef inline int read_slow_varint(Cursor* c, uint64_t* out) noexcept nogil:
    cdef uint64_t value = 0
    cdef uint8_t byte
    cdef int shift = 0
    while shift < 64:
        if c.at >= c.end:
            return FAULT_TRUNCATED
        byte = c.at[0]
        c.at += 1
        if shift == 63 and byte > 1:
            return FAULT_VARINT
        value |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            out[0] = value
            return 0
        shift += 7
    return FAULT_VARINT


cdef inline int read_tag(Cursor* c, uint32_t* field, uint32_t* kind) noexcept nogil:
    cdef uint64_t tag = 0
    cdef int fault
    if c.at < c.end and c.at[0] < 0x80:
        tag = c.at[0]
        c.at += 1
    else:
        fault = read_varint(c, &tag)
        if fault:
            return fault
    if tag < 8 or tag > 0xFFFFFFFFULL:
        return FAULT_FIELD
    field[0] = <uint32_t>(tag >> 3)
    kind[0] = <uint32_t>(tag & 7)
    return 0


cdef inline int read_span(Cursor* c, Cursor* span) noexcept nogil:
    # A length and that many bytes.
    cdef uint64_t size = 0
    cdef int fault = read_varint(c, &size)
    if fault:
        return fault
    if size > <uint64_t>(c.end - c.at):
        return FAULT_TRUNCATED
    span.at = c.at
    span.end = c.at + size
    c.at = span.end
    return 0


cdef inline int read_fixed32(Cursor* c, uint32_t* out) noexcept nogil:
    if c.end - c.at < 4:
        return FAULT_TRUNCATED
    memcpy(out, c.at, 4)  # little endian, as both supported boards are
    c.at += 4
    return 0


cdef inline int read_fixed64(Cursor* c, uint64_t* out) noexcept nogil:
    if c.end - c.at < 8:
        return FAULT_TRUNCATED
    memcpy(out, c.at, 8)
    c.at += 8
    return 0


cdef inline int skip(Cursor* c, uint32_t kind) noexcept nogil:
    # Pass over a field we do not know. Never goes into it, so depth costs nothing.
    cdef uint64_t ignored = 0
    cdef uint32_t ignored32 = 0
    cdef Cursor span
    if kind == VARINT:
        return read_varint(c, &ignored)
    if kind == BYTES:
        return read_span(c, &span)
    if kind == FIXED64:
        return read_fixed64(c, &ignored)
    if kind == FIXED32:
        return read_fixed32(c, &ignored32)
    return FAULT_TYPE
