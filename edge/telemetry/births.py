"""What the node's births say: its metrics, their aliases, and the last reading of each. DATA is made here too.

Aliases count from 1: the node's own metrics in the order of `NODE_METRICS`, then the points in the order of the
configuration, so that they are the same after a restart. A reading keeps the Panel's monotonic instant; its wall time
is made when it is sent (wall now less its age), so that a stepped wall clock dates nothing wrongly.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from cython_ext import ConfigError, Status
from cython_ext.payload import QUALITY, STATUS, UNIT, DataType, Metric, Property, Quality, Value, quality_of
from cython_ext.topics import require_id
from lanes.sparkplug import BDSEQ, NODE_METRICS, REBIRTH, THINNED, NodeMetric

RECORD: Final = struct.Struct("<qdIHH")  # at_ns, value, point, Status, reserved: the Panel's packed record
FLOAT_MAX: Final = 3.4028234663852886e38
INT32_MAX: Final = 2**31 - 1
DEVICES_MAX: Final = 247  # a node: the addresses of one Modbus line; each costs a birth
POINTS_MAX: Final = 500  # a device: its birth must fit 64 KiB, at most 115 bytes each
KINDS: Final = frozenset({DataType.FLOAT, DataType.DOUBLE, DataType.BOOLEAN, DataType.INT32})


@dataclass(frozen=True, slots=True)
class PointMetric:
    """How a point is born: its name, the device that measures it, its datatype and unit.

    Double is the default: a level of 2.30 m sent as Float arrives as 2.2999999, below its own threshold.
    """

    name: str
    device: str
    datatype: DataType = DataType.DOUBLE
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A point's sample. `at_ns` is monotonic."""

    point: int
    at_ns: int
    value: float
    status: Status


class Late(NamedTuple):
    """A reading that was kept: its wall milliseconds (UTC). `thinned_s`: others within so many seconds of it are gone."""

    wall_ms: int
    reading: Reading
    thinned_s: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on both clocks: monotonic nanoseconds and wall milliseconds (UTC)."""

    now_ns: int
    wall_ms: int

    def wall_of(self, at_ns: int) -> int:
        """The wall milliseconds of a monotonic instant."""
        return max(0, self.wall_ms - (self.now_ns - at_ns) // 1_000_000)


def unpack(batch: bytes) -> list[Reading]:
    """The readings of a packed batch; struct.error when it is not one."""
    return [Reading(point, at, value, Status(status)) for at, value, point, status, _ in RECORD.iter_unpack(batch)]


class BirthTable:
    """The node's metrics and their last values. `points` are in the order of the node's Panel."""

    def __init__(self, points: Sequence[PointMetric]) -> None:
        self.points = tuple(points)
        self.devices = tuple(dict.fromkeys(point.device for point in points))
        self._check()
        self._members = {
            device: tuple(i for i, point in enumerate(self.points) if point.device == device) for device in self.devices
        }
        self._last: list[Reading | None] = [None] * len(self.points)
        self._sent_quality = [Quality.GOOD] * len(self.points)
        self._node: dict[NodeMetric, Value] = dict.fromkeys(NODE_METRICS)
        self._changed: dict[NodeMetric, None] = {}

    def _check(self) -> None:
        seen: set[tuple[str, str]] = set()
        for point in self.points:
            require_id(point.name, "point")
            require_id(point.device, "device")
            if point.datatype not in KINDS:
                raise ConfigError(f"point {point.name}: a point is born as {', '.join(k.name for k in KINDS)}")
            if (point.device, point.name) in seen:
                raise ConfigError(f"device {point.device} has two points {point.name}; give each its own name")
            seen.add((point.device, point.name))
        if len(self.devices) > DEVICES_MAX:
            raise ConfigError(f"{len(self.devices)} devices; a node has at most {DEVICES_MAX}")
        for device in self.devices:
            if sum(point.device == device for point in self.points) > POINTS_MAX:
                raise ConfigError(f"device {device} has more than {POINTS_MAX} points; make it two devices")

    def adopt(self, before: "BirthTable") -> None:
        """Take over what an earlier table knew: the node's own metrics, and readings by device and name."""
        places = {(point.device, point.name): index for index, point in enumerate(self.points)}
        for point, last in zip(before.points, before._last, strict=True):
            place = places.get((point.device, point.name))
            if place is not None and last is not None and before.points[last.point].unit == self.points[place].unit:
                self._last[place] = replace(last, point=place)
        self._node.update(before._node)
        self._changed.update(before._changed)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """(point, device) in the order of the readings' indices."""
        return tuple((point.name, point.device) for point in self.points)

    def alias(self, point: int) -> int:
        return len(NODE_METRICS) + 1 + point

    def last(self, point: int) -> Reading | None:
        return self._last[point]

    def note(self, readings: Iterable[Reading]) -> None:
        """Keep each point's newest reading. IndexError for a point that is not ours."""
        for reading in readings:
            last = self._last[reading.point]
            if last is None or reading.at_ns >= last.at_ns:
                self._last[reading.point] = reading

    def tell(self, metric: NodeMetric, value: Value) -> None:
        """A node metric's present value; it goes out with the next heartbeat when it changed."""
        if self._node[metric] != value:
            self._node[metric] = value
            self._changed[metric] = None

    def node_birth(self, bdseq: int, moment: Moment) -> tuple[Metric, ...]:
        """All of NBIRTH's metrics."""
        self._changed.clear()
        at = moment.wall_ms
        return (
            Metric(name=BDSEQ, timestamp=at, datatype=DataType.INT64, value=bdseq),
            Metric(name=REBIRTH, timestamp=at, datatype=DataType.BOOLEAN, value=False),
            *(self._node_metric(metric, at, named=True) for metric in NODE_METRICS),
        )

    def node_data(self, moment: Moment) -> tuple[Metric, ...]:
        """The node metrics that changed since they were last sent: they are sent now."""
        changed = [metric for metric in NODE_METRICS if metric in self._changed]
        self._changed.clear()
        return tuple(self._node_metric(metric, moment.wall_ms, named=False) for metric in changed)

    def device_birth(self, device: str, moment: Moment) -> tuple[Metric, ...]:
        """All of DBIRTH's metrics: name, alias, datatype, unit, quality, and the last value."""
        return tuple(self._point_metric(point, self._last[point], moment, born=True) for point in self._members[device])

    def data(self, readings: Iterable[Reading], moment: Moment) -> tuple[Metric, ...]:
        """Metrics of DDATA, oldest first: alias, instant and value, and the quality where it is not as it was."""
        ordered = sorted(readings, key=lambda reading: reading.at_ns)
        return tuple(self._point_metric(reading.point, reading, moment, born=False) for reading in ordered)

    def historical(self, readings: Iterable[Late]) -> tuple[Metric, ...]:
        """Metrics of late DDATA: is_historical, with their first times; what was thinned says so."""
        return tuple(
            self._make(late.reading.point, late.reading, late.wall_ms, born=False, late=late)
            for late in sorted(readings, key=lambda late: late.wall_ms)
        )

    def _node_metric(self, metric: NodeMetric, at_ms: int, *, named: bool) -> Metric:
        value = self._node[metric]
        alias = list(NODE_METRICS).index(metric) + 1
        return Metric(
            name=metric.value if named else None,
            alias=alias,
            timestamp=at_ms,
            datatype=NODE_METRICS[metric],
            value=value,
            is_null=value is None,
        )

    def _point_metric(self, point: int, reading: Reading | None, moment: Moment, *, born: bool) -> Metric:
        at_ms = moment.wall_ms if reading is None else moment.wall_of(reading.at_ns)
        return self._make(point, reading, at_ms, born=born)

    def _make(self, point: int, reading: Reading | None, at_ms: int, *, born: bool, late: Late | None = None) -> Metric:
        spec = self.points[point]
        status = Status.MISSING if reading is None else reading.status & ~Status.HISTORICAL
        value = _value(spec.datatype, reading)
        if value is None and not status & Status.MISSING:
            status |= Status.DEVICE_FAULT  # a number that the metric cannot carry: NaN, infinite or too large
        quality = quality_of(status)
        properties: list[Property] = []
        if born and spec.unit:
            properties.append(Property(UNIT, DataType.STRING, spec.unit))
        was = (
            Quality.GOOD if late is not None else self._sent_quality[point]
        )  # late, GOOD goes without saying: 20 bytes
        if born or quality is not was or quality is not Quality.GOOD:
            properties.append(Property(QUALITY, DataType.INT32, int(quality)))
        if status:
            properties.append(Property(STATUS, DataType.INT32, int(status)))
        if late is None:
            self._sent_quality[point] = quality
        elif late.thinned_s:
            properties.append(Property(THINNED, DataType.INT32, late.thinned_s))
        return Metric(
            name=spec.name if born else None,
            alias=self.alias(point),
            timestamp=at_ms,
            datatype=spec.datatype,
            value=value,
            is_null=value is None,
            is_historical=late is not None,
            properties=tuple(properties),
        )


def _value(datatype: DataType, reading: Reading | None) -> Value:
    """The reading's value as the metric's datatype; None: there is none that it can carry."""
    if reading is None or reading.status & Status.MISSING or not math.isfinite(reading.value):
        return None
    value = reading.value
    if datatype is DataType.BOOLEAN:
        return value >= 0.5
    if datatype is DataType.INT32:
        return round(value) if abs(value) <= INT32_MAX else None
    if datatype is DataType.FLOAT and abs(value) > FLOAT_MAX:
        return None
    return value
