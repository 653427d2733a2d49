"""Assertions about the node, or about both ends (see `conformance`)."""

from itertools import pairwise

from cython_ext.payload import Carrier, DataType
from tests.kit.conformance import (
    COMMANDS,
    DATA,
    NODES,
    SEQUENCED,
    WINDOW_MS,
    Record,
    births,
    checks,
    metric,
    said,
    some,
)
from tests.kit.sparkplug_oracle import oracle_decode

# -- node: topics, qos, retain, seq, timestamps ---------------------------------------------------------------------------


@checks(
    "topic-structure topic-structure-namespace-a topics-nbirth-topic topics-ndata-topic topics-dbirth-topic "
    "topics-ddata-topic topics-ddeath-topic topics-ndeath-topic message-flow-edge-node-birth-publish-nbirth-topic "
    "message-flow-device-birth-publish-dbirth-topic message-flow-device-birth-publish-dbirth-match-edge-node-topic "
    "topic-structure-namespace-device-id-associated-message-types "
    "topic-structure-namespace-device-id-non-associated-message-types topics-ncmd-topic topics-dcmd-topic "
    "operational-behavior-data-commands-ncmd-verb operational-behavior-data-commands-dcmd-verb "
    "operational-behavior-data-commands-ncmd-rebirth-verb topic-structure-namespace-unique-device-id"
)
def _topics(r: Record) -> None:
    for verb in (*NODES, *COMMANDS):
        client = r.host if verb in COMMANDS else r.node
        for one in some(r.published(client, verb)):
            parts = one.packet.topic.split("/")
            assert parts[:4] == ["spBv1.0", r.group, verb, one.node]
            assert one.node in ((r.node, r.fake) if verb in COMMANDS else (r.node,))
            assert len(parts) == (5 if verb.startswith("D") else 4)
            assert not one.device or one.device in r.devices
    assert len(set(r.devices)) == len(r.devices)


@checks(
    "intro-group-id-string intro-group-id-chars intro-edge-node-id-string intro-edge-node-id-chars intro-device-id-string "
    "intro-device-id-chars topic-structure-namespace-valid-group-id topic-structure-namespace-valid-edge-node-id "
    "topic-structure-namespace-valid-device-id"
)
def _ids(r: Record) -> None:
    for packet in some(p for p in r.packets if p.kind == "PUBLISH"):
        for part in packet.topic.split("/")[1:]:
            assert part
            assert not set(part) & set("+#/\0")
            part.encode()


@checks(
    "topics-nbirth-mqtt topics-ndata-mqtt topics-dbirth-mqtt topics-ddata-mqtt topics-ddeath-mqtt payloads-nbirth-qos "
    "payloads-nbirth-retain payloads-dbirth-qos payloads-dbirth-retain payloads-ndata-qos payloads-ndata-retain "
    "payloads-ddata-qos payloads-ddata-retain message-flow-edge-node-birth-publish-nbirth-qos "
    "message-flow-edge-node-birth-publish-nbirth-retained message-flow-device-birth-publish-dbirth-qos "
    "message-flow-device-birth-publish-dbirth-retained"
)
def _qos(r: Record) -> None:
    for verb in SEQUENCED:
        assert all(one.packet.qos == 0 and not one.packet.retain for one in some(r.published(r.node, verb)))
    assert not [topic for topic in r.late if "/STATE/" not in topic]


@checks(
    "topics-nbirth-seq-num topics-ndata-seq-num topics-dbirth-seq topics-ddata-seq-num topics-ddeath-seq-num "
    "payloads-sequence-num-always-included payloads-sequence-num-req-nbirth payloads-sequence-num-incrementing "
    "payloads-nbirth-seq payloads-dbirth-seq payloads-dbirth-seq-inc payloads-ndata-seq payloads-ndata-seq-inc "
    "payloads-ddata-seq payloads-ddata-seq-inc payloads-ddeath-seq payloads-ddeath-seq-inc payloads-ddeath-seq-number "
    "message-flow-edge-node-birth-publish-nbirth-payload-seq message-flow-device-birth-publish-dbirth-payload-seq"
)
def _seq(r: Record) -> None:
    expected = 0
    for one in some(r.published(r.node, *SEQUENCED)):
        expected = 0 if one.verb == "NBIRTH" else expected
        assert one.payload.seq == expected, one.packet.topic
        expected = (expected + 1) % 256


@checks("topics-ndeath-seq payloads-ndeath-seq payloads-ncmd-seq payloads-dcmd-seq")
def _no_seq(r: Record) -> None:
    for one in some(r.published(r.node, "NDEATH")) + some(r.published(r.host, *COMMANDS)):
        assert one.payload.seq is None
    for session in r.sessions(r.node):
        assert session[0].will is not None
        assert oracle_decode(session[0].will.payload).seq is None


@checks(
    "topics-nbirth-timestamp topics-ndata-timestamp topics-dbirth-timestamp topics-ddata-timestamp topics-ncmd-timestamp "
    "topics-dcmd-timestamp payloads-timestamp-in-UTC payloads-nbirth-timestamp payloads-dbirth-timestamp "
    "payloads-ndata-timestamp payloads-ddata-timestamp payloads-ddeath-timestamp payloads-ncmd-timestamp "
    "payloads-dcmd-timestamp payloads-metric-timestamp-in-UTC"
)
def _timestamps(r: Record) -> None:
    for verb in (*SEQUENCED, *COMMANDS):
        for one in some(r.published(r.host if verb in COMMANDS else r.node, verb)):
            assert one.payload.timestamp is not None
            assert abs(one.payload.timestamp - r.now_ms) < WINDOW_MS
            for m in one.payload.metrics:
                assert verb in COMMANDS or m.timestamp is not None
                assert m.is_historical or m.timestamp is None or abs(m.timestamp - r.now_ms) < WINDOW_MS


# -- node: births ---------------------------------------------------------------------------------------------------------


@checks(
    "topics-nbirth-metric-reqs topics-nbirth-metrics topics-dbirth-metric-reqs topics-dbirth-metrics "
    "message-flow-edge-node-birth-publish-nbirth-payload message-flow-device-birth-publish-dbirth-payload "
    "operational-behavior-data-publish-nbirth operational-behavior-data-publish-dbirth "
    "operational-behavior-data-publish-nbirth-values operational-behavior-data-publish-dbirth-values "
    "payloads-metric-datatype-req payloads-name-requirement payloads-name-birth-data-requirement "
    "payloads-alias-birth-requirement payloads-alias-uniqueness payloads-metric-datatype-value-type "
    "payloads-metric-datatype-value case-sensitivity-metric-names"
)
def _birth_metrics(r: Record) -> None:
    aliases: dict[int, tuple[str, str]] = {}
    for one in some(r.published(r.node, "NBIRTH", "DBIRTH")):
        names = [m.name for m in one.payload.metrics]
        assert all(names)
        assert len({str(name).lower() for name in names}) == len(names)
        for m in one.payload.metrics:
            assert m.datatype is not None
            assert (m.value is None) == m.is_null
            if m.alias is not None:
                assert aliases.setdefault(m.alias, (one.device, str(m.name))) == (one.device, m.name)
    born = set(aliases)
    for one in some(r.published(r.node, *DATA)):
        assert {m.alias for m in one.payload.metrics} <= born


@checks(
    "topics-nbirth-bdseq-included topics-nbirth-bdseq-matching topics-nbirth-bdseq-increment payloads-nbirth-bdseq "
    "payloads-nbirth-bdseq-repeat payloads-ndeath-bdseq message-flow-edge-node-birth-publish-nbirth-payload-bdSeq "
    "message-flow-edge-node-birth-publish-will-message-payload-bdSeq topics-ndeath-payload "
    "message-flow-edge-node-birth-publish-will-message-payload"
)
def _bdseq(r: Record) -> None:
    numbers = []
    for session in r.sessions(r.node):
        assert session[0].will is not None
        (will,) = oracle_decode(session[0].will.payload).metrics
        assert (will.name, will.datatype, will.carrier) == ("bdSeq", DataType.INT64, Carrier.LONG)
        numbers.append(will.value)
        for packet in session:
            one = said(packet)
            if one and packet.up and one.verb in ("NBIRTH", "NDEATH"):
                assert metric(one.payload, "bdSeq").value == will.value
    assert numbers == [n % 256 for n in range(len(numbers))]
    assert len(numbers) >= 3


@checks(
    "topics-nbirth-rebirth-metric operational-behavior-data-commands-rebirth-name "
    "operational-behavior-data-commands-rebirth-name-aliases operational-behavior-data-commands-rebirth-datatype "
    "operational-behavior-data-commands-rebirth-value payloads-nbirth-rebirth-req"
)
def _rebirth_metric(r: Record) -> None:
    for one in births(r):
        m = metric(one.payload, "Node Control/Rebirth")
        assert (m.alias, m.datatype, m.value) == (None, DataType.BOOLEAN, False)


@checks(
    "principles-birth-certificates-order message-flow-device-birth-publish-nbirth-wait payloads-dbirth-order "
    "payloads-ndata-order payloads-ddata-order"
)
def _births_first(r: Record) -> None:
    for session in r.sessions(r.node):
        born: set[str] | None = None
        for one in filter(None, (said(p) for p in session if p.up)):
            if one.verb == "NBIRTH":
                born = set()
            elif one.verb == "DBIRTH":
                assert born is not None
                born.add(one.device)
            elif one.verb in DATA:
                assert born is not None
                assert not one.device or one.device in born
    session = r.sessions(r.host)[0]
    first = next(p for p in session if p.up and p.kind == "PUBLISH")
    assert first.topic == f"spBv1.0/STATE/{r.host}"


@checks(
    "topics-ndata-payload topics-ddata-payload payloads-alias-data-cmd-requirement payloads-metric-datatype-not-req"
)
def _data_metrics(r: Record) -> None:
    for one in some(r.published(r.node, *DATA)):
        assert one.payload.metrics
        for m in one.payload.metrics:
            assert m.name is None
            assert m.alias is not None
            assert m.datatype is None


@checks("operational-behavior-data-publish-nbirth-order operational-behavior-data-publish-dbirth-order")
def _chronological(r: Record) -> None:
    for one in some(r.published(r.node, *DATA)):
        stamps = [m.timestamp for m in one.payload.metrics if not m.is_historical]
        assert all(a <= b for a, b in pairwise(stamps))


@checks(
    "payloads-propertyset-keys-array-size payloads-propertyset-values-array-size payloads-metric-propertyvalue-type-type "
    "payloads-metric-propertyvalue-type-value payloads-metric-propertyvalue-type-req payloads-propertyset-quality-value-type "
    "payloads-propertyset-quality-value-value"
)
def _properties(r: Record) -> None:
    seen = [m for one in r.published(r.node, *SEQUENCED) for m in one.payload.metrics if m.properties]
    values = set()
    for m in some(seen):  # the oracle refuses sets whose keys and values differ in number, or without a type
        quality = next((p for p in m.properties if p.key == "Quality"), None)
        if quality:
            assert quality.type is DataType.INT32
            values.add(quality.value)
    assert values == {0, 192, 500}


# -- node: connection and will --------------------------------------------------------------------------------------------


@checks(
    "message-flow-edge-node-birth-publish-connect message-flow-edge-node-birth-publish-will-message "
    "message-flow-edge-node-birth-publish-will-message-topic message-flow-edge-node-birth-publish-will-message-qos "
    "message-flow-edge-node-birth-publish-will-message-will-retained payloads-ndeath-will-message "
    "payloads-ndeath-will-message-qos payloads-ndeath-will-message-retain principles-persistence-clean-session-311"
)
def _node_connect(r: Record) -> None:
    for session in some(r.sessions(r.node)):
        connect = session[0]
        assert (connect.kind, connect.level, connect.clean) == ("CONNECT", 4, True)
        assert connect.will is not None
        assert connect.will.topic == f"spBv1.0/{r.group}/NDEATH/{r.node}"
        assert (connect.will.qos, connect.will.retain) == (1, False)


@checks("message-flow-edge-node-ncmd-subscribe message-flow-device-dcmd-subscribe")
def _node_subscribes(r: Record) -> None:
    for session in r.sessions(r.node):
        ups = [p for p in session if p.up]
        at = next((i for i, p in enumerate(ups) if p.kind == "PUBLISH"), len(ups))
        filters = {f for p in ups[:at] for f in p.filters}
        assert (f"spBv1.0/{r.group}/NCMD/{r.node}", 1) in filters
        assert (f"spBv1.0/{r.group}/DCMD/{r.node}/+", 1) in filters


@checks(
    "operational-behavior-edge-node-intentional-disconnect-ndeath operational-behavior-edge-node-intentional-disconnect-packet "
    "payloads-ndeath-will-message-publisher payloads-ndeath-will-message-publisher-disconnect-mqtt311"
)
def _node_ends(r: Record) -> None:
    ups = [p for p in r.sessions(r.node)[-1] if p.up and p.kind in ("PUBLISH", "DISCONNECT", "END")]
    assert [p.kind for p in ups[-3:]] == ["PUBLISH", "DISCONNECT", "END"]
    last = said(ups[-3])
    assert last
    assert last.verb == "NDEATH"


# -- node: scenarios ------------------------------------------------------------------------------------------------------


@checks(
    "message-flow-edge-node-birth-publish-phid-wait message-flow-edge-node-birth-publish-phid-wait-id "
    "message-flow-edge-node-birth-publish-phid-wait-online message-flow-edge-node-birth-publish-phid-wait-timestamp "
    "operational-behavior-edge-node-birth-sequence-wait "
    "operational-behavior-primary-application-state-with-multiple-servers-state-subs"
)
def _waits_for_its_host(r: Record) -> None:
    before = [p for p in r.between("begin", "host") if p.client == r.node and p.up]
    assert (f"spBv1.0/STATE/{r.host}", 1) in {f for p in before for f in p.filters}
    assert not [p for p in before if p.kind == "PUBLISH"]  # other hosts' STATE, and an offline one, were heard by then
    assert [p for p in r.between("host", "data") if p.client == r.node and (s := said(p)) and s.verb == "NBIRTH"]


@checks(
    "message-flow-edge-node-birth-publish-phid-offline operational-behavior-edge-node-termination-host-offline "
    "operational-behavior-edge-node-termination-host-offline-reconnect "
    "operational-behavior-primary-application-state-with-multiple-servers-single-server"
)
def _ends_with_its_host(r: Record) -> None:
    after = [p for p in r.between("offline", "cut") if p.client == r.node and p.up]
    kinds = [(p.kind, s.verb if (s := said(p)) else "") for p in after if p.kind in ("PUBLISH", "END", "CONNECT")]
    at = kinds.index(("PUBLISH", "NDEATH"))
    assert kinds[at + 1 : at + 3] == [("END", ""), ("CONNECT", "")]
    assert ("PUBLISH", "NBIRTH") in kinds[at + 3 :]


@checks("operational-behavior-edge-node-termination-host-offline-timestamp")
def _older_offline(r: Record) -> None:
    assert not [p for p in r.between("older", "offline") if p.client == r.node and p.kind in ("END", "CONNECT")]


@checks("operational-behavior-device-ddeath")
def _device_death(r: Record) -> None:
    verbs = [(s.verb, s.device) for p in r.between("device", "rebirth") if p.client == r.node and (s := said(p))]
    assert ("DDEATH", r.devices[0]) in verbs
    assert ("DBIRTH", r.devices[0]) in verbs[verbs.index(("DDEATH", r.devices[0])) :]
    dead = verbs[verbs.index(("DDEATH", r.devices[0])) : verbs.index(("DBIRTH", r.devices[0]))]
    assert ("DDATA", r.devices[0]) not in dead


@checks(
    "operational-behavior-data-commands-rebirth-action-1 operational-behavior-data-commands-rebirth-action-2 "
    "operational-behavior-data-commands-rebirth-action-3"
)
def _rebirth(r: Record) -> None:
    mine = [p for p in r.between("rebirth", "older") if p.client == r.node]
    at = next(
        i for i, p in enumerate(mine) if not p.up and "/NCMD/" in p.topic and b"Node Control/Rebirth" in p.payload
    )
    verbs = [s.verb for p in mine[at:] if p.up and (s := said(p))]
    assert verbs[0] == "NBIRTH", verbs
    assert verbs[1 : 1 + len(r.devices)] == ["DBIRTH"] * len(r.devices)
    assert "DDATA" in verbs[1 + len(r.devices) :]
    assert not [p for p in mine if p.kind in ("CONNECT", "END")]
