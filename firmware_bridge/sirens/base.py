"""What all sirens share: one act at a time, the feedback, the supervision, the dead man's timer."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from cython_ext.clock import Clock
from cython_ext.errors import ConfigError
from cython_ext.model import Status
from firmware_bridge.driver import Device, Outcome, Priority, Reading
from firmware_bridge.settings import MAX_HOLD_S, SoundSettings

from .driver import DEAD_MAN_S, END_S, Proof, SirenStatus, Supervised
from .mode import Mode

SHORT_S: Final = 0.05  # how much too early a programmed sound may end: what a pattern's switches may be off


@dataclass(frozen=True, slots=True)
class Watched:
    """A channel, and what means yes (it sounds; all is well): one value, or a span."""

    device: Device
    channel: str
    good: float | None = None
    least: float = -inf
    most: float = inf
    sounding: bool = False  # says something only while the siren sounds

    def says(self, value: float) -> bool:
        """Whether this value means yes."""
        return value == self.good if self.good is not None else self.least <= value <= self.most

    @property
    def unit(self) -> str:
        return next((one.unit for one in self.device.channels if one.id == self.channel), "")


class BaseSiren:
    """The common half of a siren driver; `_silence` and `_sound` are the other."""

    can_quiet_test = False

    def __init__(
        self,
        name: str,
        device: Device,
        modes: frozenset[Mode],
        feedback: Watched | None,
        proof_within_s: float,
        supervision: Mapping[str, Watched],
        clock: Clock,
        sounds: tuple[SoundSettings, ...] = (),
    ) -> None:
        self.id = name
        self.real = device.bus.real
        self.modes = modes
        self.can_prove = feedback is not None
        self.hears = feedback is not None
        self.proof_within_s = proof_within_s
        self._device = device
        self._feedback = feedback
        self._supervision = supervision
        self._clock = clock
        self._sounds = sounds
        self._one_act = asyncio.Lock()
        self._dead_man: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Outcome]] = set()

    def can_sound(self, mode: Mode, sound_s: float) -> bool:
        return mode in self.modes and (self._told(mode) or self.own_end_s(mode, sound_s) is not None)

    def own_end_s(self, mode: Mode, sound_s: float) -> float | None:
        if mode not in self.modes or self._told(mode):
            return None
        ends = [one.own_end_s for one in self._sounds if one.mode is mode]
        return min((end for end in ends if sound_s - SHORT_S <= end <= sound_s + END_S), default=None)

    def _told(self, mode: Mode) -> bool:
        """A timer that outlives us is told each time how long the sound of this mode may last."""
        raise AssertionError("each siren has its own")

    def _ending(self, mode: Mode, hold_s: float) -> SoundSettings | None:
        """The sound that ends next after what is left of its segment, and in time; a start that comes late has less left."""
        left_s = hold_s - DEAD_MAN_S
        found = [one for one in self._sounds if one.mode is mode and abs(one.own_end_s - left_s) <= END_S]
        return min(found, key=lambda one: (one.own_end_s < left_s - SHORT_S, abs(one.own_end_s - left_s)), default=None)

    async def open(self) -> None:
        await self.off()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.off()

    async def arm(self) -> Outcome:
        return Outcome(True, "needs no arming", self._clock.monotonic_ns())

    async def start(self, mode: Mode, hold_s: float) -> Outcome:
        if mode not in self.modes:
            raise ConfigError(f"siren {self.id} has no mode {mode}: it has {', '.join(sorted(self.modes)) or 'none'}")
        if not 0.0 < hold_s <= MAX_HOLD_S:
            raise ConfigError(f"siren {self.id}: cannot sound for {hold_s} s (0 to {MAX_HOLD_S:.0f} s at a time)")
        if not self._told(mode) and self._ending(mode, hold_s) is None:
            return Outcome(False, "nothing would end it in time", self._clock.monotonic_ns())
        async with self._one_act:
            self._disarm_dead_man()
            self._dead_man = asyncio.get_running_loop().call_later(hold_s, self._expire)
            return await self._sound(mode, hold_s)

    async def off(self) -> Outcome:
        async with self._one_act:
            self._disarm_dead_man()
            return await self._silence()

    async def measure(self) -> Proof | None:
        if self._feedback is None:
            return None
        (reading,) = await self._feedback.device.read([self._feedback.channel])
        source = f"{self._feedback.device.id}/{self._feedback.channel}"
        if reading.status & ~Status.TEST:
            return Proof(None, source, reading.at_ns, reading.reason)
        return Proof(self._feedback.says(reading.value), source, reading.at_ns)

    async def quiet_test(self) -> Outcome:
        async with self._one_act:
            driven = await self._drive_quietly()
        if not driven.ok:
            return Outcome(False, "driver", driven.at_ns)
        status = await self.status()
        if self.can_quiet_test:  # a siren may count its own silent test as an activation: let it forget that
            status = replace(status, proof=None)
            await self.off()
        why = fault_of(status)
        return Outcome(not why, why, self._clock.monotonic_ns())

    async def status(self) -> SirenStatus:
        proof = await self.measure()
        supervised = {}
        for device in dict.fromkeys(watched.device for watched in self._supervision.values()):
            names = [name for name, watched in self._supervision.items() if watched.device is device]
            channels = list(dict.fromkeys(self._supervision[name].channel for name in names))
            readings = dict(zip(channels, await device.read(channels), strict=True))
            for name in names:
                supervised[name] = _supervised(self._supervision[name], readings)
        return SirenStatus(await self._reachable(), proof, supervised)

    async def _drive_quietly(self) -> Outcome:
        """The siren's own silent test; nothing where it has none."""
        return Outcome(True, at_ns=self._clock.monotonic_ns())

    async def _sound(self, mode: Mode, hold_s: float) -> Outcome:
        raise AssertionError("each siren has its own")

    async def _silence(self) -> Outcome:
        raise AssertionError("each siren has its own")

    async def _reachable(self) -> bool:
        """The device answers: something of it can be read."""
        first = next((one.id for one in self._device.channels if not one.read_once), None)
        if first is None:
            return self._device.bus.health().connected
        (reading,) = await self._device.read([first])
        return not reading.status & Status.MISSING

    async def _write(self, point: str, value: float) -> Outcome:
        return await self._device.write(point, value, priority=Priority.SIREN)

    def _disarm_dead_man(self) -> None:
        if self._dead_man is not None:
            self._dead_man.cancel()
            self._dead_man = None

    def _expire(self) -> None:
        self._dead_man = None
        task = asyncio.get_running_loop().create_task(self.off(), name=f"siren {self.id}: hold ran out")
        self._tasks.add(task)  # asyncio keeps only weak references
        task.add_done_callback(self._tasks.discard)


def _supervised(watched: Watched, readings: Mapping[str, Reading]) -> Supervised:
    reading = readings[watched.channel]
    good = None if reading.status & ~Status.TEST else watched.says(reading.value)
    return Supervised(good, reading, watched.unit, watched.sounding)


def fault_of(status: SirenStatus) -> str:
    """What a look at a silent siren finds wrong first; empty when all is well."""
    if not status.reachable:
        return "unreachable"
    if status.proof is not None and status.proof.sounding is not False:
        return "not-seen" if status.proof.sounding is None else "sounding"
    points = [(name, one.good) for name, one in status.supervised.items() if not one.sounding]
    if bad := next((name for name, good in points if good is False), ""):
        return bad
    return "not-seen" if any(good is None for _, good in points) else ""


def worst(outcomes: list[Outcome], at_ns: int) -> Outcome:
    """Ok when all are; else the reasons."""
    reasons = [one.reason for one in outcomes if not one.ok]
    return Outcome(not reasons, "; ".join(dict.fromkeys(reasons)), at_ns)
