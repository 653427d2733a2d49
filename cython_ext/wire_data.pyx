# cython: autotestdict=False, auto_pickle=False
"""DATA on its judged path: bytes in, packed records out, no Python object and no allocation for a metric.

A metric's instant is `received_ns` less its age within the payload (payload timestamp − metric timestamp, 0 to 60 s):
wall clocks are never judged. `is_historical` becomes Status.HISTORICAL, `is_null` MISSING, property `Quality` 0
DEVICE_FAULT and 500 MISSING, which our own property `Status` says in more detail.
A payload is taken whole or refused whole; births can be read the same way, since they carry the same metrics.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from .errors import WireError
from .faults import refuse

from .names cimport Name, drop_names, find_name, make_room, put_name
from .raw cimport (
    CARRIER_BOOLEAN,
    CARRIER_DOUBLE,
    CARRIER_FLOAT,
    CARRIER_INT,
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
    read_metric,
    read_properties,
)
from .varint cimport (
    FAULT_ALIAS,
    FAULT_CARRIER,
    FAULT_DATATYPE,
    FAULT_METRICS,
    FAULT_QUALITY,
    FAULT_RANGE,
    FAULT_SIZE,
    Cursor,
    read_varint,
)

cdef int64_t LATEST_NS = <int64_t> 1 << 60  # as the Panel's

cdef enum:
    MISSING = 1  # model.Status; held together by test_wire_data
    DEVICE_FAULT = 8
    FAULTY = 2 | 4 | 8  # sentinel, loop fault, device fault
    HISTORICAL = 32
    STATUS_BITS = 127
    MAX_AGE_MS = 60_000  # a sample waits at most so long in a payload; more is the sender's clock, or malice


cdef class AliasTable:
    """What a birth said: alias or name → datatype and the point it feeds. One for each node or device.

    Bound once, from a birth; a new birth makes a new table.
    """

    def __cinit__(self):
        self.mask = 15
        self.slots = <Slot*>calloc(16, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.slots)
        drop_names(&self.names)

    def __len__(self):
        """How many metrics are bound, by alias or by name."""
        return self.count + self.names.count

    cdef Slot* find(self, uint64_t alias) noexcept nogil:
        # The slot of `alias`, or the free one where it would be.
        cdef uint64_t at = alias * 0x9E3779B97F4A7C15ULL >> 32 & self.mask
        while self.slots[at].datatype and self.slots[at].alias != alias:
            at = at + 1 & self.mask
        return &self.slots[at]

    cdef int bind_slot(self, uint64_t alias, uint8_t datatype, int32_t point) except -1:
        cdef Slot* old = self.slots
        cdef Slot* slot
        cdef uint64_t i, size = self.mask + 1
        if 2 * <uint64_t>(self.count + 1) > size:
            slot = <Slot*>calloc(2 * size, sizeof(Slot))
            if slot == NULL:
                raise MemoryError
            self.slots = slot
            self.mask = 2 * size - 1
            for i in range(size):
                if old[i].datatype:
                    self.find(old[i].alias)[0] = old[i]
            free(old)
        slot = self.find(alias)
        if slot.datatype:
            raise WireError("repeated", f"alias {alias} is born twice")
        slot.alias = alias
        slot.datatype = datatype
        slot.point = point
        self.count += 1
        return 0

    def bind(self, alias, datatype, point=None, name=None):
        """A metric of the birth: `alias` (None: it is named in DATA), its datatype, the point it feeds (None: no point).

        Raises WireError: 'repeated' for an alias or name bound before, 'datatype' where a point cannot be fed by it.
        """
        cdef int number = datatype
        cdef int32_t index = -1 if point is None else point
        if carrier_of(<uint32_t>number) == 0 or (point is not None and not 1 <= number <= 11):
            raise WireError("datatype", f"datatype {number} cannot feed a point")
        if point is not None and index < 0:
            raise ValueError(f"point {point} is negative")
        if alias is not None:
            self.bind_slot(alias, <uint8_t>number, index)
        elif name is None:
            raise WireError("name", "a metric with neither alias nor name")
        else:
            self.bind_name(name.encode(), <uint8_t>number, index)

    cdef int bind_name(self, bytes name, uint8_t datatype, int32_t point) except -1:
        cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(name)
        cdef uint32_t size = <uint32_t>PyBytes_GET_SIZE(name)
        cdef Name* slot
        if not 1 <= PyBytes_GET_SIZE(name) <= MAX_NAME:
            raise WireError("name", "a name is empty or longer than 255 bytes")
        if find_name(&self.names, text, size) != NULL:
            raise WireError("repeated", f"{name.decode()!r} is born twice")
        if not make_room(&self.names, size):
            raise MemoryError
        slot = put_name(&self.names, text, size)
        slot.datatype = datatype
        slot.point = point
        return 0

    cdef int read(self, const uint8_t* data, Py_ssize_t size, int64_t received_ns, Record* records) noexcept nogil:
        # Fill `records`, which has room for MAX_METRICS. Returns their number, or a Fault.
        cdef Cursor c, span
        cdef RawPayload raw
        cdef RawMetric m
        cdef Slot named
        cdef Slot* slot
        cdef const Name* name
        cdef int more, fault, count = 0, seen = 0
        if size > MAX_PAYLOAD:
            return FAULT_SIZE
        c.at = data
        c.end = data + size
        memset(&raw, 0, sizeof(raw))
        memset(&m, 0, sizeof(m))
        while True:
            more = next_metric(&c, &raw, &span)
            if more <= 0:
                break
            seen += 1
            if seen > MAX_METRICS:
                return FAULT_METRICS
            if not _usual(span, &m):
                m.timestamp = 0
                fault = read_metric(&span, &m)
                if fault:
                    return fault
            if m.seen >> 2 & 1:
                slot = self.find(m.alias)
                if slot.datatype == 0:
                    return FAULT_ALIAS
            else:
                name = find_name(&self.names, m.name.at, <uint32_t>(m.name.end - m.name.at))
                if name == NULL:
                    return FAULT_ALIAS
                named.datatype = name.datatype
                named.point = name.point
                slot = &named
            more = _judge(slot, &m, &records[count])
            if more < 0:
                return more
            count += more
        if more < 0:
            return more
        _date(records, count, &raw, received_ns)
        return count


cdef inline bint _usual(Cursor c, RawMetric* m) noexcept nogil:
    # The metric that nearly all DATA is made of: alias, timestamp, and a double, float or boolean; nothing else.
    # False: it is another one, for `read_metric` to judge.
    cdef const uint8_t* at = c.at
    cdef Py_ssize_t left
    if c.end - at < 6 or at[0] != 0x10:
        return False
    c.at += 1
    if read_varint(&c, &m.alias) or c.at >= c.end or c.at[0] != 0x18:
        return False
    c.at += 1
    if read_varint(&c, &m.timestamp):
        return False
    at = c.at
    left = c.end - at
    m.bits = 0
    if left == 9 and at[0] == 0x69:
        memcpy(&m.bits, at + 1, 8)
        m.carrier = CARRIER_DOUBLE
    elif left == 5 and at[0] == 0x65:
        memcpy(&m.bits, at + 1, 4)
        m.carrier = CARRIER_FLOAT
    elif left == 2 and at[0] == 0x70 and at[1] <= 1:
        m.bits = at[1]
        m.carrier = CARRIER_BOOLEAN
    else:
        return False
    m.seen = 1 << 2 | 1 << 3 | <uint32_t>1 << m.carrier
    m.datatype = 0
    m.historical = m.transient = m.null = False
    return True


cdef int _value(uint32_t datatype, RawMetric* m, double* out) noexcept nogil:
    # The metric's value as a double, read as its birth's datatype.
    cdef float single
    cdef uint32_t narrow
    if m.carrier != carrier_of(datatype):
        return FAULT_CARRIER
    if m.carrier == CARRIER_FLOAT:
        narrow = <uint32_t>m.bits
        memcpy(&single, &narrow, 4)
        out[0] = single
    elif m.carrier == CARRIER_DOUBLE:
        memcpy(out, &m.bits, 8)
    elif m.carrier == CARRIER_BOOLEAN:
        out[0] = <double>m.bits
    elif m.carrier == CARRIER_INT:
        if not fits(datatype, m.bits):
            return FAULT_RANGE
        out[0] = <double><int32_t>m.bits if datatype <= 3 else <double>m.bits
    elif datatype == 4:
        out[0] = <double><int64_t>m.bits
    elif datatype == 8:
        out[0] = <double>m.bits
    return 0


cdef inline bint _is(Cursor* key, const char* word, size_t size) noexcept nogil:
    return <size_t>(key.end - key.at) == size and memcmp(key.at, word, size) == 0


cdef int _status(Cursor properties, uint16_t* out) noexcept nogil:
    # What `Quality` and our own `Status` say. Status is the finer word; where it denies Quality, both hold.
    cdef RawProperty raw[MAX_PROPERTIES]
    cdef int count = read_properties(&properties, raw), i
    cdef uint64_t status = 0
    cdef uint16_t quality = 0
    if count < 0:
        return count
    for i in range(count):
        if raw[i].carrier != 3 and raw[i].carrier != 4:  # whole numbers only; null says nothing
            continue
        if _is(&raw[i].key, b"Quality", 7):
            if raw[i].bits == 0:
                quality = DEVICE_FAULT
            elif raw[i].bits == 500:
                quality = MISSING
            elif raw[i].bits != 192:
                return FAULT_QUALITY
        elif _is(&raw[i].key, b"Status", 6):
            status = raw[i].bits
            if status > STATUS_BITS:
                return FAULT_RANGE
    if (quality == DEVICE_FAULT and status & FAULTY) or (quality == MISSING and status & MISSING):
        quality = 0
    out[0] = <uint16_t>status | quality
    return 0


cdef inline int _judge(const Slot* slot, RawMetric* m, Record* record) noexcept nogil:
    # One known metric: check it, and fill the record if it feeds a point. Returns 1, 0 or a fault.
    cdef int fault
    cdef double value = NAN
    cdef uint16_t status = 0
    if m.datatype and m.datatype != slot.datatype:
        return FAULT_DATATYPE
    if m.carrier:
        fault = _value(slot.datatype, m, &value)
        if fault:
            return fault
    if m.seen >> 9 & 1:
        fault = _status(m.properties, &status)
        if fault:
            return fault
    if slot.point < 0:
        return 0
    if m.null:
        status |= MISSING
    if m.historical:
        status |= HISTORICAL
    record.at_ns = <int64_t>m.timestamp  # milliseconds until the payload's own timestamp is known
    record.value = value
    record.point = <uint32_t>slot.point
    record.status = status
    record.reserved = <uint16_t>(m.seen >> 3 & 1)
    return 1


cdef void _date(Record* records, int count, RawPayload* raw, int64_t received_ns) noexcept nogil:
    # From the sender's wall milliseconds to our monotonic nanoseconds.
    cdef int i
    cdef uint64_t then, age
    for i in range(count):
        age = 0
        then = <uint64_t>records[i].at_ns
        if records[i].reserved and raw.seen >> 1 & 1 and then < raw.timestamp:
            age = raw.timestamp - then
            if age > MAX_AGE_MS:
                age = MAX_AGE_MS
        records[i].at_ns = received_ns - <int64_t>age * 1_000_000
        records[i].reserved = 0


def decode_data(bytes data not None, AliasTable table not None, int64_t received_ns):
    """The payload's samples of judged points as packed records ('<qdIHH'), in the payload's order.

    Raises WireError: 'alias' for a metric that is not in the birth, and any other code of `faults.FAULTS`.
    ValueError when `received_ns` is not a time of a panel, 0 to 2**60.
    """
    cdef Record records[MAX_METRICS]
    cdef int count
    if not 0 <= received_ns <= LATEST_NS:
        raise ValueError(f"received_ns is {received_ns}: monotonic nanoseconds from 0 to 2**60")
    count = table.read(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), received_ns, records)
    if count < 0:
        raise refuse(count)
    return PyBytes_FromStringAndSize(<const char*>records, count * <Py_ssize_t>sizeof(Record))


def sequence(bytes data not None):
    """The payload's seq, or −1 where it has none; looks at no metric. Raises WireError as `decode` for its own fields."""
    cdef Cursor c, span
    cdef RawPayload raw
    cdef int more = 1
    if PyBytes_GET_SIZE(data) > MAX_PAYLOAD:
        raise refuse(FAULT_SIZE)
    memset(&raw, 0, sizeof(raw))
    c.at = <const uint8_t*>PyBytes_AS_STRING(data)
    c.end = c.at + PyBytes_GET_SIZE(data)
    while more > 0:
        more = next_metric(&c, &raw, &span)
    if more < 0:
        raise refuse(more)
    return <int>raw.seq if raw.seen >> 3 & 1 else -1
