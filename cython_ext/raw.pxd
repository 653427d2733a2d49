# A Sparkplug metric, a property and a payload as they lie on the wire: spans into the message, no copies.
# Both readers (wire: Python objects; wire_data: records) stand on these.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from .varint cimport (
    BYTES,
    FAULT_CARRIER,
    FAULT_DATATYPE,
    FAULT_METRICS,
    FAULT_NAME,
    FAULT_NULL,
    FAULT_PROPERTIES,
    FAULT_RANGE,
    FAULT_REPEATED,
    FAULT_SEQ,
    FAULT_SIZE,
    FAULT_TYPE,
    FAULT_VALUE,
    FIXED32,
    FIXED64,
    VARINT,
    Cursor,
    read_fixed32,
    read_fixed64,
    read_span,
    read_tag,
    read_varint,
    skip,
)


cdef enum:
    MAX_PAYLOAD = 65536  # bytes; a birth of 1,000 points is about 40 KiB, and a broker's queue holds many messages
    MAX_METRICS = 2048  # a payload; more do not fit in births of any real device
    MAX_NAME = 255  # bytes; metric names and property keys
    MAX_PROPERTIES = 16  # a metric; we use three

    CARRIER_INT = 10
    CARRIER_LONG = 11
    CARRIER_FLOAT = 12
    CARRIER_DOUBLE = 13
    CARRIER_BOOLEAN = 14
    CARRIER_STRING = 15
    CARRIER_BYTES = 16
    CARRIER_EXTENSION = 19


cdef struct RawMetric:
    uint32_t seen  # bit f: field f is there
    uint32_t carrier  # 10 to 19, 0: no value
    uint32_t datatype  # 0: absent
    bint historical
    bint transient
    bint null
    uint64_t alias
    uint64_t timestamp
    uint64_t bits  # an integer, a boolean, or the bits of a float or double
    Cursor name
    Cursor span  # text, bytes, data set or template
    Cursor properties


cdef struct RawProperty:
    uint32_t seen
    uint32_t type
    uint32_t carrier  # 3 to 11 as on the wire, 0: no value
    bint null
    uint64_t bits
    Cursor key
    Cursor span


cdef struct RawPayload:
    uint32_t seen
    uint64_t timestamp
    uint64_t seq
    Cursor uuid
    Cursor body


cdef inline uint32_t carrier_of(uint32_t datatype) noexcept nogil:
    # The field that holds a value of this datatype; 0: no metric has it.
    if datatype == 4 or datatype == 8 or datatype == 13:
        return 11
    if datatype == 0 or datatype > 34 or datatype == 20 or datatype == 21:
        return 0
    if datatype < 8:
        return 10
    if datatype == 9:
        return 12
    if datatype == 10:
        return 13
    if datatype == 11:
        return 14
    if datatype == 12 or datatype == 14 or datatype == 15:
        return 15
    if datatype == 16:
        return 17
    if datatype == 19:
        return 18
    return 16


cdef inline uint32_t property_carrier_of(uint32_t type) noexcept nogil:
    # The field that holds a property of this type; 0: no property has it.
    cdef uint32_t carrier = carrier_of(type)
    if type == 20:
        return 9
    if type == 21:
        return 10
    if carrier >= 10 and carrier <= 15:
        return carrier - 7
    return 0


cdef inline int fits(uint32_t datatype, uint64_t bits) noexcept nogil:
    # Whether an integer's bits are one of its datatype (signed small ones are two's complement of 32 bits).
    cdef int32_t signed = <int32_t>bits
    if datatype == 1:
        return -128 <= signed <= 127
    if datatype == 2:
        return -32768 <= signed <= 32767
    if datatype == 5:
        return bits <= 0xFF
    if datatype == 6:
        return bits <= 0xFFFF
    return 1


cdef inline int read_flag(Cursor* c, uint32_t kind, bint* out) noexcept nogil:
    cdef uint64_t value = 0
    cdef int fault
    if kind != VARINT:
        return FAULT_TYPE
    fault = read_varint(c, &value)
    if fault:
        return fault
    if value > 1:
        return FAULT_RANGE
    out[0] = value == 1
    return 0


cdef inline int read_number(Cursor* c, uint32_t kind, uint64_t most, uint64_t* out) noexcept nogil:
    cdef int fault
    if kind != VARINT:
        return FAULT_TYPE
    fault = read_varint(c, out)
    if fault:
        return fault
    return FAULT_RANGE if out[0] > most else 0


cdef inline int read_bytes(Cursor* c, uint32_t kind, Cursor* span) noexcept nogil:
    return read_span(c, span) if kind == BYTES else FAULT_TYPE


cdef inline int read_scalar(Cursor* c, uint32_t carrier, uint32_t kind, uint64_t* bits, Cursor* span) noexcept nogil:
    # The value of a oneof; `carrier` in the metric's numbers, 10 to 19.
    cdef uint32_t narrow = 0
    cdef int fault
    if carrier == CARRIER_FLOAT:
        if kind != FIXED32:
            return FAULT_TYPE
        fault = read_fixed32(c, &narrow)
        bits[0] = narrow
        return fault
    if carrier == CARRIER_DOUBLE:
        return read_fixed64(c, bits) if kind == FIXED64 else FAULT_TYPE
    if carrier == CARRIER_INT:
        return read_number(c, kind, 0xFFFFFFFFULL, bits)
    if carrier == CARRIER_LONG:
        return read_number(c, kind, 0xFFFFFFFFFFFFFFFFULL, bits)
    if carrier == CARRIER_BOOLEAN:
        return read_number(c, kind, 1, bits)
    return read_bytes(c, kind, span)


cdef inline int check_metric(RawMetric* m) noexcept nogil:
    # What must hold between the fields of one metric.
    if not (m.seen & (1 << 1 | 1 << 2)):
        return FAULT_NAME
    if m.seen & (1 << 1) and (m.name.at == m.name.end or m.name.end - m.name.at > MAX_NAME):
        return FAULT_NAME
    if m.carrier:
        if m.null:
            return FAULT_NULL
        if m.datatype:
            if m.carrier != carrier_of(m.datatype):
                return FAULT_CARRIER
            if m.carrier == CARRIER_INT and not fits(m.datatype, m.bits):
                return FAULT_RANGE
    elif not m.null:
        return FAULT_VALUE
    return 0


cdef inline int read_metric(Cursor* c, RawMetric* m) noexcept nogil:
    # The whole of `c` is one metric.
    cdef uint32_t field = 0, kind = 0
    cdef uint64_t number = 0
    cdef Cursor metadata
    cdef int fault
    m.seen = 0
    m.carrier = 0
    m.datatype = 0
    m.historical = m.transient = m.null = False
    m.bits = 0
    while c.at < c.end:
        fault = read_tag(c, &field, &kind)
        if fault:
            return fault
        if field > 19:
            fault = skip(c, kind)
            if fault:
                return fault
            continue
        if m.seen >> field & 1:
            return FAULT_REPEATED
        m.seen |= <uint32_t>1 << field
        if field >= 10:
            if m.carrier:
                return FAULT_REPEATED
            m.carrier = field
            fault = read_scalar(c, field, kind, &m.bits, &m.span)
        elif field == 2:
            fault = read_number(c, kind, 0xFFFFFFFFFFFFFFFFULL, &m.alias)
        elif field == 3:
            fault = read_number(c, kind, 0xFFFFFFFFFFFFFFFFULL, &m.timestamp)
        elif field == 1:
            fault = read_bytes(c, kind, &m.name)
        elif field == 4:
            fault = read_number(c, kind, 34, &number)
            m.datatype = <uint32_t>number
            if fault == FAULT_RANGE or (fault == 0 and carrier_of(m.datatype) == 0):
                fault = FAULT_DATATYPE
        elif field == 5:
            fault = read_flag(c, kind, &m.historical)
        elif field == 6:
            fault = read_flag(c, kind, &m.transient)
        elif field == 7:
            fault = read_flag(c, kind, &m.null)
        elif field == 8:
            fault = read_bytes(c, kind, &metadata)  # passed over: nothing of ours has it
        else:
            fault = read_bytes(c, kind, &m.properties)
        if fault:
            return fault
    return check_metric(m)


cdef inline int read_property(Cursor* c, RawProperty* p) noexcept nogil:
    # The whole of `c` is one property value; its key is read elsewhere.
    cdef uint32_t field = 0, kind = 0
    cdef uint64_t number = 0
    cdef int fault
    p.seen = 0
    p.type = 0
    p.carrier = 0
    p.null = False
    p.bits = 0
    while c.at < c.end:
        fault = read_tag(c, &field, &kind)
        if fault:
            return fault
        if field > 11:
            fault = skip(c, kind)
            if fault:
                return fault
            continue
        if p.seen >> field & 1:
            return FAULT_REPEATED
        p.seen |= <uint32_t>1 << field
        if field == 1:
            fault = read_number(c, kind, 34, &number)
            p.type = <uint32_t>number
            if fault == FAULT_RANGE or (fault == 0 and property_carrier_of(p.type) == 0):
                fault = FAULT_DATATYPE
        elif field == 2:
            fault = read_flag(c, kind, &p.null)
        else:
            if p.carrier:
                return FAULT_REPEATED
            p.carrier = field
            fault = read_scalar(c, <uint32_t>(field + 7 if field < 9 else 16), kind, &p.bits, &p.span)
        if fault:
            return fault
    if p.type == 0:
        return FAULT_DATATYPE
    if p.carrier:
        if p.null:
            return FAULT_NULL
        if p.carrier != property_carrier_of(p.type):
            return FAULT_CARRIER
        if p.carrier == 3 and not fits(p.type, p.bits):
            return FAULT_RANGE
    elif not p.null:
        return FAULT_VALUE
    return 0


cdef inline int read_properties(Cursor* c, RawProperty* properties) noexcept nogil:
    # The whole of `c` is a property set. Returns their number (≤ MAX_PROPERTIES) or a fault.
    cdef uint32_t field = 0, kind = 0
    cdef Cursor span
    cdef int keys = 0, values = 0, fault
    while c.at < c.end:
        fault = read_tag(c, &field, &kind)
        if fault:
            return fault
        if field > 2:
            fault = skip(c, kind)
            if fault:
                return fault
            continue
        fault = read_bytes(c, kind, &span)
        if fault:
            return fault
        if field == 1:
            if keys == MAX_PROPERTIES:
                return FAULT_PROPERTIES
            if span.at == span.end or span.end - span.at > MAX_NAME:
                return FAULT_NAME
            properties[keys].key = span
            keys += 1
        else:
            if values == MAX_PROPERTIES:
                return FAULT_PROPERTIES
            fault = read_property(&span, &properties[values])
            if fault:
                return fault
            values += 1
    return keys if keys == values else FAULT_PROPERTIES


cdef inline int next_metric(Cursor* c, RawPayload* p, Cursor* metric) noexcept nogil:
    # Read the payload's own fields up to its next metric: 1 and the metric's span, 0 at the end, or a fault.
    cdef uint32_t field = 0, kind = 0
    cdef int fault
    while c.at < c.end:
        fault = read_tag(c, &field, &kind)
        if fault:
            return fault
        if field == 2:
            fault = read_bytes(c, kind, metric)
            return fault if fault else 1
        if field > 5:
            fault = skip(c, kind)
            if fault:
                return fault
            continue
        if p.seen >> field & 1:
            return FAULT_REPEATED
        p.seen |= <uint32_t>1 << field
        if field == 1:
            fault = read_number(c, kind, 0xFFFFFFFFFFFFFFFFULL, &p.timestamp)
        elif field == 3:
            fault = read_number(c, kind, 255, &p.seq)
            if fault == FAULT_RANGE:
                fault = FAULT_SEQ
        elif field == 4:
            fault = read_bytes(c, kind, &p.uuid)
        else:
            fault = read_bytes(c, kind, &p.body)
        if fault:
            return fault
    return 0
