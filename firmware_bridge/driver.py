"""What a bus and a device are to the rest of the node: small protocols, and the values that cross them.

A driver raises nothing on trouble: a dead slave, a noisy line or a pulled plug is a `Reading` with a Status, or an
`Outcome` that is not ok. Misuse (an unknown channel, a value that no register can hold) raises ConfigError.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from math import inf, nan
from typing import Protocol, runtime_checkable

from cython_ext.errors import ConfigError
from cython_ext.model import Status

DEMO_ROOT = "DEMO"  # plans of the demo stand under this root; real drivers refuse them (design §2.4)


class Priority(IntEnum):
    """Who goes first on a bus; lower overtakes higher."""

    SIREN = 0  # a siren's start and stop overtake every poll
    POLL = 1
    PROBE = 2  # technician's scan


@dataclass(frozen=True, slots=True)
class Channel:
    """One thing a device can measure. `low` and `high` are what the sensor can span, in `unit`."""

    id: str
    unit: str = ""
    title: str = ""
    low: float = -inf
    high: float = inf
    read_once: bool = False  # reading it clears it in the device: only its one poller may read it


@dataclass(frozen=True, slots=True)
class Reading:
    """One channel, once. `value` is nan when there is none; `reason` says in a few words why status is not OK."""

    channel: str
    value: float
    status: Status
    at_ns: int  # monotonic, when the answer was complete
    raw: tuple[int, ...] = ()  # registers or bits as they came
    reason: str = ""
    text: str = ""  # of ascii channels


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an act."""

    ok: bool
    reason: str = ""
    at_ns: int = 0


@dataclass(frozen=True, slots=True)
class BusHealth:
    """A bus, as it is now. Counters run from open."""

    connected: bool
    dead_units: tuple[int, ...] = ()  # circuit open: they did not answer lately
    requests: int = 0
    answers: int = 0
    silences: int = 0
    garbled: int = 0
    reconnects: int = 0
    reason: str = ""  # of the last failure


class Bus(Protocol):
    """One wire (or connection) with one owner. `real`: it reaches hardware, unless simulated by configuration."""

    id: str
    real: bool

    async def open(self) -> None:
        """Begin. Never raises on trouble: a bus that cannot be reached is tried again."""

    async def close(self) -> None: ...

    def health(self) -> BusHealth: ...


class Device(Protocol):
    """Something on a bus that is read and written."""

    id: str
    channels: tuple[Channel, ...]
    points: tuple[str, ...]  # what can be written: coils, relays, registers

    @property
    def bus(self) -> Bus: ...

    async def read(
        self, channels: Iterable[str] | None = None, *, priority: Priority = Priority.POLL
    ) -> tuple[Reading, ...]:
        """One Reading for each asked channel (all by default), in the order of `channels`."""

    async def write(self, point: str, value: float, *, priority: Priority = Priority.POLL) -> Outcome:
        """Write a point: 0 and 1 for relays and coils, the register's own number else."""

    async def pulse(self, point: str, hold_s: float, *, priority: Priority = Priority.POLL) -> Outcome:
        """Switch a relay on for `hold_s` by the device's own timer. Not ok where the device has none."""

    def has_timer(self, point: str) -> bool:
        """Whether `pulse` works on this point."""

    def ends_alone(self, point: str) -> bool:
        """Whether what `pulse` began ends in time though this process is dead, stands still, or has lost its bus."""


@runtime_checkable
class Watchable(Protocol):
    """A device that tells of changes between reads (contacts)."""

    def watch(self, callback: Callable[[Reading], None]) -> None: ...


def missing(channel: str, at_ns: int, reason: str) -> Reading:
    """There is no value, and why."""
    return Reading(channel, nan, Status.MISSING, at_ns, reason=reason)


def require_real_allowed(buses: Iterable[Bus], root_name: str) -> None:
    """ConfigError when the plan stands under the DEMO root and one of the buses reaches hardware (design §2.4)."""
    if root_name != DEMO_ROOT:
        return
    real = sorted(bus.id for bus in buses if bus.real)
    if real:
        raise ConfigError(
            f"the plan's root is {DEMO_ROOT}, and bus {', '.join(real)} reaches real hardware: "
            "use a plan signed for this site, or simulated buses (simulated = true, chip = 'simulated')"
        )
