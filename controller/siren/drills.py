"""Exercises on the plan's calendar: announced, begun, ended; suspended at once when a live alarm is active (issue 5, item 8).

    announced (each lead) ─► begun ─► ended                 orders are signed with the exercise key, and rest on the plan alone:
            │                  └────► suspended             the node asks its own plan (edge/siren/exercise.py)
            ├─► suspended                                    live always wins: here, and at each node by itself
            └─► missed

Each step is in the journal before anything goes out, so that none is done twice. The controller begins within two minutes of the
instant or not at all; the node would allow five.
"""

from collections.abc import Iterable
from math import ceil
from typing import Final

from cython_ext import Level
from lanes.exercises import Exercise, Occasion
from lanes.keys import Mode
from lanes.orders import ZONES_MAX, Action
from lanes.plan import Siren

from ..activation import Activation, Result
from ..drillnotice import DrillKind, DrillNotice
from ..ordering import Ordering
from ..policy import sirens_of
from ..record.records import Record
from ..room import CALENDAR, Room
from ..schedule import Drill
from .occasions import Occasions
from .watching import endangered, may_sign

BEGIN_US: Final = 120_000_000
AFTER_US: Final = 10_000_000  # after the pattern's end: the last receipts
BEGUN: Final = "begun"
OVER: Final = ("ended", "suspended", "missed")
S_US: Final = 1_000_000


class Drills:
    """Called each second."""

    def __init__(self, room: Room, ordering: Ordering) -> None:
        self._room = room
        self._ordering = ordering
        self._occasions = Occasions()
        self._signs = may_sign(room, Mode.EXERCISE, wanted=bool(room.plan.exercises))

    def tick(self, _: int, now_us: int) -> None:
        """Announce, begin, watch and end."""
        plan = self._room.plan
        self._signs = may_sign(self._room, Mode.EXERCISE, wanted=bool(plan.exercises))
        for exercise in plan.exercises:
            due = self._occasions.due(exercise.calendar, plan.timezone_of(exercise.zones[0]), now_us)
            self._announce(exercise, due.next_us, now_us)
            if due.last_us:
                self._hold(exercise, due.last_us, now_us)

    def next_us(self, exercise: Exercise, now_us: int) -> int:
        """When it takes place next."""
        return self._occasions.due(exercise.calendar, self._room.plan.timezone_of(exercise.zones[0]), now_us).next_us

    # Before.

    def _announce(self, exercise: Exercise, at_us: int, now_us: int) -> None:
        """Of several leads that have come, as after a start, only the nearest is told; all count as done."""
        drill = self._room.schedule.drill(exercise.id, at_us)
        come = [
            lead for lead in exercise.announce_s if now_us >= at_us - lead * S_US and not drill.done(f"lead-{lead}")
        ]
        if not come:
            return
        for lead in come:
            drill = drill.after(f"lead-{lead}")
        self._keep(drill)
        self._tell(DrillKind.ANNOUNCED, drill, exercise, now_us, lead_s=min(come))

    # At its time.

    def _hold(self, exercise: Exercise, at_us: int, now_us: int) -> None:
        drill = self._room.schedule.drill(exercise.id, at_us)
        if any(drill.done(step) for step in OVER):
            return
        if drill.done(BEGUN):
            self._watch(exercise, drill, now_us)
        elif exercise.announce_s and not drill.steps:
            return  # nobody was told: it belongs to a time before this plan, or this controller
        elif now_us - at_us > BEGIN_US:
            if drill.steps:
                self._end("missed", DrillKind.MISSED, drill, exercise, now_us)
        elif endangered(self._room, exercise.zones):
            self._end("suspended", DrillKind.SUSPENDED, drill, exercise, now_us)
        elif not self._signs:
            self._end("missed", DrillKind.MISSED, drill, exercise, now_us)
        else:
            self._begin(exercise, drill, now_us)

    def _begin(self, exercise: Exercise, drill: Drill, now_us: int) -> None:
        room = self._room
        number = room.journal.seq + 1
        drill = drill.after(BEGUN, number=number, began_us=now_us)
        self._keep(drill)
        incident = Occasion(exercise, drill.at_us).incident
        for siren in self._sirens(exercise):
            core = self._ordering.core(
                incident, exercise.zones, exercise.pattern, Mode.EXERCISE, self._length_s(exercise)
            )
            self._ordering.send(number, Action.START, siren.id, core, heads=("", Level.NORMAL, CALENDAR))
        self._tell(DrillKind.BEGUN, drill, exercise, now_us)

    def _watch(self, exercise: Exercise, drill: Drill, now_us: int) -> None:
        if endangered(self._room, exercise.zones):
            self._stop(exercise, drill)
            self._end("suspended", DrillKind.SUSPENDED, drill, exercise, now_us)
        elif now_us - drill.began_us > self._length_s(exercise) * S_US + AFTER_US:
            self._end("ended", DrillKind.ENDED, drill, exercise, now_us)

    def _stop(self, exercise: Exercise, drill: Drill) -> None:
        """An exercise stop: it silences what sounds as an exercise and touches nothing live."""
        sirens = self._sirens(exercise)
        incident = Occasion(exercise, drill.at_us).incident
        self._ordering.withdraw(frozenset(siren.id for siren in sirens), incident)
        number = self._room.journal.seq + 1
        for siren in sirens:
            core = self._ordering.core(incident, siren.zones[:ZONES_MAX], "", Mode.EXERCISE, 0, 0)
            self._ordering.send(number, Action.STOP, siren.id, core, heads=("", Level.NORMAL, CALENDAR))

    def _sirens(self, exercise: Exercise) -> tuple[Siren, ...]:
        pattern = self._room.plan.pattern(exercise.pattern)
        assert pattern is not None, "the plan's own check"
        return sirens_of(self._room.plan, exercise.zones, pattern)

    def _length_s(self, exercise: Exercise) -> int:
        pattern = self._room.plan.pattern(exercise.pattern)
        assert pattern is not None, "the plan's own check"
        return exercise.max_s or ceil(pattern.length_s)

    # Keeping and telling.

    def _end(self, step: str, kind: DrillKind, drill: Drill, exercise: Exercise, now_us: int) -> None:
        self._keep(drill.after(step))
        self._tell(kind, drill, exercise, now_us)
        self._room.trouble("exercise-missed", exercise.id, step == "missed")

    def _keep(self, drill: Drill) -> None:
        self._room.journal.append(Record.EXERCISE, drill.pack())
        self._room.schedule.put_drill(drill)

    def _tell(self, kind: DrillKind, drill: Drill, exercise: Exercise, now_us: int, *, lead_s: int = 0) -> None:
        activation = self._room.fold.activations.get(drill.number)
        passed, total = _count([activation] if activation else [])
        self._room.notice(
            DrillNotice(
                kind,
                exercise.id,
                exercise.zones,
                exercise.pattern,
                Occasion(exercise, drill.at_us).incident,
                drill.at_us,
                now_us,
                self._length_s(exercise),
                lead_s,
                passed,
                total or len(self._sirens(exercise)),
            )
        )


def _count(activations: Iterable[Activation]) -> tuple[int, int]:
    """How many sirens passed, of how many."""
    found = list(activations)
    return sum(each.count(Result.PASS) for each in found), sum(len(each.errands) for each in found)
