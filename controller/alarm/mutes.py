"""Mutes: who or what keeps an alarm silent, why, and until when at the latest; and the permanent list of all that ever were.

    shelved          by people, for hours
    suppressed       by a rule of the signed plan, while its cause stands
    out-of-service   by people and a permit, for days

The journal has a row for each beginning and each end, for ever; `Mutes` has those that stand, and the newest of those that ended.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from cython_ext import Hazard, Level
from lanes.identity import AlarmId
from lanes.keys import Mode

from .life import State

PAST_MAX: Final = 500  # ended mutes at hand; the journal has them all


class End(StrEnum):
    """Why a mute ended. Words of the journal: never rename."""

    NONE = ""  # it stands
    TIME = "time"  # its own end
    PERSON = "person"
    WORSE = "worse"  # the danger became greater than the one that it covers
    CAUSE = "cause"  # what the rule asks for is no longer so
    PLAN = "plan"  # the running plan has no such rule
    RENEWED = "renewed"  # another mute took its place


@dataclass(frozen=True, slots=True)
class Mute:
    """One mute. `people` empty: `rule`, of the plan, did it. It covers Levels up to `severity`. Times in UTC microseconds."""

    people: tuple[str, ...]
    reason: str
    until_us: int
    severity: Level
    since_us: int = 0
    rule: str = ""
    permit: str = ""

    def pack(self) -> list[Any]:
        heads = [list(self.people), self.reason, self.until_us, int(self.severity)]
        return [*heads, self.since_us, self.rule, self.permit]

    @classmethod
    def unpack(cls, value: list[Any]) -> "Mute":
        people, reason, until_us, severity, *rest = value  # the first journals had four
        return cls(tuple(people), reason, until_us, Level(severity), *rest)


@dataclass(frozen=True, slots=True)
class Listed:
    """A mute's line in the permanent list. `end` NONE: it stands. `by`: the person who ended it."""

    alarm: AlarmId
    mode: Mode
    state: State
    mute: Mute
    end: End = End.NONE
    ended_us: int = 0
    by: str = ""

    def pack(self) -> list[Any]:
        """As a MUTE row of the journal has it."""
        heads = [str(self.alarm), int(self.mode), str(self.state), self.mute.pack()]
        return [*heads, str(self.end), self.ended_us, self.by]

    @classmethod
    def unpack(cls, value: list[Any]) -> "Listed":
        alarm, mode, state, mute, end, ended_us, by = value
        return cls(AlarmId.parse(alarm), Mode(mode), State(state), Mute.unpack(mute), End(end), ended_us, by)


class Mutes:
    """The list, as far as it is at hand: what stands, and the newest of what is over."""

    def __init__(self) -> None:
        self._standing: dict[tuple[str, Hazard, Mode], Listed] = {}
        self._past: deque[Listed] = deque(maxlen=PAST_MAX)

    def __iter__(self) -> Iterator[Listed]:
        """Those that stand, then those that are over, the newest first."""
        yield from sorted(self._standing.values(), key=lambda each: -each.mute.since_us)
        yield from reversed(self._past)

    def at(self, zone: str, hazard: Hazard, mode: Mode) -> Listed | None:
        return self._standing.get((zone, hazard, mode))

    def put(self, line: Listed) -> None:
        """A line of the journal."""
        place = line.alarm.zone, line.alarm.hazard, line.mode
        if line.end is End.NONE:
            self._standing[place] = line
        else:
            self._standing.pop(place, None)
            self._past.append(line)

    def ended(self, line: Listed, end: End, by: str, now_us: int) -> Listed:
        """The line with which it ends."""
        return replace(line, end=end, ended_us=now_us, by=by)

    def pack(self) -> list[Any]:
        return [line.pack() for line in (*self._past, *self._standing.values())]

    def restore(self, value: list[Any]) -> None:
        for each in value:
            self.put(Listed.unpack(each))
