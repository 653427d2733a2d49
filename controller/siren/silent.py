"""Silent tests on a calendar: once an occasion, one siren of a zone at a time, never during an alarm (issue 5, item 7).

    due ──► may it be tested now? ── no ──► asked again each second; after an hour Trouble, after a day given up: overdue
                    └── yes ──► ordered (test key; durable first, so never twice) ──► passed, or failed with its reason

An occasion that fell into a time when the controller was down is made up for as soon as may be, within its day. A siren that was
never tested begins with the next occasion. A test that a person orders counts as well: it ends the Trouble of a failed one.
"""

from dataclasses import replace
from typing import Final

from cython_ext import Level
from lanes.acts import ALL
from lanes.keys import Mode
from lanes.orders import ZONES_MAX, Action
from lanes.plan import Plan, Siren
from lanes.reports import Stage

from ..activation import Result
from ..ordering import Ordering
from ..record.records import Record
from ..room import CALENDAR, Room
from ..schedule import SilentTest
from .occasions import Occasions
from .watching import endangered, may_sign, orderable

APART_US: Final = 30_000_000  # between two sirens of a zone: a silent test takes seconds, its order lives 60 s
LATE_US: Final = 3_600_000_000  # a test that could not be made for so long is Trouble
DAY_US: Final = 86_400_000_000
AT_WORK: Final = frozenset({Stage.ACCEPTED, Stage.ARMED, Stage.SOUNDING, Stage.UNORDERED})
FAILED: Final = "silent-test-failed"
OVERDUE: Final = "silent-test-overdue"


class SilentTests:
    """Called each second."""

    def __init__(self, room: Room, ordering: Ordering) -> None:
        self._room = room
        self._ordering = ordering
        self._occasions = Occasions()
        self._digest = b""
        self._slots: dict[str, int] = {}
        self._calendars: dict[str, tuple[str, str]] = {}
        wanted = any(calendar_of(siren, room.plan)[0] for siren in room.plan.sirens)
        self._signs = may_sign(room, Mode.TEST, wanted=wanted)

    def tick(self, _: int, now_us: int) -> None:
        """Take up results, and order what is due."""
        room = self._room
        if room.signed.digest != self._digest:
            self._digest, self._slots = room.signed.digest, slots(room.plan)
            self._calendars = {siren.id: calendar_of(siren, room.plan) for siren in room.plan.sirens}
        self._results(now_us)
        tested = [(siren, found) for siren in room.plan.sirens if (found := self._calendars[siren.id])[0]]
        self._signs = may_sign(room, Mode.TEST, wanted=bool(tested))
        for siren, (calendar, timezone) in tested:
            self._look(siren, calendar, timezone, now_us)

    def next_us(self, siren: Siren, now_us: int) -> int:
        """When its next silent test is due; 0: it has none."""
        calendar, timezone = calendar_of(siren, self._room.plan)
        if not calendar:
            return 0
        due = self._occasions.due(calendar, timezone, now_us)
        return due.next_us + self._offset_us(siren.id)

    def _offset_us(self, siren: str) -> int:
        return self._slots.get(siren, 0) * APART_US

    def _look(self, siren: Siren, calendar: str, timezone: str, now_us: int) -> None:
        offset_us = self._offset_us(siren.id)
        due = self._occasions.due(calendar, timezone, now_us)
        due_us = due.last_us if due.last_us + offset_us <= now_us else due.before_us
        known = self._room.schedule.tests.get(siren.id)
        if known is None or known.due_us == 0:
            self._keep(replace(known or SilentTest(siren.id), due_us=max(due_us, 1)))
        elif known.due_us < due.before_us < due_us:  # the one before this never had its chance
            self._miss(known, due.before_us)
        elif known.due_us < due_us:
            self._do(siren, known, due_us, now_us - due_us - offset_us)

    def _miss(self, known: SilentTest, due_us: int) -> None:
        self._keep(replace(known, due_us=due_us, result=Result.FAIL, why="overdue"))
        self._room.trouble(OVERDUE, known.siren, True)

    def _do(self, siren: Siren, known: SilentTest, due_us: int, late_us: int) -> None:
        room = self._room
        if late_us > DAY_US:
            self._miss(known, due_us)
        elif self._may(siren):
            number = room.journal.seq + 1
            self._keep(replace(known, due_us=due_us, result=Result.PENDING, why=""))
            core = self._ordering.core(ALL, siren.zones[:ZONES_MAX], "", Mode.TEST, 0)
            self._ordering.send(number, Action.SILENT_TEST, siren.id, core, heads=("", Level.NORMAL, CALENDAR))
        elif late_us > LATE_US:
            room.trouble(OVERDUE, siren.id, True)

    def _may(self, siren: Siren) -> bool:
        """Now: it can be reached, it rests, nothing else is ordered of it, and no alarm is active where it stands."""
        room = self._room
        view = room.fold.registry.sirens[siren.id]
        if not self._signs or not orderable(room, view) or view.stage in AT_WORK:
            return False
        busy = any(errand.siren == siren.id for _, errand in room.fold.activations.pending())
        return not busy and not endangered(room, siren.zones)

    def _results(self, now_us: int) -> None:
        """What has become of the silent tests that were ordered, by us or by people."""
        tests = self._room.schedule.tests
        for activation in list(self._room.fold.activations):
            if activation.action is not Action.SILENT_TEST:
                continue
            for errand in activation.errands.values():
                known = tests.get(errand.siren) or SilentTest(errand.siren)
                if errand.result is Result.PENDING or activation.number <= known.number:
                    continue
                passed = errand.result is Result.PASS
                passed_us = now_us if passed else known.passed_us
                number, result, why = activation.number, errand.result, errand.why
                test = SilentTest(errand.siren, known.due_us, number, now_us, result, why, passed_us)
                self._keep(test)
                self._room.trouble(FAILED, errand.siren, not passed)
                if passed:
                    self._room.trouble(OVERDUE, errand.siren, False)

    def _keep(self, test: SilentTest) -> None:
        self._room.journal.append(Record.SILENT_TEST, test.pack())
        self._room.schedule.put_test(test)


def calendar_of(siren: Siren, plan: Plan) -> tuple[str, str]:
    """The siren's own calendar, else that of the first of its zones that has one; and the time zone it is in."""
    zones = {zone.id: zone for zone in plan.zones}
    own = [zones[zone] for zone in siren.zones]
    if siren.silent_test:
        return siren.silent_test, own[0].timezone
    named = next((zone for zone in own if zone.silent_test), None)
    return (named.silent_test, named.timezone) if named else ("", "")


def slots(plan: Plan) -> dict[str, int]:
    """Each siren's place in the row, so that no two of one zone are tested at the same instant."""
    taken: dict[str, set[int]] = {zone.id: set() for zone in plan.zones}
    found = {}
    for siren in plan.sirens:
        own = [taken[zone] for zone in siren.zones]
        slot = next(n for n in range(len(plan.sirens)) if all(n not in each for each in own))
        for each in own:
            each.add(slot)
        found[siren.id] = slot
    return found
