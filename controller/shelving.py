"""People's mutes: shelve for hours, out of service by permit for days, and the end of both (design §3; domain.md §4.1).

Two people, who say the same within two minutes, for what is life-safety: a fire, an alarm for which sirens were ordered, a mute
that covers more than attention, and every alarm for which a policy of the zone may ever sound one. One person for the rest: an
attention for which no siren ever sounds, and which ends its mute when it becomes more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from cython_ext import Hazard, Level
from lanes.acts import RemoveAlarm, ReturnAlarm, ShelveAlarm, Signed, UnshelveAlarm
from lanes.control import ControlError
from lanes.identity import AlarmId, EventKey
from lanes.keys import Mode
from lanes.plan import Plan

from .alarm.book import Moved
from .alarm.life import State
from .alarm.mutes import End, Mute
from .alarm.record import Alarm
from .room import Place, Room

WAIT_US: Final = 120_000_000  # for the second person: on the telephone together
WISHES_MAX: Final = 64
SECOND: Final = "a second person, within 120 s"


@dataclass(frozen=True, slots=True)
class _Wish:
    """One person's wish to mute, waiting for a second person's. `covers`: the danger that this person looked at."""

    person: str
    act: ShelveAlarm | RemoveAlarm
    alarm: AlarmId | None
    covers: Level
    until_us: int


class Shelving:
    """Carries out the acts. `open_alarm` gives the alarm that the person may act on, `covered` refuses zones that are not
    theirs, `moved` journals a change and asks the policy anew.
    """

    def __init__(
        self,
        room: Room,
        open_alarm: Callable[[Signed, AlarmId], Alarm],
        covered: Callable[[Signed, tuple[str, ...]], None],
        moved: Callable[[Moved], dict[str, Any]],
    ) -> None:
        self._room = room
        self._open_alarm = open_alarm
        self._covered = covered
        self._moved = moved
        self._wishes: dict[tuple[str, Place], _Wish] = {}

    def shelve(self, signed: Signed, act: ShelveAlarm) -> dict[str, Any]:
        room, now_us = self._room, self._room.clock.wall_us()
        alarm = self._open_alarm(signed, act.alarm)
        place = (alarm.id.zone, alarm.id.hazard, alarm.mode)
        covers = max(alarm.severity, alarm.level)
        people: tuple[str, ...] = (signed.person,)
        if alarm.latches or life_safety(room.plan, place, covers):
            first = self._agree(signed, act, place, covers, now_us)
            if first is None:
                return self._waits(place)
            if first.alarm != alarm.id or first.covers < covers:
                self._wish(signed, act, place, covers, now_us)
                return self._waits(place, f"; {first.person} agreed to less than there is now")
            assert isinstance(first.act, ShelveAlarm)
            act = replace(act, until_us=min(act.until_us, first.act.until_us), reason=first.act.reason or act.reason)
            people = (first.person, signed.person)
        result = self._moved(room.book.shelve(act, people, now_us))
        self._wishes.pop((act.VERB, place), None)
        return result

    def unshelve(self, signed: Signed, act: UnshelveAlarm) -> dict[str, Any]:
        self._open_alarm(signed, act.alarm)
        return self._moved(self._room.book.unshelve(act, self._room.clock.wall_us(), signed.person))

    def remove(self, signed: Signed, act: RemoveAlarm) -> dict[str, Any]:
        """Open or not: works are announced before they set off an alarm."""
        room, now_us = self._room, self._room.clock.wall_us()
        place = self._place(signed, act.zone, act.hazard)
        alarm = room.book.at(*place)
        people: tuple[str, ...] = (signed.person,)
        if (alarm is not None and alarm.latches) or life_safety(room.plan, place, act.covers):
            first = self._agree(signed, act, place, act.covers, now_us)
            if first is None:
                return self._waits(place)
            assert isinstance(first.act, RemoveAlarm)
            if first.act.permit != act.permit:
                raise ControlError("refused", f"{first.person} named permit {first.act.permit!r}, you {act.permit!r}")
            until_us, covers = min(act.until_us, first.act.until_us), min(act.covers, first.act.covers)
            act = replace(act, until_us=until_us, covers=covers, reason=first.act.reason or act.reason)
            people = (first.person, signed.person)
        mute = Mute(people, act.reason, act.until_us, act.covers, now_us, permit=act.permit)
        key = EventKey(room.plan.controller, room.journal.id, room.journal.seq)
        result = self._moved(room.book.remove(*place, mute, key))
        self._wishes.pop((act.VERB, place), None)
        return result

    def put_back(self, signed: Signed, act: ReturnAlarm) -> dict[str, Any]:
        """Into service again."""
        room = self._room
        alarm = room.book.at(*self._place(signed, act.zone, act.hazard))
        if alarm is None or alarm.state is not State.OUT_OF_SERVICE:
            raise ControlError("refused", f"{act.zone}/{act.hazard.name.lower()} is not out of service")
        return self._moved(room.book.release(alarm, End.PERSON, room.clock.wall_us(), signed.person))

    def _place(self, signed: Signed, zone: str, hazard: Hazard) -> Place:
        if zone not in {each.id for each in self._room.plan.zones}:
            raise ControlError("zone", f"the plan has no zone {zone!r}")
        self._covered(signed, (zone,))
        return zone, hazard, signed.mode

    def _agree(
        self, signed: Signed, act: ShelveAlarm | RemoveAlarm, place: Place, covers: Level, now_us: int
    ) -> _Wish | None:
        """The other person's wish for the same; None when this one is the first, and now waits."""
        self._wishes = {key: wish for key, wish in self._wishes.items() if wish.until_us >= now_us}
        first = self._wishes.get((act.VERB, place))
        if first is not None and first.person != signed.person:
            return first
        if len(self._wishes) >= WISHES_MAX:
            raise ControlError("busy", "too many alarms wait for a second person")
        self._wish(signed, act, place, covers, now_us)
        return None

    def _wish(self, signed: Signed, act: ShelveAlarm | RemoveAlarm, place: Place, covers: Level, now_us: int) -> None:
        alarm = self._room.book.at(*place)
        wish = _Wish(signed.person, act, alarm.id if alarm else None, covers, now_us + WAIT_US)
        self._wishes[act.VERB, place] = wish

    def _waits(self, place: Place, why: str = "") -> dict[str, Any]:
        alarm = self._room.book.at(*place)
        name = str(alarm.id) if alarm else f"{place[0]}/{place[1].name.lower()}"
        return {"alarm": name, "state": str(alarm.state if alarm else State.NORMAL), "waits_for": SECOND + why}


def life_safety(plan: Plan, place: tuple[str, Hazard, Mode], covers: Level) -> bool:
    """Whether a mute of this place up to this Level takes two people."""
    zone, hazard, _ = place
    if hazard is Hazard.FIRE or covers > Level.ATTENTION:
        return True
    name = hazard.name.lower()
    return any((each.zone, each.hazard) == (zone, name) and each.mode != "none" for each in plan.policies)
