# cython: autotestdict=False
"""Sparkplug B payloads to Python objects and back: births, deaths, commands. DATA is judged by `wire_data`.

Strict both ways: what `decode` accepts, protobuf accepts with the same content; what `encode` makes, `decode` accepts.
Nothing here recurses, so depth costs nothing; limits and their reasons are in `raw.pxd`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.float cimport FLT_MAX
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from .errors import WireError
from .faults import refuse
from .payload import Carrier, DataType, Metric, Payload, Property

from .raw cimport (
    CARRIER_BOOLEAN,
    CARRIER_DOUBLE,
    CARRIER_FLOAT,
    CARRIER_INT,
    CARRIER_LONG,
    CARRIER_STRING,
    MAX_METRICS,
    MAX_NAME,
    MAX_PAYLOAD,
    MAX_PROPERTIES,
    RawMetric,
    RawPayload,
    RawProperty,
    carrier_of,
    fits,
    next_metric,
    property_carrier_of,
    read_metric,
    read_properties,
)
from .varint cimport FAULT_METRICS, FAULT_SIZE, Cursor

cdef object _none = Carrier.NONE
cdef tuple _carriers = tuple(Carrier(n) if n >= 10 else None for n in range(20))
cdef tuple _datatypes = tuple(DataType(n) if n else None for n in range(35))


cdef dict _ranges = {  # what an integer datatype holds; C's shifts would overflow here
    datatype: (-(2**(bits - 1)), 2**(bits - 1) - 1) if datatype <= 4 else (0, 2**bits - 1)
    for datatype, bits in {1: 8, 2: 16, 3: 32, 4: 64, 5: 8, 6: 16, 7: 32, 8: 64, 13: 64}.items()
}


cdef object _text(Cursor span):
    try:
        return PyUnicode_DecodeUTF8(<const char*>span.at, span.end - span.at, NULL)
    except UnicodeDecodeError:
        raise refuse(-9) from None


cdef object _bytes(Cursor span):
    return PyBytes_FromStringAndSize(<const char*>span.at, span.end - span.at)


cdef object _number(uint32_t datatype, uint32_t carrier, uint64_t bits):
    # An integer as its datatype reads it; without one, as it is.
    if carrier == CARRIER_BOOLEAN:
        return bits == 1
    if datatype == 1 or datatype == 2 or datatype == 3:
        return <int32_t>bits
    if datatype == 4:
        return <int64_t>bits
    return bits


cdef object _scalar(uint32_t datatype, uint32_t carrier, uint64_t bits, Cursor span):
    cdef float single
    cdef double wide
    cdef uint32_t narrow
    if carrier == CARRIER_FLOAT:
        narrow = <uint32_t>bits
        memcpy(&single, &narrow, 4)
        return <double>single
    if carrier == CARRIER_DOUBLE:
        memcpy(&wide, &bits, 8)
        return wide
    if carrier == CARRIER_STRING:
        return _text(span)
    if carrier == CARRIER_INT or carrier == CARRIER_LONG or carrier == CARRIER_BOOLEAN:
        return _number(datatype, carrier, bits)
    return _bytes(span)


cdef object _properties(Cursor c):
    cdef RawProperty raw[MAX_PROPERTIES]
    cdef int count = read_properties(&c, raw), i
    if count < 0:
        raise refuse(count)
    found = []
    for i in range(count):
        value = None
        if raw[i].carrier and raw[i].carrier < 9:  # nested sets are passed over
            value = _scalar(raw[i].type, raw[i].carrier + 7, raw[i].bits, raw[i].span)
        found.append(Property(_text(raw[i].key), _datatypes[raw[i].type], value))
    return tuple(found)


cdef object _metric(Cursor c):
    cdef RawMetric m
    cdef int fault
    memset(&m, 0, sizeof(m))
    fault = read_metric(&c, &m)
    if fault:
        raise refuse(fault)
    return Metric(
        _text(m.name) if m.seen >> 1 & 1 else None,
        m.alias if m.seen >> 2 & 1 else None,
        m.timestamp if m.seen >> 3 & 1 else None,
        _datatypes[m.datatype],
        _scalar(m.datatype, m.carrier, m.bits, m.span) if m.carrier else None,
        m.null,
        m.historical,
        m.transient,
        _properties(m.properties) if m.seen >> 9 & 1 else (),
        _carriers[m.carrier] if m.carrier else _none,
    )


def decode(bytes data not None):
    """The payload that `data` is. Raises WireError with a code of `faults.FAULTS`."""
    cdef Cursor c, span
    cdef RawPayload raw
    cdef int more
    c.at = <const uint8_t*>PyBytes_AS_STRING(data)
    c.end = c.at + PyBytes_GET_SIZE(data)
    if c.end - c.at > MAX_PAYLOAD:
        raise refuse(FAULT_SIZE)
    memset(&raw, 0, sizeof(raw))
    metrics = []
    while True:
        more = next_metric(&c, &raw, &span)
        if more < 0:
            raise refuse(more)
        if more == 0:
            break
        if len(metrics) == MAX_METRICS:
            raise refuse(FAULT_METRICS)
        metrics.append(_metric(span))
    return Payload(
        raw.timestamp if raw.seen >> 1 & 1 else None,
        tuple(metrics),
        raw.seq if raw.seen >> 3 & 1 else None,
        _text(raw.uuid) if raw.seen >> 4 & 1 else None,
        _bytes(raw.body) if raw.seen >> 5 & 1 else None,
    )


def typed(metric, datatype):
    """The value of a metric that came without a datatype, read as its birth's `datatype`; None: null.

    Raises WireError: 'carrier', 'range' or 'datatype' when it cannot be that.
    """
    cdef uint32_t wanted = datatype
    cdef uint64_t bits
    if metric.datatype is not None:
        if metric.datatype != wanted:
            raise WireError("datatype", f"{metric.datatype.name}, and the birth said {_datatypes[wanted].name}")
        return metric.value
    if metric.value is None:
        return None
    if metric.carrier != carrier_of(wanted):
        raise WireError("carrier", f"{metric.carrier.name} cannot carry {_datatypes[wanted].name}")
    if metric.carrier == CARRIER_INT or metric.carrier == CARRIER_LONG:
        bits = metric.value
        if metric.carrier == CARRIER_INT and not fits(wanted, bits):
            raise WireError("range", f"{metric.value} is no {_datatypes[wanted].name}")
        return _number(wanted, metric.carrier, bits)
    return metric.value


cdef class _Writer:
    """A growing run of bytes."""

    cdef uint8_t* start
    cdef Py_ssize_t size, room

    def __dealloc__(self):
        free(self.start)

    cdef int need(self, Py_ssize_t more) except -1:
        cdef uint8_t* start
        cdef Py_ssize_t room
        if self.size + more > self.room:
            if self.size + more > 2 * MAX_PAYLOAD:
                raise refuse(FAULT_SIZE)
            room = max(512, 2 * (self.size + more))
            start = <uint8_t*>realloc(self.start, <size_t>room)
            if start == NULL:
                raise MemoryError
            self.start = start
            self.room = room
        return 0

    cdef int varint(self, uint64_t value) except -1:
        self.need(10)
        while value > 0x7F:
            self.start[self.size] = <uint8_t>(value & 0x7F | 0x80)
            self.size += 1
            value >>= 7
        self.start[self.size] = <uint8_t>value
        self.size += 1
        return 0

    cdef int raw(self, const void* source, Py_ssize_t size) except -1:
        self.need(size)
        memcpy(self.start + self.size, source, <size_t>size)
        self.size += size
        return 0

    cdef int number(self, uint32_t field, uint64_t value) except -1:
        self.varint(field << 3)
        return self.varint(value)

    cdef int run(self, uint32_t field, bytes value) except -1:
        self.varint(field << 3 | 2)
        self.varint(<uint64_t>PyBytes_GET_SIZE(value))
        return self.raw(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    cdef int message(self, uint32_t field, _Writer inner) except -1:
        self.varint(field << 3 | 2)
        self.varint(<uint64_t>inner.size)
        return self.raw(inner.start, inner.size)


cdef uint64_t _unsigned(object value, str what) except? 0:
    if not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFFFFFFFFFFULL:
        raise WireError("range", f"{what} {value!r} is not a number of 64 bits")
    return value


cdef uint64_t _integer_bits(uint32_t datatype, uint32_t carrier, object value) except? 0:
    # The unsigned number that stands for `value` on the wire.
    if isinstance(value, bool) or not isinstance(value, int):
        raise WireError("value", f"{value!r} is not a whole number")
    least, most = _ranges[datatype] if datatype else _ranges[7 if carrier == CARRIER_INT else 8]
    if not least <= value <= most:
        raise WireError("range", f"{value} is not within {least} and {most}")
    return value & (0xFFFFFFFFULL if carrier == CARRIER_INT else 0xFFFFFFFFFFFFFFFFULL)


cdef int _put_scalar(_Writer out, uint32_t field, uint32_t datatype, uint32_t carrier, object value) except -1:
    # `carrier` in the metric's numbers, `field` as it stands on the wire.
    cdef float single
    cdef double wide
    if carrier == CARRIER_FLOAT or carrier == CARRIER_DOUBLE:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise WireError("value", f"{value!r} is not a number")
        try:
            wide = value
        except OverflowError:
            raise WireError("range", f"{value} is too large for a float") from None
        if carrier == CARRIER_FLOAT:
            if -FLT_MAX <= wide <= FLT_MAX or not isfinite(wide):
                single = <float>wide
            else:
                raise WireError("range", f"{value} is too large for a float")
            out.varint(field << 3 | 5)
            return out.raw(&single, 4)
        out.varint(field << 3 | 1)
        return out.raw(&wide, 8)
    if carrier == CARRIER_BOOLEAN:
        if not isinstance(value, bool):
            raise WireError("value", f"{value!r} is not a boolean")
        return out.number(field, 1 if value else 0)
    if carrier == CARRIER_INT or carrier == CARRIER_LONG:
        return out.number(field, _integer_bits(datatype, carrier, value))
    if carrier == CARRIER_STRING:
        return out.run(field, _utf8(value))
    if not isinstance(value, bytes):
        raise WireError("value", f"{value!r} is not bytes")
    return out.run(field, value)


cdef bytes _utf8(object value):
    if not isinstance(value, str):
        raise WireError("value", f"{value!r} is not text")
    try:
        return (<str>value).encode()
    except UnicodeEncodeError:
        raise refuse(-9) from None


cdef bytes _name(object value):
    name = _utf8(value)
    if not 1 <= len(name) <= MAX_NAME:
        raise refuse(-8)
    return name


cdef int _put_properties(_Writer out, tuple properties) except -1:
    cdef _Writer whole, inner
    cdef uint32_t carrier
    if not properties:
        return 0
    if len(properties) > MAX_PROPERTIES:
        raise refuse(-16)
    whole = _Writer()
    for item in properties:
        whole.run(1, _name(item.key))
    for item in properties:
        inner = _Writer()
        carrier = property_carrier_of(item.type)
        if carrier == 0:
            raise refuse(-18)
        inner.number(1, item.type)
        if item.value is None:
            inner.number(2, 1)
        elif carrier > 8:
            raise WireError("value", "nested property sets are not sent")
        else:
            _put_scalar(inner, carrier, item.type, carrier + 7, item.value)
        whole.message(2, inner)
    return out.message(9, whole)


cdef int _put_metric(_Writer out, object m, bint datatypes) except -1:
    cdef uint32_t datatype = m.datatype or 0, carrier = m.carrier
    if m.name is None and m.alias is None:
        raise refuse(-8)
    if m.name is not None:
        out.run(1, _name(m.name))
    if m.alias is not None:
        out.number(2, _unsigned(m.alias, "alias"))
    if m.timestamp is not None:
        out.number(3, _unsigned(m.timestamp, "timestamp"))
    if datatype:
        carrier = carrier_of(datatype)
        if carrier == 0:
            raise refuse(-18)
        if datatypes:
            out.number(4, datatype)
    if m.is_historical:
        out.number(5, 1)
    if m.is_transient:
        out.number(6, 1)
    if m.is_null:
        if m.value is not None:
            raise refuse(-12)
        out.number(7, 1)
    _put_properties(out, m.properties)
    if m.value is None:
        if not m.is_null:
            raise refuse(-13)
    elif carrier == 0:
        raise WireError("datatype", "a value needs a datatype or a carrier")
    else:
        _put_scalar(out, carrier, datatype, carrier, m.value)
    return 0


def encode(payload, *, bint datatypes=True):
    """The bytes of `payload`. `datatypes` False leaves out metrics' datatypes, as DATA should (their birth has them).

    Raises WireError when a field cannot be sent: 'range', 'value', 'name', 'size' and so on.
    """
    cdef _Writer out = _Writer(), inner
    if payload.timestamp is not None:
        out.number(1, _unsigned(payload.timestamp, "timestamp"))
    if len(payload.metrics) > MAX_METRICS:
        raise refuse(FAULT_METRICS)
    inner = _Writer()
    for metric in payload.metrics:
        inner.size = 0
        _put_metric(inner, metric, datatypes)
        out.message(2, inner)
    if payload.seq is not None:
        if not 0 <= payload.seq <= 255:
            raise refuse(-17)
        out.number(3, payload.seq)
    if payload.uuid is not None:
        out.run(4, _utf8(payload.uuid))
    if payload.body is not None:
        if not isinstance(payload.body, bytes):
            raise WireError("value", "body is not bytes")
        out.run(5, payload.body)
    if out.size > MAX_PAYLOAD:
        raise refuse(FAULT_SIZE)
    return PyBytes_FromStringAndSize(<const char*>out.start, out.size)
