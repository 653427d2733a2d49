"""Store and forward from end to end: a real node side, a real broker, a cut link, a real host and a real VictoriaMetrics."""

import asyncio
import random
from pathlib import Path

from controller.history.dated import dated
from controller.history.history import History, HistorySettings, InfluxWriter
from controller.intake import resolver
from controller.telemetry.host import Host, HostIdentity
from controller.telemetry.presence import Data, NodeEvent
from cython_ext import ClockQuality, ClockSource, SystemClock
from cython_ext.wire import decode
from edge.telemetry.births import RECORD, BirthTable, PointMetric
from edge.telemetry.forward import Forward
from edge.telemetry.session import Identity
from edge.telemetry.uplink import Uplink
from edge.troubles import Troubles
from lanes.link import BrokerSettings, MqttConnector
from lanes.settings import parse
from lanes.store import ThreadRunner
from tests.kit.sparkplug import MemoryBdSeq, MemoryStateTime
from tests.kit.tap import Tap, tap
from tests.kit.telling import plan
from tests.kit.victoria import Victoria, victoria

KEEPALIVE_S = 2
PERIOD_S = 0.02
EXACT = "-dedup.minScrapeInterval=1ms"  # the same time and value said twice is one sample, as in InfluxDB


class World:
    """The programs, with the tap between node and broker."""

    def __init__(self, folder: Path, proxy: Tap, server: Victoria) -> None:
        self.tap, self.clock, self.plan = proxy, SystemClock(ClockQuality(ClockSource.NTP, 1)), plan()
        self.points = [point.id for point in self.plan.points if point.node == self.plan.points[0].node]
        self.node = self.plan.points[0].node
        self.runners = [ThreadRunner(name) for name in ("net", "disk", "backlog")]
        net, disk, spare = self.runners
        settings = parse(f'url = "{server.url}"', HistorySettings)
        self.history = History(
            self.plan,
            InfluxWriter(settings, net),
            path=folder / "spool.db",
            clock=self.clock,
            disk=disk,
            entropy=random.Random(1),
            trouble=lambda *_: None,
            bytes_max=1 << 28,
        )
        self.host = Host(
            HostIdentity("centre", (self.plan.group,)),
            listener=self,
            resolve=resolver(self.plan),
            connector=self.dial(proxy.target),
            store=MemoryStateTime(),
            clock=self.clock,
            rng=random.Random(2),
        )
        self.up = Uplink(
            Identity(self.plan.group, self.node, "centre"),
            BirthTable([PointMetric(point, "gauge") for point in self.points]),
            connectors=[self.dial(proxy.port)],
            store=MemoryBdSeq(),
            clock=self.clock,
            rng=random.Random(3),
            birth_jitter_s=0.05,
        )
        self.forward = Forward(
            folder / "backlog",
            self.up,
            boot=b"bootboot",
            clock=self.clock,
            runner=spare,
            troubles=Troubles(lambda _: None),
            free=lambda _: 1 << 40,
            hold=lambda: False,
            keepalive_s=KEEPALIVE_S,
            backlog_mib=16,
            backlog_bytes_per_s=100_000,
        )
        self.up.device_online("gauge")
        self.measured: list[tuple[int, float]] = []
        self.live: list[tuple[int, float]] = []  # the node's time, and how much later the host had it
        self.late = 0
        self.transitions = 0

    @staticmethod
    def dial(port: int) -> MqttConnector:
        return MqttConnector(BrokerSettings(host="127.0.0.1", port=port, timeout_s=5, keepalive_s=KEEPALIVE_S))

    def data(self, data: Data) -> None:
        for records, offset_us in dated(data, self.clock):
            self.history.readings(records, offset_us)
        if data.verb != "DDATA":
            return
        for metric in decode(data.payload).metrics:
            if metric.is_historical:
                self.late += 1
            else:
                self.live.append((metric.timestamp or 0, self.clock.wall_us() / 1e6 - (metric.timestamp or 0) / 1e3))

    def event(self, event: NodeEvent) -> None:
        """Nothing."""

    async def measure(self, seconds: float) -> None:
        """A rising value, fifty times a second."""
        for _ in range(round(seconds / PERIOD_S)):
            at_ns = self.clock.monotonic_ns()
            value = float(len(self.measured))
            self.up.readings(RECORD.pack(at_ns, value, 0, 0, 0))
            self.measured.append((self.up.dating.moment().wall_of(at_ns), value))
            await asyncio.sleep(PERIOD_S)


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def test_a_cut_link_leaves_no_hole_in_the_database_and_live_values_come_first(broker, tmp_path):
    async with victoria(tmp_path / "vm", EXACT) as server, tap(broker.port) as proxy:
        world = World(tmp_path, proxy, server)
        tasks = [asyncio.create_task(part.run()) for part in (world.history, world.host, world.up, world.forward)]
        try:
            await until(lambda: world.up.live)
            await world.measure(3)
            proxy.cut(world.node, stay=True)
            await until(lambda: not world.up.live)
            await world.measure(6)
            proxy.mend(world.node)
            while not world.up.live:
                await world.measure(0.2)
            back_ms = world.measured[-1][0]
            await world.measure(5)
            await until(lambda: not world.forward.status()["bytes"] and not world.forward.status()["samples"])
            assert await world.history.settled(30)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for runner in world.runners:
                runner.close()
        (series,) = await server.series("bucium_reading_value")
        found = list(zip(series["timestamps"], series["values"], strict=True))
        assert found == world.measured, "every sample once, in order, with its own time"
        assert len(world.measured) > 600
        assert world.late >= 300, "what was measured while the link was cut came late"
        lags = sorted(lag for at_ms, lag in world.live if at_ms > back_ms)
        assert len(lags) > 200
        assert lags[len(lags) // 2] < 1.0, "live values overtake the past"
