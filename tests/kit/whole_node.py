"""A whole node in one loop: real Modbus devices on sockets, a broker in memory, and a home controller that checks signatures."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from cython_ext import Cause, Level, SystemClock
from edge import app, config
from firmware_bridge.simulators.record import Entry
from lanes.reports import TransitionData
from lanes.store import ThreadRunner
from tests.kit.broker import MemoryBroker
from tests.kit.nodes import FarEnd
from tests.kit.relay_monitor import RelayMonitor
from tests.kit.site import lay_out, signed_plan, world

LIMIT_S = 60


class Site:
    """One running node, its devices, its broker, its controller."""

    def __init__(self, folder: Path, **plan: object) -> None:
        self.folder = folder
        self.plan = plan
        self.broker = MemoryBroker()
        self.far = FarEnd(self.broker, signed_plan(**plan))
        self.devices = world(folder / "record.jsonl")
        self.monitor = RelayMonitor({"relay-1": "school"})
        self.devices.record.watch(self._entry)
        self.node: asyncio.Task[None] | None = None
        self.stop = asyncio.Event()

    def start(self) -> None:
        port = self.devices.endpoint("river")["port"]
        ready = config.ready(config.load(lay_out(self.folder, port=int(port), **self.plan)))
        self.stop = asyncio.Event()
        self.runner = ThreadRunner("ledger")
        running = app.run(
            ready,
            clock=SystemClock(),
            connector=self.broker.connector(),
            runner=self.runner,
            entropy=os.urandom,
            stop=self.stop,
        )
        self.node = asyncio.create_task(running)

    async def end(self) -> None:
        assert self.node is not None
        self.stop.set()
        await asyncio.wait_for(self.node, LIMIT_S)
        self.runner.close()

    async def kill(self) -> None:
        assert self.node is not None
        self.node.cancel()
        await asyncio.gather(self.node, return_exceptions=True)
        self.runner.close()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                assert self.node is None or not self.node.done(), self.node.result()
                await asyncio.sleep(0.02)

    def _entry(self, entry: Entry) -> None:
        if entry.device == "relays":
            self.monitor.edge(entry.name, bool(entry.value), entry.at_ns)

    def permit(self, max_s: float) -> None:
        """The siren may sound from now on; without it the relay monitor ends the test."""
        self.monitor.permit("relay-1", SystemClock().monotonic_ns(), max_s)

    def transitions(self, point: str) -> list[TransitionData]:
        found = [event.data for event in self.far.events if isinstance(event.data, TransitionData)]
        return [data for data in found if data.point == point]

    @property
    def relay(self) -> list[float]:
        """What the relay board itself saw of the siren's relay."""
        return [e.value for e in self.devices.record if (e.device, e.name) == ("relays", "relay-1")]

    def raised(self, point: str) -> list[Level]:
        return [t.level for t in self.transitions(point) if t.cause is Cause.RAISED]


@contextlib.asynccontextmanager
async def site(folder: Path, **plan: object):
    it = Site(folder, **plan)
    async with it.devices:
        far = asyncio.create_task(it.far.run())
        try:
            yield it
        finally:
            far.cancel()
            if it.node is not None and not it.node.done():
                await it.kill()
        it.monitor.check(SystemClock().monotonic_ns())
        assert not it.monitor.findings, it.monitor.findings
