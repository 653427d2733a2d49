"""The controller's own Panel over the telemetry: judge of what no node can see alone, and watchdog over the rest (design §2.3).

    a vote over points of several nodes    its verdict is the controller's own: it raises and clears
    everything else                        the node's events are authoritative. The Panel may add a raise, marked, when the node's
                                           own has not come within 2 s; it never clears what a node said. A difference of more
                                           than 10 s is Trouble. What telemetry said before the node's word is no evidence
                                           against it: after an outage the alarm lane may be back first

The event key of a verdict of ours is (controller, journal id, seq of its row). What it raised without a node's signature sounds
nothing by itself: an order needs evidence that nodes have signed.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from cython_ext import NS_PER_S, Cause, Level, Reason, Transition, Trouble
from cython_ext.panel import Panel
from cython_ext.wire_data import AliasTable, decode_data
from cython_ext.wire_feed import feed_wire
from lanes.identity import EventKey
from lanes.keys import Mode
from lanes.plan import Group, Point

from .alarm.changes import Reading
from .deciding import Deciding
from .fold import owner
from .record.recording import Recorder
from .record.records import Record
from .room import Room

ADD_AFTER_NS: Final = 2 * NS_PER_S  # telemetry is quicker than a commit at the node and one here
DIFFER_NS: Final = 10 * NS_PER_S  # design §2.3
SETTLE_NS: Final = 60 * NS_PER_S  # after a start: births, and the Panel's own delays
LOOK_NS: Final = NS_PER_S
EVIDENCE_NS: Final = (
    3 * NS_PER_S
)  # a sample so long before a difference was seen may have made it; an older one did not
BLIND: Final = Trouble.MISSING | Trouble.STALE


@dataclass(slots=True)
class _Watch:
    """A judged point whose node sees it otherwise than we do."""

    since_ns: int
    added: bool = False


@dataclass(slots=True)
class Watchdog:
    """Feeds the Panel and carries its verdicts to the alarms."""

    room: Room
    deciding: Deciding
    panel: Panel = field(init=False)
    recorder: Recorder | None = None
    _own: tuple[bool, ...] = field(init=False)
    _differs: dict[int, _Watch] = field(init=False, default_factory=dict)
    _began_ns: int = field(init=False)
    _looked_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self._began_ns = self._looked_ns = self.room.clock.monotonic_ns()
        self.panel = Panel(self.room.plan.panel(None), self._began_ns)
        self._count()

    def _count(self) -> None:
        """Which of the plan's points and votes are ours to judge."""
        plan = self.room.plan
        self._own = tuple(not owner(plan, judged) for judged in plan.judged_ids)

    def leave(self, now_ns: int) -> None:
        """The plan is about to change: what is due is said under the old names, and differences are looked at anew."""
        for transition in self._advance(now_ns):
            self._said(transition)
        for index in self._differs:
            self.room.trouble("watchdog-differs", self.room.plan.judged_ids[index], False)
        self._differs.clear()

    def replan(self, now_ns: int) -> None:
        """Judge by the room's plan. What is held, delayed or latched goes on; Levels that no longer exist are left."""
        said = self.panel.reconfigure(self.room.plan.panel(None), now_ns)
        if self.recorder is not None:
            self.recorder.begin(self.panel, self.room.signed.digest, now_ns)
        self._count()
        for transition in said:
            self._said(transition)

    def record(self, recorder: Recorder) -> None:
        """From now on what the Panel is fed is kept."""
        self.recorder = recorder
        recorder.begin(self.panel, self.room.signed.digest, self.room.clock.monotonic_ns())

    def _advance(self, now_ns: int) -> list[Transition]:
        said = self.panel.advance(now_ns)
        if self.recorder is not None:
            self.recorder.advanced(now_ns, said)
        return said

    def feed(self, payload: bytes, table: AliasTable, now_ns: int) -> None:
        """A telemetry payload. WireError when it cannot be read with its table."""
        if self.recorder is None:
            said = feed_wire(self.panel, payload, table, now_ns)
        else:
            batch = decode_data(payload, table, now_ns)
            said = self.panel.feed(batch, now_ns)
            self.recorder.fed(batch, now_ns, said)
        if said:
            with self.room.clock.hold():
                for transition in said:
                    self._said(transition)

    def tick(self, now_ns: int) -> None:
        """What time alone brings: the Panel's deadlines, late raises, differences."""
        deadline_ns = self.panel.next_deadline_ns()
        if deadline_ns is not None and deadline_ns <= now_ns:
            for transition in self._advance(now_ns):
                self._said(transition)
        if now_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = now_ns
            self._look(now_ns)
            if now_ns - self._began_ns >= SETTLE_NS:
                self._settle()

    def _said(self, transition: Transition) -> None:
        index = transition.point
        if transition.cause in (Cause.TROUBLE_RAISED, Cause.TROUBLE_CLEARED):
            return  # the point's own node says so too; a lost node is the registry's Trouble
        if self._own[index]:
            self._verdict(index, transition.cause, transition.was, transition.level, transition.reason, watched=False)
        elif transition.level < transition.was and self._held(index) > transition.level:
            self._verdict(index, transition.cause, transition.was, transition.level, transition.reason, watched=True)

    def _held(self, index: int) -> Level:
        """The Level that our own marked raise of this point still holds."""
        judged = self.room.plan.judged_ids[index]
        parts = (part for alarm in self.room.book for part in alarm.parts)
        return max((p.reading.level for p in parts if p.watched and p.reading.point == judged), default=Level.NORMAL)

    def _verdict(self, index: int, cause: Cause, was: Level, level: Level, reason: Reason, *, watched: bool) -> None:
        """Journal it, and take it to the alarms of its zones."""
        judged, value, trouble = self.room.plan.judged_ids[index], self.panel.value(index), self.panel.trouble(index)
        numbers = [int(cause), int(was), int(level), value, int(reason), int(trouble)]
        conclude(self.room, self.deciding, [judged, *numbers, not watched])

    def _look(self, now_ns: int) -> None:
        """Compare where our verdict is not the node's word, or was not; of a large fleet hardly anywhere."""
        ids, ours, theirs = self.room.plan.judged_ids, self.panel.level, self.room.fold.points.level
        for index, own in enumerate(self._own):
            if not own and (index in self._differs or ours(index) is not theirs(ids[index])):
                self._compare(index, now_ns)

    def _compare(self, index: int, now_ns: int) -> None:
        """Our verdict against the node's word."""
        room, judged = self.room, self.room.plan.judged_ids[index]
        ours, theirs = self.panel.level(index), room.fold.points.level(judged)
        if ours == theirs or self.panel.trouble(index) & BLIND:
            if self._differs.pop(index, None) is not None:
                room.trouble("watchdog-differs", judged, False)
            return
        if (
            ours > theirs
            and theirs is Level.NORMAL
            and self._was_reset(judged)
            and isinstance(room.plan.judged(judged), Point)
        ):
            for transition in self.panel.reset(index, now_ns):  # a person has reset it where it is judged: here too
                self._said(transition)
            ours = self.panel.level(index)
            if ours == theirs:
                return
        watch = self._differs.setdefault(index, _Watch(now_ns))
        if now_ns - watch.since_ns >= DIFFER_NS:
            room.trouble("watchdog-differs", judged, True)
        late = now_ns - watch.since_ns >= ADD_AFTER_NS
        if (
            ours > theirs
            and late
            and self._held(index) < ours
            and self._seen_since(index, watch.since_ns - EVIDENCE_NS)
        ):
            watch.added = True
            self._verdict(index, Cause.RAISED, theirs, ours, Reason.THRESHOLD, watched=True)

    def _seen_since(self, index: int, since_ns: int) -> bool:
        """Whether a point has been measured since then; of a vote, whether one of its points has."""
        ids, item = self.room.plan.judged_ids, self.room.plan.judged(self.room.plan.judged_ids[index])
        points = [ids.index(name) for name in item.points] if isinstance(item, Group) else [index]
        return any(self.panel.last_ns(point) >= since_ns for point in points)

    def _was_reset(self, judged: str) -> bool:
        word = self.room.fold.points.get(judged)
        return word is not None and word.reading.reason is Reason.RESET

    def _settle(self) -> None:
        """Raises of ours from before a restart, which our Panel, now in sight of the points, does not see any more."""
        room = self.room
        ids = room.plan.judged_ids
        for alarm in list(room.book):
            for part in alarm.parts:
                if part.reading.key.node != room.plan.controller or part.reading.point not in ids:
                    continue
                index = ids.index(part.reading.point)
                level = self.panel.level(index)
                if level < part.reading.level and not self.panel.trouble(index) & BLIND:
                    was = part.reading.level
                    self._verdict(index, Cause.LOWERED, was, level, Reason.RESTART, watched=part.watched)


def conclude(room: Room, deciding: Deciding, verdict: list[Any]) -> None:
    """Journal a verdict of our Panel, as a WATCHDOG row has it, and take it to the alarms of its zones."""
    row = room.journal.append(Record.WATCHDOG, verdict)
    judged, _, _, level, value, reason, trouble, own = verdict
    key = EventKey(room.plan.controller, room.journal.id, row.seq)
    now_us = room.clock.wall_us()
    reading = Reading(key, judged, value, Level(level), Reason(reason), Trouble(trouble), now_us)
    item = room.plan.judged(judged)
    if isinstance(item, Point) and not item.alone:
        return
    hazard = room.plan.hazard_of(judged)
    for zone in room.plan.zones_of(judged):
        moved = room.book.read(zone, hazard, reading, mode=Mode.LIVE, live=True, now_us=now_us, watched=not own)
        room.moved(moved)
        deciding.consider((zone, hazard, Mode.LIVE))
