"""Sparkplug B 3.0's assertions as checks over a recorded run, by id (without the `tck-id-` prefix).

Written from the assertions' texts, read with protobuf and not with our own decoder. A check raises AssertionError; several
ids that say the same share one. `NOT_CHECKED` gives the reason for each id of ours that no check here decides.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cython_ext.payload import Metric, Payload
from tests.kit.sparkplug_oracle import oracle_decode
from tests.kit.tap import Packet

WINDOW_MS = 60_000  # how far a timestamp may be from ours (symmetric: the TCK's own test has a sign error)


@dataclass
class Record:
    """A run: what the tap saw, where its phases began, and what the host knew then."""

    packets: list[Packet]
    node: str
    host: str
    group: str
    devices: tuple[str, ...]
    now_ms: int
    marks: dict[str, int] = field(default_factory=dict)
    knew: dict[str, Any] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)  # topics that a subscriber who came later was sent
    fake: str = "x1"  # a node played by the script

    def sessions(self, client: str) -> list[list[Packet]]:
        numbers = sorted({p.session for p in self.packets if p.client == client})
        return [[p for p in self.packets if p.session == n] for n in numbers]

    def published(self, client: str, *verbs: str) -> list["Said"]:
        return [s for p in self.packets if (s := said(p)) and p.client == client and p.up and s.verb in verbs]

    def between(self, begin: str, end: str | None = None) -> list[Packet]:
        return self.packets[self.marks[begin] : self.marks[end] if end else None]


@dataclass
class Said:
    """A Sparkplug PUBLISH."""

    packet: Packet
    verb: str
    group: str
    node: str
    device: str
    payload: Payload


def said(packet: Packet) -> Said | None:
    """The Sparkplug message that a program of ours published; None for every other packet."""
    parts = packet.topic.split("/")
    if packet.kind != "PUBLISH" or not packet.up or parts[0] != "spBv1.0" or parts[1] == "STATE":
        return None
    return Said(packet, parts[2], parts[1], parts[3], parts[4] if len(parts) > 4 else "", oracle_decode(packet.payload))


Check = Callable[[Record], None]
CHECKS: Final[dict[str, Check]] = {}
DATA = ("NDATA", "DDATA")
SEQUENCED = ("NBIRTH", "DBIRTH", "DDEATH", *DATA)
NODES = (*SEQUENCED, "NDEATH")
COMMANDS = ("NCMD", "DCMD")


def checks(ids: str) -> Callable[[Check], Check]:
    """The ids (separated by spaces) that the check decides."""

    def register(check: Check) -> Check:
        for name in ids.split():
            assert name not in CHECKS, name
            CHECKS[name] = check
        return check

    return register


def some(items: Iterable[Any]) -> list[Any]:
    """The items, of which there must be at least one: a check of nothing checks nothing."""
    found = list(items)
    assert found, "the run has no such message"
    return found


def metric(payload: Payload, name: str) -> Metric:
    return next(m for m in payload.metrics if m.name == name)


def state(packet: Packet) -> dict[str, Any]:
    found = json.loads(packet.payload)
    assert set(found) == {"online", "timestamp"}
    assert isinstance(found["online"], bool)
    assert type(found["timestamp"]) is int
    return dict(found)


def births(r: Record) -> list[Said]:
    return some(r.published(r.node, "NBIRTH"))


NOT_CHECKED: Final = {
    "intro-edge-node-id-uniqueness": "deployment: one client id a node, and the broker ends the elder",
    "topic-structure-namespace-unique-edge-node-descriptor": "deployment: the inventory refuses two nodes of one identity",
    "topic-structure-namespace-duplicate-device-id-across-edge-node": "a permission; device tables are kept by node",
    "case-sensitivity-sparkplug-ids": "ids are lower case by their pattern (test_topics)",
    "payloads-nbirth-edge-node-descriptor": "deployment, as intro-edge-node-id-uniqueness",
    "principles-persistence-clean-session-50": "MQTT 5 is not offered",
    "payloads-ndeath-will-message-publisher-disconnect-mqtt50": "MQTT 5 is not offered",
    "message-flow-phid-sparkplug-clean-session-50": "MQTT 5 is not offered",
    "principles-rbe-recommended": "a SHOULD we leave: every sample goes out, since the controller judges staleness too",
    "operational-behavior-data-publish-nbirth-change": "a SHOULD; node metrics go out when they changed (test_births)",
    "operational-behavior-data-publish-dbirth-change": "a SHOULD we leave, as principles-rbe-recommended",
    "operational-behavior-primary-application-state-with-multiple-servers-walk": "test_uplink, on two brokers in memory",
    "operational-behavior-primary-application-state-with-multiple-servers-state": "the host has one server",
    "operational-behavior-host-application-multi-server-timestamp": "the host has one server",
    "host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet": "we always send DISCONNECT",
}
