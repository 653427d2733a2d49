"""The host on links: its STATE, what it asks for, what it knows; against our own node and against strangers."""

import asyncio
import contextlib
import random

import pytest

from controller.telemetry.gate import BIRTHS_BURST, BURST, CALM_NS, Gate
from controller.telemetry.host import SUSPECT_S, Host, HostIdentity
from controller.telemetry.presence import Data, EventKind, NodeEvent, Presence
from cython_ext import BuciumError, Status, SystemClock
from cython_ext.payload import DataType, Metric
from cython_ext.wire import decode
from cython_ext.wire_data import decode_data
from edge.telemetry.births import RECORD, BirthTable, PointMetric, unpack
from edge.telemetry.session import Identity
from edge.telemetry.uplink import Uplink
from lanes.link import BrokerSettings, MqttConnector
from lanes.sparkplug import HostState, NodeMetric, decode_state, encode_state
from tests.controller.test_nodes import dbirth, ddata, death, nbirth
from tests.kit.broker import MemoryBroker
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.sparkplug import MemoryBdSeq, MemoryStateTime

STATE = "spBv1.0/STATE/centre"
POINTS = (PointMetric("level", "gauge", unit="m"), PointMetric("smoke", "bank", DataType.BOOLEAN))


class Intake:
    """A listener that reads what it is given, as the controller's does."""

    def __init__(self) -> None:
        self.events: list[NodeEvent] = []
        self.samples: list[tuple[int, float, Status]] = []

    def data(self, data: Data) -> None:
        self.samples += [
            (r.point, r.value, r.status) for r in unpack(decode_data(data.payload, data.table, data.received_ns))
        ]

    def event(self, event: NodeEvent) -> None:
        self.events.append(event)

    def kinds(self) -> list[EventKind]:
        taken, self.events = [e.kind for e in self.events], []
        return taken


class World:
    """A broker, a host, and what both saw."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker()
        self.store = MemoryStateTime()
        self.intake = Intake()
        self.at = 0
        self.host = self.new_host()

    def new_host(self) -> Host:
        return Host(
            HostIdentity("centre", ("g",)),
            listener=self.intake,
            resolve=lambda g, n, d, m: {"level": 0, "rain": 1, "smoke": 2}.get(m),
            connector=self.broker.connector(),
            store=self.store,
            clock=self.clock,
            rng=random.Random(5),
        )

    def uplink(self, node: str = "n", primary: str = "centre") -> Uplink:
        up = Uplink(
            Identity("g", node, primary),
            BirthTable(POINTS),
            connectors=[self.broker.connector()],
            store=MemoryBdSeq(),
            clock=self.clock,
            rng=random.Random(node),
        )
        up.device_online("gauge")
        return up

    def send(self, verb: str, payload: bytes, device: str = "") -> None:
        self.broker.inject(f"spBv1.0/g/{verb}/n" + (f"/{device}" if device else ""), payload)

    def said(self) -> list[tuple[str, bytes, int, bool]]:
        """What the host published since the last call, and its will."""
        taken = self.broker.published[self.at :]
        self.at = len(self.broker.published)
        return [(m.topic, m.payload, m.qos, m.retain) for who, m in taken if who == "centre"]

    def node(self):
        return self.host.nodes[("g", "n")]


def virtual(scenario, *, run: bool = True):
    """Run `scenario(world)` in virtual time beside the host."""
    world = World()

    async def main():
        running = asyncio.create_task(world.host.run()) if run else None
        if running:
            await until(lambda: world.host.online_ms is not None)
        await scenario(world)
        if running:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run_virtual(main(), world.clock)


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def test_its_state_is_said_in_order_with_one_rising_timestamp():
    async def scenario(world):
        (birth,) = world.said()
        assert birth == (STATE, encode_state(HostState(True, world.store.last)), 1, True)
        first_ms = world.host.online_ms
        world.clock.step_wall(-3600)  # the clock steps back an hour
        world.broker.drop("centre")
        await asyncio.sleep(0)
        (will,) = world.said()
        assert will == (STATE, encode_state(HostState(False, first_ms)), 1, True)
        await until(lambda: world.host.online_ms not in (None, first_ms))
        assert world.host.online_ms > first_ms
        world.said()
        second_ms = world.host.online_ms
        world.host.stop()
        await asyncio.sleep(1)
        (end,) = world.said()
        assert decode_state(end[1]).timestamp_ms > second_ms
        assert (decode_state(end[1]).online, end[2:]) == (False, (1, True))

    virtual(scenario)


def test_a_cancelled_host_still_says_that_it_is_offline():
    async def scenario(world):
        running = asyncio.create_task(world.host.run())
        await until(lambda: world.host.online_ms is not None)
        world.said()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert [decode_state(payload).online for _, payload, _, _ in world.said()] == [False]

    virtual(scenario, run=False)


def test_another_plan_reaches_every_node_that_is_born():
    async def scenario(world):
        running = asyncio.create_task(world.uplink().run())
        await until(lambda: ("g", "n") in world.host.nodes and "gauge" in world.node().devices)
        before = {metric.name: metric.point for metric in world.node().devices["gauge"].metrics}
        world.host.replan(lambda g, n, d, m: {"level": 7}.get(m))
        after = {metric.name: metric.point for metric in world.node().devices["gauge"].metrics}
        assert before["level"] == 0
        assert after == dict.fromkeys(before) | {"level": 7}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(scenario)


@pytest.mark.parametrize(
    "forged", [encode_state(HostState(False, 1)), encode_state(HostState(False, 2**60)), b"OFFLINE", b""]
)
def test_an_offline_that_is_not_ours_is_contradicted_at_once(forged):
    async def scenario(world):
        world.said()
        online = encode_state(HostState(True, world.host.online_ms))
        world.broker.inject(STATE, forged, retain=True)
        await asyncio.sleep(0.1)
        assert world.said() == [(STATE, online, 1, True)]
        assert world.broker.retained[STATE].payload == online

    virtual(scenario)


def test_another_host_of_our_name_is_told_once_and_not_fought():
    async def scenario(world):
        world.said()
        for _ in range(3):
            world.broker.inject(STATE, encode_state(HostState(True, 5)), retain=True)
        await asyncio.sleep(1)
        assert world.said() == []
        assert world.intake.kinds() == [EventKind.HOST_DUPLICATE]

    virtual(scenario)


def test_it_follows_our_own_node():
    async def scenario(world):
        up = world.uplink()
        up.tell(NodeMetric.LEDGER_ID, "abc")
        running = asyncio.create_task(up.run())
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        assert world.intake.kinds() == [EventKind.NODE_BORN, EventKind.DEVICE_BORN]
        assert world.node().facts["Ledger/Id"] == "abc"
        world.intake.samples.clear()
        up.readings(RECORD.pack(world.clock.monotonic_ns(), 2.25, 0, Status.TEST, 0))
        up.readings(RECORD.pack(world.clock.monotonic_ns(), float("nan"), 0, Status.MISSING | Status.LOOP_FAULT, 0))
        await asyncio.sleep(0.1)
        first, second = world.intake.samples
        assert first == (0, 2.25, Status.TEST)
        assert second[2] == Status.MISSING | Status.LOOP_FAULT
        up.device_online("bank")
        up.device_lost("gauge")
        await asyncio.sleep(0.1)
        assert world.intake.kinds() == [EventKind.DEVICE_BORN, EventKind.DEVICE_OFFLINE]
        await asyncio.sleep(60)
        assert world.intake.kinds() == []  # heartbeats keep it present
        assert world.node().facts["Node/Heartbeat"] >= 11
        up.stop()
        await running
        await asyncio.sleep(0.1)
        assert world.intake.kinds() == [EventKind.NODE_OFFLINE]
        assert not world.node().counts

    virtual(scenario)


def test_a_node_that_falls_silent_is_suspect_then_offline_by_its_will():
    async def scenario(world):
        up = world.uplink(primary="")
        running = asyncio.create_task(up.run())
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        world.intake.kinds()
        world.broker.weather = lambda sender, receiver, message: [] if sender == "n" else [0.0]
        await asyncio.sleep(SUSPECT_S + 1)
        assert world.intake.kinds() == [EventKind.NODE_SUSPECT]
        world.broker.weather = lambda *_: [0.0]
        await asyncio.sleep(6)
        assert EventKind.NODE_HEARD in world.intake.kinds()
        world.broker.drop("n")
        await asyncio.sleep(0.001)
        assert world.node().presence is Presence.OFFLINE
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(scenario)


def test_a_lost_message_brings_a_rebirth_after_the_reorder_time():
    async def scenario(world):
        world.send("NBIRTH", nbirth(0, 0))
        world.send("DBIRTH", dbirth(1, "gauge", 10), "gauge")
        world.send("DDATA", ddata(3, 3.0), "gauge")
        await asyncio.sleep(1.9)
        world.said()
        assert EventKind.GAP not in world.intake.kinds()
        await asyncio.sleep(1)
        assert world.intake.kinds() == [EventKind.GAP, EventKind.REBIRTH]
        ((topic, payload, qos, retain),) = world.said()
        assert (topic, qos, retain) == ("spBv1.0/g/NCMD/n", 0, False)
        command = decode(payload)
        assert command.seq is None
        assert command.timestamp
        assert [(m.name, m.alias, m.datatype, m.value) for m in command.metrics] == [
            ("Node Control/Rebirth", None, DataType.BOOLEAN, True)
        ]
        world.send("DDATA", ddata(2, 2.0), "gauge")  # far too late, and counted as such
        await asyncio.sleep(1)
        assert world.node().counts == {"gap": 1, "duplicate": 1}

    virtual(scenario)


def test_a_birth_that_comes_first_makes_asking_needless():
    async def scenario(world):
        world.send("DDATA", ddata(3, 3.0), "gauge")
        world.send("NBIRTH", nbirth(0, 0))
        await asyncio.sleep(5)
        assert EventKind.REBIRTH not in world.intake.kinds()

    virtual(scenario)


def test_a_lost_message_that_comes_in_time_brings_nothing():
    async def scenario(world):
        world.send("NBIRTH", nbirth(0, 0))
        world.send("DBIRTH", dbirth(1, "gauge", 10), "gauge")
        world.send("DDATA", ddata(3, 3.0), "gauge")
        await asyncio.sleep(1.5)
        world.send("DDATA", ddata(2, 2.0), "gauge")
        await asyncio.sleep(4)
        assert world.intake.kinds() == [EventKind.NODE_BORN, EventKind.DEVICE_BORN]
        assert [v for _, v, _ in world.intake.samples[2:]] == [2.0, 3.0]

    virtual(scenario)


def test_a_host_that_starts_late_learns_all_nodes_by_asking():
    async def scenario(world):
        ups = [world.uplink(f"n{i}", primary="") for i in range(12)]
        tasks = [asyncio.create_task(up.run()) for up in ups]
        await until(lambda: all(up.live for up in ups))
        await asyncio.sleep(1)
        hosting = asyncio.create_task(world.host.run())
        await asyncio.sleep(20)
        assert len(world.host.nodes) == 12
        assert all(n.presence is Presence.ONLINE and n.devices["gauge"].online for n in world.host.nodes.values())
        for task in (*tasks, hosting):
            task.cancel()
        await asyncio.gather(*tasks, hosting, return_exceptions=True)

    virtual(scenario, run=False)


def test_when_its_own_link_is_lost_all_is_stale_until_births_come():
    async def scenario(world):
        up = world.uplink()
        running = asyncio.create_task(up.run())
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        world.intake.kinds()
        world.broker.drop("centre")
        await asyncio.sleep(0.01)
        assert world.intake.kinds() == [EventKind.NODE_STALE]
        assert world.node().stale("gauge")
        await until(lambda: world.host.nodes[("g", "n")].presence is Presence.ONLINE)
        await asyncio.sleep(0.1)
        assert not world.node().stale("gauge")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(scenario)


def test_strange_messages_on_every_subscription_harm_nothing():
    async def scenario(world):
        for topic in (
            "spBv1.0/g/NBIRTH",
            "spBv1.0/g/NBIRTH/n/d",
            "spBv1.0/g/WHAT/n",
            "spBv1.0/g/DDATA/n",
            "spBv1.0/g/NDATA/A B",
        ):
            world.broker.inject(topic, b"")
        for verb in ("NBIRTH", "NDEATH", "NDATA", "NCMD"):
            for payload in (b"", b"\xff" * 40, bytes(70_000), b"\x12\x05\x0a\x01a"):
                world.send(verb, payload)
        world.broker.inject("spBv1.0/g/NBIRTH/kept", nbirth(0, 0), retain=True)
        await asyncio.sleep(0.1)
        assert world.host.counts == {"topic": 5}
        assert world.host.nodes[("g", "kept")].presence is Presence.ONLINE  # live: the flag is cleared by the broker
        world.broker.drop("centre")
        await asyncio.sleep(5)
        assert world.host.counts["retained"] == 1  # kept: of another time
        assert world.host.nodes[("g", "kept")].presence is Presence.STALE
        world.send("NBIRTH", nbirth(1, 0))
        world.send("NDEATH", death(1))
        await asyncio.sleep(0.1)
        assert world.node().presence is Presence.OFFLINE

    virtual(scenario)


def test_commands_go_to_what_is_there():
    async def scenario(world):
        metric = Metric(alias=10, datatype=DataType.DOUBLE, value=1.0)
        with pytest.raises(BuciumError, match="not online"):
            world.host.command("g", "n", metric)
        world.send("NBIRTH", nbirth(0, 0))
        world.send("DBIRTH", dbirth(1, "gauge", 10), "gauge")
        await asyncio.sleep(0.1)
        world.said()
        world.host.command("g", "n", metric, "gauge")
        with pytest.raises(BuciumError, match="not online"):
            world.host.command("g", "n", metric, "bank")
        await asyncio.sleep(0.1)
        ((topic, payload, qos, retain),) = world.said()
        assert (topic, qos, retain) == ("spBv1.0/g/DCMD/n/gauge", 0, False)
        assert decode(payload).metrics[0].value == 1.0
        assert decode(payload).seq is None

    virtual(scenario)


def test_names_that_were_never_born_make_room(monkeypatch):
    async def scenario(world):
        monkeypatch.setattr("controller.telemetry.host.NODES_MAX", 3)
        for i in range(5):
            world.broker.inject(f"spBv1.0/g/NDATA/x{i}", ddata(0, 1.0))
        world.send("NBIRTH", nbirth(0, 0))
        await asyncio.sleep(0.1)
        assert len(world.host.nodes) == 3
        assert world.node().presence is Presence.ONLINE

    virtual(scenario)


async def sampling_until(up: Uplink, clock: SystemClock, condition) -> None:
    """A birth that the broker lost between two clients' first seconds is asked for again when data comes: so data comes."""
    async with asyncio.timeout(60):
        while not condition():
            up.readings(RECORD.pack(clock.monotonic_ns(), 1.25, 0, 0, 0))
            with contextlib.suppress(TimeoutError):
                await until(condition, 1.0)


async def test_on_a_real_broker_with_our_own_node(broker):
    def dial() -> MqttConnector:
        return MqttConnector(BrokerSettings(host="127.0.0.1", port=broker.port, timeout_s=5))

    clock, intake = SystemClock(), Intake()
    host = Host(
        HostIdentity("centre", ("g",)),
        listener=intake,
        resolve=lambda g, n, d, m: {"level": 0}.get(m),
        connector=dial(),
        store=MemoryStateTime(),
        clock=clock,
        rng=random.Random(5),
    )
    up = Uplink(
        Identity("g", "n", "centre"),
        BirthTable(POINTS),
        connectors=[dial()],
        store=MemoryBdSeq(),
        clock=clock,
        rng=random.Random(6),
        birth_jitter_s=0.1,
    )
    up.device_online("gauge")
    node = asyncio.create_task(up.run())
    running = asyncio.create_task(host.run())
    await sampling_until(up, clock, lambda: len(intake.events) >= 2)
    assert intake.kinds()[:2] == [EventKind.NODE_BORN, EventKind.DEVICE_BORN]
    up.readings(RECORD.pack(clock.monotonic_ns(), 1.75, 0, 0, 0))
    await until(lambda: (0, 1.75, Status.OK) in intake.samples)
    host.rebirth("g", "n")
    await until(lambda: EventKind.NODE_BORN in [e.kind for e in intake.events])
    up.stop()
    await node
    await until(lambda: EventKind.NODE_OFFLINE in [e.kind for e in intake.events])
    host.stop()
    await running
    assert not host.nodes[("g", "n")].counts


@pytest.mark.parametrize("flood", ["birth", "data", "garbage"])
def test_a_node_that_floods_is_looked_at_no_more_and_the_others_are(flood):
    payloads = {"birth": nbirth(0, 0), "data": ddata(1, 1.0), "garbage": b"\xff" * 50}
    topic = "spBv1.0/g/DDATA/rogue/gauge" if flood == "data" else "spBv1.0/g/NBIRTH/rogue"

    async def scenario(world):
        world.send("NBIRTH", nbirth(0, 0))
        await until(lambda: EventKind.NODE_BORN in world.intake.kinds())
        for _ in range(3000):
            world.broker.inject(topic, payloads[flood], qos=0)
        world.send("DBIRTH", dbirth(1, "gauge", 10), "gauge")
        await until(lambda: "gauge" in world.node().devices)
        limit = BURST if flood == "data" else BIRTHS_BURST
        assert world.host.counts["flood"] == 3000 - limit
        told = [(event.kind, event.node) for event in world.intake.events]
        assert told.count((EventKind.FLOODING, "rogue")) == 1
        assert (EventKind.FLOODING, "n") not in told
        await asyncio.sleep(CALM_NS / 1e9 + 60)
        assert (EventKind.CALM, "rogue") in [(event.kind, event.node) for event in world.intake.events]

    virtual(scenario)


def test_a_gate_fills_with_time_and_no_further_than_its_burst():
    gate = Gate(0)
    assert sum(gate.enter(0, birth=True) for _ in range(100)) == BIRTHS_BURST
    assert sum(gate.enter(0, birth=False) for _ in range(2000)) == BURST - BIRTHS_BURST
    assert not gate.calm(CALM_NS - 1)
    assert gate.calm(CALM_NS)
    assert sum(gate.enter(CALM_NS, birth=False) for _ in range(2000)) == BURST
