"""Our node with somebody else's host, and our host with somebody else's node: pysparkplug, on real brokers.

Its faults are known and stepped around (none is ours to hide): its node's will has QoS 0 and its clean NDEATH names the next
session's bdSeq, so that a conforming host may not believe it; it answers no rebirth; its host's thread ends at one message that
it cannot decode. What passes here says that two codecs and two readings of the text agree, and no more.
"""

import asyncio
import random
import time
from pathlib import Path

from controller.history.dated import dated
from controller.telemetry.host import Host, HostIdentity
from controller.telemetry.presence import Data, EventKind, NodeEvent, Presence
from cython_ext import ClockQuality, ClockSource, SystemClock
from cython_ext.panel import RECORD
from cython_ext.payload import DataType, Metric
from edge.telemetry.births import BirthTable, PointMetric
from edge.telemetry.forward import Forward
from edge.telemetry.session import Identity
from edge.telemetry.uplink import Uplink
from edge.troubles import Troubles
from lanes.link import BrokerSettings, MqttConnector
from lanes.sparkplug import NodeMetric
from lanes.store import ThreadRunner
from tests.kit.peer import PYSPARKPLUG, Peer, peer
from tests.kit.sparkplug import MemoryBdSeq, MemoryStateTime
from tests.kit.tap import tap

POINTS = (PointMetric("level", "gauge", unit="m"), PointMetric("smoke", "bank", DataType.BOOLEAN))
CLOCK = SystemClock(ClockQuality(ClockSource.NTP, 1))
LIMIT_S = 60.0


def dial(port: int) -> MqttConnector:
    return MqttConnector(BrokerSettings(host="127.0.0.1", port=port, timeout_s=5, keepalive_s=2))


async def until(condition) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.02)


def node(folder: Path, port: int, runner: ThreadRunner) -> tuple[Uplink, Forward]:
    up = Uplink(
        Identity("g", "n1", "peer"),
        BirthTable(POINTS),
        connectors=[dial(port)],
        store=MemoryBdSeq(),
        clock=CLOCK,
        rng=random.Random(1),
        birth_jitter_s=0.05,
    )
    up.tell(NodeMetric.LEDGER_ID, "abc")
    forward = Forward(
        folder / "backlog",
        up,
        boot=b"bootboot",
        clock=CLOCK,
        runner=runner,
        troubles=Troubles(lambda _: None),
        free=lambda _: 1 << 40,
        hold=lambda: False,
        keepalive_s=2,
        backlog_mib=1,
        backlog_bytes_per_s=100_000,
    )
    for device in ("gauge", "bank"):
        up.device_online(device)
    return up, forward


def values(host: Peer, *, late: bool) -> list[float]:
    """The gauge's levels as the peer read them, by name."""
    said = [metric for one in host.of("DDATA") if one["device"] == "gauge" for metric in one["metrics"]]
    return [value for name, value, _, historical, _ in said if name == "level" and historical == late]


def in_order(host: Peer) -> bool:
    """Whether the seqs that the peer saw count up from each NBIRTH."""
    expected = None
    for one in host.said:
        if one["is"] == "NBIRTH":
            expected = 0
        if one.get("seq") is None:
            continue
        if one["seq"] != expected:
            return False
        expected = (one["seq"] + 1) % 256
    return True


async def test_a_foreign_host_reads_our_node(broker, tmp_path):
    runner = ThreadRunner("backlog")
    async with tap(broker.port) as proxy, peer(PYSPARKPLUG, "pysparkplug_host.py", "peer", "g", broker.port) as host:
        up, forward = node(tmp_path, proxy.port, runner)
        tasks = [asyncio.create_task(part.run()) for part in (up, forward)]

        def measure(value: float) -> None:
            up.readings(RECORD.pack(CLOCK.monotonic_ns(), value, 0, 0, 0))

        try:
            await until(lambda: host.of("connected") and len(host.of("DBIRTH")) == 2)
            birth = {name: value for name, value, *_ in host.of("NBIRTH")[0]["metrics"]}
            assert birth["bdSeq"] == 0
            assert birth["Ledger/Id"] == "abc"
            assert birth["Node Control/Rebirth"] is False
            for n in range(300):
                measure(float(n))
                await asyncio.sleep(0.002)
            await until(lambda: len(values(host, late=False)) == 300)
            assert values(host, late=False) == [float(n) for n in range(300)]
            proxy.cut("n1", stay=True)
            await until(lambda: not up.live)
            for n in range(1000, 1050):
                measure(float(n))
            proxy.mend("n1")
            await until(lambda: set(values(host, late=True)) >= {float(n) for n in range(1000, 1050)})
            measure(2000.0)
            await until(lambda: 2000.0 in values(host, late=False))
            births = len(host.of("NBIRTH"))
            await host.tell("rebirth", node="n1")
            await until(lambda: len(host.of("NBIRTH")) > births and len(host.of("DBIRTH")) >= 2 * (births + 1))
            deaths = len(host.of("NDEATH"))
            await host.tell("offline")
            await until(lambda: len(host.of("NDEATH")) > deaths and not up.live)
            await host.tell("online")
            await until(lambda: up.live)
            assert in_order(host)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            runner.close()


class Ears:
    """Our host's listener."""

    def __init__(self) -> None:
        self.values: list[tuple[int, float]] = []  # (UTC ms, value)
        self.events: list[EventKind] = []

    def data(self, data: Data) -> None:
        if data.verb == "DDATA":
            for records, offset_us in dated(data, CLOCK):
                rows = RECORD.iter_unpack(records)
                self.values += [((offset_us * 1000 + at_ns) // 1_000_000, value) for at_ns, value, *_ in rows]

    def event(self, event: NodeEvent) -> None:
        self.events.append(event.kind)


async def test_our_host_reads_a_foreign_node(broker):
    ears = Ears()
    host = Host(
        HostIdentity("centre", ("g",), suspect_s=2.0),
        listener=ears,
        resolve=lambda _g, _n, _d, metric: 0 if metric == "level" else None,
        connector=dial(broker.port),
        store=MemoryStateTime(),
        clock=CLOCK,
        rng=random.Random(2),
    )
    running = asyncio.create_task(host.run())
    await until(lambda: host.online_ms is not None)
    late_ms = round(time.time() * 1000) - 3_600_000
    try:
        async with peer(PYSPARKPLUG, "pysparkplug_node.py", "x1", "g", broker.port) as node:
            await until(lambda: ("g", "x1") in host.nodes and not host.nodes["g", "x1"].stale("gauge"))
            sight = host.nodes["g", "x1"]
            for n in range(20):
                await node.tell("measure", value=n / 4)
            await until(lambda: len(ears.values) == 20)
            assert [value for _, value in ears.values] == [n / 4 for n in range(20)]
            await node.tell("measure", value=9.5, historical_ms=late_ms)
            await until(lambda: len(ears.values) == 21)
            assert ears.values[-1] == (late_ms, 9.5), "its past has its own time"
            host.command("g", "x1", Metric(name="level", datatype=DataType.DOUBLE, value=1.5), "gauge")
            host.rebirth("g", "x1")
            await until(lambda: len(node.of("command")) == 2)
            assert sorted((one["to"], *one["metrics"][0]) for one in node.of("command")) == [
                ("DCMD", "level", 1.5),
                ("NCMD", "Node Control/Rebirth", True),
            ]
            await node.tell("deregister")
            await until(lambda: sight.stale("gauge"))
            assert not {EventKind.GAP, EventKind.REFUSED} & set(ears.events)
            await until(lambda: sight.presence is Presence.SUSPECT)  # it sends no heartbeats
        # Killed: its will comes (QoS 0, which we tolerate), with the session's bdSeq.
        await until(lambda: sight.presence is Presence.OFFLINE)
        async with peer(PYSPARKPLUG, "pysparkplug_node.py", "x1", "g", broker.port) as node:
            await until(lambda: sight.presence is Presence.ONLINE)
            await node.tell("end")
            await until(lambda: node.of("ended"))
            # Its farewell names the next session's bdSeq, which nobody may believe; silence tells.
            await until(lambda: sight.presence in (Presence.SUSPECT, Presence.OFFLINE))
    finally:
        host.stop()
        await running
