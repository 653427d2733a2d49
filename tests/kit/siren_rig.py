"""A node's sirens on a simulated board, with the relay monitor on its lines: real drivers, real store, virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edge.siren.orderstore import OrderStore
from edge.siren.reflex import Reflex
from edge.siren.sirens import Sirens
from firmware_bridge.factory import Bridge
from firmware_bridge.gpio.device import Gpio
from firmware_bridge.gpio.simulated import Board, Edge, SimulatedChip
from firmware_bridge.settings import DeviceSettings, GpioBus, SirenSettings
from lanes.reports import ReceiptData, Stage
from tests.kit.clock import ManualClock
from tests.kit.orders import BOOT, NODE, Maker, siren_plan
from tests.kit.relay_monitor import RelayMonitor

RELAYS = {"R1": "s1", "R2": "s2"}
HEARD = {"R1": "F1", "R2": "F2"}  # the siren's own feedback contact follows its relay


def clock_of() -> ManualClock:
    """The clock of the running virtual loop."""
    clock = asyncio.get_running_loop().clock  # type: ignore[attr-defined]
    assert isinstance(clock, ManualClock)
    return clock


class Chip(SimulatedChip):
    """A board whose relays can be made to fail (`dead`) or to hang (`hangs`) when they are written."""

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self.dead: set[bool] = set()  # levels that cannot be written
        self.hangs = False

    async def write(self, line: str, high: bool) -> None:
        if self.hangs and high:
            await asyncio.sleep(10_000)
        if high in self.dead:
            raise OSError("the relay does not answer")
        await super().write(line, high)


class Disk:
    """The runner of the store: how long a commit takes, and whether it works."""

    def __init__(self) -> None:
        self.takes_s = 0.0
        self.fails = False
        self.commits = 0

    async def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.fails:
            raise OSError(5, "Input/output error")
        self.commits += 1
        return function(*args, **kwargs)


class Rig:
    """What a test holds. `deaf`: relays whose siren does not sound; its feedback stays open."""

    def __init__(self, folder: Path, board: Board, clock: ManualClock, boot: bytes) -> None:
        self.clock = clock
        self.boot = boot
        self.board = board
        self.monitor = RelayMonitor(RELAYS)
        self.receipts: list[ReceiptData] = []
        self.deaf: set[str] = set()
        self.recording = asyncio.Event()
        self.recording.set()
        self.make = Maker(clock, boot=boot)
        board.watch(self._edge)
        self.chip = Chip(board)
        self.disk = Disk()
        self.bridge = Bridge(
            [GpioBus(type="gpio", id="board", chip="simulated")],
            [_device()],
            [SirenSettings.model_validate(each) for each in _sirens()],
            clock=clock,
            make_bus=lambda settings, c, _base: Gpio(settings, self.chip, c),  # type: ignore[arg-type]
        )
        self.store = OrderStore(
            folder / "orders.db", anchor=folder / "orders.anchor", clock=clock, runner=self.disk, entropy=_entropy
        )
        plan = siren_plan()
        self.sirens = Sirens(
            signed=plan,
            node=NODE,
            drivers=self.bridge.sirens,
            store=self.store,
            clock=clock,
            boot=boot,
            record=self._record,
        )
        self.reflex = Reflex(signed=plan, node=NODE, sirens=self.sirens, store=self.store, clock=clock)

    async def _record(self, receipt: ReceiptData) -> None:
        await self.recording.wait()
        self.receipts.append(receipt)

    def _edge(self, edge: Edge) -> None:
        self.monitor.edge(edge.line, edge.high, edge.at_ns)
        if edge.line in HEARD and edge.line not in self.deaf:
            self.board.drive(HEARD[edge.line], edge.high)

    async def give(self, data: bytes, permit: str = "", max_s: float = 120.0) -> None:
        """Hand the node an order; `permit` names the relay that it may close."""
        if permit:
            self.monitor.permit(permit, self.clock.monotonic_ns(), max_s)
        await self.sirens.order(data)
        await asyncio.sleep(0.05)

    async def give_stop(self, data: bytes, *relays: str) -> None:
        for relay in relays:
            self.monitor.stop(relay, self.clock.monotonic_ns())
        await self.sirens.order(data)
        await asyncio.sleep(0.05)

    def on(self, relay: str = "R1") -> bool:
        """Whether the relay is closed."""
        return self.board.levels.get(relay, False)

    def stages(self, siren: str = "s1") -> list[Stage]:
        return [r.stage for r in self.receipts if r.siren == siren]

    def told(self, siren: str = "s1") -> list[tuple[Stage, str]]:
        return [(r.stage, r.reason) for r in self.receipts if r.siren == siren]

    def reasons(self, stage: Stage = Stage.REFUSED) -> list[str]:
        return [r.reason for r in self.receipts if r.stage is stage]

    def lawful(self) -> None:
        """The relay monitor has found nothing."""
        self.monitor.check(self.clock.monotonic_ns())
        assert not self.monitor.findings, self.monitor.findings


@asynccontextmanager
async def rig(folder: Path, *, boot: bytes = BOOT, board: Board | None = None) -> AsyncIterator[Rig]:
    """A running node. At the end everything is off, as after a stop of the service."""
    clock = clock_of()
    made = Rig(folder, board or Board(clock), clock, boot)
    await made.bridge.open()
    tasks = [asyncio.create_task(made.sirens.run()), asyncio.create_task(made.reflex.run())]
    await asyncio.sleep(0.1)
    try:
        yield made
    finally:
        for task in reversed(tasks):
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        await made.bridge.close()
        made.store.close()
        for each in done:
            if isinstance(each, Exception):
                raise each
        assert not made.on("R1")
        assert not made.on("R2")
    made.lawful()  # the monitor watches every test, whether it asks or not


def _entropy(count: int) -> bytes:
    return bytes(range(count))


def _device() -> DeviceSettings:
    lines: dict[str, Any] = {
        "id": "io",
        "bus": "board",
        "input": [{"channel": f"f{n}", "line": f"F{n}", "debounce_s": 0.05} for n in (1, 2)],
        "output": [{"point": f"r{n}", "line": f"R{n}"} for n in (1, 2)],
    }
    return DeviceSettings.model_validate(lines)


def _sirens() -> list[dict[str, Any]]:
    return [
        {
            "id": f"s{n}",
            "device": "io",
            "contacts": {"any": f"r{n}"},
            "feedback": {"device": "io", "channel": f"f{n}", "within_s": 2.0},
        }
        for n in (1, 2)
    ]
