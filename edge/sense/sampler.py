"""Reads every point at its own pace, and makes packed batches of what comes (design §2; the record is the Panel's).

One task a bus, since a bus has one owner: its polls go one after another, staggered, each with a hard deadline. A device that
does not answer gives MISSING samples, never silence. A contact that changes is a sample at once, between its polls. A new plan
may read the same points at another pace and count them in another order: samples are packed, in the present order, at the moment
when they are delivered.
"""

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cython_ext import NS_PER_S, Clock, ConfigError, Status
from cython_ext.panel import pack
from firmware_bridge.driver import Device, Reading, Watchable, missing
from lanes.plan import Plan
from lanes.pulse import Pulse

from ..config import UNITLESS, Local, PointBinding
from ..troubles import Troubles

log = logging.getLogger("bucium.edge")

READ_MAX_S: Final = (
    15.0  # beyond the slowest driver's own time-out, with a queue before it; then the points are MISSING
)
LOST_POLLS: Final = 3  # polls without any value before a device counts as lost (F19: 3 polls)
OVERRUN_POLLS: Final = 3  # late polls in a row that are a trouble, and good ones that end it
CHANGES_MAX: Final = (
    1_000  # contact changes not yet judged: a second of 1 kHz bounce; the oldest go, the poll sees the end
)

Batches = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Source:
    """A point of the Panel and where its value comes from."""

    index: int
    binding: PointBinding
    period_ns: int

    def record(self, reading: Reading) -> tuple[int, int, float, int]:
        """The Panel's record: index, instant, value in the point's unit, status."""
        value = reading.value * self.binding.factor + self.binding.offset
        return self.index, reading.at_ns, value, int(reading.status)


@dataclass(eq=False, slots=True)
class Poll:
    """Points of one device that are read together."""

    device: Device
    period_ns: int
    sources: list[Source]
    silent: int = 0
    late: int = 0
    good: int = 0

    @property
    def channels(self) -> list[str]:
        return list(dict.fromkeys(source.binding.channel for source in self.sources))


def sources(local: Local, plan: Plan, devices: Mapping[str, Device]) -> list[Source]:
    """The node's points in the order of its Panel; ConfigError when a channel or a unit does not fit."""
    bindings = {binding.id: (row, binding) for row, binding in enumerate(local.config.points)}
    found = []
    once: dict[tuple[str, str], str] = {}
    for index, point in enumerate(p for p in plan.points if p.node == local.config.node.id):
        row, binding = bindings[point.id]
        channels = {channel.id: channel for channel in devices[binding.device].channels}
        channel = channels.get(binding.channel)
        if channel is None:
            raise local.error(
                f"point {point.id!r}: device {binding.device!r} has no channel {binding.channel!r}; "
                f"it has {', '.join(channels)}",
                "point",
                row,
            )
        same = binding.factor in (1.0, -1.0) and point.unit not in UNITLESS and channel.unit not in UNITLESS
        if same and point.unit != channel.unit:
            raise local.error(
                f"point {point.id!r} is in {point.unit!r} by the plan, but {binding.device}/{binding.channel} gives "
                f"{channel.unit!r}: set factor (and offset) to convert it",
                "point",
                row,
            )
        if channel.read_once and once.setdefault((binding.device, channel.id), point.id) != point.id:
            raise local.error(
                f"point {point.id!r}: reading {binding.device}/{channel.id} clears it, so that only one point can have it",
                "point",
                row,
            )
        found.append(Source(index, binding, round(point.period_s * NS_PER_S)))
    return found


@dataclass(eq=False)
class Sampler:
    """Runs until cancelled. `deliver` judges a batch; `presence(device, is there)` tells of devices lost and found."""

    sources: Iterable[Source]
    devices: Mapping[str, Device]
    clock: Clock
    deliver: Batches
    presence: Callable[[str, bool], None]
    troubles: Troubles
    pulse: Pulse
    samples: int = 0
    _changes: deque[tuple[str, Reading]] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _lost: dict[str, bool] = field(default_factory=dict)
    _replanned: dict[str, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._group(self.sources)
        self._replanned = {bus: asyncio.Event() for bus in self._polls}
        for name in {name for name, _ in self._contacts}:
            device = self.devices[name]
            if isinstance(device, Watchable):
                device.watch(self._listener(name))

    def _group(self, sources: Iterable[Source]) -> None:
        """Which points are read together, and where each is found."""
        self._present = {source.binding.id: source for source in sources}
        self._contacts: dict[tuple[str, str], list[str]] = {}  # (device, channel) → points
        grouped: dict[tuple[str, int], list[Source]] = {}
        for source in sources:
            binding = source.binding
            if binding.device not in self.devices:
                raise ConfigError(f"point {binding.id!r} is bound to device {binding.device!r}, which is not there")
            grouped.setdefault((binding.device, source.period_ns), []).append(source)
            self._contacts.setdefault((binding.device, binding.channel), []).append(binding.id)
        self._polls: dict[str, list[Poll]] = {}
        for (name, period_ns), members in grouped.items():
            device = self.devices[name]
            self._polls.setdefault(device.bus.id, []).append(Poll(device, period_ns, members))

    def replan(self, sources: list[Source]) -> None:
        """The same points of the same devices, at another pace or in another order."""
        self._group(sources)
        for event in self._replanned.values():
            event.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver_changes(), name="sampler.changes")
            for bus in self._polls:
                group.create_task(self._run_bus(bus), name=f"sampler.{bus}")

    # Polls.

    async def _run_bus(self, bus: str) -> None:
        while True:
            self._replanned[bus].clear()
            await self._run_polls(bus, self._polls[bus], self._replanned[bus])

    async def _run_polls(self, bus: str, polls: list[Poll], replanned: asyncio.Event) -> None:
        """One poll after another, until there is another plan."""
        start_ns = self.clock.monotonic_ns()
        # Staggered over each one's period, so that a bus is not asked everything at once and then nothing.
        due = [(start_ns + poll.period_ns * place // len(polls), place, poll) for place, poll in enumerate(polls)]
        heapq.heapify(due)
        while not replanned.is_set():
            due_ns, place, poll = due[0]
            now_ns = self.clock.monotonic_ns()
            self.pulse.expect(f"sampler.{bus}", max(due_ns, now_ns) + round(3 * READ_MAX_S * NS_PER_S))
            if due_ns > now_ns:
                await _pause(replanned, (due_ns - now_ns) / NS_PER_S)
                if replanned.is_set():
                    return
            await self._poll(poll)
            heapq.heapreplace(due, (self._next_ns(bus, poll, due_ns), place, poll))

    def _next_ns(self, bus: str, poll: Poll, due_ns: int) -> int:
        """The next slot that is not yet over; skipped ones are an overrun."""
        now_ns = self.clock.monotonic_ns()
        next_ns = due_ns + poll.period_ns
        if next_ns > now_ns:
            poll.late, poll.good = 0, poll.good + 1
            if poll.good == OVERRUN_POLLS:
                self.troubles.set("overrun", False, f"{bus}/{poll.device.id}")
            return next_ns
        poll.late, poll.good = poll.late + 1, 0
        if poll.late == OVERRUN_POLLS:
            self.troubles.set("overrun", True, f"{bus}/{poll.device.id}")
        return next_ns + (now_ns - next_ns) // poll.period_ns * poll.period_ns + poll.period_ns

    async def _poll(self, poll: Poll) -> None:
        channels = poll.channels
        try:
            async with asyncio.timeout(READ_MAX_S):
                readings = await poll.device.read(channels)
        except TimeoutError:
            now_ns = self.clock.monotonic_ns()
            readings = tuple(missing(channel, now_ns, f"no answer within {READ_MAX_S:.0f} s") for channel in channels)
        self._presence(poll, readings)
        by_channel = {reading.channel: reading for reading in readings}
        self.samples += len(poll.sources)
        read = ((self._present[source.binding.id], by_channel[source.binding.channel]) for source in poll.sources)
        await self.deliver(pack(source.record(reading) for source, reading in read))

    def _presence(self, poll: Poll, readings: Iterable[Reading]) -> None:
        device = poll.device.id
        silent = all(reading.status & Status.MISSING for reading in readings)
        poll.silent = poll.silent + 1 if silent else 0
        lost = poll.silent >= LOST_POLLS
        if silent and not lost:
            return
        if self._lost.get(device) != lost:
            self._lost[device] = lost
            if lost:
                log.warning("device.lost device=%s reason=%s", device, next((r.reason for r in readings), ""))
            else:
                log.info("device.online device=%s", device)
            self.presence(device, not lost)

    # Contacts.

    def _listener(self, device: str) -> Callable[[Reading], None]:
        def changed(reading: Reading) -> None:
            if (device, reading.channel) in self._contacts:
                if len(self._changes) >= CHANGES_MAX:
                    self._changes.popleft()
                self._changes.append((device, reading))
                self._changed.set()

        return changed

    async def _deliver_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._changes:
                device, reading = self._changes.popleft()
                points = self._contacts[device, reading.channel]
                await self.deliver(pack(self._present[point].record(reading) for point in points))


async def _pause(event: asyncio.Event, seconds: float) -> None:
    """So long, or until the event."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
