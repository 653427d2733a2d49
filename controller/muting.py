"""Mutes that come and go by themselves: rules of the plan, mutes whose time is over, permits that end soon.

A rule holds an alarm quiet only while its cause is in sight: to begin, the cause must be live; to go on, it must stand free of
trouble and come from a node that speaks. Each doubt ends the mute: alerts fail open.
"""

from typing import Final

from cython_ext import Hazard, Level
from lanes.keys import Mode
from lanes.plan import Suppression

from .alarm.life import MUTED, State
from .alarm.mutes import End, Mute
from .alarm.record import Alarm
from .room import Place, Room

HOUR_US: Final = 3_600_000_000
SOON_US: Final = 24 * HOUR_US  # people are told so long before a permit ends


class Muting:
    """Looks at one alarm, or at the clock."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def look(self, alarm: Alarm) -> Alarm:
        """The alarm after what the plan's rules say of it now."""
        room = self._room
        if alarm.state is State.SUPPRESSED:
            end = self._over(alarm)
            if end is not End.NONE:
                alarm = self._release(alarm, end)
        if self._quietable(alarm):
            rule = next((each for each in self._rules(alarm) if self._begins(each, alarm)), None)
            if rule is not None:
                now_us = room.clock.wall_us()
                until_us = now_us + round(rule.max_h * HOUR_US)
                mute = Mute((), rule.reason, until_us, rule.quiet, now_us, rule=rule.id)
                moved = room.moved(room.book.suppress(alarm, mute))
                assert moved is not None
                alarm = moved.alarm
        return alarm

    def tick(self, now_us: int) -> list[Place]:
        """Mutes whose time is over, rules whose cause came or went, permits that end soon; the alarms that changed."""
        room = self._room
        changed = []
        for moved in room.book.expire(now_us):
            room.moved(moved)
            changed.append(_place(moved.alarm))
        if room.plan.suppressions or any(alarm.state is State.SUPPRESSED for alarm in room.book):
            changed += [_place(alarm) for alarm in list(room.book) if self.look(alarm) is not alarm]
        self._remind(now_us)
        return changed

    def _remind(self, now_us: int) -> None:
        """A permit that ends soon: somebody must renew it, or be ready for what it kept quiet."""
        room = self._room
        soon = {
            f"{alarm.id.zone}/{alarm.id.hazard.name.lower()}"
            for alarm in room.book
            if alarm.state is State.OUT_OF_SERVICE
            and alarm.mute
            and alarm.mute.until_us - now_us <= min(SOON_US, (alarm.mute.until_us - alarm.mute.since_us) // 2)
        }
        for standing in [each for each in room.troubles if each.code == "permit-ends" and each.subject not in soon]:
            room.trouble("permit-ends", standing.subject, False)
        for subject in sorted(soon):
            room.trouble("permit-ends", subject, True)

    # Rules.

    def _quietable(self, alarm: Alarm) -> bool:
        """A latched alarm is life-safety; what is over needs no quiet; one mute at a time."""
        return (
            alarm.state not in MUTED
            and not alarm.latches
            and alarm.mode is Mode.LIVE
            and Level.NORMAL < max(alarm.level, alarm.severity) < Level.DANGER
            and alarm.level > Level.NORMAL
        )

    def _rules(self, alarm: Alarm) -> list[Suppression]:
        where = alarm.id.zone, alarm.id.hazard
        return [rule for rule in self._room.plan.suppressions if rule.place() == where]

    def _begins(self, rule: Suppression, alarm: Alarm) -> bool:
        worst = max(alarm.level, alarm.severity)
        return worst <= rule.quiet and rule.id not in alarm.spent and self._caused(rule, begins=True)

    def _over(self, alarm: Alarm) -> End:
        """Why the suppression of this alarm ends now; NONE: it goes on."""
        assert alarm.mute is not None
        rule = next((each for each in self._rules(alarm) if each.id == alarm.mute.rule), None)
        if rule is None or rule.quiet < alarm.mute.severity:
            return End.PLAN
        if alarm.latches:
            return End.WORSE  # sirens were ordered for it
        return End.NONE if self._caused(rule, begins=False) else End.CAUSE

    def _caused(self, rule: Suppression, *, begins: bool) -> bool:
        room = self._room
        if rule.while_alarm is not None:
            where = rule.while_alarm
            cause = room.book.at(where.zone, Hazard[where.hazard.upper()])
            return cause is not None and cause.state not in MUTED and cause.level >= rule.cause_level
        assert rule.while_point is not None, "the plan's own check"
        word = room.fold.points.get(rule.while_point)
        if word is None or word.mode is not Mode.LIVE or (begins and not word.live):
            return False
        node, reading = word.newest.node, word.reading
        silent = room.troubles.on("node-silent", node) or room.troubles.on("node-never-seen", node)
        return reading.level >= rule.cause_level and not reading.trouble and not silent

    def _release(self, alarm: Alarm, end: End) -> Alarm:
        moved = self._room.moved(self._room.book.release(alarm, end, self._room.clock.wall_us()))
        assert moved is not None
        return moved.alarm


def _place(alarm: Alarm) -> Place:
    return alarm.id.zone, alarm.id.hazard, alarm.mode
