"""Time under the test's hand: a clock that moves only when told, and an event loop that runs on it.

`VirtualLoop` jumps straight to the next timer, so that hours pass in milliseconds and the same program gives the same trace
(reliability.md §0.10). The clock and the loop share one time.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from cython_ext import ClockQuality, ClockSource

T = TypeVar("T")
START_WALL_US = 1_767_322_800_000_000  # 2026-01-02 03:00:00 UTC
START_MONOTONIC_NS = 1_000_000_000_000


class ManualClock:
    """A clock that stands still until `advance`."""

    def __init__(self, wall_us: int = START_WALL_US, quality: ClockQuality | None = None) -> None:
        self._monotonic_ns = START_MONOTONIC_NS
        self._wall_us = wall_us
        self._quality = quality or ClockQuality(ClockSource.NTP, 5)

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def wall_us(self) -> int:
        return self._wall_us

    def quality(self) -> ClockQuality:
        return self._quality

    def trust(self, quality: ClockQuality) -> None:
        self._quality = quality

    def advance(self, seconds: float) -> None:
        """Both clocks move on."""
        self._monotonic_ns += round(seconds * 1e9)
        self._wall_us += round(seconds * 1e6)

    def step_wall(self, seconds: float) -> None:
        """Only the wall clock jumps."""
        self._wall_us += round(seconds * 1e6)


class _Jump(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """A selector that, instead of waiting, moves the loop's clock to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: ManualClock = ManualClock()
        self.real_files = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            # Nothing is scheduled: only another thread or process could wake us, or the test is stuck for ever.
            return super().select(5.0) or self._stuck()
        self.clock.advance(max(timeout, 1e-9))
        return []

    def _stuck(self) -> Any:
        raise RuntimeError("the virtual loop waits for something that nothing will bring")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose time is a ManualClock. No real sockets or threads within."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.selector = _Jump()
        super().__init__(self.selector)
        self.clock = clock or ManualClock()
        self.selector.clock = self.clock
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.clock.monotonic_ns() / 1e9


def run_virtual(main: Coroutine[Any, Any, T], clock: ManualClock | None = None) -> T:
    """Run `main` to its end in virtual time."""
    loop = VirtualLoop(clock)
    try:
        return loop.run_until_complete(asyncio.wait_for(main, 10 * 86400))
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
