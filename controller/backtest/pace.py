"""How often a recording has a value, beside how often the plan reads: a coarse recording is judged at its own pace.

A point that the plan reads each 10 s and calls stale after 60 s would be stale between any two values of a recording that has one
each 5 minutes. So its period becomes the recording's, and `stale` keeps the number of missed readings that it stands for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from cython_ext import NS_PER_S, PointConfig

from .recording import Sample

COARSER: Final = 1.5  # times the plan's period before the recording's own pace is taken: less is jitter
INTERVALS_MIN: Final = 3  # of one point, before its pace is known
RATE_VALUES: Final = 4  # the robust rate is known from four values on (cython_ext/README.md §4)


@dataclass(frozen=True, slots=True)
class Paced:
    """A point as it is judged here. `recorded_ns` 0: not known. `adapted`: not at the plan's own pace."""

    config: PointConfig
    recorded_ns: int
    adapted: bool

    @property
    def rate_unknown(self) -> bool:
        """Whether a Level hangs on a rate of rise that so few values can never give."""
        wanted = any(level.rate_at == level.rate_at for level in self.config.levels)
        return wanted and self.config.rate_window_ns < (RATE_VALUES - 1) * self.config.period_ns


def paces(samples: Iterable[Sample], count: int) -> list[int]:
    """The median interval in ns of each of `count` points; 0: too few samples."""
    last: list[int | None] = [None] * count
    intervals: list[list[int]] = [[] for _ in range(count)]
    for at_us, place, _, _ in samples:
        before = last[place]
        if before is not None and at_us > before:
            intervals[place].append(at_us - before)
        last[place] = at_us
    return [round(median(each) * 1000) if len(each) >= INTERVALS_MIN else 0 for each in intervals]


def pace(config: PointConfig, recorded_ns: int, *, given_s: float | None, as_planned: bool) -> Paced:
    """`given_s`: the pace that a person asks for; `as_planned`: the plan's, whatever the recording has."""
    wanted_ns = round(given_s * NS_PER_S) if given_s else recorded_ns
    coarse = given_s is not None or wanted_ns > COARSER * config.period_ns
    if as_planned or not wanted_ns or not coarse:
        return Paced(config, recorded_ns, False)
    stale_ns = config.stale_ns * wanted_ns // config.period_ns
    return Paced(replace(config, period_ns=wanted_ns, stale_ns=stale_ns), recorded_ns, wanted_ns != config.period_ns)
