"""Hypothesis strategies for Sparkplug payloads, valid and damaged."""

import struct
from typing import Any

from hypothesis import strategies as st

from cython_ext.payload import Carrier, DataType, Metric, Payload, Property

U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = TEXT.filter(lambda text: 1 <= len(text.encode()) <= 255)


def _single(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


_FLOAT = st.floats(width=32).map(_single)
_RANGES = {
    DataType.INT8: (-(2**7), 2**7 - 1),
    DataType.INT16: (-(2**15), 2**15 - 1),
    DataType.INT32: (-(2**31), 2**31 - 1),
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT8: (0, 2**8 - 1),
    DataType.UINT16: (0, 2**16 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.UINT64: (0, 2**64 - 1),
    DataType.DATETIME: (0, 2**64 - 1),
}


def value_of(datatype: DataType) -> st.SearchStrategy[Any]:
    """Values that `datatype` can hold."""
    if datatype in _RANGES:
        return st.integers(*_RANGES[datatype])
    if datatype is DataType.FLOAT:
        return _FLOAT
    if datatype is DataType.DOUBLE:
        return st.floats()
    if datatype is DataType.BOOLEAN:
        return st.booleans()
    if datatype in (DataType.STRING, DataType.TEXT, DataType.UUID):
        return TEXT
    return st.binary(max_size=20)


def carrier_of(datatype: DataType) -> Carrier:
    """Where the standard puts a value of `datatype` (written apart from the wire's own table)."""
    if datatype in (DataType.INT64, DataType.UINT64, DataType.DATETIME):
        return Carrier.LONG
    if datatype in _RANGES:
        return Carrier.INT
    return {
        DataType.FLOAT: Carrier.FLOAT,
        DataType.DOUBLE: Carrier.DOUBLE,
        DataType.BOOLEAN: Carrier.BOOLEAN,
        DataType.STRING: Carrier.STRING,
        DataType.TEXT: Carrier.STRING,
        DataType.UUID: Carrier.STRING,
        DataType.DATASET: Carrier.DATASET,
        DataType.TEMPLATE: Carrier.TEMPLATE,
    }.get(datatype, Carrier.BYTES)


_OF_METRIC = [d for d in DataType if d not in (DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST)]
_OF_PROPERTY = [d for d in DataType if d <= DataType.TEXT or d in (DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST)]


@st.composite
def properties(draw: st.DrawFn) -> Property:
    kind = draw(st.sampled_from(_OF_PROPERTY))
    nested = kind in (DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST)
    value = None if nested else draw(st.none() | value_of(kind))
    return Property(draw(NAME), kind, value)


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    datatype = draw(st.sampled_from(_OF_METRIC))
    null = draw(st.booleans())
    name, alias = draw(st.tuples(st.none() | NAME, st.none() | U64).filter(lambda two: two != (None, None)))
    return Metric(
        name=name,
        alias=alias,
        timestamp=draw(st.none() | U64),
        datatype=datatype,
        value=None if null else draw(value_of(datatype)),
        is_null=null,
        is_historical=draw(st.booleans()),
        is_transient=draw(st.booleans()),
        properties=draw(st.lists(properties(), max_size=3).map(tuple)),
        carrier=Carrier.NONE if null else carrier_of(datatype),
    )


payloads = st.builds(
    Payload,
    timestamp=st.none() | U64,
    metrics=st.lists(metrics(), max_size=4).map(tuple),
    seq=st.none() | st.integers(0, 255),
    uuid=st.none() | TEXT,
    body=st.none() | st.binary(max_size=20),
)


@st.composite
def damaged(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """Bytes near a valid message: bits flipped, runs cut, doubled or put in."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert", "double", "truncate"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at : at + draw(st.integers(1, 8))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=12))
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case "truncate":
                del data[at:]
    return bytes(data)
