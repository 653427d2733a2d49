"""Store and forward over a broker in memory, in virtual time: everything arrives, once it is known to have; live first."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cython_ext import NS_PER_S, ClockQuality, ClockSource, Status
from cython_ext.wire import decode
from edge.telemetry.births import RECORD, BirthTable, PointMetric
from edge.telemetry.forward import Forward
from edge.telemetry.session import Identity
from edge.telemetry.uplink import Uplink
from edge.troubles import Troubles
from lanes.link import Connector, Message
from lanes.sparkplug import NODE_METRICS, HostState, encode_state
from lanes.store import run_here
from tests.kit.broker import MemoryBroker
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.sparkplug import REBIRTH, MemoryBdSeq, short

POINTS = (PointMetric("level", "gauge"), PointMetric("rain", "gauge"), PointMetric("smoke", "bank"))
SETTLED_S = 40.0
TRUSTED = ClockQuality(ClockSource.NTP, 5)
Said = tuple[str, int, float]


class Node:
    """A node's telemetry, and everything that a host would have of it."""

    def __init__(
        self,
        folder: Path,
        clock: ManualClock,
        broker: MemoryBroker,
        boot: bytes,
        primary: str = "",
        connector: Connector | None = None,
    ) -> None:
        self.clock, self.broker = clock, broker
        self.table = BirthTable(POINTS)
        self.up = Uplink(
            Identity("g", "n", primary),
            self.table,
            connectors=[connector or broker.connector()],
            store=MemoryBdSeq(),
            clock=clock,
            rng=random.Random(5),
        )
        self.held = False
        self.forward = Forward(
            folder / "backlog",
            self.up,
            boot=boot,
            clock=clock,
            runner=run_here,
            troubles=Troubles(lambda _: None),
            free=lambda _: 1 << 40,
            hold=lambda: self.held,
            keepalive_s=10,
            backlog_mib=16,
            backlog_bytes_per_s=4000,
        )
        self.tasks = [asyncio.create_task(self.up.run()), asyncio.create_task(self.forward.run())]
        self.measured: list[Said] = []
        for device in ("gauge", "bank"):
            self.up.device_online(device)

    def measure(self, value: float, point: int = 0, status: int = 0) -> None:
        at_ns = self.clock.monotonic_ns()
        self.up.readings(RECORD.pack(at_ns, value, point, status, 0))
        at_ms = round(self.clock.wall_us() / 1000)
        self.measured.append((POINTS[point].name, at_ms, value))

    async def go_on(self, seconds: int, first: float = 0.0) -> None:
        """Measure once a second."""
        for n in range(seconds):
            await asyncio.sleep(1)
            self.measure(first + n)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.forward.close()

    async def kill(self) -> None:
        """As SIGKILL: nothing is written that was not."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def all_sent(self) -> None:
        """Nothing waits, and what was sent is known to have arrived."""
        async with asyncio.timeout(3600):
            await asyncio.sleep(1)
            while self.forward.status()["bytes"] or self.forward.status()["samples"]:
                await asyncio.sleep(1)


def arrived(broker: MemoryBroker, *, late: bool | None = None) -> list[Said]:
    """DATA of points as a host that has heard everything reads it, in order."""
    found = []
    for _, message in broker.published:
        if message.topic.startswith("spBv1.0/g/DDATA"):
            for metric in decode(message.payload).metrics:
                if late in (None, metric.is_historical) and not metric.is_null:
                    point = POINTS[metric.alias - len(NODE_METRICS) - 1]
                    found.append((point.name, metric.timestamp, metric.value))
    return found


def virtual(scenario: Callable[[MemoryBroker, ManualClock], Awaitable[None]]) -> None:
    clock = ManualClock()
    run_virtual(scenario(MemoryBroker(), clock), clock)


def test_a_cut_of_an_hour_loses_nothing_and_says_it_in_order_with_its_own_times(tmp_path):
    async def scenario(broker, clock):
        node = Node(tmp_path, clock, broker, b"11111111")
        await node.go_on(30)
        broker.stop()
        await node.go_on(3600, 100.0)
        broker.start()
        await node.go_on(120, 5000.0)
        await node.all_sent()
        late = arrived(broker, late=True)
        assert set(node.measured) <= set(arrived(broker))
        assert late == sorted(late, key=lambda said: said[1])
        assert len(late) <= 3600 + 120
        live = [said for said in arrived(broker, late=False) if said[2] >= 5000]
        assert {said[2] for said in live} >= {5000.0 + n for n in range(60, 120)}
        await node.end()

    virtual(scenario)


def test_live_values_are_not_delayed_by_the_past(tmp_path):
    async def scenario(broker, clock):
        node = Node(tmp_path, clock, broker, b"11111111")
        broker.stop()
        await node.go_on(7200)
        broker.start()
        while not node.up.live:
            await asyncio.sleep(0.1)
        for n in range(60):
            node.measure(9000.0 + n)
            await asyncio.sleep(0.05)
            assert arrived(broker, late=False)[-1][2] == 9000.0 + n
            await asyncio.sleep(0.95)
        assert node.forward.status()["sent"] > 1000
        await node.end()

    virtual(scenario)


class SlowLine:
    """A modem: what is handed over queues before it, whoever hands it over, and leaves at so many bytes a second."""

    FRAME = 60  # MQTT, TCP and IP around a message
    WAY_S = 0.1

    def __init__(self, broker: MemoryBroker, bytes_per_s: float) -> None:
        self.inner, self.bytes_per_s, self.free_s = broker.connector(), bytes_per_s, 0.0

    def queue(self, size: int) -> float:
        """Seconds until it has left and come to the broker."""
        now_s = asyncio.get_running_loop().time()
        self.free_s = max(now_s, self.free_s) + (size + self.FRAME) / self.bytes_per_s
        return self.free_s - now_s + self.WAY_S

    @contextlib.asynccontextmanager
    async def connect(self, client_id, will=None, *, clean=True):
        async with self.inner.connect(client_id, will, clean=clean) as link:
            await asyncio.sleep(self.queue(400))
            yield SlowLink(self, link)


class SlowLink:
    def __init__(self, line: SlowLine, link) -> None:
        self.line, self.link = line, link
        self.subscribe, self.messages, self.ack = link.subscribe, link.messages, link.ack

    async def publish(self, topic, payload, *, qos, retain=False):
        wait_s = self.line.queue(len(topic) + len(payload))
        if qos:
            await asyncio.sleep(wait_s + self.line.WAY_S)
            await self.link.publish(topic, payload, qos=qos, retain=retain)
        else:  # in the kernel's buffer: that is all that a sender is told
            asyncio.get_running_loop().call_later(
                wait_s, self.link._broker._take, "n", Message(topic, payload, 0, False)
            )
            await asyncio.sleep(0)

    async def settled(self, unused):
        await asyncio.sleep(self.line.queue(30) + self.line.WAY_S)
        await self.link.settled(unused)


def test_at_9600_bits_a_new_alarm_and_live_values_find_the_line_free_while_the_past_follows(tmp_path):
    """Issue 4: with ten minutes of backlog a new alarm arrives within a second."""

    async def scenario(broker, clock):
        line = SlowLine(broker, 1200)
        node = Node(tmp_path, clock, broker, b"11111111", connector=line)
        broker.stop()
        for _ in range(600):
            await asyncio.sleep(1)
            for point in range(3):
                node.measure(1.0, point)
        broker.start()
        alarms, delays = line.connect("n.alarm"), []
        async with alarms as alarm:
            while node.forward.status()["samples"]:
                await asyncio.sleep(3.7)
                node.measure(2.0)
                began = clock.monotonic_ns()
                await alarm.publish("bucium/1/g/n/report", bytes(300), qos=1)
                delays.append((clock.monotonic_ns() - began) / 1e9)
        assert len(delays) > 10
        assert max(delays) < 1.0
        assert {said[2] for said in arrived(broker, late=False)} >= {2.0}
        assert node.forward.status()["sent"] >= 1800
        await node.end()

    virtual(scenario)


def test_nothing_of_the_past_goes_while_an_alarm_waits(tmp_path):
    async def scenario(broker, clock):
        node = Node(tmp_path, clock, broker, b"11111111")
        broker.stop()
        await node.go_on(600)
        node.held = True
        broker.start()
        await node.go_on(60)
        assert not arrived(broker, late=True)
        node.held = False
        await node.all_sent()
        assert set(node.measured) <= set(arrived(broker))
        await node.end()

    virtual(scenario)


def test_a_primary_host_that_is_offline_counts_as_no_connection(tmp_path):
    async def scenario(broker, clock):
        def host(online, timestamp):
            broker.inject("spBv1.0/STATE/h", encode_state(HostState(online, timestamp)), retain=True)

        node = Node(tmp_path, clock, broker, b"11111111", primary="h")
        host(True, 100)
        await node.go_on(30)
        await asyncio.sleep(0.5)
        at = len(broker.published)
        host(False, 100)
        await node.go_on(300, 100.0)
        assert not [m for _, m in broker.published[at:] if "DDATA" in m.topic]
        host(True, 200)
        await node.all_sent()
        assert set(node.measured) <= set(arrived(broker))
        again = [said for said in arrived(broker, late=True) if said[2] < 100]
        assert 10 < len(again) < 30, "what the host may have missed while it died is sent again"
        await node.end()

    virtual(scenario)


def test_what_a_lost_connection_took_with_it_is_sent_again(tmp_path):
    """A half-open link: what is handed over goes nowhere, until the connection is known to be dead."""

    async def scenario(broker, clock):
        lost: list[bytes] = []

        node = Node(tmp_path, clock, broker, b"11111111")
        broker.stop()
        await node.go_on(1800)
        broker.start()
        while node.forward.status()["sent"] < 900:
            await node.go_on(1, 2000.0)
        taken, take = len(broker.published), broker._take
        broker._take = lambda sender, message: lost.append(message.payload)
        await node.go_on(15, 3000.0)
        broker._take = take
        assert lost
        broker.drop("n")
        await node.go_on(60, 4000.0)
        await node.all_sent()
        assert taken < len(broker.published)
        assert set(node.measured) <= set(arrived(broker))
        await node.end()

    virtual(scenario)


def test_a_host_that_missed_a_message_gets_the_last_half_minute_again(tmp_path):
    async def scenario(broker, clock):
        node = Node(tmp_path, clock, broker, b"11111111")
        await node.go_on(100)
        broker.inject("spBv1.0/g/NCMD/n", REBIRTH)
        await node.go_on(10, 1000.0)
        await node.all_sent()
        assert {said[2] for said in arrived(broker, late=True)} >= {80.0 + n for n in range(20)}
        assert len(arrived(broker, late=True)) < 45
        await node.end()

    virtual(scenario)


def test_a_device_that_is_gone_still_has_its_past_told(tmp_path):
    async def scenario(broker, clock):
        node = Node(tmp_path, clock, broker, b"11111111")
        await node.go_on(10)
        broker.stop()
        for n in range(300):
            await asyncio.sleep(1)
            node.measure(float(n), 2)
        node.measure(float("nan"), 2, Status.MISSING)
        node.up.device_lost("bank")
        broker.start()
        at = len(broker.published)
        await node.all_sent()
        await asyncio.sleep(5)
        assert set(node.measured[:-1]) <= set(arrived(broker))
        said = [short(m) for _, m in broker.published[at:] if m.topic.endswith("/bank")]
        lives = [verb for verb, _ in said if verb != "DDATA"]
        assert lives == ["DBIRTH", "DDEATH"] * (len(lives) // 2), "what was not yet written may come a little later"
        assert (said[0][0], said[-1][0]) == ("DBIRTH", "DDEATH")
        birth = next(decode(m.payload) for _, m in broker.published[at:] if "DBIRTH/n/bank" in m.topic)
        assert birth.metrics[0].is_null
        node.up.device_online("bank")
        await asyncio.sleep(1)
        assert short(broker.published[-1][1]) == ("DBIRTH", "n/bank")
        await node.end()

    virtual(scenario)


def test_samples_of_a_clock_that_was_wrong_come_right_with_it_and_those_of_an_earlier_run_are_marked(tmp_path):
    async def scenario(broker, clock):
        broker.stop()
        clock.trust(ClockQuality(ClockSource.NONE))
        first = Node(tmp_path, clock, broker, b"11111111")
        await first.go_on(100)
        await first.end()
        second = Node(tmp_path, clock, broker, b"22222222")
        await second.go_on(100, 1000.0)
        clock.step_wall(86_400)  # NTP is reached again
        broker.start()
        await second.go_on(30, 2000.0)
        assert not arrived(broker, late=True), "the past waits for a clock that can date it"
        clock.trust(TRUSTED)
        await second.all_sent()
        dated = {said[2]: said[1] for said in arrived(broker, late=True)}
        assert dated[0.0] == first.measured[0][1], "another run's clock is all that is known of it"
        assert dated[1000.0] == second.measured[0][1] + 86_400_000
        marked = {}
        for _, message in broker.published:
            for metric in decode(message.payload).metrics if "DDATA" in message.topic else ():
                if metric.is_historical:
                    marked[metric.value] = metric.property("Status")
        assert marked[0.0] == Status.CLOCK_UNTRUSTED
        assert marked[1000.0] is None
        await second.end()

    virtual(scenario)


def test_a_node_that_never_has_a_clock_sends_its_past_all_the_same(tmp_path):
    async def scenario(broker, clock):
        clock.trust(ClockQuality(ClockSource.NONE))
        broker.stop()
        node = Node(tmp_path, clock, broker, b"11111111")
        await node.go_on(60)
        broker.start()
        await node.go_on(300, 100.0)
        await asyncio.sleep(0.5)
        assert set(node.measured) <= set(arrived(broker))
        await node.end()

    virtual(scenario)


def test_it_waits_for_nothing_when_there_is_nothing(tmp_path):
    async def scenario(broker, clock):
        node = Node(tmp_path, clock, broker, b"11111111")
        await node.go_on(300)
        assert not arrived(broker, late=True)
        assert not list((tmp_path / "backlog").iterdir()), "while the link is up the disk rests"
        await node.end()
        assert list((tmp_path / "backlog").iterdir()), "an end keeps what may not have arrived"

    virtual(scenario)


steps = st.lists(
    st.sampled_from(["cut", "mend", "drop", "rebirth", "kill", "end", "gone", "back", "hold", "free"]),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, pauses=st.lists(st.integers(1, 90), min_size=12, max_size=12))
def test_whatever_happens_what_was_written_arrives(tmp_path_factory, steps, pauses):
    folder = tmp_path_factory.mktemp("any")

    async def scenario(broker, clock):
        node = Node(folder, clock, broker, b"00000000")
        measured: list[Said] = []
        crashes: list[int] = []
        for n, (step, pause) in enumerate(zip(steps, pauses, strict=False)):
            await node.go_on(pause, n * 1000.0)
            if step == "cut":
                broker.stop()
            elif step == "mend":
                broker.start()
            elif step == "drop":
                broker.drop("n")
            elif step == "rebirth":
                broker.inject("spBv1.0/g/NCMD/n", REBIRTH)
            elif step in ("kill", "end"):
                await (node.kill if step == "kill" else node.end)()
                measured += node.measured
                if step == "kill":
                    crashes.append(clock.wall_us() // 1000)
                node = Node(folder, clock, broker, b"%08d" % (n + 1))
            elif step in ("gone", "back"):
                (node.up.device_lost if step == "gone" else node.up.device_online)("bank")
            else:
                node.held = step == "hold"
        broker.start()
        node.held = False
        while not node.up.live:
            await asyncio.sleep(1)
        await asyncio.sleep(SETTLED_S)
        await node.all_sent()
        measured += node.measured
        got = set(arrived(broker))
        for said in measured:
            excused = any(0 <= crash - said[1] <= 45_000 for crash in crashes)  # what a crash took from memory
            assert excused or said in got, said
        assert got <= set(measured), "nothing is invented"
        await node.end()

    virtual(scenario)


def test_the_window_outlives_what_a_dead_link_needs_to_be_noticed():
    from edge.telemetry.forward import window_s

    assert window_s(10) * NS_PER_S > 2 * 10 * NS_PER_S
