"""A simulated world: real Modbus servers and GPIO boards, made from profiles, that answer, misbehave and keep a record.

    async with Simulation(load_world(path), clock=clock, base=path.parent) as world:
        world.set("prut-gauge", "level", 3.2)
        world.fault("prut-gauge", Misbehaviour(Fault.DEAD))
        world.record.since(0)

Every act is also a verb of the control socket (`control.py`), for a demo of several processes.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from cython_ext.clock import Clock
from cython_ext.errors import ConfigError
from firmware_bridge.profile import load
from lanes.settings import load as load_toml

from .board import SimulatedBoard
from .device import SimulatedDevice
from .faults import Fault, Misbehaviour
from .informer import Informer
from .line import Line, PtyLine, TcpLine
from .record import Entry, Record
from .settings import TcpLineSettings, WireSettings, WorldSettings


def load_world(path: Path) -> WorldSettings:
    """ConfigError with file and line."""
    return load_toml(path, WorldSettings)


class Simulation:
    """Use as an async context manager. Misuse of a verb raises ConfigError."""

    def __init__(self, settings: WorldSettings, *, clock: Clock, base: Path | None = None) -> None:
        base = base or Path()
        self.settings = settings
        self.base = base
        self.record = Record(base / settings.record if settings.record else None)
        self._clock = clock
        self._stack = AsyncExitStack()
        self._timers: set[asyncio.TimerHandle] = set()
        self.lines: dict[str, TcpLine | PtyLine] = {}
        for line in settings.line:
            if isinstance(line, TcpLineSettings):
                self.lines[line.id] = TcpLine(line.id, line.host, line.port)
            else:
                self.lines[line.id] = PtyLine(line.id, base / line.link if line.link else None)
        self.boards = {one.id: SimulatedBoard(one, base / one.socket, self.record, clock) for one in settings.board}
        self.devices: dict[str, SimulatedDevice] = {}
        self._line_of: dict[str, Line] = {}
        for one in settings.device:
            profile = load(one.profile, base)
            unit = one.unit if one.unit >= 0 else profile.unit
            line_of = self.lines[one.line]
            if unit in line_of.units:
                raise ConfigError(f"{one.id}: unit {unit} is on line {one.line} already")
            device = SimulatedDevice(one.id, profile, unit, one.address_offset, self.record, clock)
            if profile.behaviour == "informer":
                device.behaviour = informer = Informer(device, clock)
                for function in one.function:
                    informer.program(function.code, function.tone, function.length_s)
            elif one.function:
                raise ConfigError(f"{one.id}: profile {one.profile} has no functions to programme")
            for channel, value in one.initial.items():
                device.memory.set(channel, value)
            self.devices[one.id] = device
            self._line_of[one.id] = line_of
            line_of.units[unit] = device
        self._wires: dict[tuple[str, str], list[WireSettings]] = {}
        for wire in settings.wire:
            self._require_input(wire.to)
            source, _, name = wire.from_.partition("/")
            self._wires.setdefault((source, name), []).append(wire)
        self.record.watch(self._follow)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in (*self.lines.values(), *self.boards.values()):
                await part.open()
                stack.push_async_callback(part.close)
            if self.settings.control:
                from .control import serve

                await stack.enter_async_context(serve(self.base / self.settings.control, self))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        for device in self.devices.values():
            device.stop()
        await self._stack.aclose()
        self.record.close()

    def endpoint(self, line: str) -> dict[str, str | int]:
        """What reaches a line: {"host", "port"} or {"device"}."""
        if line not in self.lines:
            raise ConfigError(f"there is no line {line!r}: there is {', '.join(self.lines)}")
        return self.lines[line].endpoint()

    def set(self, device: str, channel: str, value: float) -> None:
        """Set what a device measures, in the channel's unit; of a board: press (1) or let go (0) a contact."""
        if device in self.boards:
            self._require_input(f"{device}/{channel}")
            self.boards[device].drive(channel, bool(value))
        else:
            self._device(device).memory.set(channel, value)

    def trouble(self, device: str, channel: str, means: str, on: bool = True) -> None:
        """Let a device say that a channel is faulty (`means`: device-fault, sentinel, test …), or well again."""
        self._device(device).memory.trouble(channel, means, on)

    def fault(self, device: str, how: Misbehaviour | Fault) -> None:
        """Let a device's answers go wrong; Fault.NONE: well again."""
        unit = self._device(device).unit
        how = Misbehaviour(how) if isinstance(how, Fault) else how
        if how.fault is Fault.NONE:
            self._line_of[device].misbehaviour.pop(unit, None)
        else:
            self._line_of[device].misbehaviour[unit] = how

    def fail(self, device: str, how: str) -> None:
        """Let a device, or a board's input, fail in its own way: an Informer is deaf, mute or stuck; an input is 'cut'."""
        board, _, channel = device.partition("/")
        if board in self.boards:
            self._require_input(device)
            (self.boards[board].broken.add if how else self.boards[board].broken.discard)(channel)
            return
        behaviour = self._device(device).behaviour
        if behaviour is None:
            raise ConfigError(f"{device} has no failures of its own")
        behaviour.fail(how)

    def requests(self, device: str) -> int:
        """How many requests came for a device."""
        return self._line_of[self._device(device).id].requests.get(self._device(device).unit, 0)

    async def cut(self, line: str, seconds: float = 0.0) -> None:
        """Take a line away for `seconds` (a server that restarts on the same port); 0: until `mend`."""
        self.endpoint(line)
        await self.lines[line].close()
        if seconds > 0:
            await asyncio.sleep(seconds)
            await self.mend(line)

    async def mend(self, line: str) -> None:
        """Bring a line back."""
        self.endpoint(line)
        await self.lines[line].close()
        await self.lines[line].open()

    def _device(self, name: str) -> SimulatedDevice:
        if name not in self.devices:
            raise ConfigError(f"there is no device {name!r}: there is {', '.join(self.devices)}")
        return self.devices[name]

    def _require_input(self, end: str) -> None:
        name, _, channel = end.partition("/")
        if name in self.boards:
            if not self.boards[name].has(channel):
                raise ConfigError(
                    f"board {name} has no input {channel!r}: it has {', '.join(self.boards[name].names())}"
                )
        else:
            self._device(name).memory.channel(channel)

    def _follow(self, entry: Entry) -> None:
        for wire in self._wires.get((entry.device, entry.name), ()):
            loop = asyncio.get_running_loop()
            device, _, channel = wire.to.partition("/")
            timer = loop.call_later(wire.delay_s, self.set, device, channel, entry.value)
            self._timers = {one for one in self._timers if not one.cancelled() and one.when() > loop.time()}
            self._timers.add(timer)
