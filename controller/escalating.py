"""Escalation: an alarm that nobody has acknowledged goes on to the next people, and is never left with nobody.

    begun ─ step 1 ─ step 2 ─ … ─ stuck ─┐      each step at its time since `begun`; at once when the one before had nobody on
      ▲       acknowledged: ended        │      duty, or none of its calls was delivered by any channel
      └──────── again_s ─────────────────┘

    worse                       it begins anew
    acknowledged, muted, over   it ends
    stuck                       nobody answers, is on duty, or can be reached: Trouble, and everybody whom it could ever call is
                                called by everything that they have, and so are all channels that carry more than CAP

A person is called by the first channel of the step that reaches them; when that has not delivered in its time, by the next one. A
channel that is known to be down is not waited for. Calls of one moment are joined: a person gets one message about 300 alarms.

Every row is journaled with its reason before anything is sent; from the rows a restart goes on where it was (escalations.py). An
escalation decides nothing about sirens, and no siren waits for it.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cython_ext import NS_PER_S, ConfigError
from lanes.keys import Mode

from .alarm.life import MUTED, UNSEEN
from .alarm.record import Alarm
from .calls import NAMED_MAX, About, Call, CallKind
from .duty import Duty, Escalation, Step, Watch
from .escalations import WHY, Calling, Running, What, Where
from .record.records import Record
from .room import Room

log = logging.getLogger("bucium.controller.escalating")

TICK_S: Final = 1.0
ROUND_NS: Final = 5 * NS_PER_S  # between two rounds of calls: what comes meanwhile goes in one message
ROUND_MAX: Final = 1_000  # alarms in one round: a tenth of a second of the loop that also orders sirens
LATE_NS: Final = (
    30 * NS_PER_S
)  # a step that is taken so much after its time is Trouble: the rounds of a storm of 5,000 take 25 s
FORGET_NS: Final = 60 * NS_PER_S  # receipts of what is over; and a look at duty.toml
MISSING: Final = "escalation-missing"
STUCK: Final = "escalation-stuck"
LATE: Final = "escalation-late"
UNDELIVERED: Final = "escalation-undelivered"
OF_ONE: Final = (STUCK, LATE, UNDELIVERED)  # troubles that end with their escalation


@dataclass(frozen=True, slots=True)
class _To:
    """Calls with the same of all this are one call."""

    kind: CallKind
    person: str
    channel: str
    rest: tuple[str, ...]
    within_ns: int
    step: int
    reason: str
    mode: Mode


@dataclass(slots=True)
class _Round:
    """What one moment brings, before it is journaled."""

    calls: dict[_To, list[Alarm]] = field(default_factory=dict)
    rows: list[tuple[Running, What, int, str, list[_To]]] = field(default_factory=list)

    def call(self, to: _To, alarm: Alarm) -> _To:
        self.calls.setdefault(to, []).append(alarm)
        return to


class Escalating:
    """Runs until cancelled. Without people in `duty` it does nothing."""

    def __init__(self, room: Room, duty: Duty, watch: Watch | None = None) -> None:
        """`watch` tells of another duty.toml."""
        self._room = room
        self._duty = duty
        self._watch = watch
        self._digest = b""
        now_ns = room.clock.monotonic_ns()
        self._round_ns = now_ns - ROUND_NS
        self._forget_ns = now_ns
        room.trouble("duty-refused", "duty", False)  # we would not have begun with one that cannot be used
        room.escalations.resume(now_ns, room.clock.wall_us())

    async def run(self) -> None:
        while True:
            self.tick()
            await asyncio.sleep(TICK_S)

    def tick(self) -> None:
        """One look at the alarms and the clock."""
        room = self._room
        with room.clock.hold():
            now_ns = room.clock.monotonic_ns()
            self._look(now_ns)
            self._fail_over(now_ns)
            if now_ns - self._round_ns >= ROUND_NS:
                self._steps(now_ns)
            if now_ns - self._forget_ns >= FORGET_NS:
                self._forget_ns = now_ns
                self._read_again()
                room.escalations.keep({f"{int(a.mode)}:{name}" for a in room.book for name in (a.id, *a.aliases)})
            if room.signed.digest != self._digest:
                self._digest = room.signed.digest
                self._uncovered()

    def _read_again(self) -> None:
        """Another duty.toml counts from now on; one that cannot be used leaves the former in place."""
        try:
            file = self._watch.look() if self._watch else None
        except ConfigError as error:
            log.error("duty.refused why=%s", error)
            self._room.trouble("duty-refused", "duty", True)
            return
        if file is not None:
            log.info("duty.changed people=%d", len(file.people))
            self._duty.file = file
            self._digest = b""
            self._room.trouble("duty-refused", "duty", False)

    # Which alarms wait for a person.

    def _look(self, now_ns: int) -> None:
        room, running = self._room, self._room.escalations
        if not self._duty.escalations and not len(running):
            return
        seen: set[Where] = set()
        for alarm in room.book:
            where = (alarm.id.zone, alarm.id.hazard, alarm.mode)
            seen.add(where)
            run = running.at(where)
            if alarm.state not in UNSEEN:
                if run is not None:
                    self._end(run, "muted" if alarm.state in MUTED else "acknowledged", now_ns)
            elif run is None:
                self._begin(alarm, "unacknowledged")
            elif alarm.severity > run.severity:
                self._begin(alarm, "worse")
        for run in [run for run in running if run.where not in seen]:
            self._end(run, "over", now_ns)

    def _begin(self, alarm: Alarm, why: str) -> None:
        escalation = self._duty.escalation(alarm.id.zone, alarm.id.hazard, alarm.severity)
        if escalation is None or alarm.mode is Mode.TEST:
            return
        where = (alarm.id.zone, alarm.id.hazard, alarm.mode)
        fresh = Running(where, str(alarm.id), escalation.id, alarm.severity, 0, (), False, 0, 0, ())
        self._keep(fresh, What.BEGUN, 0, why, 0)
        if why != "again":
            self._clear(fresh)

    def _end(self, run: Running, why: str, now_ns: int) -> None:
        self._keep(run, What.ENDED, run.step, why, run.elapsed(now_ns))
        self._clear(run)

    def _clear(self, run: Running) -> None:
        for code in OF_ONE:
            self._room.trouble(code, subject_of(run), False)

    def _keep(self, run: Running, what: What, step: int, why: str, elapsed_ns: int, calls: Iterable[str] = ()) -> None:
        assert why in WHY[what], (what, why)
        room = self._room
        zone, hazard, mode = run.where
        heads = [zone, int(hazard), int(mode), run.alarm, run.escalation, str(what), step, why]
        value = [*heads, int(run.severity), elapsed_ns, list(calls)]
        row = room.journal.append(Record.ESCALATION, value)
        room.escalations.apply(value, row.wall_us, row.monotonic_ns)

    # The next people.

    def _steps(self, now_ns: int) -> None:
        round_ = _Round()
        for run in list(self._room.escalations):
            if len(round_.rows) >= ROUND_MAX:
                break
            alarm = self._room.book.at(*run.where)
            escalation = self._escalation(run)
            if alarm is None:
                continue
            if escalation is None:
                self._end(run, "uncovered", now_ns)
            elif run.stuck:
                if escalation.again_s and run.waited(now_ns) >= escalation.again_s * NS_PER_S:
                    self._begin(alarm, "again")
            else:
                self._advance(round_, run, alarm, escalation, now_ns)
        if round_.rows:
            self._round_ns = now_ns
            self._carry_out(round_, now_ns)

    def _escalation(self, run: Running) -> Escalation | None:
        """As it is configured now; another one where its name is gone."""
        zone, hazard, _ = run.where
        named = next((each for each in self._duty.escalations if each.id == run.escalation), None)
        return named or self._duty.escalation(zone, hazard, run.severity)

    def _advance(self, round_: _Round, run: Running, alarm: Alarm, escalation: Escalation, now_ns: int) -> None:
        """Take the step that is due, if one is; more than one where nobody is on duty."""
        elapsed_ns = run.elapsed(now_ns)
        lost = self._nobody_reached(run, now_ns)
        if lost:
            self._room.trouble(UNDELIVERED, subject_of(run), True)
        empty = False
        for number, step in enumerate(escalation.steps[run.step :], run.step + 1):
            late_ns = elapsed_ns - round(step.after_s * NS_PER_S)
            if late_ns < 0 and not lost and not empty:
                return
            why = "not-delivered" if lost else "passed-on" if empty else "late" if late_ns > LATE_NS else "due"
            if late_ns > LATE_NS and not lost:
                self._room.trouble(LATE, subject_of(run), True)
            calls = self._calls(round_, step, number, why, alarm)
            if calls:
                round_.rows.append((run, What.STEP, number, why, calls))
                return
            round_.rows.append((run, What.STEP, number, "nobody-on-duty", []))
            lost, empty = False, True
        answered_ns = 0 if lost or empty else escalation.answer_s * NS_PER_S
        if empty or lost or run.waited(now_ns) >= answered_ns:
            why = "nobody-on-duty" if empty else "not-delivered" if lost else "unanswered"
            self._shout(round_, run, alarm, escalation, why)

    def _nobody_reached(self, run: Running, now_ns: int) -> bool:
        """Whether every call of the last step has failed, by every channel."""
        known = self._room.escalations.calls
        calls = [known[each] for each in run.calls if each in known]
        return bool(calls) and all(each.failed(now_ns) and (each.passed or not each.rest) for each in calls)

    def _calls(self, round_: _Round, step: Step, number: int, why: str, alarm: Alarm) -> list[_To]:
        """One call for each person of the step; more where a channel is known to be down, or the step is late."""
        found = []
        within_ns = round(step.within_s * NS_PER_S)
        for person in self._duty.on_step(step, self._room.clock.wall_us()):
            ways = self._duty.ways(person, step.channels)
            while ways:
                channel, *rest = ways
                down = why == "late" or self._room.troubles.on("dispatch-down", channel)
                left = () if down else tuple(rest)
                to = _To(CallKind.CALL, person, channel, left, within_ns, number, why, alarm.mode)
                found.append(round_.call(to, alarm))
                ways = tuple(rest) if down else ()
        return found

    def _shout(self, round_: _Round, run: Running, alarm: Alarm, escalation: Escalation, why: str) -> None:
        """Everybody, by everything."""
        self._room.trouble(STUCK, subject_of(run), True)
        ways = [("", "")]
        for name in self._duty.everybody(escalation):
            person = self._duty.person(name)
            ways += [(name, channel) for channel in (person.reach if person else ())]
        step = len(escalation.steps)
        calls = [
            round_.call(_To(CallKind.STUCK, person, channel, (), 0, step, why, alarm.mode), alarm)
            for person, channel in ways
        ]
        round_.rows.append((run, What.STUCK, step, why, calls))

    # Calls.

    def _carry_out(self, round_: _Round, now_ns: int) -> None:
        """Journal the calls, then the steps that rest on them: what a torn end loses is a step, which is then taken again."""
        names = {to: self._call(to, alarms) for to, alarms in round_.calls.items()}
        for run, what, step, why, calls in round_.rows:
            self._keep(run, what, step, why, run.elapsed(now_ns), [names[to] for to in calls])

    def _call(self, to: _To, alarms: list[Alarm], instead_of: str = "") -> str:
        room = self._room
        about = sorted((about_of(alarm) for alarm in alarms), key=lambda each: (-each.level, each.since_us, each.alarm))
        call = Call(
            to.kind,
            to.person,
            to.channel,
            to.step,
            to.reason,
            to.mode,
            tuple(about[:NAMED_MAX]),
            len(about),
            room.clock.wall_us(),
        )
        value = [call.pack(), list(to.rest), to.within_ns // 1_000_000, instead_of]
        row = room.journal.append(Record.CALL, value)
        room.untold[row.seq] = room.escalations.called(value, row.monotonic_ns)
        room.notify()
        return call.identifier

    def _fail_over(self, now_ns: int) -> None:
        """A call that its channel has not brought in time goes by the person's next one."""
        running = self._room.escalations
        open_ = {each for run in running for each in run.calls}
        for identifier in open_:
            calling = running.calls.get(identifier)
            if calling is not None and calling.rest and not calling.passed and calling.failed(now_ns):
                alarms = [run for run in running if identifier in run.calls]
                self._by_next(identifier, calling, [self._room.book.at(*run.where) for run in alarms])

    def _by_next(self, identifier: str, calling: Calling, alarms: list[Alarm | None]) -> None:
        call = calling.call
        channel, *rest = calling.rest
        to = _To(call.kind, call.person, channel, tuple(rest), calling.within_ns, call.step, "not-delivered", call.mode)
        self._call(to, [each for each in alarms if each is not None], identifier)

    def _uncovered(self) -> None:
        """Zones of the plan that no escalation is for; only where there are any at all."""
        plan = self._room.plan
        wanted: dict[str, bool] = {zone.id: False for zone in plan.zones}
        if self._duty.escalations:
            zones = {zone for point in plan.points for zone in point.zones}
            zones |= {zone for group in plan.groups for zone in group.zones}
            wanted |= {zone: not self._is_for(zone) for zone in zones}
        for zone, missing in wanted.items():
            self._room.trouble(MISSING, zone, missing)

    def _is_for(self, zone: str) -> bool:
        return any(not each.zones or zone in each.zones for each in self._duty.escalations)


def subject_of(run: Running) -> str:
    """What its troubles are about, as the alarm list writes it."""
    zone, hazard, mode = run.where
    return f"{zone}/{hazard.name.lower()}" + ("" if mode is Mode.LIVE else f"/{mode.name.lower()}")


def about_of(alarm: Alarm) -> About:
    since_us = alarm.opened_us
    return About(str(alarm.id), alarm.id.zone, alarm.id.hazard, alarm.severity, since_us, not alarm.level)
