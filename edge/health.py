"""What the node's wall clock is worth (design §2.6), and that of the release it runs."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cython_ext import Clock, ClockQuality, ClockSource
from lanes.store import Runner

from .files import read_bytes, write_durably
from .troubles import Troubles

PERSIST_S: Final = 600.0
PROBE_S: Final = 10.0
US_PER_HOUR: Final = 3_600_000_000
BACKED_OUT: Final = "release-backed-out"  # as deploy/ansible/roles/release/files/release writes it
RTC_DRIFT: Final = 100e-6  # a board's crystal over its temperature range; twice a DS3231's worst
_TIME: Final = struct.Struct("<qq")  # the wall clock, and when it was last synchronised: UTC microseconds


@dataclass(frozen=True, slots=True)
class Persisted:
    """What the last run left: its wall clock, and when that was last synchronised (0: never)."""

    wall_us: int = 0
    synced_us: int = 0


def load_time(path: Path) -> Persisted:
    data = read_bytes(path)
    return Persisted(*_TIME.unpack(data)) if data is not None and len(data) == _TIME.size else Persisted()


class NodeClock:
    """A Clock whose wall time never starts before what is known to have been: the last run, and the build.

    `probe` asks the kernel who vouches for the wall clock; without one the inner clock's own word counts. While nobody does,
    the label is the inner clock's or the floor's, whichever is later.
    """

    def __init__(
        self,
        inner: Clock,
        *,
        floor_us: int,
        synced_us: int = 0,
        rtc_hours: float = 0.0,
        probe: Callable[[], ClockQuality] | None = None,
    ) -> None:
        self._inner = inner
        self._floor_us = floor_us
        self._start_ns = inner.monotonic_ns()
        self._rtc_us = round(rtc_hours * US_PER_HOUR)
        self._probe = probe
        self.synced_us = synced_us
        self._quality = self._ask()

    def monotonic_ns(self) -> int:
        return self._inner.monotonic_ns()

    def wall_us(self) -> int:
        wall_us = self._inner.wall_us()
        return wall_us if self._quality.trusted else max(wall_us, self._lowest_us())

    def quality(self) -> ClockQuality:
        return self._quality

    def ask(self) -> None:
        """Ask again who vouches for the wall clock."""
        self._quality = self._ask()
        if self._quality.source in (ClockSource.NTP, ClockSource.GNSS):
            self.synced_us = self._inner.wall_us()

    def _ask(self) -> ClockQuality:
        said = self._probe() if self._probe is not None else self._inner.quality()
        if said.source is not ClockSource.RTC or self._probe is None:
            return said
        # A hardware clock is as good as the last one who set it, for so long.
        age_us = self._inner.wall_us() - self.synced_us
        if self._inner.wall_us() < self._lowest_us() or not self.synced_us or not 0 <= age_us < self._rtc_us:
            return ClockQuality(ClockSource.NONE)
        return ClockQuality(ClockSource.RTC, round(age_us * RTC_DRIFT / 1000))

    def _lowest_us(self) -> int:
        return self._floor_us + (self._inner.monotonic_ns() - self._start_ns) // 1000


def build_us() -> int:
    """When this program was made: it cannot be earlier now."""
    return Path(__file__).stat().st_mtime_ns // 1000


def tell_back_out(data: Path, troubles: Troubles) -> None:
    """Tell of a release that this host has left again; its own tool leaves the note, and takes it away with the next change."""
    note = read_bytes(data / BACKED_OUT)
    if note is not None:
        troubles.set("release-backed-out", True, note.decode("ascii", "replace").strip())


async def keep_time(clock: NodeClock, path: Path, runner: Runner, troubles: Troubles) -> None:
    """Follow the clock's quality, and persist the time every 10 minutes."""
    while True:
        await save_time(clock, path, runner)
        for _ in range(round(PERSIST_S / PROBE_S)):
            clock.ask()
            troubles.set("clock-untrusted", not clock.quality().trusted)
            await asyncio.sleep(PROBE_S)


async def save_time(clock: NodeClock, path: Path, runner: Runner) -> None:
    await runner(write_durably, path, _TIME.pack(clock.wall_us(), clock.synced_us))
