"""The alarm book: one alarm per zone, hazard and mode, from the points that endanger the zone (design §2.3).

An alarm's `parts` are its points that are in danger now: each with its newest reading, and whether that is *live* (true now) or
was only read in a late event. Its `evidence` are the keys of all events that raised it, each seen by a person or not. Severity
is the highest Level since a person last saw it all: it only rises until acknowledged.

The watchdog's raises stand beside the node's word under the same point, marked, and fold into it when it comes.

Two views of one alarm are joined by `merge.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from cython_ext import BuciumError, Hazard, Level, Reason
from lanes.acts import AckAlarm, ResetAlarm, ShelveAlarm, UnshelveAlarm
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode

from .changes import READINGS_MAX, AlarmChange, ChangeKind, Reading
from .life import MUTED, Cue, State, step
from .merge import merge
from .mutes import End, Mute
from .record import Alarm, Part, Seen, bounded

PARTS_MAX: Final = 256  # points in danger in one zone
SHELVE_MAX_US: Final = 8 * 3_600_000_000  # life-safety alarms: never beyond 8 h (domain.md §4.1)
PERMIT_MAX_US: Final = 30 * 86_400_000_000  # a permit that nobody has looked at for a month is forgotten works


class Unfit(BuciumError):
    """What a person asked cannot be done to this alarm now; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Moved:
    """An alarm after a change; `change` is what others hear of it (None: only the record changed).

    `end`, `by`: why its mute ended, and the person who ended it, where it did.
    """

    alarm: Alarm
    change: AlarmChange | None
    end: End = End.NONE
    by: str = ""


Place = tuple[str, Hazard, Mode]


class Book:
    """The open alarms. Every method is pure bookkeeping: it returns what changed and takes the time as an argument."""

    def __init__(self) -> None:
        self._open: dict[Place, Alarm] = {}

    def __iter__(self) -> Iterator[Alarm]:
        return iter(self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    def at(self, zone: str, hazard: Hazard, mode: Mode = Mode.LIVE) -> Alarm | None:
        return self._open.get((zone, hazard, mode))

    def find(self, wanted: AlarmId) -> Alarm | None:
        """The open alarm of this id or alias."""
        for mode in Mode:
            alarm = self.at(wanted.zone, wanted.hazard, mode)
            if alarm and alarm.names(wanted):
                return alarm
        return None

    def put(self, alarm: Alarm) -> None:
        """Take the alarm as it stands: the end of each change, and how the book is rebuilt from the journal."""
        place = (alarm.id.zone, alarm.id.hazard, alarm.mode)
        if alarm.state is State.NORMAL:
            self._open.pop(place, None)
        else:
            self._open[place] = alarm

    # What points say.

    def read(
        self, zone: str, hazard: Hazard, reading: Reading, *, mode: Mode, live: bool, now_us: int, watched: bool = False
    ) -> Moved | None:
        """A point of the zone is at `reading.level` now (perhaps NORMAL); None when that changes nothing."""
        old = self.at(zone, hazard, mode)
        if old is None:
            if reading.level is Level.NORMAL:
                return None
            return self._opened(zone, hazard, Part(reading, live, watched), mode, now_us)
        parts = _parts_with(old.parts, Part(reading, live, watched))
        evidence = old.evidence
        fresh = reading.level > Level.NORMAL and all(each.key != reading.key for each in evidence)
        if fresh:
            evidence = bounded((*evidence, Seen(reading.key)))
        if parts == old.parts and evidence == old.evidence:
            return None
        began = old.level is Level.NORMAL and reading.level > Level.NORMAL
        episode = reading.key if began else old.episode
        new = replace(old, parts=parts, evidence=evidence, changed_us=now_us, episode=episode)
        again = (fresh and not _restated(old, reading)) or new.level > old.severity
        return self._settle(old, _cued(old, new, again=again), now_us)

    def note(self, zone: str, hazard: Hazard, reading: Reading, *, mode: Mode, now_us: int) -> list[Moved]:
        """A raise that later news has overtaken: it is evidence, and people must have seen it; the present stays as it is."""
        old = self.at(zone, hazard, mode)
        if old is None:
            opened = self._opened(zone, hazard, Part(reading, live=False), mode, now_us)
            over = replace(reading, level=Level.NORMAL)
            closed = self.read(zone, hazard, over, mode=mode, live=False, now_us=now_us)
            return [opened, closed] if closed else [opened]
        if any(each.key == reading.key for each in old.evidence):
            return []
        evidence = bounded((*old.evidence, Seen(reading.key)))
        new = replace(old, evidence=evidence, changed_us=now_us, state=step(old.state, Cue.REALARM))
        self.put(new)
        return [Moved(new, None)]

    def _opened(self, zone: str, hazard: Hazard, part: Part, mode: Mode, now_us: int) -> Moved:
        reading = part.reading
        alarm = Alarm(
            AlarmId(zone, hazard, reading.key),
            mode,
            step(State.NORMAL, Cue.TRIP),
            reading.key,
            reading.level,
            now_us,
            now_us,
            (part,),
            (Seen(reading.key),),
            latches=hazard is Hazard.FIRE,
        )
        self.put(alarm)
        return Moved(alarm, _change(alarm, ChangeKind.RAISED, Level.NORMAL, now_us))

    def _settle(self, old: Alarm, new: Alarm, now_us: int) -> Moved:
        """Keep the new alarm, and say what others must hear."""
        end = End.NONE
        if new.mute and new.level > new.mute.severity:
            new, end = _released(new), End.WORSE  # a mute covers the danger that was looked at, no greater one
        was, level = _shown(old), _shown(new)
        kind = None
        if level is not was:
            if level is Level.NORMAL:
                kind = ChangeKind.CLEARED
            elif was is Level.NORMAL:
                kind = ChangeKind.RAISED
            else:
                kind = ChangeKind.ESCALATED if level > was else ChangeKind.LOWERED
        elif _own(new) is not _own(old):  # others hear the same from us, and CAP tells more or less in our name
            kind = ChangeKind.ESCALATED if _own(new) > _own(old) else ChangeKind.LOWERED
        elif end is End.WORSE:  # beyond its permit, and not beyond what others have heard
            kind = ChangeKind.RELEASED
        self.put(new)
        return Moved(new, _change(new, kind, was, now_us) if kind else None, end)

    def latch(self, alarm: Alarm, now_us: int) -> Moved | None:
        """Sirens were ordered for it: from now on it latches."""
        if alarm.latches:
            return None
        new = replace(alarm, latches=True, changed_us=now_us)
        self.put(new)
        return Moved(new, None)

    def adopt(self, foreign: Alarm, now_us: int) -> Moved:
        """Join another view of an alarm: a node's reflex, another centre's."""
        old = self.at(foreign.id.zone, foreign.id.hazard, foreign.mode)
        if old is None:
            self.put(foreign)
            return Moved(foreign, _change(foreign, ChangeKind.RAISED, Level.NORMAL, now_us))
        new = replace(merge(old, foreign), changed_us=now_us)
        return self._settle(old, new, now_us)

    # What people do.

    def acknowledge(self, act: AckAlarm, person: str, now_us: int) -> Moved:
        """The person has seen the listed events. Unfit when they are not this alarm's."""
        old = self._named(act.alarm)
        if old.state in MUTED:
            raise Unfit(f"the alarm is {old.state}; {_ending(old)}")
        known = {each.key for each in old.evidence}
        if not act.events or not known.issuperset(act.events):
            raise Unfit("these are not events of the alarm; look again: bucium alarm show")
        listed = set(act.events)
        evidence = tuple(Seen(each.key, each.seen or each.key in listed) for each in old.evidence)
        new = replace(old, evidence=evidence, changed_us=now_us)
        if new.unseen or old.state not in (State.UNACKNOWLEDGED, State.RETURNED, State.LATCHED_UNACKNOWLEDGED):
            self.put(new)
            return Moved(new, None)
        was = _shown(old)
        new = replace(new, state=step(old.state, Cue.ACKNOWLEDGE))
        new = replace(new, severity=new.level if new.level else new.severity)
        self.put(new)
        return Moved(new, replace(_change(new, ChangeKind.ACKNOWLEDGED, was, now_us), by=person))

    def reset(self, act: ResetAlarm, now_us: int) -> Moved:
        """Release the latch. Unfit while the danger lasts, or before the alarm is acknowledged."""
        old = self._named(act.alarm)
        if old.level > Level.NORMAL:
            raise Unfit(f"the danger lasts: {', '.join(part.reading.point for part in old.parts[:4])}")
        if old.unseen:
            raise Unfit("not all of its events are acknowledged; first: bucium alarm ack")
        new = replace(old, state=step(old.state, Cue.RESET), changed_us=now_us)
        if new.state is old.state:
            raise Unfit(f"there is nothing to reset: the alarm is {old.state}")
        self.put(new)
        return Moved(new, None)

    # Mutes. How many people one takes is for the caller to have asked.

    def shelve(self, act: ShelveAlarm, people: tuple[str, ...], now_us: int) -> Moved:
        """Mute for hours."""
        old = self._named(act.alarm)
        if old.state in MUTED:
            raise Unfit(f"the alarm is already {old.state}")
        if not act.reason:
            raise Unfit("a mute needs a reason")
        if not now_us < act.until_us <= now_us + SHELVE_MAX_US:
            raise Unfit("a mute ends within 8 hours from now")
        return self._mute(old, Cue.SHELVE, Mute(people, act.reason, act.until_us, max(old.severity, old.level), now_us))

    def unshelve(self, act: UnshelveAlarm, now_us: int, by: str = "") -> Moved:
        old = self._named(act.alarm)
        if old.state is not State.SHELVED:
            raise Unfit(f"the alarm is not shelved, it is {old.state}")
        return self.release(old, End.PERSON if by else End.TIME, now_us, by)

    def remove(self, zone: str, hazard: Hazard, mode: Mode, mute: Mute, key: EventKey) -> Moved:
        """Out of service by permit, open or not. `key` names the alarm that is made when none is open."""
        old, now_us = self.at(zone, hazard, mode), mute.since_us
        if not (mute.reason and mute.permit):
            raise Unfit("out of service needs a reason and a permit")
        if not now_us < mute.until_us <= now_us + PERMIT_MAX_US:
            raise Unfit("a permit ends within 30 days from now; it can be renewed")
        if old is None:
            latches, none = hazard is Hazard.FIRE, Level.NORMAL
            old = Alarm(
                AlarmId(zone, hazard, key), mode, State.NORMAL, key, none, now_us, now_us, (), (), latches=latches
            )
        if old.level > mute.severity:
            raise Unfit(f"the danger is at {old.level.name.lower()}, the permit covers {mute.severity.name.lower()}")
        end = End.RENEWED if old.mute else End.NONE
        return replace(self._mute(_released(old), Cue.REMOVE, mute), end=end)

    def suppress(self, old: Alarm, mute: Mute) -> Moved:
        """By a rule of the plan."""
        return self._mute(old, Cue.SUPPRESS, mute)

    def _mute(self, old: Alarm, cue: Cue, mute: Mute) -> Moved:
        new = replace(old, state=step(old.state, cue), mute=mute, changed_us=mute.since_us)
        self.put(new)
        return Moved(new, _lasting(new, ChangeKind.MUTED, mute.since_us, ",".join(mute.people)))

    def release(self, old: Alarm, end: End, now_us: int, by: str = "") -> Moved:
        """The mute of the alarm ends."""
        new = replace(_released(old), changed_us=now_us)
        if end is End.TIME and old.mute and old.mute.rule:
            new = replace(new, spent=(*new.spent, old.mute.rule))
        self.put(new)
        return Moved(new, _lasting(new, ChangeKind.RELEASED, now_us, by), end, by)

    def expire(self, now_us: int) -> list[Moved]:
        """End the mutes whose time is over."""
        over = [alarm for alarm in self if alarm.mute and alarm.mute.until_us <= now_us]
        return [self.release(alarm, End.TIME, now_us) for alarm in over]

    def _named(self, wanted: AlarmId) -> Alarm:
        alarm = self.find(wanted)
        if alarm is None:
            raise Unfit(f"no open alarm {wanted}; see: bucium alarm list")
        return alarm

    def pack(self) -> list[Any]:
        return [self._open[place].pack() for place in sorted(self._open)]

    def restore(self, packed: list[Any]) -> None:
        for data in packed:
            self.put(Alarm.unpack(data))


def _parts_with(parts: tuple[Part, ...], new: Part) -> tuple[Part, ...]:
    """The parts after a point's word. The node's word at a Level folds the watchdog's raise of the same point."""
    reading = new.reading
    gone = {new.place}
    if not new.watched and reading.level > Level.NORMAL:
        gone.add((reading.point, True))
    if reading.level is Level.NORMAL:
        return tuple(part for part in parts if part.place != new.place)
    kept = [part for part in parts if part.place not in gone]
    at = next((n for n, part in enumerate(parts) if part.place == new.place), len(kept))
    kept.insert(min(at, len(kept)), new)
    return tuple(kept[:PARTS_MAX])


def _restated(old: Alarm, reading: Reading) -> bool:
    """Whether a node that began again only says what it had said: no reason to look anew. What is worse, or elsewhere, is."""
    held = max((part.reading.level for part in old.parts if part.reading.point == reading.point), default=Level.NORMAL)
    return reading.reason is Reason.RESTART and reading.level <= held


def _cued(old: Alarm, new: Alarm, *, again: bool) -> Alarm:
    """The new alarm in the state that its parts lead to, with its severity."""
    was, level = old.level, new.level
    state = new.state
    if was is Level.NORMAL and level > Level.NORMAL:
        state = step(state, Cue.TRIP)
    elif was > Level.NORMAL and level is Level.NORMAL:
        state = step(state, Cue.LATCH if new.latches else Cue.CLEAR)
    elif level > Level.NORMAL and again:
        state = step(state, Cue.REALARM)
    looked_at = state is State.ACKNOWLEDGED
    severity = level if looked_at and level > Level.NORMAL else max(new.severity, level)
    return replace(new, state=state, severity=severity)


def _released(alarm: Alarm) -> Alarm:
    if alarm.level > Level.NORMAL:
        cue = Cue.RELEASE_ABNORMAL
    else:
        cue = Cue.RELEASE_LATCHED if alarm.latches and alarm.evidence else Cue.RELEASE_NORMAL
    return replace(alarm, state=step(alarm.state, cue), mute=None)


def _ending(alarm: Alarm) -> str:
    """How a mute is ended, for people."""
    if alarm.state is State.SUPPRESSED:
        return f"rule {alarm.mute.rule if alarm.mute else ''!r} of the plan mutes it, and ends with its cause"
    return f"end that first: bucium alarm {'unshelve' if alarm.state is State.SHELVED else 'return'}"


def _shown(alarm: Alarm) -> Level:
    """The Level that others are told: the severity while the condition lasts, NORMAL once it is over."""
    return alarm.severity if alarm.level > Level.NORMAL else Level.NORMAL


def _own(alarm: Alarm) -> Level:
    """What of the shown Level rests on points of ours: the rest is another centre's, which says it itself."""
    shown = _shown(alarm)
    outside = max((part.reading.level for part in alarm.parts if part.reading.outside), default=Level.NORMAL)
    ours = max((part.reading.level for part in alarm.parts if not part.reading.outside), default=Level.NORMAL)
    return min(shown, ours) if outside > ours else shown


def _lasting(alarm: Alarm, kind: ChangeKind, now_us: int, by: str) -> AlarmChange | None:
    """What others hear of a mute's beginning and end: that of a danger which lasts."""
    shown = _shown(alarm)
    return replace(_change(alarm, kind, shown, now_us), by=by) if shown else None


def _change(alarm: Alarm, kind: ChangeKind, was: Level, now_us: int) -> AlarmChange:
    newest = sorted((part.reading for part in alarm.parts), key=lambda r: (-r.level, -r.at_us, r.point))
    return AlarmChange(
        alarm.id,
        kind,
        was,
        _shown(alarm),
        alarm.mode,
        alarm.opened_us,
        now_us,
        tuple(each.key for each in alarm.evidence),
        tuple(newest[:READINGS_MAX]),
        alarm.aliases,
        own=None if _own(alarm) is _shown(alarm) else _own(alarm),
        muted=str(alarm.state) if alarm.state in MUTED else "",
    )
