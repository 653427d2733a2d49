"""What the world really does: the water at each gauge, what each gauge answers, what each relay did. Nobody's code but ours."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from cython_ext.clock import Clock
from firmware_bridge.driver import Bus
from firmware_bridge.factory import Bridge
from firmware_bridge.gpio.device import Gpio
from firmware_bridge.gpio.simulated import Board, Edge, SimulatedChip
from firmware_bridge.modbus.bus import ModbusBus
from firmware_bridge.modbus.port import Connection, Listener
from firmware_bridge.settings import BusSettings, GpioBus
from firmware_bridge.simulators.record import Entry
from tests.kit.clock import ManualClock
from tests.kit.modbus import MemoryLine

from . import site
from .machine import HERE, Life

LOW_M: Final = 1.0
PEAKS_M: Final = (2.4, 3.4, 4.6)  # one for each Level
NS: Final = 1_000_000_000
GAUGE_UNIT: Final = 246
RELAYS_UNIT: Final = 2


@dataclass
class Water:
    """One gauge's water: what stood there from when on (world's nanoseconds)."""

    since_ns: list[int] = field(default_factory=list)
    metres: list[float] = field(default_factory=list)

    def put(self, at_ns: int, metres: float) -> None:
        self.since_ns.append(at_ns)
        self.metres.append(metres)

    def highest(self, first_ns: int, last_ns: int) -> float:
        """The highest water between the two."""
        begin = max(0, bisect_right(self.since_ns, first_ns) - 1)
        end = bisect_right(self.since_ns, last_ns)
        return max(self.metres[begin:end], default=LOW_M)

    def spans(self, level: int, until_ns: int) -> Iterator[tuple[int, int]]:
        """When the water stood at or above a Level's mark."""
        begun = None
        for at_ns, metres in zip(self.since_ns, self.metres, strict=True):
            above = metres >= site.RAISE[level]
            if above and begun is None:
                begun = at_ns
            elif not above and begun is not None:
                yield begun, at_ns
                begun = None
        if begun is not None:
            yield begun, until_ns


def floods(rng: Random, seconds: float) -> list[tuple[float, float]]:
    """(second, metres): one to three floods that are over after `seconds`."""
    steps = [(0.0, LOW_M)]
    at = rng.uniform(5, seconds / 3)
    while at < seconds * 0.8:
        peak = rng.choice(PEAKS_M)
        for part in range(1, 5):
            steps.append((min(at, seconds - 2), LOW_M + (peak - LOW_M) * part / 4))
            at += rng.uniform(0.5, 8.0)
        at += rng.uniform(5, seconds / 4)
        steps.append((min(at, seconds - 1), LOW_M + (peak - LOW_M) * rng.choice((0.3, 0.55, 0.8))))
        at += rng.uniform(1, 20)
        steps.append((min(at, seconds - 0.5), LOW_M))
        at += rng.uniform(10, seconds / 3)
    return steps


class Wires:
    """The devices of one node. They outlive its program, and answer only the life that holds the wire."""

    def __init__(self, node: str, clock: ManualClock, edge: Callable[[str, bool], None]) -> None:
        self.node = node
        self.line = MemoryLine(clock, rtu=False)
        self.gauge = self.line.add("vegapuls", GAUGE_UNIT, name="gauge")
        self.board = Board(clock)
        self.board.watch(self._board)
        self._edge = edge
        if node == "mill":
            self.line.add("waveshare-relay8", RELAYS_UNIT, name="relays")
            self.line.record.watch(self._recorded)
        self.water = Water()
        self._clock = clock
        self._chips: list[SimulatedChip] = []
        self.latches = False  # its board's pins keep their level when a process dies
        self.set(LOW_M)

    def set(self, metres: float) -> None:
        self.water.put(self._clock.monotonic_ns(), metres)
        self.gauge.memory.set("level", metres)

    def bridge(self, ready: Any, clock: Clock) -> Bridge:
        """The node's drivers on these wires."""
        config = ready.local.config
        return Bridge(config.buses, config.devices, config.sirens, clock=clock, make_bus=self._bus)

    def _bus(self, settings: BusSettings, clock: Clock, _base: object) -> Bus:
        if isinstance(settings, GpioBus):
            chip = OwnChip(self.board, clock, _life())
            self._chips.append(chip)
            return Gpio(settings, chip, clock)
        return ModbusBus(settings, clock, self._connect)

    async def _connect(self, listener: Listener, timeout_s: float) -> Connection:
        life = _life()
        life.require()
        return OwnPort(life, await self.line.connect(listener, timeout_s))

    def cut(self) -> None:
        """Its program is dead: its connection breaks, its lines are let go."""
        self.line.cut()
        for chip in self._chips:
            if self.latches:
                self._let_go(chip)
            self.board.release(chip)
        self._chips.clear()

    def _let_go(self, chip: SimulatedChip) -> None:
        for line in [line for line, (holder, _, _) in self.board._holders.items() if holder is chip]:
            del self.board._holders[line]

    def _board(self, edge: Edge) -> None:
        if edge.line == "R1":
            self._edge("s-quay", edge.high)
            drive = self.board.drive  # the siren hears itself
            asyncio.get_running_loop().call_later(0.05, drive, "F1", edge.high, context=Context())

    def _recorded(self, entry: Entry) -> None:
        if entry.name == "relay-1":
            self._edge("s-mill", bool(entry.value))


class OwnPort:
    """A connection of one life: the dead send nothing."""

    def __init__(self, life: Life, port: Connection) -> None:
        self._life = life
        self._port = port

    def send(self, data: bytes) -> None:
        if self._life.alive:
            Context().run(self._port.send, data)  # a device's own timers run on when the node is stopped

    def close(self) -> None:
        self._port.close()


class OwnChip(SimulatedChip):
    """The board as one life holds it: its stamps are those of the node's clock, and the dead take no line."""

    def __init__(self, board: Board, clock: Clock, life: Life) -> None:
        super().__init__(board)
        self._clock = clock
        self._life = life

    async def open(self, inputs: Any, outputs: Any, on_edge: Any) -> None:
        self._life.require()

        def edge(line: str, high: bool, _at_ns: int) -> None:
            on_edge(line, high, self._clock.monotonic_ns())

        self.board.take(self, inputs, outputs, edge)

    async def write_for(self, line: str, high: bool, hold_s: float) -> None:
        """The relay keeper is a process of its own: its time runs on when the node is stopped."""
        await self.write(line, high)
        if (end := self._ends.pop(line, None)) is not None:
            end.cancel()
        if hold_s > 0:
            loop = asyncio.get_running_loop()
            self._ends[line] = loop.call_later(hold_s, self.board.rest, self, line, context=Context())


def _life() -> Life:
    life = HERE.get()
    assert life is not None, "devices are opened by a machine's program"
    return life
