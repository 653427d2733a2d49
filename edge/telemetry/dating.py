"""Which wall time a sample has: one mapping from the monotonic clock for as long as the wall clock keeps to it.

A sample may be said twice, once live and once as history when nobody knows whether it arrived. Its time must then be the same to
the millisecond, since a database knows it by that; so a clock that is only being slewed does not move the mapping.
"""

from typing import Final

from cython_ext import Clock

from .births import Moment

MS_NS: Final = 1_000_000
KEPT_MS: Final = 20  # so far the wall clock may be off the mapping; much less than any sample's own delay on its bus


class Dating:
    """The mapping. `offset_ms`: wall milliseconds (UTC) less monotonic milliseconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = self._now_ms()

    def _now_ms(self) -> int:
        return self._clock.wall_us() // 1000 - self._clock.monotonic_ns() // MS_NS

    @property
    def offset_ms(self) -> int:
        now_ms = self._now_ms()
        if abs(now_ms - self._offset_ms) > KEPT_MS:
            self._offset_ms = now_ms
        return self._offset_ms

    @property
    def trusted(self) -> bool:
        """Whether anybody vouches for the wall clock now."""
        return self._clock.quality().trusted

    def moment(self) -> Moment:
        """Now, in whole milliseconds."""
        now_ms = -(-self._clock.monotonic_ns() // MS_NS)
        return Moment(now_ms * MS_NS, now_ms + self.offset_ms)


def wall_ms(at_ns: int, offset_ms: int) -> int:
    """As `Moment.wall_of`, for a mapping that was kept."""
    return max(0, -(-at_ns // MS_NS) + offset_ms)
