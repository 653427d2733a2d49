"""From an alarm to orders: asks the policy whenever an alarm or its evidence changes, journals each new answer, and acts on it.

    automatic        the order goes at once, once for each incident and Level
    unless-vetoed    it goes when the veto time has run out by our monotonic clock, counted anew after a restart
    by-hand, none    nothing goes; people see the reason

A veto or a stop binds the incident up to the Level at which it was given; a higher Level is a new question.
"""

from dataclasses import replace

from cython_ext import NS_PER_S, Level
from lanes.keys import Mode
from lanes.orders import Action
from lanes.plan import Policy

from .activation import NO_ANSWER, Result
from .alarm.record import Alarm
from .muting import Muting
from .ordering import Ordering
from .policy import Decision, Move, decide
from .resets import Resets
from .room import POLICY, Place, Room


class Deciding:
    """Decides for the whole room."""

    def __init__(self, room: Room, ordering: Ordering) -> None:
        self._room = room
        self._ordering = ordering
        self.muting = Muting(room)
        self.resets = Resets(room, self.consider)
        self._veto_ns: dict[tuple[bytes, Level], int] = {}  # when a veto time ends, by our monotonic clock

    def consider(self, place: Place) -> None:
        """The alarm at this place, or its evidence, may have changed."""
        room = self._room
        alarm = room.book.at(*place)
        if alarm is None:
            return
        alarm = self.muting.look(alarm)
        if room.book.at(*place) is None:
            return  # the end of a mute was its end
        decision = self.look(alarm)
        orders = decision.move is Move.AUTOMATIC and decision.level > room.ordered.get(decision.incident, Level.NORMAL)
        if orders or decision != room.decided.get(place):
            number = room.decide(place, decision).seq
        if orders:
            self._order(alarm, decision, number)
        elif decision.move is Move.UNLESS_VETOED and decision.level > room.ordered.get(decision.incident, Level.NORMAL):
            now_ns = room.clock.monotonic_ns()
            self._veto_ns.setdefault((decision.incident, decision.level), now_ns + round(decision.veto_s * NS_PER_S))

    def look(self, alarm: Alarm) -> Decision:
        """What would be decided now: a dry run."""
        room = self._room
        now_ns = room.clock.monotonic_ns()

        def proven(policy: Policy) -> bool:
            return bool(room.fold.pool.choose(policy, now_ns))

        others = room.warnings.asking((alarm.id.zone, alarm.id.hazard, alarm.mode))
        decision = decide(alarm, room.plan, proven=proven, others=others)
        barred = room.barred.get(decision.incident)
        if barred is not None and decision.move in (Move.AUTOMATIC, Move.UNLESS_VETOED) and decision.level <= barred[0]:
            return replace(decision, move=Move.NONE, reason=barred[1])
        return decision

    def bar(self, alarm: Alarm, reason: str) -> None:
        """A person has vetoed or stopped: nothing automatic for this incident up to its present Level."""
        room = self._room
        place = (alarm.id.zone, alarm.id.hazard, alarm.mode)
        level = max(alarm.level, room.ordered.get(alarm.incident, Level.NORMAL))
        decision = replace(self.look(alarm), move=Move.NONE, reason=reason, level=level, incident=alarm.incident)
        room.decide(place, decision)

    def tick(self, now_ns: int) -> None:
        """End the veto times that have run out, and what resets are late."""
        room = self._room
        self.resets.tick(now_ns, room.clock.wall_us())
        over = {key for key, end_ns in self._veto_ns.items() if end_ns <= now_ns}
        for key in over:
            del self._veto_ns[key]
            room.journal.mark()  # even if nothing is ordered: from now on the time has run out
        for alarm in list(room.book) if over else ():
            place = (alarm.id.zone, alarm.id.hazard, alarm.mode)
            decision = room.decided.get(place)
            if decision is None or (decision.incident, decision.level) not in over:
                continue
            fresh = self.look(alarm)
            if fresh.move is Move.UNLESS_VETOED and fresh.level > room.ordered.get(fresh.incident, Level.NORMAL):
                number = room.decide(place, replace(fresh, reason="not-vetoed")).seq
                self._order(alarm, fresh, number)

    def vetoes_pending(self) -> dict[tuple[bytes, Level], int]:
        """Running veto times: (incident, Level) → when each ends."""
        return dict(self._veto_ns)

    def retry(self, node: str) -> None:
        """A node is heard again: what it never answered is ordered anew while its danger lasts."""
        room = self._room
        for activation in list(room.fold.activations):
            if activation.by != POLICY or activation.action is not Action.START:
                continue
            for errand in list(activation.errands.values()):
                if errand.node == node and errand.result is Result.FAIL and errand.why == NO_ANSWER:
                    alarm = next((a for a in room.book if a.incident == activation.core.incident), None)
                    if alarm is not None:
                        self._again(alarm, activation.level, errand.siren, activation.number)

    def _again(self, alarm: Alarm, level: Level, siren: str, number: int) -> None:
        fresh = self.look(alarm)
        if fresh.move in (Move.AUTOMATIC, Move.UNLESS_VETOED) and fresh.level == level and siren in fresh.sirens:
            self._order(alarm, replace(fresh, sirens=(siren,)), number)

    def _order(self, alarm: Alarm, decision: Decision, number: int) -> None:
        room, where = self._room, decision.alarm
        policy = room.plan.policy(where.zone, where.hazard, decision.level)
        assert policy is not None, "the decision rests on it"
        evidence = room.fold.pool.choose(policy, room.clock.monotonic_ns())
        core = self._ordering.core(decision.incident, (where.zone,), decision.pattern, Mode.LIVE, decision.max_s)
        room.moved(room.book.latch(alarm, room.clock.wall_us()))
        for siren in decision.sirens:
            heads = (str(where), decision.level, POLICY)
            self._ordering.send(number, Action.START, siren, core, heads=heads, evidence=evidence)
