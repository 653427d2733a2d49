"""Births and DATA of a node's metrics."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import ConfigError, Status
from cython_ext.payload import DataType, Payload, Quality
from cython_ext.wire import decode, encode
from cython_ext.wire_data import AliasTable, decode_data
from edge.telemetry.births import RECORD, BirthTable, Late, Moment, PointMetric, Reading, unpack
from lanes.sparkplug import NODE_METRICS, NodeMetric

POINTS = (
    PointMetric("level", "gauge", unit="m"),
    PointMetric("smoke", "bank", DataType.BOOLEAN),
    PointMetric("state", "gauge", DataType.INT32),
    PointMetric("rain", "gauge", DataType.FLOAT, "mm"),
)
NOW = Moment(10_000_000_000, 1_767_322_800_000)


def table() -> BirthTable:
    return BirthTable(POINTS)


def reading(point: int, value: float, status: Status = Status.OK, age_ms: int = 0) -> Reading:
    return Reading(point, NOW.now_ns - age_ms * 1_000_000, value, status)


def test_aliases_count_from_one_and_are_unique_over_the_node():
    births = table()
    node = [m.alias for m in births.node_birth(7, NOW) if m.alias is not None]
    devices = [m.alias for d in births.devices for m in births.device_birth(d, NOW)]
    assert sorted(node + devices) == list(range(1, len(NODE_METRICS) + len(POINTS) + 1))
    assert table().alias(3) == births.alias(3)


def test_the_node_birth_has_what_the_standard_asks_for():
    births = table()
    births.tell(NodeMetric.BOOT_ID, "00ff")
    metrics = {m.name: m for m in births.node_birth(7, NOW)}
    assert (metrics["bdSeq"].datatype, metrics["bdSeq"].value, metrics["bdSeq"].alias) == (DataType.INT64, 7, None)
    rebirth = metrics["Node Control/Rebirth"]
    assert (rebirth.datatype, rebirth.value, rebirth.alias) == (DataType.BOOLEAN, False, None)
    assert metrics["Node/Boot Id"].value == "00ff"
    assert metrics["Ledger/Id"].is_null
    assert all(m.timestamp == NOW.wall_ms and m.datatype for m in metrics.values())
    encode(Payload(NOW.wall_ms, tuple(metrics.values()), 0))


def test_a_device_birth_says_unit_quality_and_the_newest_value():
    births = table()
    births.note([reading(0, 1.5, age_ms=250), reading(0, 1.0, age_ms=900), reading(3, 2.5, Status.TEST)])
    level, state, rain = births.device_birth("gauge", NOW)
    assert (level.name, level.value, level.timestamp) == ("level", 1.5, NOW.wall_ms - 250)
    assert (level.property("engUnit"), level.property("Quality")) == ("m", Quality.GOOD)
    assert (state.is_null, state.property("Quality"), state.timestamp) == (True, Quality.STALE, NOW.wall_ms)
    assert (rain.value, rain.property("Status")) == (2.5, Status.TEST)


def test_data_has_alias_and_value_and_no_name_and_is_in_order():
    births = table()
    first, second = births.data([reading(0, 2.0, age_ms=10), reading(0, 1.0, age_ms=30)], NOW)
    assert (first.value, second.value) == (1.0, 2.0)
    assert first.timestamp == NOW.wall_ms - 30
    assert first.name is None
    assert first.alias == births.alias(0)
    assert not first.properties


def test_quality_is_said_while_it_is_not_good_and_once_when_it_is_again():
    births = table()

    def said(status: Status) -> object:
        return births.data([reading(0, 1.0, status)], NOW)[0].property("Quality")

    assert [said(s) for s in (Status.OK, Status.LOOP_FAULT, Status.LOOP_FAULT, Status.OK, Status.OK)] == [
        None,
        Quality.BAD,
        Quality.BAD,
        Quality.GOOD,
        None,
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("point", [0, 1, 2, 3])
def test_a_number_that_cannot_be_carried_is_null_and_bad(point, value):
    (metric,) = table().data([reading(point, value)], NOW)
    assert metric.is_null
    assert metric.property("Quality") == Quality.BAD


@pytest.mark.parametrize(("point", "value"), [(2, 3e9), (2, -3e9), (3, 1e300)])
def test_a_number_too_large_is_null_and_bad(point, value):
    (metric,) = table().data([reading(point, value)], NOW)
    assert metric.is_null
    assert metric.property("Quality") == Quality.BAD


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(), st.integers(0, 127).map(Status), st.integers(0, 59_000)), max_size=8
    )
)
def test_the_controller_reads_what_the_node_measured(samples):
    """Status, instant (to the millisecond) and value travel from the node's record to the controller's."""
    births = table()
    bound = AliasTable()
    for device in births.devices:
        for metric in births.device_birth(device, NOW):
            bound.bind(metric.alias, metric.datatype, metric.alias - len(NODE_METRICS) - 1)
    readings = [reading(p, v, s & ~Status.HISTORICAL, age_ms=a) for p, v, s, a in samples]
    data = encode(Payload(NOW.wall_ms, births.data(readings, NOW), 1), datatypes=False)
    found = unpack(decode_data(data, bound, NOW.now_ns))
    for said, got in zip(sorted(readings, key=lambda r: r.at_ns), found, strict=True):
        assert (got.point, got.at_ns) == (said.point, said.at_ns)
        if said.status & Status.MISSING:
            assert got.status == said.status
            assert math.isnan(got.value)
        elif not math.isnan(got.value):
            assert got.status == said.status
            expected = {0: said.value, 1: float(said.value >= 0.5)}.get(said.point, got.value)
            assert got.value == expected
        else:
            assert got.status & (Status.MISSING | Status.DEVICE_FAULT)


def test_late_readings_keep_their_times_and_are_marked():
    births = table()
    late = births.historical([Late(2000, reading(0, 2.0)), Late(1000, reading(0, 1.0), 60)])
    assert [(m.timestamp, m.value, m.is_historical) for m in late] == [(1000, 1.0, True), (2000, 2.0, True)]
    found = decode(encode(Payload(1, late, 0), datatypes=False)).metrics
    assert found[0].is_historical
    assert [m.property("Thinned s") for m in found] == [60, None]


def test_node_metrics_go_out_when_they_changed():
    births = table()
    births.node_birth(0, NOW)
    assert births.node_data(NOW) == ()
    births.tell(NodeMetric.LEDGER_HEAD, 5)
    births.tell(NodeMetric.HEARTBEAT, 1)
    assert [(m.name, m.alias, m.value) for m in births.node_data(NOW)] == [(None, 1, 1), (None, 4, 5)]
    births.tell(NodeMetric.LEDGER_HEAD, 5)
    assert births.node_data(NOW) == ()


def test_a_batch_is_the_panels_records():
    batch = RECORD.pack(5, 1.5, 2, 8, 0) + RECORD.pack(6, 2.5, 0, 0, 0)
    assert unpack(batch) == [Reading(2, 5, 1.5, Status.DEVICE_FAULT), Reading(0, 6, 2.5, Status.OK)]


@pytest.mark.parametrize(
    "points",
    [
        [PointMetric("Level", "gauge")],
        [PointMetric("level", "a/b")],
        [PointMetric("level", "gauge"), PointMetric("level", "gauge")],
        [PointMetric("level", "gauge", DataType.STRING)],
        [PointMetric("p", f"d{i}") for i in range(248)],
        [PointMetric(f"p{i}", "d") for i in range(501)],
    ],
)
def test_what_cannot_be_born_is_refused_before_it_runs(points):
    with pytest.raises(ConfigError):
        BirthTable(points)


def test_the_largest_birth_fits_a_payload():
    points = [PointMetric(f"{'p' * 28}-{i:03}", "d", DataType.DOUBLE, "u" * 16) for i in range(500)]
    births = BirthTable(points)
    births.note([Reading(i, NOW.now_ns, 1.5, Status.LOOP_FAULT) for i in range(500)])
    encode(Payload(NOW.wall_ms, births.device_birth("d", NOW), 255))
