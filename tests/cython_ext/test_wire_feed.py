"""Wire bytes into a Panel: the same as decoding first and feeding the records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import NS_PER_S, Level, LevelConfig, PanelConfig, PointConfig, Status, WireError
from cython_ext.panel import Panel
from cython_ext.payload import DataType, Metric, Payload, Property
from cython_ext.wire import encode
from cython_ext.wire_data import AliasTable, decode_data
from cython_ext.wire_feed import feed_wire

LEVELS = (LevelConfig(1.0, 0.8), LevelConfig(2.0, 1.8), LevelConfig(3.0, 2.8))
CONFIG = PanelConfig(tuple(PointConfig(f"p{i}", levels=LEVELS, stale_ns=3 * NS_PER_S) for i in range(3)))
START_NS = 1_000 * NS_PER_S


def table() -> AliasTable:
    made = AliasTable()
    for point in range(3):
        made.bind(point + 1, DataType.DOUBLE, point)
    return made


def message(*samples: tuple[int, float, int]) -> bytes:
    """A payload of (point, value, age in ms)."""
    metrics = tuple(
        Metric(alias=p + 1, timestamp=100_000 - age, datatype=DataType.DOUBLE, value=v) for p, v, age in samples
    )
    return encode(Payload(100_000, metrics, 1), datatypes=False)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.floats(0, 4) | st.floats(), st.integers(0, 900)), max_size=6),
        max_size=20,
    )
)
def test_the_short_way_and_the_long_way_judge_alike(batches):
    short, long, bound = Panel(CONFIG, START_NS), Panel(CONFIG, START_NS), table()
    for n, samples in enumerate(batches):
        now_ns = START_NS + n * NS_PER_S
        data = message(*samples)
        assert repr(feed_wire(short, data, bound, now_ns)) == repr(long.feed(decode_data(data, bound, now_ns), now_ns))
    end_ns = START_NS + 60 * NS_PER_S
    assert short.snapshot(end_ns) == long.snapshot(end_ns)


def test_a_level_is_raised():
    panel, bound = Panel(CONFIG, START_NS), table()
    raised = [t for n in range(3) for t in feed_wire(panel, message((1, 2.5, 0)), bound, START_NS + n * NS_PER_S)]
    assert [(t.point, t.level) for t in raised] == [(1, Level.ALARM)]


def test_a_refused_payload_judges_nothing():
    panel, bound = Panel(CONFIG, START_NS), table()
    before = panel.snapshot(START_NS)
    for bad in (message((0, 3.5, 0)) + b"\xff", message((0, 3.5, 0), (1, 3.5, 0))[:-3]):
        with pytest.raises(WireError):
            feed_wire(panel, bad, bound, START_NS)
    assert panel.snapshot(START_NS) == before


def test_what_the_node_says_of_a_sample_reaches_the_panel():
    panel, bound = Panel(CONFIG, START_NS), table()
    status = (Property("Quality", DataType.INT32, 0), Property("Status", DataType.INT32, int(Status.LOOP_FAULT)))
    bad = Metric(alias=1, timestamp=1, datatype=DataType.DOUBLE, value=3.5, properties=status)
    told = feed_wire(panel, encode(Payload(1, (bad,))), bound, START_NS)
    assert told
    assert told[0].trouble


@pytest.mark.parametrize("now_ns", [-1, -(1 << 63), (1 << 60) + 1, (1 << 63) - 1])
def test_what_is_no_time_of_a_panel_is_misuse(now_ns):
    panel, bound = Panel(CONFIG, START_NS), table()
    before = panel.snapshot(START_NS)
    with pytest.raises(ValueError, match="now_ns"):
        feed_wire(panel, message((0, 3.5, 0)), bound, now_ns)
    with pytest.raises(ValueError, match="received_ns"):
        decode_data(message((0, 3.5, 0)), bound, now_ns)
    assert panel.snapshot(START_NS) == before
