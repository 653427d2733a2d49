"""Now, read once for a whole decision."""

from dataclasses import dataclass

from cython_ext import Clock


@dataclass(frozen=True, slots=True)
class Moment:
    """Both clocks at one instant, and whether the wall clock can be trusted."""

    wall_us: int
    monotonic_ns: int
    trusted: bool

    @classmethod
    def of(cls, clock: Clock) -> "Moment":
        return cls(clock.wall_us(), clock.monotonic_ns(), clock.quality().trusted)
