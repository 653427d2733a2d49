"""A Modbus unit with a profile, as a device (contract: `driver.Device`)."""

import asyncio
from collections.abc import Iterable
from difflib import get_close_matches
from math import ceil
from typing import Final

from cython_ext.clock import Clock
from cython_ext.errors import ConfigError
from firmware_bridge.driver import Channel, Outcome, Priority, Reading, missing
from firmware_bridge.profile import BIT_FUNCTIONS, Profile
from firmware_bridge.settings import MAX_HOLD_S, DeviceSettings

from . import frames, interpret, plan
from .bus import ModbusBus, Reply

_WHY_NOT_READ: Final = "not read, since the device failed a moment before"


class ModbusDevice:
    """Reads channels in as few requests as the profile allows; writes points."""

    def __init__(self, settings: DeviceSettings, profile: Profile, bus: ModbusBus, clock: Clock) -> None:
        plan.check(settings.profile, profile)
        self.id = settings.id
        self.bus = bus
        self.unit = settings.unit if settings.unit >= 0 else profile.unit
        self.profile = profile
        self.channels = tuple(
            Channel(name, one.unit, one.title, *one.range, one.read_once) for name, one in profile.channel.items()
        )
        self.points = tuple(profile.write)
        self._offset = settings.address_offset
        self._clock = clock
        self._counters = interpret.Counters()
        self._one_reader = asyncio.Lock()  # a register that reading clears has one reader at a time
        if self.unit == 0 and profile.channel:
            raise ConfigError(f"device {self.id}: unit 0 is the broadcast address, which nobody answers")

    async def read(
        self, channels: Iterable[str] | None = None, *, priority: Priority = Priority.POLL
    ) -> tuple[Reading, ...]:
        """See `driver.Device.read`. After a request without an answer the rest is MISSING at once: a dead device
        costs its bus one time-out, however many registers it has."""
        asked = list(self.profile.channel) if channels is None else list(channels)
        unknown = [one for one in asked if one not in self.profile.channel]
        if unknown:
            near = get_close_matches(unknown[0], self.profile.channel, n=1)
            hint = f"did you mean {near[0]!r}? It has" if near else "it has"
            raise ConfigError(
                f"{self.profile.title} has no channel {', '.join(unknown)}: {hint} {', '.join(self.profile.channel)}"
            )
        async with self._one_reader:
            words, why, at_ns = await self._words(asked, priority)
        return tuple(
            interpret.reading(one, self.profile.channel[one], words, self._counters, at_ns, why) for one in asked
        )

    async def _words(self, asked: list[str], priority: Priority) -> tuple[dict[tuple[int, int], int], str, int]:
        words: dict[tuple[int, int], int] = {}
        why = _WHY_NOT_READ
        at_ns = self._clock.monotonic_ns()
        for block in plan.blocks(self.profile, asked):
            address = block.address + self._offset
            if address + block.count > 65536:
                raise ConfigError(f"device {self.id}: address_offset leads beyond address 65535")
            request = frames.read(self.unit, block.function, address, block.count, once=block.once)
            reply = await self.bus.request(request, priority)
            at_ns = reply.at_ns
            if reply.ok:
                values = (
                    frames.bits_of(reply.pdu, block.count)
                    if block.function in BIT_FUNCTIONS
                    else frames.registers_of(reply.pdu)
                )
                words.update({(block.function, block.address + i): one for i, one in enumerate(values)})
                continue
            why = reply.reason
            if not reply.exception:
                break
        return words, why, at_ns

    async def write(self, point: str, value: float, *, priority: Priority = Priority.POLL) -> Outcome:
        """See `driver.Device.write`."""
        target = self.profile.write.get(point)
        if target is None:
            raise ConfigError(f"device {self.id} has no write point {point!r}: it has {', '.join(self.points)}")
        number = int(value)
        address = target.address + self._offset
        if target.function == 5:
            if number not in (0, 1) or number != value:
                raise ConfigError(f"device {self.id}: {point} is a coil and takes 0 or 1, not {value}")
            if target.on_only and number == 0:
                return Outcome(True, "nothing to do: writing 0 has no meaning", self._clock.monotonic_ns())
            request = frames.write_coil(self.unit, address, frames.COIL_ON if number else frames.COIL_OFF)
        else:
            allowed = number in target.values.values() if target.values else 0 <= number <= target.most
            if number != value or not allowed:
                raise ConfigError(f"device {self.id}: {point} cannot be written {value}")
            request = frames.write_register(self.unit, address, number)
        return _outcome(await self.bus.request(request, priority))

    async def pulse(self, point: str, hold_s: float, *, priority: Priority = Priority.POLL) -> Outcome:
        """See `driver.Device.pulse`; the time is rounded up to the device's own unit."""
        target = self.profile.write.get(point)
        if target is None:
            raise ConfigError(f"device {self.id} has no write point {point!r}: it has {', '.join(self.points)}")
        if target.pulse is None:
            return Outcome(False, f"{point} has no timer of its own", self._clock.monotonic_ns())
        count = ceil(round(hold_s / target.pulse.unit_s, 6))
        if not 0.0 < hold_s <= MAX_HOLD_S or count > target.pulse.most:
            raise ConfigError(f"device {self.id}: {point} cannot be on for {hold_s} s (0 to {MAX_HOLD_S:.0f} s)")
        request = frames.write_coil(self.unit, target.pulse.address + self._offset, count)
        return _outcome(await self.bus.request(request, priority))

    def has_timer(self, point: str) -> bool:
        """Whether `pulse` works on this point."""
        target = self.profile.write.get(point)
        return target is not None and target.pulse is not None

    def ends_alone(self, point: str) -> bool:
        """See `driver.Device.ends_alone`: the timer is the device's own."""
        return self.has_timer(point)

    def none(self, reason: str) -> tuple[Reading, ...]:
        """Every channel MISSING, for `reason`."""
        return tuple(missing(one.id, self._clock.monotonic_ns(), reason) for one in self.channels)


def _outcome(reply: Reply) -> Outcome:
    return Outcome(reply.ok, reply.reason, reply.at_ns)
