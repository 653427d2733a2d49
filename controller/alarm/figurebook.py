"""The figures read out, for the desk and for `bucium alarm stats`, with what the standards ask beside each."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from cython_ext import Level
from lanes.keys import Mode

from .figures import BUSY_HOUR, DAY_US, HOUR_US, KEEP_DAYS, TEN_US, Figures
from .record import Alarm

TOP: Final = 10
TARGETS: Final = {  # domain.md §4.2, as far as it is confirmed there
    "average_per_10_min": 1.0,
    "average_per_hour": 5.0,
    "average_per_day": 120.0,
    "peak_hour": 15.0,
    "peak_minute": 2.0,
    "flood_percent_of_time": 1.0,
    "chattering": 0.0,
    "stale": 5.0,
    "standing": 10.0,
    "danger_percent": 5.0,
    "alarm_percent": 15.0,
    "attention_percent": 80.0,
}


def read_out(figures: Figures, book: Iterable[Alarm], now_us: int, days: int = KEEP_DAYS) -> dict[str, Any]:
    """The figures of the last `days` (1 to 30), up to now. A figure of which nothing is known yet is None."""
    figures.advance(now_us)
    days = min(max(days, 1), KEEP_DAYS)
    start_us = max(figures.since_us, now_us - days * DAY_US)
    observed_us = max(now_us - start_us, 0)
    tens = {ten: count for ten, count in figures.tens.items() if ten * TEN_US > start_us - TEN_US}
    total = sum(tens.values())
    kept = [day for number, day in figures.days.items() if number >= start_us // DAY_US]
    levels = [sum(day.levels[place] for day in kept) for place in range(3)]
    sources = _sum(day.sources for day in kept)
    top = sources.most_common(TOP)
    standing = [alarm for alarm in book if alarm.level > Level.NORMAL and alarm.mode is Mode.LIVE]
    stale = [alarm for alarm in standing if now_us - alarm.opened_us > DAY_US]
    floods = [flood for flood in figures.floods if not flood.end_us or flood.end_us > start_us]
    flooded_us = sum((flood.end_us or now_us) - max(flood.start_us, start_us) for flood in floods)
    return {
        "now_us": now_us,
        "since_us": start_us,
        "annunciations": {
            "total": total,
            "last_10_min": figures.recent,
            "last_hour": sum(count for m, count in figures.minutes.items() if m * 60_000_000 > now_us - HOUR_US),
            "last_day": sum(count for m, count in figures.minutes.items() if m * 60_000_000 > now_us - DAY_US),
        },
        "average_per_10_min": _each(total, observed_us, TEN_US),
        "average_per_hour": _each(total, observed_us, HOUR_US),
        "average_per_day": _each(total, observed_us, DAY_US),
        "peak_10_min": max(tens.values(), default=0),
        "peak_hour": max(_hours(tens).values(), default=0),
        "peak_minute": max(figures.minutes.values(), default=0),
        "busy_hours_percent": _percent(sum(c > BUSY_HOUR for c in _hours(tens).values()), observed_us / HOUR_US),
        "flood": {
            "now": figures.flooding,
            "since_us": figures.floods[-1].start_us if figures.flooding else 0,
            "count": figures.floods[-1].count if figures.flooding else 0,
            "floods": [{"start_us": f.start_us, "end_us": f.end_us, "count": f.count} for f in floods],
        },
        "flood_percent_of_time": _percent(flooded_us, observed_us),
        "levels": {
            level.name.lower(): {"count": levels[level - 1], "percent": _percent(levels[level - 1], sum(levels))}
            for level in (Level.DANGER, Level.ALARM, Level.ATTENTION)
        },
        "chattering": _named(_sum(day.chattering for day in kept)),
        "fleeting": _named(_sum(day.fleeting for day in kept)),
        "standing": len(standing),
        "stale": [str(alarm.id) for alarm in stale],
        "top": [{"alarm": name, "count": count, "percent": _percent(count, total)} for name, count in top],
        "top_percent": _percent(sum(count for _, count in top), total),
        "targets": TARGETS,
    }


def _each(total: int, observed_us: int, unit_us: int) -> float | None:
    return round(total * unit_us / observed_us, 3) if observed_us >= unit_us else None


def _percent(part: float, whole: float) -> float | None:
    return round(100 * part / whole, 2) if whole > 0 else None


def _hours(tens: dict[int, int]) -> Counter[int]:
    hours: Counter[int] = Counter()
    for ten, count in tens.items():
        hours[ten // 6] += count
    return hours


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in counters:
        found.update(each)
    return found


def _named(counter: Counter[str]) -> list[dict[str, Any]]:
    return [{"alarm": name, "times": times} for name, times in counter.most_common(TOP)]
