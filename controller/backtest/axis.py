"""Axes: round values and round local times for ticks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor, isfinite, log10
from typing import Final
from zoneinfo import ZoneInfo

from .instants import moment

STEPS_S: Final = (60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)  # below a day; then whole days
DAYS: Final = (1, 2, 3, 7, 14, 28, 91, 182, 365, 730, 1826)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark: its place (value, or UTC microseconds) and its label."""

    at: float
    label: str


def value_ticks(low: float, high: float, count: int) -> list[Tick]:
    """About `count` round values within [low, high]."""
    step = _round_step((high - low) / max(count, 1))
    digits = max(0, -floor(log10(step) + 1e-9))
    first = ceil(low / step - 1e-9)
    return [Tick(n * step, f"{n * step:.{digits}f}") for n in range(first, floor(high / step + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def value_span(values: Sequence[float]) -> tuple[float, float]:
    """Bounds that hold all finite values, with a margin."""
    finite = [value for value in values if isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def time_ticks(from_us: int, to_us: int, zone: ZoneInfo, count: int) -> list[Tick]:
    """At most `count` round local times within; a date where the day changes, else hours and minutes."""
    wanted_s = (to_us - from_us) / 1e6 / max(count, 1)
    step_s = next((step for step in STEPS_S if step >= wanted_s), 0)
    start, end = moment(from_us, zone), moment(to_us, zone)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if step_s:
        times = _within_days(midnight, end, step_s)
    else:
        days = next((n for n in DAYS if n * 86_400 >= wanted_s), DAYS[-1])
        times = [midnight + timedelta(days=n) for n in range(0, (end - midnight).days + 2, days)]
    found = [(time, _us(time)) for time in times]
    return [
        Tick(at_us, _label(time, bool(step_s)))
        for time, at_us in found
        if from_us <= at_us <= to_us and moment(at_us, zone).hour == time.hour  # else the clock skips this hour
    ]


def _within_days(midnight: datetime, end: datetime, step_s: int) -> list[datetime]:
    """Wall times that fall on the step in each day; those that a change of the clock skips or repeats come once."""
    times = []
    for day in range((end.date() - midnight.date()).days + 1):
        begin = midnight + timedelta(days=day)
        times += [begin + timedelta(seconds=second) for second in range(0, 86_400, step_s)]
    return times


def _us(time: datetime) -> int:
    return round(time.timestamp() * 1e6)


def _label(time: datetime, hours: bool) -> str:
    date = f"{time.day} {_MONTHS[time.month - 1]}"
    if not hours:
        return date if time.month > 1 or time.day > 1 else f"{date} {time.year}"
    return date if (time.hour, time.minute) == (0, 0) else f"{time.hour:02}:{time.minute:02}"
