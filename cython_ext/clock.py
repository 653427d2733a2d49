"""Clocks: the one place where time is read. Everything else takes time as an argument or is given a Clock.

Intervals are monotonic; the wall clock only labels, and says how far it can be trusted (design §2.6, rule 3 of §6).
"""

import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class ClockSource(IntEnum):
    """Where the wall clock's time came from, worst first."""

    NONE = 0  # nobody vouches for it: built-in or persisted time only
    RTC = 1
    NTP = 2
    GNSS = 3


@dataclass(frozen=True, slots=True)
class ClockQuality:
    """How far the wall clock can be trusted: its source, and an estimate of its error in milliseconds."""

    source: ClockSource
    error_ms: int = 0

    @property
    def trusted(self) -> bool:
        return self.source is not ClockSource.NONE


class Clock(Protocol):
    """Time, injected. A simulator gives its own."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary origin; never steps back within one boot id."""

    def wall_us(self) -> int:
        """UTC microseconds since 1970, as good as `quality` says."""

    def quality(self) -> ClockQuality: ...


class SystemClock:
    """The machine's clock. `quality` is what the service that watches synchronisation last said."""

    def __init__(self, quality: ClockQuality | None = None) -> None:
        self._quality = quality or ClockQuality(ClockSource.NONE)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def quality(self) -> ClockQuality:
        return self._quality

    def trust(self, quality: ClockQuality) -> None:
        """Record what is now known of the wall clock."""
        self._quality = quality
