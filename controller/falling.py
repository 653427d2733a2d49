"""A siren has failed to sound: once more, a neighbour, a word to dispatch, as the signed policy says (fallback.py).

Each step is journaled with its reason. A stand-in gets the very core of the order that failed: the same zones, incident,
pattern and approvals, so that no fall-back does more than people approved; its own node checks that again. What evidence carries
is ordered with fresh evidence once the first core has run out, and only while the policy still says so. A stop ends all of it.
"""

from dataclasses import dataclass
from math import cos, hypot, radians
from typing import Final

from cython_ext import NS_PER_S
from lanes.acts import ALL
from lanes.identity import AlarmId
from lanes.keys import Mode
from lanes.orders import Action
from lanes.plan import Plan, Siren
from lanes.reports import SirenTrouble
from lanes.sounding import ANSWER_MIN_S, FallBack

from .activation import Activation, Errand, Fall, Result
from .alarm.record import Alarm
from .deciding import Deciding
from .fallback import TABLE, Failure, Step, classify
from .notices import STAND_INS_MAX, NoticeKind, SirenNotice
from .ordering import Ordering
from .policy import Move
from .record.records import Record
from .room import CALENDAR, POLICY, Room

RETRY_NS: Final = 3 * NS_PER_S  # a driver has tried three times by itself; a busy siren or disk is given a moment
SPARE_US: Final = 1_000_000  # an order that ends within this is not sent any more
UNABLE: Final = SirenTrouble.UNREACHABLE | SirenTrouble.STORE | SirenTrouble.FAILED | SirenTrouble.NOT_OFF
M_PER_DEGREE: Final = 111_320.0


@dataclass(frozen=True, slots=True)
class _Again:
    """A retry that waits for its moment."""

    number: int
    siren: str
    due_ns: int


class Falling:
    """Takes each start's outcome; `tick` looks for late answers and gives the retries that are due."""

    def __init__(self, room: Room, ordering: Ordering, deciding: Deciding) -> None:
        self._room = room
        self._ordering = ordering
        self._deciding = deciding
        self._again: list[_Again] = []
        ordering.outcome = self.outcome

    def outcome(self, activation: Activation, errand: Errand) -> None:
        """A start has sounded, or failed."""
        if errand.result is Result.FAIL:
            self._failed(activation, errand, classify(errand.why), errand.why)
        elif errand.result is Result.PASS:
            fall = activation.falls.get(errand.siren)
            if fall is not None and fall.told:
                self._note(activation, errand.siren, fall.failure, errand.why, Step.SOUNDED)
                self._tell(activation, errand, NoticeKind.SOUNDED, fall, errand.why)

    def resume(self) -> None:
        """After a restart: what failed while an order could still be given is looked at once more."""
        for activation in list(self._room.fold.activations):
            for errand in list(activation.errands.values()):
                if errand.order.action is Action.START and errand.result is Result.FAIL and self._alive(errand):
                    self._failed(activation, errand, classify(errand.why), errand.why)

    def tick(self, now_ns: int) -> None:
        """Answers that are late, and retries that are due."""
        waited_ns = now_ns - round(ANSWER_MIN_S * NS_PER_S)
        for activation, errand in list(self._room.fold.activations.pending()):
            if errand.sent_ns > waited_ns or not errand.unanswered:
                continue
            if errand.order.action is Action.START and errand.siren not in activation.falls:
                late_ns = round(settings_of(self._room.plan, activation).answer_s * NS_PER_S)
                if now_ns - errand.sent_ns >= late_ns:
                    self._failed(activation, errand, Failure.LATE, "no-answer")
        due = [each for each in self._again if each.due_ns <= now_ns]
        self._again = [each for each in self._again if each.due_ns > now_ns]
        for each in due:
            self._retry(each)

    # Steps.

    def _failed(self, activation: Activation, errand: Errand, failure: Failure, why: str) -> None:
        then, settings = TABLE[failure], settings_of(self._room.plan, activation)
        if failure is Failure.BARRED or self._stopped(activation):
            return
        fall = activation.falls.get(errand.siren, Fall(failure, why))
        by_people = activation.by != POLICY
        if then.retry[by_people] and fall.retries < settings.retries and self._alive(errand, by_people=by_people):
            due_ns = self._room.clock.monotonic_ns() + RETRY_NS
            if all((each.number, each.siren) != (activation.number, errand.siren) for each in self._again):
                self._again.append(_Again(activation.number, errand.siren, due_ns))
            return
        if then.stand_in and not fall.stood and settings.neighbours:
            self._stand_in(activation, errand, failure, why, settings.neighbours)
        if then.tell and settings.tell and not fall.told:
            self._note(activation, errand.siren, failure, why, Step.TELL)
            self._tell(activation, errand, NoticeKind.FAILED, activation.falls[errand.siren], why)

    def _retry(self, each: _Again) -> None:
        activation = self._room.fold.activations.get(each.number)
        errand = activation.errands.get(each.siren) if activation else None
        if activation is None or errand is None or errand.result is not Result.FAIL or self._stopped(activation):
            return
        why = errand.why
        self._note(activation, each.siren, classify(why), why, Step.RETRY, (each.siren,))
        if not self._order(activation, errand, each.siren):
            self._failed(activation, errand, Failure.LOST, why)

    def _stand_in(self, activation: Activation, errand: Errand, failure: Failure, why: str, most: int) -> None:
        """Order up to `most` neighbours that have no part in this activation yet."""
        found = [siren.id for siren in self._neighbours(activation, errand.siren)[:most]]
        ordered = tuple(siren for siren in found if self._order(activation, errand, siren))
        self._note(activation, errand.siren, failure, why, Step.STAND_IN, ordered)

    def _note(
        self, activation: Activation, siren: str, failure: str, why: str, step: Step, sirens: tuple[str, ...] = ()
    ) -> None:
        """The step, in the journal and in the activation."""
        row = [activation.number, siren, str(failure), why, str(step), list(sirens)]
        self._room.journal.append(Record.FALL_BACK, row)
        self._room.fold.activations.fell(activation.number, siren, str(failure), why, step, sirens)

    # Orders.

    def _order(self, activation: Activation, errand: Errand, siren: str) -> bool:
        """Order `siren` to do what `errand` should have done; False when nothing allows it any more."""
        order, room = errand.order, self._room
        if not order.approvals and not order.evidence:
            return False  # an exercise of the plan: it is for its own sirens
        core, evidence, not_after_us = order.core, order.evidence, errand.not_after_us
        if not self._alive(errand):
            fresh = self._fresh(activation)
            if fresh is None:
                return False
            policy = room.plan.policy(fresh.id.zone, fresh.id.hazard, activation.level)
            evidence = room.fold.pool.choose(policy, room.clock.monotonic_ns()) if policy else ()
            if not evidence:
                return False
            core = self._ordering.core(core.incident, core.zones, core.pattern, core.mode, core.max_s)
            not_after_us = core.not_after_us
        self._ordering.send(
            activation.number,
            Action.START,
            siren,
            core,
            heads=(activation.alarm, activation.level, activation.by),
            evidence=evidence,
            approvals=order.approvals,
            not_after_us=not_after_us,
        )
        return True

    def _alive(self, errand: Errand, *, by_people: bool = True) -> bool:
        """Whether the order can still be given as it is. What evidence carries can be ordered anew."""
        return not by_people or self._room.clock.wall_us() + SPARE_US < errand.not_after_us

    def _fresh(self, activation: Activation) -> Alarm | None:
        """The alarm whose policy still says what this activation did; None: only people could order it anew."""
        if activation.by != POLICY:
            return None
        alarm = next((a for a in self._room.book if a.incident == activation.core.incident), None)
        if alarm is None:
            return None
        decision = self._deciding.look(alarm)
        moves = decision.move in (Move.AUTOMATIC, Move.UNLESS_VETOED)
        return alarm if moves and decision.level == activation.level else None

    def _stopped(self, activation: Activation) -> bool:
        """Whether a person has since ordered one of its sirens to stop, whatever it sounds or for this incident."""
        core = activation.core
        return any(
            other.action is Action.STOP
            and other.number > activation.number
            and other.core.incident in (ALL, core.incident)
            and other.core.mode in (Mode.LIVE, core.mode)
            and not activation.errands.keys().isdisjoint(other.errands)
            for other in self._room.fold.activations
        )

    # Neighbours.

    def _neighbours(self, activation: Activation, failed: str) -> list[Siren]:
        """Who could take its place, the best first: as its plan names them, else the nearest; those in trouble come last."""
        plan, core = self._room.plan, activation.core
        place = plan.siren(failed)
        assert place is not None, "an order is for a siren of the plan"
        able = [
            siren
            for siren in plan.sirens
            if siren.id not in activation.errands
            and set(siren.all_zones) & set(core.zones)
            and plan.timing(core.pattern, siren.family)
            and (not place.neighbours or siren.id in place.neighbours)
        ]
        named = {name: n for n, name in enumerate(place.neighbours)}
        return sorted(able, key=lambda s: (self._unable(s), named.get(s.id, 0), distance_m(place, s), s.id))

    def _unable(self, siren: Siren) -> bool:
        view, troubles = self._room.fold.registry.sirens[siren.id], self._room.troubles
        lost = troubles.on("node-silent", siren.node) or troubles.on("node-never-seen", siren.node)
        return lost or bool(view.trouble & UNABLE)

    # Telling.

    def _tell(self, activation: Activation, errand: Errand, kind: NoticeKind, fall: Fall, why: str) -> None:
        core = activation.core
        heads = (kind, errand.siren, errand.node, why[:48], fall.failure, core.mode, activation.level)
        tail = (activation.alarm[:160], activation.number, fall.stand_ins[:STAND_INS_MAX])
        self._room.notice(SirenNotice(*heads, core.zones, core.incident, *tail, self._room.clock.wall_us()))


def settings_of(plan: Plan, activation: Activation) -> FallBack:
    """What the plan says of failures in this activation: the policy that ordered it; by people, the most that any policy of
    its zones says which names the pattern (failing that, any of them). An exercise of the calendar is no more than the plan
    names: it is told, and nothing sounds in a failed siren's place.
    """
    if activation.by == CALENDAR:
        return FallBack(answer_s=60, retries=0, neighbours=0, tell=True)
    if activation.alarm and activation.by == POLICY:
        where = AlarmId.parse(activation.alarm)
        policy = plan.policy(where.zone, where.hazard, activation.level)
        return policy.fall_back if policy else FallBack.usual()
    core = activation.core
    here = [policy for policy in plan.policies if policy.zone in core.zones]
    asked = (
        [p.fall_back for p in here if p.pattern == core.pattern] or [p.fall_back for p in here] or [FallBack.usual()]
    )
    return FallBack.model_validate(
        {
            "answer_s": min(each.answer_s for each in asked),
            "retries": max(each.retries for each in asked),
            "neighbours": max(each.neighbours for each in asked),
            "tell": any(each.tell for each in asked),
        }
    )


def distance_m(one: Siren, other: Siren) -> float:
    """Between two sirens, to a few metres; endless where the plan does not say where one stands."""
    if None in (one.latitude, one.longitude, other.latitude, other.longitude):
        return float("inf")
    assert one.latitude is not None
    assert one.longitude is not None
    assert other.latitude is not None
    assert other.longitude is not None
    north = other.latitude - one.latitude
    east = (other.longitude - one.longitude) * cos(radians(one.latitude))
    return hypot(north, east) * M_PER_DEGREE
