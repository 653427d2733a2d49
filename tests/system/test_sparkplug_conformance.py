"""Our node and our host through a recording proxy on a real broker, judged by assertion id.

This implements Sparkplug B 3.0 and is checked by our own black-box tests; it claims nothing of the official kit.
"""

import asyncio
import csv
import random
import time
from pathlib import Path

from controller.telemetry.host import Host, HostIdentity
from controller.telemetry.presence import Data, NodeEvent, Presence
from cython_ext import Status, SystemClock
from cython_ext.payload import DataType, Metric, Payload
from cython_ext.wire import encode
from cython_ext.wire_data import decode_data
from edge.telemetry.births import RECORD, BirthTable, Late, PointMetric, Reading, unpack
from edge.telemetry.session import Identity
from edge.telemetry.uplink import Uplink
from lanes.link import BrokerSettings, Link, MqttConnector
from lanes.sparkplug import NODE_METRICS, HostState, encode_state
from tests.kit import conformance_host, conformance_node  # noqa: F401  their checks register themselves
from tests.kit.conformance import CHECKS, NOT_CHECKED, Record
from tests.kit.sparkplug import REBIRTH, MemoryBdSeq, MemoryStateTime
from tests.kit.tap import Tap, tap

IDS = Path(__file__).parents[1] / "kit" / "sparkplug_ids.tsv"
POINTS = (PointMetric("level", "gauge", unit="m"), PointMetric("smoke", "bank", DataType.BOOLEAN))
REORDER_S = 0.5
FAKE = "spBv1.0/g/{}/x1"


def test_every_id_of_ours_is_checked_or_has_its_reason():
    with IDS.open() as file:
        ids = [row["id"] for row in csv.DictReader(file, delimiter="\t")]
    assert set(CHECKS) | set(NOT_CHECKED) == set(ids)
    assert not set(CHECKS) & set(NOT_CHECKED)
    assert len(CHECKS) >= 230


class Intake:
    """The host's listener: keeps what the fake node measured."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def data(self, data: Data) -> None:
        batch = unpack(decode_data(data.payload, data.table, data.received_ns))
        if data.node == "x1" and data.verb == "DDATA":
            self.values += [r.value for r in batch]

    def event(self, event: NodeEvent) -> None:
        """Nothing: the tap sees what follows."""


class Script:
    """The programs, the hand that plays everyone else, and the record of it."""

    def __init__(self, proxy: Tap, hand: Link) -> None:
        self.tap, self.hand = proxy, hand
        self.clock, self.intake = SystemClock(), Intake()
        self.record = Record(proxy.packets, "n1", "centre", "g", ("gauge", "bank"), round(time.time() * 1000))
        self.host = Host(
            HostIdentity("centre", ("g",), reorder_s=REORDER_S),
            listener=self.intake,
            resolve=lambda g, n, d, m: 0 if m == "level" else None,
            connector=self.dial(),
            store=MemoryStateTime(),
            clock=self.clock,
            rng=random.Random(1),
        )
        self.up = Uplink(
            Identity("g", "n1", "centre"),
            BirthTable(POINTS),
            connectors=[self.dial()],
            store=MemoryBdSeq(),
            clock=self.clock,
            rng=random.Random(2),
            birth_jitter_s=0.05,
        )
        for device in self.record.devices:
            self.up.device_online(device)

    def dial(self) -> MqttConnector:
        return MqttConnector(BrokerSettings(host="127.0.0.1", port=self.tap.port, timeout_s=5))

    def mark(self, phase: str) -> None:
        self.record.marks[phase] = len(self.tap.packets)

    async def say(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        await self.hand.publish(topic, payload, qos=qos, retain=retain)

    async def state(self, host: str, online: bool, timestamp: int) -> None:
        await self.say(f"spBv1.0/STATE/{host}", encode_state(HostState(online, timestamp)), retain=True)

    def measure(self, *values: float, status: Status = Status.OK) -> None:
        now = self.clock.monotonic_ns()
        self.up.readings(b"".join(RECORD.pack(now - i * 1_000_000, v, 0, status, 0) for i, v in enumerate(values)))

    async def seen(self, phase: str, condition) -> None:
        """Wait for a packet of the phase."""
        await until(lambda: any(condition(p) for p in self.tap.packets[self.record.marks[phase] :]))

    async def sent(self, phase: str, client: str, *words: str) -> None:
        """Wait until the client published to topics with these words, in that order."""
        for at in range(len(words)):
            await until(lambda: self._in_order(phase, client, words[: at + 1]))  # noqa: B023

    def _in_order(self, phase: str, client: str, words: tuple[str, ...]) -> bool:
        left = list(words)
        for packet in self.tap.packets[self.record.marks[phase] :]:
            if left and packet.up and packet.client == client and packet.kind == "PUBLISH" and left[0] in packet.topic:
                left.pop(0)
        return not left


async def until(condition, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def fake(seq: int | None, *metrics: Metric, timestamp: int = 1_700_000_000_000) -> bytes:
    return encode(Payload(timestamp, metrics, seq))


def number(name: str, value: float | None = None, datatype: DataType = DataType.DOUBLE) -> Metric:
    return Metric(name=name, timestamp=round(time.time() * 1000), datatype=datatype, value=value)


async def play_node(s: Script) -> None:
    """The node waits, is born, measures, loses a device, is asked for births."""
    s.mark("begin")
    s.node_task = asyncio.create_task(s.up.run())
    await s.seen("begin", lambda p: p.client == "n1" and p.kind == "SUBACK")
    await s.state("elsewhere", True, s.record.now_ms)
    await s.state("centre", False, 1_000)
    await asyncio.sleep(0.5)
    s.mark("host")
    s.host_task = asyncio.create_task(s.host.run())
    await s.sent("host", "n1", "NBIRTH", "DBIRTH", "DBIRTH")
    s.mark("data")
    s.measure(1.0, 1.1, 1.2)
    s.measure(2.0, status=Status.LOOP_FAULT)
    s.measure(2.0, status=Status.MISSING)
    await s.up.publish_historical([Late(1_700_000_000_000, Reading(0, 0, 0.5, Status.OK))])
    await s.sent("data", "n1", "DDATA", "DDATA", "DDATA", "DDATA", "NDATA")
    s.mark("device")
    s.up.device_lost("gauge")
    s.measure(3.0)
    await s.sent("device", "n1", "DDEATH")
    s.up.device_online("gauge")
    await s.sent("device", "n1", "DDEATH", "DBIRTH")
    s.mark("rebirth")
    for rubbish in (b"\xff\xff", encode(Payload(1, (number("Node Control/Reboot", 1.0),)))):
        await s.say("spBv1.0/g/NCMD/n1", rubbish)
    await s.say("spBv1.0/g/NCMD/n1", REBIRTH)
    for value in range(10):
        await asyncio.sleep(0.1)  # first the command arrives: what was sent before it is no fault
        s.measure(float(value))
    await s.sent("rebirth", "n1", "NBIRTH", "DBIRTH", "DBIRTH", "DDATA")


async def play_host_and_links(s: Script) -> None:
    """Old and forged STATEs, commands, a cut link."""
    s.mark("older")
    await s.state("centre", False, 1_000)
    await asyncio.sleep(0.5)
    s.host.command("g", "n1", number("Node Control/Nothing", 1.0))
    s.host.command("g", "n1", Metric(alias=len(NODE_METRICS) + 1, datatype=DataType.DOUBLE, value=1.0), "gauge")
    await s.sent("older", "centre", "/NCMD/n1", "/DCMD/n1/gauge")
    s.mark("offline")
    await s.state("centre", False, s.host.online_ms or 0)
    await s.sent("offline", "n1", "NDEATH", "NBIRTH")
    s.mark("cut")
    s.tap.cut("n1")
    await s.sent("cut", "n1", "NBIRTH", "DBIRTH")


async def play_fake_node(s: Script) -> None:
    """A strange node: swapped messages, a gap, deaths."""
    node, device = FAKE.format, "/d1"
    bdseq = number("bdSeq", 7, DataType.INT64)
    knew = s.record.knew
    s.mark("swapped")
    await s.say(node("NBIRTH"), fake(0, bdseq), qos=0)
    await s.say(node("DBIRTH") + device, fake(1, number("level", 0.0)), qos=0)
    await s.say(node("DDATA") + device, fake(2, number("level", 1.0)), qos=0)
    await s.say(node("DDATA") + device, fake(4, number("level", 3.0)), qos=0)
    await asyncio.sleep(REORDER_S / 4)
    await s.say(node("DDATA") + device, fake(3, number("level", 2.0)), qos=0)
    await until(lambda: len(s.intake.values) == 3)
    await asyncio.sleep(3 * REORDER_S)
    knew["swapped"] = list(s.intake.values)
    s.mark("gap")
    await s.say(node("DDATA") + device, fake(6, number("level", 5.0)), qos=0)
    await s.sent("gap", "centre", "/NCMD/x1")
    s.mark("deaths")
    sight = s.host.nodes[("g", "x1")]
    await s.say(node("DDEATH") + device, fake(7), qos=0)
    await until(lambda: sight.stale("d1"))
    knew["device death"] = (sight.stale(), sight.stale("d1"))
    knew["device death ms"] = sight.devices["d1"].since_ms
    await s.say(node("DBIRTH") + device, fake(8, number("level", 0.0)), qos=0)
    await until(lambda: not sight.stale("d1"))
    await s.say(node("NDEATH"), fake(None, number("bdSeq", 6, DataType.INT64)))
    await until(lambda: sight.counts["stale_death"] == 1)
    knew["wrong death"] = (sight.stale(), sight.stale("d1"))
    await s.say(node("NDEATH"), fake(None, bdseq))
    await until(lambda: sight.presence is Presence.OFFLINE)
    knew["death"] = (sight.stale(), sight.stale("d1"))
    knew["death ms"] = sight.since_ms


async def late_topics(s: Script) -> list[str]:
    """What a subscriber is sent that comes when all has been said."""
    topics = []
    dial = MqttConnector(BrokerSettings(host="127.0.0.1", port=s.tap.target, timeout_s=5))
    async with dial.connect("late") as link:
        await link.subscribe(("spBv1.0/#", 1))
        await link.publish("spBv1.0/g/NCMD/late", b"", qos=1)
        async for message in link.messages():
            if message.topic.endswith("/late"):
                return topics
            if message.retain:
                topics.append(message.topic)
    return topics


async def test_node_and_host_keep_every_assertion(broker):
    dial = MqttConnector(BrokerSettings(host="127.0.0.1", port=broker.port, timeout_s=5))
    async with tap(broker.port) as proxy, dial.connect("hand") as hand:
        script = Script(proxy, hand)
        await play_node(script)
        await play_host_and_links(script)
        await play_fake_node(script)
        script.record.late = await late_topics(script)
        script.up.stop()
        await script.node_task
        script.host.stop()
        await script.host_task
        await until(lambda: [p.kind for p in proxy.packets[-1:]] == ["END"])
    failed = {}
    for name, check in CHECKS.items():
        try:
            check(script.record)
        except (AssertionError, ValueError, LookupError, StopIteration) as error:
            failed[name] = repr(error)[:300]
    assert not failed, "\n".join(f"{name}: {why}" for name, why in failed.items())
