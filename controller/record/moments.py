"""The controller's clock: it stands still while one input is handled, so that every row that follows from it has one time.

That is what makes the journal replayable: whatever the code asked the clock while it handled a report, an act or a tick stands in
the rows that came of it, to the nanosecond. No two inputs share a monotonic time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cython_ext import Clock, ClockQuality


class Moments:
    """A clock that `hold` stops."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: tuple[int, int] | None = None
        self._last_ns = 0

    def monotonic_ns(self) -> int:
        return self._held[0] if self._held else max(self._clock.monotonic_ns(), self._last_ns)

    def wall_us(self) -> int:
        return self._held[1] if self._held else self._clock.wall_us()

    def quality(self) -> ClockQuality:
        return self._clock.quality()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """One input. Within another it is part of that."""
        if self._held is not None:
            yield
            return
        self._last_ns = max(self._clock.monotonic_ns(), self._last_ns + 1)
        self._held = self._last_ns, self._clock.wall_us()
        try:
            yield
        finally:
            self._held = None
