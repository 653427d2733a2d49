"""What the history writes of a payload: live and late readings of one sample have one time, and absurd times are left out."""

import math

from hypothesis import given
from hypothesis import strategies as st

from controller.history.dated import AGREED_MS, dated, timestamp_ms
from controller.telemetry.nodes import Node
from controller.telemetry.presence import Data, NodeEvent
from cython_ext import NS_PER_S, Status
from cython_ext.panel import RECORD
from cython_ext.payload import DataType, Metric, Payload, Property
from cython_ext.topics import Verb
from cython_ext.wire import encode
from edge.telemetry.births import BirthTable, Late, Moment, PointMetric, Reading
from tests.kit.clock import START_WALL_US, ManualClock

POINTS = (PointMetric("level", "gauge"), PointMetric("smoke", "gauge", DataType.BOOLEAN))
WALL_MS = START_WALL_US // 1000
Row = tuple[float, int, float, int, int]


class Host:
    """A node that has been born, and what its data is in the history: (UTC ms, point, value, status, thinned s)."""

    def __init__(self, clock: ManualClock, node_ahead_ms: int = 0) -> None:
        self.clock, self.ahead_ms = clock, node_ahead_ms
        self.given: list[Data] = []
        self.births = BirthTable(POINTS)
        self.node = Node("g", "n", listener=self, resolve=self.resolve, want_rebirth=lambda: None)
        self.seq = 0
        self.say(Verb.NBIRTH, self.births.node_birth(0, self.moment))
        self.say(Verb.DBIRTH, self.births.device_birth("gauge", self.moment))
        self.given.clear()

    def resolve(self, _group: str, _node: str, _device: str, metric: str) -> int | None:
        return {"level": 4, "smoke": 5}.get(metric)

    def data(self, data: Data) -> None:
        self.given.append(data)

    def event(self, event: NodeEvent) -> None:
        """Nothing."""

    @property
    def moment(self) -> Moment:
        return Moment(self.clock.monotonic_ns(), self.clock.wall_us() // 1000 + self.ahead_ms)

    def say(self, verb: Verb, metrics: tuple[Metric, ...]) -> list[Row]:
        payload = encode(Payload(self.moment.wall_ms, metrics, self.seq), datatypes="BIRTH" in verb)
        self.seq += 1
        device = "" if verb is Verb.NBIRTH else "gauge"
        self.node.receive(verb, device, payload, self.clock.monotonic_ns(), self.clock.wall_us() // 1000)
        return self.rows(self.given[-1])

    def rows(self, data: Data) -> list[Row]:
        return [
            (offset_us / 1000 + at_ns / 1_000_000, point, value, status, thinned)
            for records, offset_us in dated(data, self.clock)
            for at_ns, value, point, status, thinned in RECORD.iter_unpack(records)
        ]

    def reading(self, value: float, age_s: float = 0.0, status: Status = Status.OK) -> Reading:
        return Reading(0, self.clock.monotonic_ns() - round(age_s * NS_PER_S), value, status)


def test_a_sample_said_live_and_late_has_one_time():
    clock = ManualClock()
    host = Host(clock, node_ahead_ms=1234)
    reading = host.reading(2.5, age_s=0.25)
    at_ms = host.moment.wall_of(reading.at_ns)
    live = host.say(Verb.DDATA, host.births.data([reading], host.moment))
    clock.advance(30)
    late = host.say(Verb.DDATA, host.births.historical([Late(at_ms, reading)]))
    assert live == late == [(at_ms, 4, 2.5, 0, 0)]


def test_a_node_whose_clock_is_far_off_is_dated_by_ours_while_it_is_live():
    clock = ManualClock()
    host = Host(clock, node_ahead_ms=AGREED_MS + 3_600_000)
    ((at_ms, *_),) = host.say(Verb.DDATA, host.births.data([host.reading(1.0, age_s=2)], host.moment))
    assert at_ms == WALL_MS - 2000


def test_late_and_live_in_one_payload_are_told_apart():
    clock = ManualClock()
    host = Host(clock)
    metrics = host.births.data([host.reading(1.0)], host.moment)
    late = host.births.historical([Late(WALL_MS - 86_400_000, host.reading(9.0), 60)])
    assert sorted(host.say(Verb.DDATA, (*late, *metrics))) == [
        (WALL_MS - 86_400_000, 4, 9.0, 0, 60),
        (WALL_MS, 4, 1.0, 0, 0),
    ]


def test_absurd_times_and_strange_values_are_left_out():
    host = Host(ManualClock())
    late = [
        Late(at, host.reading(9.0))
        for at in (0, 1_000_000_000_000, WALL_MS + 86_400_001, WALL_MS + 86_400_000, WALL_MS)
    ]
    found = host.say(Verb.DDATA, host.births.historical(late))
    assert [row[0] for row in found] == [WALL_MS, WALL_MS + 86_400_000]


def test_a_late_sample_without_value_says_why():
    host = Host(ManualClock())
    lost = Late(WALL_MS - 5000, host.reading(math.nan, status=Status.MISSING))
    bad = Late(WALL_MS - 4000, host.reading(3.0, status=Status.LOOP_FAULT | Status.CLOCK_UNTRUSTED))
    first, second = host.say(Verb.DDATA, host.births.historical([lost, bad]))
    assert math.isnan(first[2])
    assert first[3] == Status.MISSING
    assert second[2:4] == (3.0, Status.LOOP_FAULT | Status.CLOCK_UNTRUSTED)


def test_what_a_birth_says_again_from_long_ago_is_no_new_sample():
    clock = ManualClock()
    host = Host(clock)
    host.births.note([host.reading(7.0)])
    clock.advance(10)
    assert [row[2] for row in host.say(Verb.DBIRTH, host.births.device_birth("gauge", host.moment)) if row[1] == 4] == [
        7.0
    ]
    clock.advance(3600)
    assert not [row for row in host.say(Verb.DBIRTH, host.births.device_birth("gauge", host.moment)) if row[1] == 4]


def test_a_foreign_node_s_quality_is_understood():
    host = Host(ManualClock())
    alias = host.births.alias(0)
    for quality, status in ((0, Status.DEVICE_FAULT), (500, Status.MISSING), (192, Status.OK)):
        metric = Metric(
            alias=alias,
            timestamp=WALL_MS,
            datatype=DataType.DOUBLE,
            value=1.0,
            is_historical=True,
            properties=(Property("Quality", DataType.INT32, quality),),
        )
        assert host.say(Verb.DDATA, (metric,))[0][3] == status


@given(st.integers(0, 2**63 - 1))
def test_the_payload_s_time_is_read_without_its_metrics(timestamp):
    assert timestamp_ms(encode(Payload(timestamp, (), 0))) == timestamp
    assert timestamp_ms(b"") is None
    assert timestamp_ms(b"\x12\x00") is None
    assert timestamp_ms(b"\x08" + b"\xff" * 3) is None
