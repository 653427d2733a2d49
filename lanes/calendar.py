"""Days and minutes that come again: silent tests and exercises, in a zone's own time (design §2.6).

    HH:MM daily                  every day
    HH:MM monday thursday        these days of each week
    HH:MM first wednesday        first, second, third, fourth or last of a month

A minute that the clocks skip in spring happens at the next minute that there is; one that they repeat in autumn happens once,
the first time.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NTH: Final = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
FORM: Final = 'write "03:10 daily", "03:10 monday thursday" or "10:00 first wednesday"'
FAR_DAYS: Final = 70  # two "first wednesdays" are at most 35 days apart; a date-line change may swallow one
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Calendar:
    """When. `days` count from Monday, 0; `nth`: which of them in a month, 0: each."""

    at: time
    days: frozenset[int]
    nth: int = 0

    @classmethod
    def parse(cls, text: str) -> "Calendar":
        """The calendar of this text; ValueError says how it is written."""
        clock, *words = text.split() or [""]
        found = _CLOCK.fullmatch(clock)
        if found is None or not words:
            raise ValueError(f"{text[:60]!r} is no calendar: {FORM}")
        nth = NTH.get(words[0], 0)
        named = words[1:] if nth else words
        if named == ["daily"] and not nth:
            named = list(DAYS)
        if not named or (nth and len(named) != 1) or not set(named) <= set(DAYS):
            raise ValueError(f"{text[:60]!r} is no calendar: {FORM}")
        return cls(time(int(found[1]), int(found[2])), frozenset(map(DAYS.index, named)), nth)

    def on(self, day: date) -> bool:
        """Whether this local day has it."""
        if day.weekday() not in self.days:
            return False
        if self.nth > 0:
            return (day.day - 1) // 7 + 1 == self.nth
        return self.nth == 0 or (day + timedelta(days=7)).month != day.month

    def instant_us(self, day: date, zone: ZoneInfo) -> int:
        """The day's instant, UTC microseconds."""
        wanted = datetime.combine(day, self.at)
        while (found := _valid(wanted, zone)) is None:
            wanted += timedelta(minutes=1)
        return (found - _EPOCH) // timedelta(microseconds=1)

    def last_us(self, now_us: int, zone: ZoneInfo) -> int:
        """The latest instant that is not after `now_us`; 0: there is none."""
        today = _day(now_us, zone)
        for back in range(-1, FAR_DAYS):
            day = today - timedelta(days=back)
            if self.on(day) and (found := self.instant_us(day, zone)) <= now_us:
                return found
        return 0

    def next_us(self, now_us: int, zone: ZoneInfo) -> int:
        """The first instant after `now_us`."""
        today = _day(now_us, zone)
        for ahead in range(-1, FAR_DAYS):
            day = today + timedelta(days=ahead)
            if self.on(day) and (found := self.instant_us(day, zone)) > now_us:
                return found
        raise AssertionError("every calendar comes again within five weeks")

    def near_us(self, now_us: int, zone: ZoneInfo, within_us: int) -> int:
        """The instant that is at most `within_us` away from now; 0: there is none."""
        last_us = self.last_us(now_us, zone)
        if last_us and now_us - last_us <= within_us:
            return last_us
        next_us = self.next_us(now_us, zone)
        return next_us if next_us - now_us <= within_us else 0


def _valid(wanted: datetime, zone: ZoneInfo) -> datetime | None:
    """This local minute in UTC, the first of two; None when the clocks skip it."""
    found = wanted.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return found if found.astimezone(zone).replace(tzinfo=None) == wanted else None


def _day(now_us: int, zone: ZoneInfo) -> date:
    return (_EPOCH + timedelta(microseconds=now_us)).astimezone(zone).date()
