"""When a calendar of the plan was last due, and is due next; found anew only when that changes."""

from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from lanes.calendar import Calendar


@dataclass(frozen=True, slots=True)
class Due:
    """UTC microseconds; `before_us` ≤ `last_us` ≤ now < `next_us`; 0: there was none."""

    before_us: int
    last_us: int
    next_us: int


class Occasions:
    """For any number of calendars and time zones."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Due] = {}

    def due(self, text: str, timezone: str, now_us: int) -> Due:
        """Of the calendar `text` in this time zone, as of now."""
        known = self._known.get((text, timezone))
        if known is not None and known.last_us <= now_us < known.next_us:
            return known
        calendar, zone = read(text), ZoneInfo(timezone)
        last_us = calendar.last_us(now_us, zone)
        before_us = calendar.last_us(last_us - 1, zone) if last_us else 0
        found = self._known[text, timezone] = Due(before_us, last_us, calendar.next_us(now_us, zone))
        return found


@lru_cache(maxsize=256)
def read(text: str) -> Calendar:
    """The calendar of a text that the plan has checked."""
    return Calendar.parse(text)
