"""One node's end of the alarm lane in virtual time: its ledger on disk, a broker in memory, a far end that checks signatures."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from cython_ext import Level, Trouble
from edge.report.lane import Lane, Node
from edge.report.ledgers import Ledgers
from edge.report.reporter import Reporter
from edge.troubles import Troubles
from lanes.envelope import Envelope, Opened
from lanes.pieces import Want
from lanes.reports import PointState
from lanes.store import run_here
from tests.kit.broker import MemoryBroker
from tests.kit.clock import ManualClock, run_virtual
from tests.kit.nodes import KEYS, NODE, FarEnd, entropy, signed

PLAN = signed()


class World:
    """One node's lane, its ledger on disk, a broker and the far end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.clock = ManualClock()
        self.broker = MemoryBroker()
        self.far = FarEnd(self.broker, PLAN)
        self.orders: list[bytes] = []
        self.cuts: list[int | None] = []
        self.level = Level.NORMAL
        self.pieces: list[Envelope] = []
        self.want: Want | None = None
        self.resets: list[Opened] = []
        self.boots = 0
        self.obey: Callable[[bytes], Awaitable[object]] = self._obey
        self.tasks: list[asyncio.Task[None]] = []
        self.boot()

    def boot(self) -> None:
        """The node's program starts (again) on the same disk."""
        self.boots += 1
        self.entropy = entropy(self.boots) if self.boots > 1 else entropy(1000 + len(list(self.folder.iterdir())))
        self.ledgers = Ledgers(self.folder, NODE, self.entropy)
        self.reporter = Reporter(
            signed=PLAN,
            node=NODE,
            key=KEYS[NODE, "live"],
            ledgers=self.ledgers,
            boot=b"boot%04d" % self.boots,
            clock=self.clock,
            runner=run_here,
        )
        self.troubles = Troubles(self.reporter.post)
        self.lane = Lane(
            signed=PLAN,
            node=NODE,
            reporter=self.reporter,
            troubles=self.troubles,
            rest=Node(
                self._order,
                lambda _: "kind",
                lambda _: None,
                self._states,
                lambda: self.level > 0,
                self.cuts.append,
                self._piece,
                lambda opened: self.resets.append(opened) or "",
                lambda: self.want,
            ),
            connector=self.broker.connector(),
            clock=self.clock,
            jitter=Random(self.boots).random,
        )

    def _piece(self, envelope: Envelope) -> str:
        self.pieces.append(envelope)
        return ""

    async def _order(self, data: bytes) -> object:
        return await self.obey(data)

    async def _obey(self, data: bytes) -> None:
        self.orders.append(data)

    def _states(self):
        points = [PointState(1, self.level, Trouble.NONE, 1, 0)] if self.level else []
        return points, []

    def start(self, *coroutines: Awaitable[None]) -> None:
        for coroutine in (self.reporter.run(), self.lane.run(), *coroutines):
            self.tasks.append(asyncio.ensure_future(coroutine))

    async def kill(self) -> None:
        """As SIGKILL: nothing is flushed."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    async def beats(self) -> None:
        while True:
            await asyncio.sleep(3)
            if self.far.link and self.broker.up:
                await self.far.beat()


def run(folder: Path, scenario: Callable[[World], Awaitable[None]]) -> World:
    clock = ManualClock()

    async def main() -> World:
        world = World(folder)
        world.clock = clock
        world.boots = 0
        world.boot()
        await scenario(world)
        for task in world.tasks:
            if task.done() and not task.cancelled() and task.exception():
                raise task.exception()  # type: ignore[misc]
        return world

    return run_virtual(main(), clock)


async def until(condition: Callable[[], object], limit_s: float = 120) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.05)
