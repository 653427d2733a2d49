"""A world of real processes: a broker, two nodes, a controller, devices on sockets, a dispatch receiver; and our eyes."""

import asyncio
import contextlib
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bucium.people import Person
from cython_ext import BuciumError, SystemClock
from firmware_bridge.simulators.world import Simulation
from lanes.acts import ResetAlarm
from lanes.control import ask
from lanes.identity import AlarmId
from tests.kit.brokers import RealBroker
from tests.kit.narrow import Narrow
from tests.kit.receivers import Receiver
from tests.kit.tap import Packet

from . import site
from .disks import Disk
from .pipe import Pipe
from .programs import Program
from .seen import NS, Seen, now_ns
from .site import CENTRE, NODES, Site

RESTART_S: Final = 1.0  # systemd's RestartSec of our units is no longer
LOOK_S: Final = 0.05
WEIGH_S: Final = 0.5
CALM_S: Final = 60.0
START_S: Final = 180.0  # of three programs on a machine that has much else to do
STEADY_S: Final = 0.5  # calm for so long
PEOPLE_S: Final = 30.0
NEWS: Final = re.compile(rb"<msgType>(?:Alert|Update)</msgType>.*?<severity>(\w+)</severity>", re.DOTALL)
SEVERITY: Final = {b"Minor": 0, b"Moderate": 1, b"Severe": 2, b"Extreme": 3}


class WorldError(Exception):
    """The world did not become calm again, or never came up; the message says what is missing."""


class World:
    """`start`, break things, `calm`, `stop`; then read `seen`, the files of `site`, `receiver.taken`."""

    def __init__(
        self,
        name: str,
        folder: Path,
        sockets: Path,
        *,
        broker: str = "embedded",
        disk: Callable[[Path], Disk] = Disk,
        preambles: dict[str, str] | None = None,
        narrow: dict[str, Narrow] | None = None,
    ) -> None:
        """`preambles`: Python that runs before a program; `narrow`: nodes that stand behind a narrow line of the kernel's."""
        self.name = name
        self.site = Site(folder, sockets)
        self.seen = Seen()
        self.receiver = Receiver()
        self.broker = RealBroker(broker, folder / "broker")
        self.disks = {program: disk(self.site.data(program)) for program in (*NODES, CENTRE)}
        self.pipes: dict[str, Pipe] = {}
        self.fields: dict[str, Pipe] = {}  # to the devices of nodes behind a narrow line
        self.programs: dict[str, Program] = {}
        self.crashes: dict[str, int] = dict.fromkeys((*NODES, CENTRE), 0)  # ends that nobody had ordered
        self.imposed: list[tuple[str, int, int]] = []  # (who could do nothing, since, until): not the product's time
        self.spoilt: dict[str, str] = {}  # program → what was done to its disk
        self._news: list[tuple[int, str, int]] = []  # what the dispatch centre was told: when, whose zone, how bad
        self._held: set[str] = set()  # programs that nobody restarts just now
        self.listeners: list[Callable[[str, Packet], None]] = []  # told of each packet on the line of a program
        self._preambles = preambles or {}
        self._narrow = narrow or {}
        self._person: Person | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._simulation: Simulation | None = None

    # Up and down.

    async def start(self) -> None:
        self.site.folder.mkdir(parents=True, exist_ok=True)
        for disk in self.disks.values():
            await disk.mount()
        site.lay_out(self.site)
        await asyncio.to_thread(self.broker.start)
        await self.receiver.start()
        self._simulation = Simulation(site.devices(), clock=SystemClock(), base=self.site.folder)
        await self._simulation.__aenter__()
        self._simulation.record.watch(self.seen.entry)
        for program in (CENTRE, *NODES):
            self.pipes[program] = Pipe(self.broker.port, lambda packet, name=program: self._packet(name, packet))
            await self.pipes[program].start(self._host(program))
        site.write_controller(self.site, broker=self.pipes[CENTRE].port, url=self.receiver.url)
        for node in NODES:
            modbus = int(self._simulation.endpoint(node)["port"])
            if node in self._narrow:
                self.fields[node] = Pipe(modbus, lambda packet: None)
                await self.fields[node].start(inside=self._narrow[node].listen())
                modbus = self.fields[node].port
            site.write_node(self.site, node, broker=self.pipes[node].port, modbus=modbus, host=self._host(node))
        for name in (CENTRE, *NODES):
            words = ["controller" if name == CENTRE else "edge", "run", "--config", str(self.site.config(name))]
            log = self.site.folder / f"{name}.log"
            prefix = self._narrow[name].prefix if name in self._narrow else ()
            self.programs[name] = Program(name, words, log, self._preambles.get(name, ""), prefix)
            await self.programs[name].start()
        self._tasks = [asyncio.create_task(work) for work in (self._keep_up(), self._weigh(), self._read_posts())]
        await self.calm(START_S)

    def _host(self, program: str) -> str:
        return self._narrow[program].host if program in self._narrow else site.LOOPBACK

    def _packet(self, program: str, packet: Packet) -> None:
        self.seen.packet(program, packet)
        for listener in self.listeners:
            listener(program, packet)

    async def stop(self) -> None:
        """End everything in order; what is on the disks can then be read until `unmount`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name in (*NODES, CENTRE):
            if name in self.programs:
                self.programs[name].signal(signal.SIGCONT)
                await self.programs[name].stop()
        for pipe in (*self.pipes.values(), *self.fields.values()):
            await pipe.stop()
        if self._simulation is not None:
            await self._simulation.__aexit__(None, None, None)
        await self.receiver.stop()
        await asyncio.to_thread(self.broker.stop)

    async def unmount(self) -> None:
        for disk in self.disks.values():
            await disk.unmount()

    # What keeps it going.

    async def _keep_up(self) -> None:
        """As systemd does: a program that has ended by itself is started again."""
        while True:
            await asyncio.sleep(LOOK_S)
            for name, program in self.programs.items():
                if not program.running and name not in self._held:
                    self.crashes[name] += 1
                    await asyncio.sleep(RESTART_S)
                    await program.start()

    async def _weigh(self) -> None:
        while True:
            for program in self.programs.values():
                program.weigh()
            await asyncio.sleep(WEIGH_S)

    async def _read_posts(self) -> None:
        """Tell of what reaches the dispatch receiver."""
        count = 0
        while True:
            posts = await self.receiver.until_seen(count + 1, timeout_s=1e9)
            for post in posts[count:]:
                for node, zone in site.ZONE_OF.items():
                    if f"-{zone}-flood-" in post.headers.get("webhook-id", "") and (news := NEWS.search(post.body)):
                        self._news.append((post.at_ns, node, SEVERITY[news[1]]))
                        self.seen.posted(node)
            count = len(posts)

    # What is done to it.

    def set_water(self, node: str, metres: float) -> None:
        assert self._simulation is not None
        self._simulation.set(f"{node}-gauge", "level", metres)
        self.seen.set_water(node, metres)

    def hold(self, name: str) -> None:
        """Its end is ours: do not restart it."""
        self._held.add(name)

    async def restart(self, name: str, after_s: float = RESTART_S) -> None:
        await self.programs[name].gone()
        await asyncio.sleep(after_s)
        await self.programs[name].start()
        self._held.discard(name)

    def told_ns(self, node: str, level: int, after_ns: int) -> int:
        """When the dispatch centre was first told that this node's zone is so bad; 0: not yet."""
        return next((at for at, whose, how in self._news if at > after_ns and whose == node and how >= level), 0)

    # What it is waited for.

    async def until(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """WorldError when it does not come true in time."""
        end_ns = now_ns() + round(seconds * NS)
        while not condition():
            if now_ns() > end_ns:
                raise WorldError(f"{self.name}: {what} did not come true in {seconds:g} s{self._state()}")
            await asyncio.sleep(LOOK_S)

    async def calm(self, seconds: float = CALM_S) -> None:
        """Everything runs, no water, no sound, nothing owed; and people have looked at every alarm."""
        for node in NODES:
            self.set_water(node, site.LOW_M)
        since_ns = now_ns()
        await self.until("calm", lambda: self._quiet(since_ns), seconds)
        await self._tend()

    def _quiet(self, since_ns: int) -> bool:
        seen = self.seen
        still = now_ns() - since_ns > STEADY_S * NS
        running = all(program.running for program in self.programs.values())
        spoken = all(seen.boots[name] for name in self.programs)
        low = all(seen.level(node) == 0 and not seen.owed(node) for node in NODES)
        heard = all(seen.heard_ns[node] > since_ns for node in NODES)
        return still and running and spoken and low and heard and not seen.sounding()

    async def _tend(self) -> None:
        """Maria acknowledges and resets what is over, as on every quiet morning."""
        end_ns = now_ns() + round(PEOPLE_S * NS)
        while True:
            try:
                if await asyncio.to_thread(self._look_after):
                    return
            except (BuciumError, OSError) as error:
                if now_ns() > end_ns:
                    raise WorldError(f"{self.name}: people cannot act: {error}") from None
            if now_ns() > end_ns:
                raise WorldError(f"{self.name}: alarms stay open{self._state()}")
            await asyncio.sleep(0.2)

    def _look_after(self) -> bool:
        socket = self.site.socket(CENTRE)
        alarms = [alarm for alarm in ask(socket, "alarm.list") if alarm["state"] != "normal"]
        if alarms and self._person is None:
            self._person = Person(socket, self.site.key("ana"), SystemClock())
        for alarm in alarms:
            assert self._person is not None
            if alarm["unseen"]:
                self._person.acknowledge(alarm["alarm"])
            elif alarm["state"] == "latched-acknowledged":
                self._person.do(ResetAlarm(AlarmId.parse(alarm["alarm"])))
        return not alarms

    def _state(self) -> str:
        seen = self.seen
        lines = [
            f"  {name}: running {program.running}, starts {program.starts}"
            + (f", Level {seen.level(name)}, owes {seen.owed(name)}" if name in NODES else "")
            + f"; its log ends with\n{program.tail()}"
            for name, program in self.programs.items()
        ]
        return "\n" + "\n".join(lines)

    @contextlib.contextmanager
    def outage(self, who: str):  # type: ignore[no-untyped-def]
        """What lasts as long as we want it to: not counted as the product's lateness."""
        since_ns = now_ns()
        try:
            yield
        finally:
            self.imposed.append((who, since_ns, now_ns()))
