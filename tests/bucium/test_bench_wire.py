"""The bench compares what it says it compares."""

import orjson

from bucium.bench.wire import as_json, lines, measure, message, ours, upb
from tests.kit.sparkplug_oracle import oracle_decode


def test_all_ways_read_the_same_numbers():
    data = message(8)
    payload = oracle_decode(data)
    assert [m.alias for m in payload.metrics] == list(range(1, 9))
    assert all(m.name is None and m.datatype is None for m in payload.metrics)
    readings, stamp, seq = upb()(data)
    assert readings == [(m.alias, m.timestamp, m.value) for m in payload.metrics]
    assert (stamp, seq) == (payload.timestamp, payload.seq)
    assert [m["value"] for m in orjson.loads(as_json(data))["metrics"]] == [m.value for m in payload.metrics]
    judged, records = ours(8)
    assert judged(data) == []
    assert len(records(data)) == 8 * 24


def test_the_figures_have_their_names():
    found = measure(bursts=1)
    assert {"judged_us", "ratio_protobuf", "ratio_orjson", "us", "bytes"} <= set(found)
    assert len(lines(found)) == 4
