"""What a technician asks of a bus: who is there, what does it measure, what changes. Plain functions for the command line.

They open nothing: give them an open bus (`factory.open_bus`, then `open()`). A register that reading clears is left
alone unless `destructive` says that nobody counts with it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Final

from cython_ext.clock import Clock
from cython_ext.model import Status

from .driver import Channel, Device, Priority, Reading
from .modbus import frames
from .modbus.bus import ModbusBus
from .modbus.plan import blocks
from .profile import Profile
from .settings import DeviceSettings

UNITS: Final = range(1, 248)


@dataclass(frozen=True, slots=True)
class Row:
    """One channel for people: value with its unit, quality, and the registers behind it."""

    channel: str
    title: str
    value: float
    text: str
    unit: str
    quality: str  # "ok", or the status in words
    reason: str
    raw: tuple[int, ...]
    at_ns: int


@dataclass(frozen=True, slots=True)
class Present:
    """A unit that answered a scan, and how: "answers" or the exception."""

    unit: int
    how: str


async def scan(bus: ModbusBus, units: Iterable[int] = UNITS, profile: Profile | None = None) -> AsyncIterator[Present]:
    """Ask each unit once; yields those that answer. With a profile its first registers are asked for, else FC03 0.

    Any answer counts, an exception too. The polls of the node overtake a scan.
    """
    first = None
    if profile is not None:
        names = [name for name, one in profile.channel.items() if not one.read_once]
        first = next(iter(blocks(profile, names)), None) if names else None
    for unit in units:
        request = frames.read(unit, first.function, first.address, first.count) if first else frames.read(unit, 3, 0, 1)
        reply = await bus.request(request, Priority.PROBE)
        if reply.ok:
            yield Present(unit, "answers")
        elif reply.exception:
            yield Present(unit, reply.reason)


def device(bus: ModbusBus, profile: Profile, clock: Clock, *, unit: int = -1, address_offset: int = 0) -> Device:
    """A device to read and watch, without a configuration."""
    from .modbus.device import ModbusDevice

    settings = DeviceSettings(id="device", bus=bus.id, unit=unit, profile=profile.title, address_offset=address_offset)
    return ModbusDevice(settings, profile, bus, clock)


async def read(source: Device, channels: Iterable[str] | None = None, *, destructive: bool = False) -> list[Row]:
    """Each channel once."""
    asked = list(channels) if channels is not None else [one.id for one in source.channels]
    keep = {one.id for one in source.channels if destructive or not one.read_once}
    known = {one.id for one in source.channels}
    readings = await source.read([one for one in asked if one in keep or one not in known])
    return [row(source, one) for one in readings]


async def watch(
    source: Device, channels: Iterable[str] | None = None, *, period_s: float = 1.0, destructive: bool = False
) -> AsyncIterator[list[Row]]:
    """`read`, again and again."""
    asked = list(channels) if channels is not None else None
    while True:
        yield await read(source, asked, destructive=destructive)
        await asyncio.sleep(period_s)


def row(source: Device, reading: Reading) -> Row:
    """A reading, for people."""
    channel = next(one for one in source.channels if one.id == reading.channel)
    names = [one.name.lower().replace("_", " ") for one in Status if one in reading.status and one.name]
    return Row(
        channel=reading.channel,
        title=channel.title,
        value=reading.value,
        text=reading.text,
        unit=channel.unit,
        quality=", ".join(names) or "ok",
        reason=reading.reason or _beyond(channel, reading.value),
        raw=reading.raw,
        at_ns=reading.at_ns,
    )


def _beyond(channel: Channel, value: float) -> str:
    """What a technician should know of a value that the device vouches for, and that this channel cannot have."""
    if isnan(value) or channel.low <= value <= channel.high:
        return ""
    return f"beyond {channel.low:g} to {channel.high:g}, which this channel can be: another device or word order?"


def silence(rows: Sequence[Row]) -> str:
    """The one reason why a device said nothing at all; empty when it said something, or for different reasons."""
    reasons = {row.reason for row in rows if row.quality == "missing"}
    return reasons.pop() if len(reasons) == 1 and all(row.quality == "missing" for row in rows) else ""
