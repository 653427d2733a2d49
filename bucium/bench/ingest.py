"""`bucium bench ingest`: a real controller process on a real broker, and a fleet that talks to it on both lanes.

    births     every node is born on the telemetry lane and signs its first state report
    burst      every node raises an alarm, as fast as broker and generator carry it: events a second until the last ack
    steady     alarms at a fixed rate beside telemetry: from handing an event to the broker to its signed ack
    restart    the controller is killed, and starts again from its journal

Generator, broker and controller share the machine's cores: what is told is what this machine does with all three.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bucium.bench.fleet import CONTROLLER, GROUP, Speaker, plan_of, write_centre
from bucium.demo import broker
from bucium.demo.children import Child, Family
from cython_ext import BuciumError, topics
from cython_ext.topics import Verb
from lanes.envelope import Envelope, Kind, peek
from lanes.link import BrokerSettings, Link, MqttConnector
from lanes.orders import Ack

NODES: Final = 5_000
LINKS: Final = 4  # of the generator: one alone is held back by its own window of publishes
STEADY_S: Final = 20.0
EVENTS_PER_S: Final = 70.0  # the busiest second of a real alarm receiving centre (reliability.md §8)
TELEMETRY_PER_S: Final = 500.0
WAIT_S: Final = 240.0
RESEND_S: Final = 5.0
RESEND_MAX: Final = 500
RSS_MAX_MIB: Final = 256.0


class Generator:
    """Publishes as the fleet, and notes when each event is acked."""

    def __init__(self, port: int, speakers: Sequence[Speaker]) -> None:
        self._connector = MqttConnector(BrokerSettings.model_validate({"port": port}))
        self.links: list[Link] = []
        self._sent: dict[tuple[str, int], float] = {}
        self.sent_at: dict[tuple[str, int], float] = {}  # of every event, acked or not
        self._events: dict[tuple[str, int], bytes] = {}
        self.resent = 0
        self._silent = asyncio.Event()  # nothing is unacked
        self.acked_ms: list[float] = []
        self.beat = asyncio.Event()
        self.speakers = {speaker.id: speaker for speaker in speakers}

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for number in range(LINKS):
                self.links.append(await stack.enter_async_context(self._connector.connect(f"bench-{number}")))
            ears = await stack.enter_async_context(self._connector.connect("bench-ears"))
            await ears.subscribe((f"{topics.ALARM}/{GROUP}/+/order", 1), (topics.beat(GROUP), 1))
            tasks = [group.create_task(self._hear(ears)), group.create_task(self._resend())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _hear(self, link: Link) -> None:
        async for message in link.messages():
            now_s = time.perf_counter()
            link.ack(message)
            envelope = peek(message.payload)
            if envelope is not None and envelope.kind is Kind.BEAT:
                self.beat.set()
            elif envelope is not None and envelope.kind is Kind.ACK:
                self._acked(envelope.addressee, Ack.unpack(envelope.body), now_s)
            elif envelope is not None:
                await self.heard(envelope, message.payload, now_s)

    async def heard(self, envelope: Envelope, payload: bytes, now_s: float) -> None:
        """Any other message of the controller to a node."""

    async def _resend(self) -> None:
        """As every node does: what is not acked goes again."""
        while True:
            await asyncio.sleep(RESEND_S)
            late_s = time.perf_counter() - RESEND_S
            for node, seq in [key for key, began_s in self._sent.items() if began_s < late_s][:RESEND_MAX]:
                data = self._events.get((node, seq))
                if data is not None:
                    self.resent += 1
                    await self.links[0].publish(topics.report(GROUP, node), data, qos=1)

    def _acked(self, node: str, ack: Ack, now_s: float) -> None:
        for seq in range(ack.through, 0, -1):
            began_s = self._sent.pop((node, seq), None)
            if began_s is None:
                break
            self._events.pop((node, seq), None)
            self.acked_ms.append((now_s - began_s) * 1000)
        if not self._sent:
            self._silent.set()

    async def all_say(self, what: Callable[[Speaker], tuple[str, bytes, int]]) -> float:
        """Every node says one thing, as fast as it goes; the seconds that it took."""
        said = [(node, *what(speaker)) for node, speaker in self.speakers.items()]
        began_s = time.perf_counter()

        async def some(link: Link, part: Sequence[tuple[str, str, bytes, int]]) -> None:
            for at in range(0, len(part), 20):
                await asyncio.gather(*(self.say(link, *each) for each in part[at : at + 20]))

        await asyncio.gather(*(some(link, said[n::LINKS]) for n, link in enumerate(self.links)))
        return time.perf_counter() - began_s

    async def say(self, link: Link, node: str, topic: str, payload: bytes, qos: int) -> None:
        if qos:
            self._note(node, payload)
        await link.publish(topic, payload, qos=qos)

    def _note(self, node: str, event: bytes) -> None:
        self._events[node, self.speakers[node].seq] = event
        self._sent[node, self.speakers[node].seq] = self.sent_at[node, self.speakers[node].seq] = time.perf_counter()
        self._silent.clear()

    async def settled(self) -> None:
        """Wait until every event is acked."""
        async with asyncio.timeout(WAIT_S):
            await self._silent.wait()

    async def steadily(self, per_s: float, seconds: float, say: Callable[[Speaker, Link], Awaitable[None]]) -> None:
        """Nodes in turn, at random moments of this mean rate."""
        rng, names = random.Random(1), list(self.speakers.values())  # noqa: S311 - load, not secrets
        until_s = time.perf_counter() + seconds
        while time.perf_counter() < until_s:
            await asyncio.sleep(rng.expovariate(per_s))
            await say(rng.choice(names), rng.choice(self.links))

    async def alarm(self, speaker: Speaker, link: Link) -> None:
        event = speaker.event()
        self._note(speaker.id, event)
        await link.publish(topics.report(GROUP, speaker.id), event, qos=1)

    async def sample(self, speaker: Speaker, link: Link) -> None:
        await link.publish(topics.telemetry(GROUP, Verb.NDATA, speaker.id), speaker.data(), qos=0)


def measure(nodes: int = NODES, steady_s: float = STEADY_S) -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="bucium-bench-") as folder:
        return asyncio.run(_measured(Path(folder), nodes, steady_s))


async def _measured(folder: Path, nodes: int, steady_s: float) -> dict[str, Any]:
    signed = plan_of(nodes)
    speakers = [Speaker(number, signed) for number in range(nodes)]
    async with Family() as family:
        served = await broker.start(family, folder / "broker", folder / "broker.log")
        config = write_centre(folder / CONTROLLER, signed, served.port)
        generator = Generator(served.port, speakers)
        async with generator.connected():
            centre, start_s = await start(family, generator, config, folder)
            found: dict[str, Any] = {"nodes": nodes, "start_s": start_s, "rss_idle_mib": rss_mib(centre.pid)}
            found |= await _floods(generator, steady_s, lambda: cpu_s(centre.pid))
            found["rss_mib"], found["rss_peak_mib"] = rss_mib(centre.pid), rss_mib(centre.pid, "VmHWM")
            family.require()
            centre.signal(signal.SIGKILL)
            await asyncio.sleep(0.5)
            again, found["restart_s"] = await start(family, generator, config, folder)
            found["journal_rows"] = rows_of(folder / CONTROLLER / "data" / "journal.db")
            found["rss_restarted_mib"] = rss_mib(again.pid)
    return found


async def _floods(generator: Generator, steady_s: float, cpu_s: Callable[[], float]) -> dict[str, Any]:
    nodes = len(generator.speakers)
    births_s = await generator.all_say(lambda s: (topics.telemetry(GROUP, Verb.NBIRTH, s.id), s.birth(), 0))
    states_s = await generator.all_say(lambda s: (topics.report(GROUP, s.id), s.state(), 0))
    await asyncio.sleep(1.0)
    began_s, spent_s = time.perf_counter(), cpu_s()
    await generator.all_say(lambda s: (topics.report(GROUP, s.id), s.event(), 1))
    await generator.settled()
    burst_s, burst_cpu_s = time.perf_counter() - began_s, cpu_s() - spent_s
    burst = _quantiles(generator.acked_ms)
    generator.acked_ms.clear()
    await asyncio.gather(
        generator.steadily(EVENTS_PER_S, steady_s, generator.alarm),
        generator.steadily(TELEMETRY_PER_S, steady_s, generator.sample),
    )
    await generator.settled()
    return {
        "births_per_s": round(nodes / births_s),
        "states_per_s": round(nodes / states_s),
        "burst_events": nodes,
        "events_per_s": round(nodes / burst_s),
        "burst_ack_ms": burst,
        "cpu_ms_per_event": round(burst_cpu_s * 1000 / nodes, 2),
        "steady_events": len(generator.acked_ms),
        "ack_ms": _quantiles(generator.acked_ms),
        "resent": generator.resent,
    }


def rows_of(journal: Path) -> int:
    """How many rows the journal has by now."""
    import apsw

    with contextlib.closing(apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)) as store:
        found: Any = store.execute("SELECT max(seq) FROM entry").get
        return int(found or 0)


async def start(family: Family, generator: Generator, config: Path, folder: Path) -> tuple[Child, float]:
    """A controller process; it serves when its beat is heard."""
    generator.beat.clear()
    argv = [sys.executable, "-m", "controller", "--config", str(config), "--log", "warning"]
    began_s = time.perf_counter()
    child = await family.add(Child("controller", argv, folder / "controller.log", folder))
    try:
        async with asyncio.timeout(WAIT_S):
            while not generator.beat.is_set():
                child.require()
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise BuciumError(f"the controller did not serve within {WAIT_S:g} s; its log:\n{child.tail()}") from None
    return child, round(time.perf_counter() - began_s, 2)


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return (
        {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1) for name, q in at.items()}
        if ordered
        else {}
    )


def cpu_s(pid: int) -> float:
    """Seconds that the process has had a core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int, what: str = "VmRSS") -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return round(int(line.split()[1]) / 1024, 1)
    raise BuciumError(f"process {pid} has ended")


def lines(found: dict[str, Any]) -> list[str]:
    """The figures for people."""
    ack, burst = _said(found["ack_ms"]), _said(found["burst_ack_ms"])
    rates = f"{EVENTS_PER_S:g} alarms/s beside {TELEMETRY_PER_S:g} samples/s"
    return [
        f"{found['nodes']} nodes: births {found['births_per_s']}/s, signed states {found['states_per_s']}/s",
        f"burst of {found['burst_events']} alarms: {found['events_per_s']} events/s, acks {burst}",
        f"the controller's own time for one of them, dispatch included: {found['cpu_ms_per_event']} ms of a core",
        f"{rates}: acks {ack}",
        f"memory of the controller: {found['rss_mib']} MiB, at most {found['rss_peak_mib']} MiB (promised: {RSS_MAX_MIB:g} MiB)",
        f"serves after {found['start_s']} s; killed, with {found['journal_rows']} rows, again after {found['restart_s']} s",
    ]


def _said(quantiles: dict[str, float]) -> str:
    return ", ".join(f"{name} {ms} ms" for name, ms in quantiles.items())
