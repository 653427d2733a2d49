"""What a Sparkplug B payload says, as Python objects: for births, deaths and commands. DATA is judged without them.

Field numbers and carriers: `wire.md` (Sparkplug B 3.0, ISO/IEC 20237:2023). None means absent, which is not zero.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from .model import Status

Value: TypeAlias = int | float | bool | str | bytes | None


class DataType(IntEnum):
    """How a metric's value is to be read. Numbers are on the wire."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13  # milliseconds since 1970, UTC
    TEXT = 14
    UUID = 15
    DATASET = 16  # carried as opaque bytes: we neither send nor read what is inside
    BYTES = 17
    FILE = 18
    TEMPLATE = 19  # opaque, as DATASET
    PROPERTY_SET = 20  # only as the type of a property
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATETIME_ARRAY = 34


class Carrier(IntEnum):
    """The protobuf field that holds a metric's value (its number)."""

    NONE = 0
    INT = 10  # uint32; signed types in two's complement
    LONG = 11  # uint64
    FLOAT = 12
    DOUBLE = 13
    BOOLEAN = 14
    STRING = 15
    BYTES = 16
    DATASET = 17
    TEMPLATE = 18
    EXTENSION = 19


class Quality(IntEnum):
    """The values the standard allows for a metric's property `Quality`."""

    BAD = 0
    GOOD = 192
    STALE = 500


NUMBERS: Final = frozenset(DataType(n) for n in range(1, 12))  # the datatypes a Panel can judge
QUALITY: Final = "Quality"
STATUS: Final = "Status"  # ours: the Status bits whole, since Quality has only three values
UNIT: Final = "engUnit"

_BAD: Final = Status.SENTINEL | Status.LOOP_FAULT | Status.DEVICE_FAULT


def quality_of(status: Status) -> Quality:
    """The standard's word for our status bits: a missing value is STALE, a faulty one BAD."""
    if status & _BAD:
        return Quality.BAD
    return Quality.STALE if status & Status.MISSING else Quality.GOOD


@dataclass(frozen=True, slots=True)
class Property:
    """One scalar property of a metric; `value` None: null. Nested sets are seen as null."""

    key: str
    type: DataType
    value: Value


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `timestamp` is in milliseconds since 1970, UTC; `value` None goes with `is_null`.

    `carrier` is filled by `decode`; `encode` needs it only where `datatype` is None. An integer without a
    datatype is the raw unsigned number: `typed` reads it.
    """

    name: str | None = None
    alias: int | None = None
    timestamp: int | None = None
    datatype: DataType | None = None
    value: Value = None
    is_null: bool = False
    is_historical: bool = False
    is_transient: bool = False
    properties: tuple[Property, ...] = ()
    carrier: Carrier = Carrier.NONE

    def property(self, key: str) -> Value:
        """The value of the property, or None where it is absent or null."""
        return next((p.value for p in self.properties if p.key == key), None)


@dataclass(frozen=True, slots=True)
class Payload:
    """One message. `timestamp` in milliseconds since 1970, UTC; `seq` 0 to 255."""

    timestamp: int | None = None
    metrics: tuple[Metric, ...] = ()
    seq: int | None = None
    uuid: str | None = None
    body: bytes | None = None
