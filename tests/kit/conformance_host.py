"""Assertions about the host (see `conformance`)."""

from tests.kit.conformance import COMMANDS, WINDOW_MS, Record, Said, checks, said, some, state
from tests.kit.sparkplug_oracle import oracle_decode
from tests.kit.tap import Packet


@checks(
    "conformance-primary-host intro-sparkplug-host-state components-ph-state host-topic-phid-birth-message "
    "host-topic-phid-birth-qos host-topic-phid-birth-retain host-topic-phid-birth-topic host-topic-phid-birth-required "
    "host-topic-phid-birth-payload host-topic-phid-birth-payload-timestamp message-flow-phid-sparkplug-state-publish "
    "message-flow-phid-sparkplug-state-publish-payload message-flow-phid-sparkplug-state-publish-payload-timestamp "
    "operational-behavior-host-application-connect-birth operational-behavior-host-application-connect-birth-topic "
    "operational-behavior-host-application-connect-birth-payload operational-behavior-host-application-connect-birth-qos "
    "operational-behavior-host-application-connect-birth-retained payloads-state-birth payloads-state-birth-payload "
    "operational-behavior-host-application-host-id"
)
def _host_birth(r: Record) -> None:
    for session in r.sessions(r.host):
        birth = next(p for p in session if p.up and p.kind == "PUBLISH")
        assert (birth.topic, birth.qos, birth.retain) == (f"spBv1.0/STATE/{r.host}", 1, True)
        assert session[0].will is not None
        assert state(birth) == {"online": True, "timestamp": state(session[0].will)["timestamp"]}


@checks(
    "host-topic-phid-death-qos host-topic-phid-death-retain host-topic-phid-death-topic host-topic-phid-death-required "
    "host-topic-phid-death-payload host-topic-phid-death-payload-timestamp-connect message-flow-phid-sparkplug-clean-session-311 "
    "operational-behavior-host-application-connect-will operational-behavior-host-application-connect-will-topic "
    "operational-behavior-host-application-connect-will-payload operational-behavior-host-application-connect-will-qos "
    "operational-behavior-host-application-connect-will-retained payloads-state-will-message payloads-state-will-message-qos "
    "payloads-state-will-message-retain payloads-state-will-message-payload"
)
def _host_will(r: Record) -> None:
    for session in some(r.sessions(r.host)):
        connect = session[0]
        assert (connect.level, connect.clean) == (4, True)
        assert connect.will is not None
        assert (connect.will.topic, connect.will.qos, connect.will.retain) == (f"spBv1.0/STATE/{r.host}", 1, True)
        will = state(connect.will)
        assert not will["online"]
        assert abs(will["timestamp"] - r.now_ms) < WINDOW_MS


@checks("host-topic-phid-birth-sub-required message-flow-phid-sparkplug-subscription payloads-state-subscribe")
def _host_subscribes(r: Record) -> None:
    for session in r.sessions(r.host):
        ups = [p for p in session if p.up]
        at = next(i for i, p in enumerate(ups) if p.kind == "PUBLISH")
        filters = {name for p in ups[:at] for name, _ in p.filters}
        assert {f"spBv1.0/STATE/{r.host}", f"spBv1.0/{r.group}/#"} <= filters


@checks(
    "operational-behavior-host-application-termination operational-behavior-host-application-death-topic "
    "operational-behavior-host-application-death-payload operational-behavior-host-application-death-qos "
    "operational-behavior-host-application-death-retained operational-behavior-host-application-disconnect-intentional "
    "host-topic-phid-death-payload-timestamp-disconnect-clean"
)
def _host_ends(r: Record) -> None:
    session = r.sessions(r.host)[-1]
    ups = [p for p in session if p.up and p.kind in ("PUBLISH", "DISCONNECT", "END")]
    assert [p.kind for p in ups[-3:]] == ["PUBLISH", "DISCONNECT", "END"]
    death = ups[-3]
    assert (death.topic, death.qos, death.retain) == (f"spBv1.0/STATE/{r.host}", 1, True)
    assert session[0].will is not None
    assert not state(death)["online"]
    assert state(death)["timestamp"] > state(session[0].will)["timestamp"]


@checks("message-flow-hid-sparkplug-state-message-delivered")
def _host_contradicts(r: Record) -> None:
    mine = [p for p in r.between("offline", "cut") if p.client == r.host and "/STATE/" in p.topic]
    at = next(i for i, p in enumerate(mine) if not p.up and not state(p)["online"])
    assert mine[at + 1].up
    assert state(mine[at + 1])["online"]


@checks(
    "topics-ncmd-mqtt topics-dcmd-mqtt payloads-ncmd-qos payloads-dcmd-qos payloads-ncmd-retain payloads-dcmd-retain "
    "topics-ncmd-payload topics-dcmd-payload operational-behavior-data-commands-ncmd-metric-name "
    "operational-behavior-data-commands-ncmd-metric-value operational-behavior-data-commands-dcmd-metric-name "
    "operational-behavior-data-commands-dcmd-metric-value payloads-name-cmd-requirement "
    "operational-behavior-data-commands-ncmd-rebirth-name operational-behavior-data-commands-ncmd-rebirth-value"
)
def _commands(r: Record) -> None:
    for verb in COMMANDS:
        for one in some(r.published(r.host, verb)):
            assert (one.packet.qos, one.packet.retain) == (0, False)
            assert one.payload.metrics
            assert all(m.value is not None and (m.name or m.alias is not None) for m in one.payload.metrics)
    rebirth = some(o for o in r.published(r.host, "NCMD") if o.payload.metrics[0].name == "Node Control/Rebirth")
    assert all(o.payload.metrics[0].value is True for o in rebirth)


@checks(
    "operational-behavior-host-reordering-param operational-behavior-host-reordering-start "
    "operational-behavior-host-reordering-rebirth operational-behavior-host-reordering-success"
)
def _reordering(r: Record) -> None:
    def asked(packets: list[Packet]) -> list[Said]:
        return [
            s
            for p in packets
            if p.client == r.host and p.up and (s := said(p)) and (s.verb, s.node) == ("NCMD", r.fake)
        ]

    assert not asked(r.between("swapped", "gap"))
    assert r.knew["swapped"] == [1.0, 2.0, 3.0]  # in order, whatever order they came in
    assert asked(r.between("gap", "deaths"))


@checks(
    "operational-behavior-edge-node-termination-host-action-ndeath-node-offline "
    "operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale "
    "operational-behavior-edge-node-termination-host-action-ndeath-devices-offline "
    "operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale"
)
def _host_node_death(r: Record) -> None:
    assert r.knew["wrong death"] == (False, False)
    assert r.knew["death"] == (True, True)
    assert abs(r.knew["death ms"] - r.now_ms) < WINDOW_MS  # the host's time, not the payload's


@checks(
    "operational-behavior-edge-node-termination-host-action-ddeath-devices-offline "
    "operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale"
)
def _host_device_death(r: Record) -> None:
    assert r.knew["device death"] == (False, True)
    # The payload's time, as the broker delivered it: nats-server is Sparkplug-aware and dates deaths itself.
    heard = [p for p in r.between("deaths") if p.client == r.host and not p.up and f"/DDEATH/{r.fake}/" in p.topic]
    assert r.knew["device death ms"] == oracle_decode(some(heard)[0].payload).timestamp
