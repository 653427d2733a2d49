"""The figures by which an alarm system is judged: EEMUA 191 and ISA-18.2 (domain.md §4.2), over at most 30 days.

An *annunciation* is an alarm that asks for a person anew: it has come, has come again, or has got worse. Exercises and tests, and
what is muted, annunciate nothing.

    flood        begins with more than 10 annunciations in 10 minutes, ends when fewer than 5 are left in them
    chattering   a danger that begins 3 times in one minute
    fleeting     a danger that is over within one minute
    stale        a danger that has lasted for more than 24 h; standing: every danger that lasts

Fed with each alarm after each change, live and from the journal, so the figures are the same after a restart. Times are the
alarm's own wall times, UTC microseconds; a clock that is set back only blurs the tens of minutes that it touches.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

from cython_ext import Level

from .life import State

MINUTE_US: Final = 60_000_000
TEN_US: Final = 10 * MINUTE_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
KEEP_DAYS: Final = 30
FLOOD_OVER: Final = 10  # annunciations in 10 min begin a flood
FLOOD_UNDER: Final = 5  # fewer end it
RECENT_MAX: Final = 20_000  # a storm of 5,000 alarms, each told four times
FLOODS_MAX: Final = 500
CHATTER_TIMES: Final = 3
SOURCES_MAX: Final = 1_000  # of one day; beyond it a source is only counted in the total
BUSY_HOUR: Final = 30  # more in an hour than anybody can look at


@dataclass(slots=True)
class Flood:
    """One flood. `end_us` 0: it lasts."""

    start_us: int
    end_us: int
    count: int


@dataclass(slots=True)
class _Held:
    """What was last seen of an open alarm."""

    state: State
    severity: Level
    active: bool
    began_us: list[int]  # the newest beginnings of its danger, at most CHATTER_TIMES


@dataclass(slots=True)
class Day:
    """What is counted by the day. Sources are zone/hazard."""

    levels: list[int] = field(default_factory=lambda: [0, 0, 0])
    sources: Counter[str] = field(default_factory=Counter)
    chattering: Counter[str] = field(default_factory=Counter)
    fleeting: Counter[str] = field(default_factory=Counter)

    def pack(self) -> list[Any]:
        return [self.levels, dict(self.sources), dict(self.chattering), dict(self.fleeting)]

    @classmethod
    def unpack(cls, value: list[Any]) -> "Day":
        levels, *counters = value
        return cls(list(levels), *(Counter(each) for each in counters))


class Figures:
    """Counts. `figurebook.py` reads them out."""

    def __init__(self) -> None:
        self.since_us = 0  # when counting began
        self.minutes: dict[int, int] = {}  # of the last day: minutes since 1970 → annunciations
        self.tens: dict[int, int] = {}  # of the last 30 days: tens of minutes since 1970 → annunciations
        self.days: dict[int, Day] = {}
        self.floods: deque[Flood] = deque(maxlen=FLOODS_MAX)
        self._recent: deque[int] = deque(maxlen=RECENT_MAX)
        self._held: dict[str, _Held] = {}

    def begin(self, now_us: int) -> None:
        """Counting has begun; once for the life of the journal."""
        self.since_us = self.since_us or now_us

    @property
    def recent(self) -> int:
        """Annunciations of the last 10 minutes, as of the last `advance`."""
        return len(self._recent)

    @property
    def flooding(self) -> bool:
        return bool(self.floods) and not self.floods[-1].end_us

    def saw(self, source: str, state: State, level: Level, severity: Level, at_us: int) -> None:
        """A live alarm after a change."""
        held = self._held.get(source) or _Held(State.NORMAL, Level.NORMAL, False, [])
        active = level > Level.NORMAL
        asks = state is State.UNACKNOWLEDGED and (held.state is not state or severity > held.severity)
        if asks:
            self._annunciated(source, max(level, severity), at_us)
        if active and not held.active:
            held.began_us = [*held.began_us, at_us][-CHATTER_TIMES:]
            if len(held.began_us) == CHATTER_TIMES and at_us - held.began_us[0] <= MINUTE_US:
                self._count(self._day(at_us).chattering, source)
        elif held.active and not active and held.began_us and at_us - held.began_us[-1] <= MINUTE_US:
            self._count(self._day(at_us).fleeting, source)
        held.state, held.severity, held.active = state, severity, active
        self._held[source] = held
        if state is State.NORMAL:
            held.severity = Level.NORMAL
            self._forget(at_us)

    def advance(self, now_us: int) -> None:
        """Time passes: a flood may be over."""
        last = self.floods[-1] if self.flooding else None
        if last is not None:
            end_us = self._recent[-FLOOD_UNDER] + TEN_US if len(self._recent) >= FLOOD_UNDER else now_us
            if end_us <= now_us:
                last.end_us = end_us
        while self._recent and self._recent[0] <= now_us - TEN_US:
            self._recent.popleft()

    def _annunciated(self, source: str, level: Level, at_us: int) -> None:
        self.advance(at_us)
        self._recent.append(at_us)
        ten, minute = at_us // TEN_US, at_us // MINUTE_US
        self.tens[ten] = self.tens.get(ten, 0) + 1
        self.minutes[minute] = self.minutes.get(minute, 0) + 1
        day = self._day(at_us)
        day.levels[max(level, Level.ATTENTION) - 1] += 1
        self._count(day.sources, source)
        if self.flooding:
            self.floods[-1].count += 1
        elif len(self._recent) > FLOOD_OVER:
            self.floods.append(Flood(self._recent[0], 0, len(self._recent)))

    def _count(self, counter: Counter[str], source: str) -> None:
        if source in counter or len(counter) < SOURCES_MAX:
            counter[source] += 1

    def _day(self, at_us: int) -> Day:
        number = at_us // DAY_US
        day = self.days.get(number)
        if day is None:
            day = self.days[number] = Day()
            self._prune(at_us)
        return day

    def _prune(self, now_us: int) -> None:
        first = now_us // DAY_US - KEEP_DAYS
        self.days = {number: day for number, day in self.days.items() if number >= first}
        self.tens = {ten: count for ten, count in self.tens.items() if ten * TEN_US >= first * DAY_US}
        self.minutes = {m: count for m, count in self.minutes.items() if m * MINUTE_US >= now_us - DAY_US}
        while self.floods and self.floods[0].end_us and self.floods[0].end_us < first * DAY_US:
            self.floods.popleft()

    def _forget(self, now_us: int) -> None:
        """Closed alarms whose danger did not begin in the last minute chatter no more."""
        if len(self._held) > SOURCES_MAX:
            self._held = {
                source: held
                for source, held in self._held.items()
                if held.state is not State.NORMAL or (held.began_us and now_us - held.began_us[-1] <= MINUTE_US)
            }

    def pack(self) -> list[Any]:
        held = [[s, str(h.state), int(h.severity), h.active, h.began_us] for s, h in self._held.items()]
        return [
            self.since_us,
            self.minutes,
            self.tens,
            {number: day.pack() for number, day in self.days.items()},
            [[flood.start_us, flood.end_us, flood.count] for flood in self.floods],
            list(self._recent),
            held,
        ]

    def restore(self, value: list[Any]) -> None:
        if not value:
            return  # a snapshot from before there were figures
        since_us, minutes, tens, days, floods, recent, held = value
        self.since_us, self.minutes, self.tens = since_us, dict(minutes), dict(tens)
        self.days = {number: Day.unpack(day) for number, day in days.items()}
        self.floods.extend(Flood(*each) for each in floods)
        self._recent.extend(recent)
        self._held = {s: _Held(State(state), Level(sev), active, list(b)) for s, state, sev, active, b in held}
