"""When the readings of a payload were taken, for the history: what was measured once has one time, however often it is said.

A node says a reading live, and once more as history when it cannot know whether it arrived. A database knows a reading by its
series and its time, so both must have the node's own time; only where that is not within AGREED_MS of ours is a live reading
dated by our clock, less its age in the payload. What is_historical keeps its own time in any case, unless it is absurd.
Late readings are never judged (the Panel ignores Status.HISTORICAL); nothing here raises or clears anything.
"""

import math
from typing import Final

from cython_ext import Clock, Status
from cython_ext.panel import RECORD
from cython_ext.payload import STATUS, Metric, Quality
from cython_ext.topics import Verb
from cython_ext.wire import decode, typed
from cython_ext.wire_data import decode_data
from lanes.sparkplug import THINNED

from ..telemetry.presence import BornMetric, Data

AGREED_MS: Final = 5_000  # the slowest link's way, and the hold of a message that came too early
EARLIEST_MS: Final = 1_577_836_800_000  # 2020: before it there was nothing of ours
AGE_MAX_NS: Final = 60_000_000_000  # where the core stops to believe an age
AHEAD_MS: Final = 86_400_000
THINNED_MAX: Final = 65_535  # seconds, in the record's last field
_LATE_MARK: Final = b"\x28\x01"  # field 5, is_historical, true
_STATUS_BITS: Final = 127
_QUALITY: Final = {int(Quality.BAD): Status.DEVICE_FAULT, int(Quality.STALE): Status.MISSING}


def dated(data: Data, clock: Clock) -> list[tuple[bytes, int]]:
    """Packed records and what to add to their microseconds to have UTC, for `History.readings`. WireError as `decode_data`."""
    records = decode_data(data.payload, data.table, data.received_ns)
    found: list[tuple[bytes, int]] = []
    if _LATE_MARK in data.payload:
        found += [(late, 0) for late in [_late(data, clock.wall_us() // 1000)] if late]
        live = (row for row in RECORD.iter_unpack(records) if not row[3] & Status.HISTORICAL)
        records = b"".join(RECORD.pack(*row) for row in live)
    if data.verb in (Verb.NBIRTH, Verb.DBIRTH):  # what it says again from long ago has been said when it was measured
        recent = (row for row in RECORD.iter_unpack(records) if row[0] > data.received_ns - AGE_MAX_NS)
        records = b"".join(RECORD.pack(*row) for row in recent)
    if records:
        found.append((records, _offset_us(data, clock)))
    return found


def _offset_us(data: Data, clock: Clock) -> int:
    """From the records' monotonic microseconds to UTC."""
    received_us = data.received_ns // 1000
    ours_us = clock.wall_us() - clock.monotonic_ns() // 1000
    said_ms = timestamp_ms(data.payload)
    if said_ms is None or abs(said_ms - (ours_us + received_us) // 1000) > AGREED_MS:
        return ours_us
    return said_ms * 1000 - received_us


def timestamp_ms(payload: bytes) -> int | None:
    """The payload's own timestamp, which every encoder we know puts first; None where it does not stand there."""
    if payload[:1] != b"\x08":
        return None
    value = 0
    for place, byte in enumerate(payload[1:11]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value
    return None


def _late(data: Data, now_ms: int) -> bytes:
    """The historical metrics that feed points, as records whose time is UTC nanoseconds; `reserved` is what they stand for."""
    by_alias = {born.alias: born for born in data.metrics if born.alias is not None}
    by_name = {born.name: born for born in data.metrics}
    found = []
    for metric in decode(data.payload).metrics:
        born = by_alias.get(metric.alias) if metric.alias is not None else by_name.get(metric.name or "")
        if not metric.is_historical or born is None or born.point is None or metric.timestamp is None:
            continue
        if EARLIEST_MS <= metric.timestamp <= now_ms + AHEAD_MS:
            value, status = _value(metric, born)
            row = metric.timestamp * 1_000_000, value, born.point, int(status), _thinned(metric)
            found.append(RECORD.pack(*row))
    return b"".join(found)


def _value(metric: Metric, born: BornMetric) -> tuple[float, Status]:
    said = metric.property(STATUS)
    status = Status(said & _STATUS_BITS & ~Status.HISTORICAL) if isinstance(said, int) else Status.OK
    quality = metric.property("Quality")
    if not status and isinstance(quality, int):
        status = _QUALITY.get(quality, Status.OK)
    value = typed(metric, born.datatype)
    if metric.is_null or not isinstance(value, (int, float)):
        return math.nan, status | Status.MISSING
    return float(value), status


def _thinned(metric: Metric) -> int:
    said = metric.property(THINNED)
    return min(said, THINNED_MAX) if isinstance(said, int) and said > 0 else 0
