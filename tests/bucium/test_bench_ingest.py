"""`bucium bench ingest`, small: a real controller on the embedded broker, every event acked, and its figures."""

from bucium.bench import ingest
from bucium.bench.fleet import Speaker, plan_of
from lanes.envelope import Opened, open_envelope


def test_the_fleet_speaks_as_nodes_do() -> None:
    signed = plan_of(60)
    assert len(signed.plan.zones) == 2
    speaker = Speaker(59, signed)
    for said in (speaker.state(), speaker.event(), speaker.event()):
        opened = open_envelope(said, signed.plan.roster)
        assert isinstance(opened, Opened)
        assert (opened.signer.id, len(said) <= 300) == ("n59", True)
    assert speaker.seq == 2


def test_every_event_is_acked_and_measured() -> None:
    found = ingest.measure(nodes=30, steady_s=2.0)
    assert found["burst_events"] == 30
    assert found["steady_events"] > 0
    assert 0 < found["ack_ms"]["p50"] <= found["ack_ms"]["p99"]
    assert 20 < found["rss_mib"] <= found["rss_peak_mib"] < ingest.RSS_MAX_MIB
    assert found["journal_rows"] > 60
    assert any("30 nodes" in line for line in ingest.lines(found))
