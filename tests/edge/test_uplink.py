"""The uplink on links: in memory and virtual time, then on real brokers."""

import asyncio
import random

import pytest

from cython_ext import Status, SystemClock
from cython_ext.wire import decode
from edge.telemetry.births import RECORD, BirthTable, Late, PointMetric, Reading
from edge.telemetry.session import Identity
from edge.telemetry.states import State
from edge.telemetry.uplink import ASK_AGAIN_S, Uplink
from lanes.link import BrokerSettings, Message, MqttConnector
from lanes.sparkplug import HostState, NodeMetric, encode_state
from tests.kit.broker import MemoryBroker
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.sparkplug import REBIRTH, Heard, MemoryBdSeq

POINTS = (PointMetric("level", "gauge", unit="m"),)


def uplink(broker: MemoryBroker, clock: ManualClock, primary: str = "", store: MemoryBdSeq | None = None) -> Uplink:
    made = Uplink(
        Identity("g", "n", primary),
        BirthTable(POINTS),
        connectors=[broker.connector()],
        store=store or MemoryBdSeq(),
        clock=clock,
        rng=random.Random(7),
    )
    made.device_online("gauge")
    return made


def batch(clock, value: float) -> bytes:
    return RECORD.pack(clock.monotonic_ns(), value, 0, 0, 0)


def virtual(scenario):
    """Run `scenario(broker, heard, clock)` in virtual time."""
    clock = ManualClock()
    broker = MemoryBroker()
    run_virtual(scenario(broker, Heard(broker), clock), clock)


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def test_births_data_heartbeats_and_death():
    async def scenario(broker, heard, clock):
        up = uplink(broker, clock)
        running = asyncio.create_task(up.run())
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        assert heard.new() == [("NBIRTH", "n", 0), ("DBIRTH", "n/gauge", 1)]
        up.readings(batch(clock, 1.5))
        await asyncio.sleep(0.1)
        assert heard.new() == [("DDATA", "n/gauge", 2)]
        assert all(m.qos == 0 and not m.retain for m in heard.messages)
        await asyncio.sleep(11)
        assert heard.new() == [("NDATA", "n", 3), ("NDATA", "n", 4)]
        up.stop()
        await running
        assert heard.new() == [("NDEATH", "n", None)]
        assert heard.messages[0].qos == 1
        assert broker.clients() == []

    virtual(scenario)


def test_a_cut_link_brings_the_will_then_births_with_the_next_bdseq():
    async def scenario(broker, heard, clock):
        up = uplink(broker, clock)
        running = asyncio.create_task(up.run())
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        heard.new()
        broker.drop("n")
        await until(lambda: not up.live)
        up.readings(batch(clock, 9.0))  # not sent, but the birth says it
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        assert heard.new() == [("NDEATH", "n", None), ("NBIRTH", "n", 0), ("DBIRTH", "n/gauge", 1)]
        death, birth, device = (decode(m.payload) for m in heard.messages)
        assert (death.metrics[0].value, birth.metrics[0].value) == (0, 1)
        assert device.metrics[0].value == 9.0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(scenario)


def test_a_state_lost_by_the_broker_is_asked_for_again():
    async def scenario(broker, heard, clock):
        up = uplink(broker, clock, primary="centre")
        running = asyncio.create_task(up.run())
        await until(lambda: "n" in broker.clients())
        await asyncio.sleep(1)
        payload = encode_state(HostState(True, clock.wall_us() // 1000))
        broker.retained["spBv1.0/STATE/centre"] = Message("spBv1.0/STATE/centre", payload, 1, True)  # told to nobody
        await until(lambda: up.live, ASK_AGAIN_S + 3)
        assert heard.new()[:1] == [("NBIRTH", "n", 0)]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(scenario)


def test_it_keeps_trying_with_growing_jittered_pauses():
    async def scenario(broker, heard, clock):
        broker.stop()
        store = MemoryBdSeq()
        up = uplink(broker, clock, store=store)
        running = asyncio.create_task(up.run())
        began = clock.monotonic_ns()
        for _ in range(600):
            up.readings(batch(clock, 1.0))  # what is measured meanwhile does not make it dial faster
            await asyncio.sleep(0.5)
        assert "no connection" in up.down_reason
        assert 10 <= store.last <= 60  # 300 s at most 30 s apart, jittered
        broker.start()
        await until(lambda: up.live)
        assert clock.monotonic_ns() - began < 335e9
        up.stop()
        await running
        assert up.down_reason == "stopped"

    virtual(scenario)


def test_stop_ends_even_while_there_is_no_broker():
    async def scenario(broker, heard, clock):
        broker.stop()
        up = uplink(broker, clock)
        running = asyncio.create_task(up.run())
        await asyncio.sleep(100)
        up.stop()
        await asyncio.wait_for(running, 0.1)

    virtual(scenario)


def test_a_cancelled_node_still_says_its_death():
    async def scenario(broker, heard, clock):
        up = uplink(broker, clock)
        running = asyncio.create_task(up.run())
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        heard.new()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert heard.new() == [("NDEATH", "n", None)]

    virtual(scenario)


def test_the_primary_host_opens_and_closes_the_session():
    async def scenario(broker, heard, clock):
        def host(online, timestamp):
            broker.inject("spBv1.0/STATE/h", encode_state(HostState(online, timestamp)), retain=True)

        up = uplink(broker, clock, "h")
        running = asyncio.create_task(up.run())
        await asyncio.sleep(20)
        assert up.session.state is State.WAITING
        assert heard.new() == []
        host(True, 100)
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        assert heard.new() == [("NBIRTH", "n", 0), ("DBIRTH", "n/gauge", 1)]
        host(False, 99)  # of an older session
        await asyncio.sleep(1)
        assert up.live
        host(False, 100)
        await asyncio.sleep(60)
        assert [m[0] for m in heard.new()] == ["NDEATH"]
        assert up.session.state is State.WAITING  # connected again, and waiting
        host(True, 160)
        await until(lambda: up.live)
        await asyncio.sleep(0.1)
        assert [m[0] for m in heard.new()] == ["NBIRTH", "DBIRTH"]
        up.stop()
        await running

    virtual(scenario)


def test_servers_are_walked_when_the_host_is_offline_on_one():
    async def scenario(broker, heard, clock):
        other = MemoryBroker()
        broker.inject("spBv1.0/STATE/h", encode_state(HostState(True, 1)), retain=True)
        other.inject("spBv1.0/STATE/h", encode_state(HostState(True, 1)), retain=True)
        up = Uplink(
            Identity("g", "n", "h"),
            BirthTable(POINTS),
            connectors=[broker.connector(), other.connector()],
            store=MemoryBdSeq(),
            clock=clock,
            rng=random.Random(1),
        )
        running = asyncio.create_task(up.run())
        await until(lambda: up.live)
        assert (broker.clients(), other.clients()) == (["n"], [])
        broker.inject("spBv1.0/STATE/h", encode_state(HostState(False, 2)), retain=True)
        await until(lambda: not up.live)
        await asyncio.sleep(60)
        assert (broker.clients(), other.clients()) == ([], ["n"])
        up.stop()
        await running

    virtual(scenario)


def test_late_readings_are_handed_over_or_not():
    async def scenario(broker, heard, clock):
        up = uplink(broker, clock)
        late = [Late(1_767_000_000_000, Reading(0, 0, 0.5, Status.OK))]
        assert await up.publish_historical(late) is False
        assert await up.publish_historical([]) is False
        running = asyncio.create_task(up.run())
        await until(lambda: up.live)
        assert await up.publish_historical(late) is True
        heard.new()
        metric = decode(heard.messages[-1].payload).metrics[0]
        assert (metric.is_historical, metric.timestamp) == (True, 1_767_000_000_000)
        up.stop()
        await running

    virtual(scenario)


async def test_on_a_real_broker(broker):
    dial = MqttConnector(BrokerSettings(host="127.0.0.1", port=broker.port, timeout_s=5))
    up = Uplink(
        Identity("g", "n"),
        BirthTable(POINTS),
        connectors=[dial],
        store=MemoryBdSeq(),
        clock=SystemClock(),
        rng=random.Random(3),
    )
    up.device_online("gauge")
    up.tell(NodeMetric.LEDGER_ID, "abc")
    async with asyncio.timeout(60), dial.connect("listener") as link:
        await link.subscribe(("spBv1.0/g/#", 1))
        arriving = aiter(link.messages())

        async def following() -> tuple[str, object]:
            message = await anext(arriving)
            link.ack(message)
            assert not message.retain
            return message.topic.split("/", 2)[2], decode(message.payload)

        running = asyncio.create_task(up.run())
        topic, birth = await following()
        assert (topic, birth.seq) == ("NBIRTH/n", 0)
        assert "abc" in [m.value for m in birth.metrics]
        assert (await following())[0] == "DBIRTH/n/gauge"
        up.readings(RECORD.pack(SystemClock().monotonic_ns(), 2.5, 0, 0, 0))
        topic, data = await following()
        assert (topic, data.seq, data.metrics[0].value) == ("DDATA/n/gauge", 2, 2.5)
        await link.publish("spBv1.0/g/NCMD/n", REBIRTH, qos=0)
        topics = [(await following())[0] for _ in range(3)]
        assert topics == ["NCMD/n", "NBIRTH/n", "DBIRTH/n/gauge"]
        up.stop()
        await running
        topic, death = await following()
        assert (topic, death.seq, death.metrics[0].value) == ("NDEATH/n", None, 0)


@pytest.mark.parametrize("module", ["google.protobuf", "rich", "typer", "prometheus_client", "controller"])
async def test_the_uplink_stays_light(module):
    import subprocess
    import sys

    probe = f"import sys, edge.telemetry.uplink; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
