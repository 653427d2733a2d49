"""The lines of this board as a bus, and contacts and relays as devices on it (contracts: `driver.Bus`, `driver.Device`).

An input reads 1 while it is active and has stood for its debounce time; before that it is MISSING (at start) or its
former state. Relays are OFF when the lines are taken and when they are let go. A chip that cannot be opened, or breaks,
is opened again with the next read or write, at most once in `REOPEN_S`; relays are OFF after that too.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from cython_ext.clock import Clock
from cython_ext.errors import ConfigError
from cython_ext.model import NS_PER_S, Status
from firmware_bridge.driver import BusHealth, Channel, Outcome, Priority, Reading, missing
from firmware_bridge.settings import MAX_HOLD_S, DeviceSettings, GpioBus, InputSettings

from .chip import Chip, InputLine, OutputLine, TimedChip
from .debounce import Debounce

REOPEN_S: Final = 1.0
R = TypeVar("R")


class Gpio:
    """The bus: one chip, and who listens to which line."""

    def __init__(self, settings: GpioBus, chip: Chip, clock: Clock) -> None:
        self.id = settings.id
        self.real = chip.real
        self.chip = chip
        self.clock = clock
        self._keeper = settings.keeper
        self._inputs: list[InputLine] = []
        self._outputs: list[OutputLine] = []
        self._listeners: dict[str, Callable[[bool, int], None]] = {}
        self._at_close: list[Callable[[], None]] = []
        self._wanted = False
        self._open = False
        self._tried_ns: int | None = None
        self._opening = asyncio.Lock()
        self._reason = "not open"
        self._requests = self._answers = self._opened = 0

    def add(self, inputs: Iterable[InputLine], outputs: Iterable[OutputLine]) -> None:
        """Lines of a device; before open. ConfigError when a line is used twice."""
        self._inputs += inputs
        self._outputs += outputs
        names = [one.name for one in self._inputs] + [one.name for one in self._outputs]
        twice = sorted({one for one in names if names.count(one) > 1})
        if twice:
            raise ConfigError(f"bus {self.id}: line {', '.join(twice)} is used by two devices")
        self.chip.require_names(names)

    def listen(self, line: str, callback: Callable[[bool, int], None]) -> None:
        """Call `callback(level, at_ns)` at each edge of `line`."""
        self._listeners[line] = callback

    def at_close(self, callback: Callable[[], None]) -> None:
        """Call `callback` before the lines are let go."""
        self._at_close.append(callback)

    @property
    def keeps(self) -> bool:
        """Whether relays are let go in time though this process stands still."""
        return self._keeper and isinstance(self.chip, TimedChip)

    async def open(self) -> None:
        self._wanted = True
        await self._ensure()

    async def close(self) -> None:
        self._wanted = False
        self._open = False
        for callback in self._at_close:
            callback()
        await self.chip.close()

    def health(self) -> BusHealth:
        return BusHealth(
            self._open, requests=self._requests, answers=self._answers, reconnects=self._opened, reason=self._reason
        )

    async def read(self, line: str) -> bool:
        """The line's level; OSError on trouble."""
        return await self._do(self.chip.read, line)

    async def write(self, line: str, high: bool, hold_s: float = 0.0) -> None:
        """OSError on trouble. `hold_s`: how long at most, where the chip itself can see to it; 0: no end."""
        chip = self.chip
        if self._keeper and isinstance(chip, TimedChip):
            await self._do(lambda name: chip.write_for(name, high, hold_s), line)
        else:
            await self._do(lambda name: chip.write(name, high), line)

    async def _do(self, act: Callable[[str], Awaitable[R]], line: str) -> R:
        self._requests += 1
        if not self._open and not await self._ensure():
            raise OSError(self._reason)
        try:
            result = await act(line)
        except OSError as error:
            self._open = False
            self._reason = str(error)
            raise
        self._answers += 1
        return result

    async def _ensure(self) -> bool:
        """Open the chip unless that was tried a moment ago."""
        async with self._opening:
            now_ns = self.clock.monotonic_ns()
            if self._open or not self._wanted:
                return self._open
            if self._tried_ns is not None and now_ns - self._tried_ns < REOPEN_S * NS_PER_S:
                return False
            self._tried_ns = now_ns
            await self.chip.close()  # what a broken chip still holds would be in the way
            try:
                await self.chip.open(self._inputs, self._outputs, self._edge)
            except OSError as error:
                self._reason = str(error)
                return False
            self._open = True
            self._reason = ""
            await self._first_levels()
            self._opened += 1
            return True

    async def _first_levels(self) -> None:
        """A contact's debounce begins now, not with the first read."""
        for line, listener in self._listeners.items():
            with contextlib.suppress(OSError):  # the read that follows says it
                listener(await self.chip.read(line), self.clock.monotonic_ns())

    def _edge(self, line: str, level: bool, at_ns: int) -> None:
        if line in self._listeners:
            self._listeners[line](level, at_ns)


class _Contact:
    """An input with its debounce, and the timer that ends it."""

    def __init__(self, settings: InputSettings, bus: Gpio, changed: Callable[[str, int], None]) -> None:
        self.settings = settings
        self.debounce = Debounce(int(settings.debounce_s * NS_PER_S))
        self._bus = bus
        self._changed = changed
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, level: bool, at_ns: int) -> None:
        """A level, from an edge or a read."""
        changed = self.debounce.feed(level is not self.settings.active_low, at_ns)
        self._after(changed, at_ns)

    def _after(self, changed: bool, at_ns: int) -> None:
        if changed:
            self._changed(self.settings.channel, at_ns)
        due_ns = self.debounce.due_ns
        if self._timer is None and due_ns is not None:
            wait_s = max(0.0, (due_ns - self._bus.clock.monotonic_ns()) / NS_PER_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._settle)

    def _settle(self) -> None:
        self._timer = None
        now_ns = self._bus.clock.monotonic_ns()
        self._after(self.debounce.settle(now_ns), now_ns)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class GpioDevice:
    """Contacts and relays under one id."""

    def __init__(self, settings: DeviceSettings, bus: Gpio, clock: Clock) -> None:
        self.id = settings.id
        self.bus = bus
        self._clock = clock
        self._watchers: list[Callable[[Reading], None]] = []
        self._contacts = {one.channel: _Contact(one, bus, self._changed) for one in settings.input}
        self._relays = {one.point: one for one in settings.output}
        self._off_timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.channels = tuple(Channel(one, title="1 while active", low=0.0, high=1.0) for one in self._contacts)
        self.points = tuple(self._relays)
        bus.add(
            [InputLine(one.line, one.pull, int(one.debounce_s * NS_PER_S)) for one in settings.input],
            [OutputLine(one.line, rest=one.active_low) for one in settings.output],
        )
        for contact in self._contacts.values():
            bus.listen(contact.settings.line, contact.feed)
        bus.at_close(self._stop)

    def watch(self, callback: Callable[[Reading], None]) -> None:
        """Be called with a Reading at every debounced change."""
        self._watchers.append(callback)

    async def read(
        self, channels: Iterable[str] | None = None, *, priority: Priority = Priority.POLL
    ) -> tuple[Reading, ...]:
        """See `driver.Device.read`. The level is read each time: a lost edge is made good here."""
        del priority  # lines do not queue
        asked = list(self._contacts) if channels is None else list(channels)
        unknown = [one for one in asked if one not in self._contacts]
        if unknown:
            raise ConfigError(f"device {self.id} has no input {', '.join(unknown)}: it has {', '.join(self._contacts)}")
        return tuple([await self._read(one) for one in asked])

    async def _read(self, channel: str) -> Reading:
        contact = self._contacts[channel]
        try:
            level = await self.bus.read(contact.settings.line)
        except OSError as error:
            return missing(channel, self._clock.monotonic_ns(), str(error))
        contact.feed(level, self._clock.monotonic_ns())
        return self._reading(channel, self._clock.monotonic_ns())

    def _reading(self, channel: str, at_ns: int) -> Reading:
        state = self._contacts[channel].debounce.state
        if state is None:
            return missing(channel, at_ns, "the contact has not stood still for its debounce time yet")
        return Reading(channel, float(state), Status.OK, at_ns, (int(state),))

    def _changed(self, channel: str, at_ns: int) -> None:
        for watcher in self._watchers:
            watcher(self._reading(channel, at_ns))

    async def write(self, point: str, value: float, *, priority: Priority = Priority.POLL) -> Outcome:
        """See `driver.Device.write`: 1 pulls the relay, 0 lets it off."""
        del priority
        return await self._set(point, value, 0.0)

    async def _set(self, point: str, value: float, hold_s: float) -> Outcome:
        relay = self._relays.get(point)
        if relay is None or value not in (0, 1):
            raise ConfigError(f"device {self.id}: {point} = {value}: relays {', '.join(self._relays)} take 0 or 1")
        timer = self._off_timers.pop(point, None)
        if timer is not None:
            timer.cancel()
        try:
            await self.bus.write(relay.line, bool(value) is not relay.active_low, hold_s)
        except OSError as error:
            return Outcome(False, str(error), self._clock.monotonic_ns())
        return Outcome(True, at_ns=self._clock.monotonic_ns())

    async def pulse(self, point: str, hold_s: float, *, priority: Priority = Priority.POLL) -> Outcome:
        """On, and off again after `hold_s` by a timer of this process, and by the chip's own keeper should it stand still."""
        del priority
        if not 0.0 < hold_s <= MAX_HOLD_S:
            raise ConfigError(f"device {self.id}: {point} cannot be on for {hold_s} s (0 to {MAX_HOLD_S:.0f} s)")
        outcome = await self._set(point, 1, hold_s)
        if outcome.ok:
            loop = asyncio.get_running_loop()
            self._off_timers[point] = loop.call_later(hold_s, self._expire, point)
        return outcome

    def _expire(self, point: str) -> None:
        self._off_timers.pop(point, None)
        task = asyncio.get_running_loop().create_task(self._off(point), name=f"{self.id} {point} off")
        self._tasks.add(task)  # asyncio keeps only weak references
        task.add_done_callback(self._tasks.discard)

    async def _off(self, point: str) -> None:
        while True:
            outcome = await self.write(point, 0)
            if outcome.ok:
                return
            await asyncio.sleep(REOPEN_S)  # the line is lost: opening it again lets the relay off too

    def has_timer(self, point: str) -> bool:
        """Whether `pulse` works on this point."""
        return point in self._relays

    def ends_alone(self, point: str) -> bool:
        """See `driver.Device.ends_alone`: when a keeper holds the line, or the board is only in this process."""
        return point in self._relays and self.bus.keeps

    def _stop(self) -> None:
        """End the timers; the bus's close lets the relays off."""
        for task in self._tasks:
            task.cancel()
        for timer in self._off_timers.values():
            timer.cancel()
        self._off_timers.clear()
        for contact in self._contacts.values():
            contact.stop()
