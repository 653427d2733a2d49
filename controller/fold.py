"""Folding a node's report into what we know: ledgers, boots, points, sirens, orders' answers.

Used twice in the same way: when a report arrives, and when the journal is read at start. So it decides nothing and says nothing
to anyone; what it finds, it returns.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from cython_ext import NS_PER_S, Cause, Level, Reason
from lanes.envelope import Envelope
from lanes.identity import EventKey
from lanes.keys import Mode
from lanes.plan import Group, Plan, Point
from lanes.planfile import SignedPlan
from lanes.reports import BootData, Event, PointState, ReceiptData, Stage, State, TransitionData

from .activation import Activation, Activations, Errand
from .alarm.changes import Reading
from .evidence import Piece, Pool
from .points import Points, Word
from .registry import Node, Registry

PLANS_MAX: Final = 4  # the present one, and those that a slow roll-out may leave behind
LIVE_NS: Final = (
    30 * NS_PER_S
)  # older news waits for the node's state report, which comes as often while the danger lasts
RAISING: Final = (Cause.RAISED, Cause.RESTATED)
ANSWERS: Final = (Stage.REFUSED, Stage.ALREADY)  # to an order: the siren does what it did before


@dataclass(frozen=True, slots=True)
class Folded:
    """A point's word after a report. `late`: an older event than what we hold; it adds evidence and changes nothing."""

    word: Word
    late: bool


class Fold:
    """The facts of one controller, and the folding of reports into them."""

    def __init__(self, signed: SignedPlan) -> None:
        self.signed = signed
        self.registry = Registry(signed)
        self.points = Points()
        self.pool = Pool(signed.plan)
        self.activations = Activations()
        self._plans: dict[bytes, Plan] = {}  # by digest: ours, and a few that ran before
        self.remember(signed)

    def remember(self, signed: SignedPlan) -> None:
        """A plan that nodes may still judge by: their state reports count in its order."""
        self._plans.pop(signed.digest, None)
        self._plans[signed.digest] = signed.plan
        while len(self._plans) > PLANS_MAX:
            del self._plans[next(iter(self._plans))]

    def replan(self, signed: SignedPlan) -> None:
        """Another plan. What it does not name is forgotten."""
        self.signed = signed
        self.remember(signed)
        self.registry.replan(signed)
        self.pool.replan(signed.plan)
        for word in self.points:
            if signed.plan.judged(word.reading.point) is None:
                self.points.drop(word.reading.point)

    @property
    def plan(self) -> Plan:
        return self.signed.plan

    def event(
        self,
        node: Node,
        envelope: Envelope,
        event: Event,
        data: bytes,
        *,
        mode: Mode,
        live: bool,
        now_us: int,
        at_ns: int,
    ) -> Folded | None:
        """An event that is new to us, of a known node and usable. `at_ns`: when it happened, by our monotonic clock."""
        key = EventKey(node.id, event.ledger, event.seq)
        self._note(node, envelope, event, now_us)
        node.sequence(event.ledger).take(event.seq, hashlib.sha256(data).digest())
        if isinstance(event.data, TransitionData):
            piece = Piece(event.data.point, node.id, event.data.level, at_ns, data)
            return self._transition(node, key, event.data, envelope.issued_us, mode, live, piece)
        if isinstance(event.data, BootData) and envelope.boot == node.boot:
            node.software = event.data.software
        if isinstance(event.data, ReceiptData):
            self._siren_said(node, event.data, now_us)
        return None

    def unusable(self, node: Node, ledger: bytes, seq: int, data: bytes) -> None:
        """An authentic event that says nothing to us still counts in its ledger."""
        node.sequence(ledger).take(seq, hashlib.sha256(data).digest())

    def _note(self, node: Node, envelope: Envelope, event: Event, now_us: int) -> None:
        node.heard_us, node.clock = now_us, event.clock
        if event.ledger != node.ledger and event.ledger not in node.sequences:
            node.ledger, node.head = event.ledger, 0  # the newest ledger is the one first heard of last
        if event.ledger == node.ledger and event.seq > node.head:
            node.head, node.plan, node.plan_version = event.seq, event.plan, envelope.plan_version
            node.rebooted(envelope.boot)

    def _transition(
        self, node: Node, key: EventKey, said: TransitionData, at_us: int, mode: Mode, live: bool, piece: Piece
    ) -> Folded:
        held = self.points.get(said.point)
        reading = Reading(key, said.point, said.value, said.level, said.reason, said.trouble, at_us)
        late = not self.points.newer(reading, node.ledger)
        if late:
            return Folded(Word(reading, mode, live, key), late=True)
        same = held is not None and held.reading.level >= said.level > Level.NORMAL
        if held is not None and same and said.cause not in RAISING:
            reading = replace(reading, key=held.reading.key)  # the same danger, no new raise
        word = Word(reading, mode, live, key)
        self.points.put(word)
        if said.cause in RAISING and said.level > Level.NORMAL and mode is Mode.LIVE:
            self.pool.put(piece)
        elif said.level is Level.NORMAL:
            self.pool.drop(said.point)
        else:
            self.pool.lower(said.point, said.level)
        return Folded(word, late=False)

    def _siren_said(self, node: Node, receipt: ReceiptData, now_us: int) -> None:
        for view in self.registry.sirens_at(node.id):
            if view.id == (receipt.siren or view.id):
                view.heard_us = now_us
                if receipt.stage not in ANSWERS:
                    view.stage = receipt.stage
                view.order_epoch = max(view.order_epoch, receipt.order_epoch)

    def answer(self, node: str, receipt: ReceiptData, now_ns: int, at_us: int) -> tuple[Activation, Errand] | None:
        """The order that the receipt answers, with its answer noted; None when it answers none that we know.

        `at_us`: when the node said so, by its own wall clock.
        """
        found = self.activations.find(node, receipt)
        if found is not None:
            self.activations.receipt(found[1], receipt, now_ns, at_us)
        return found

    def state(
        self, node: Node, envelope: Envelope, state: State, data: bytes, *, mode: Mode, now_us: int, now_ns: int
    ) -> list[Folded]:
        """A state report that is newer than the last: the points' words that it changes, or makes live."""
        node.sequence(state.ledger).stated, node.heard_us = envelope.counter, now_us
        node.plan, node.plan_version = state.plan, envelope.plan_version
        node.rebooted(envelope.boot)
        node.stated = True
        node.ledger, node.head, node.clock = state.ledger, state.head, state.clock
        counted = self._plans.get(state.plan)  # its rows count in the order of its plan
        if counted is None:
            return []
        self.registry.siren_rows(node.id, state.sirens, now_us, counted.siren_ids)
        return [
            folded
            for row, point in self._rows(node, state, counted.judged_ids)
            if (folded := self._state_row(node, row, point, state, data, mode, now_us, now_ns))
        ]

    def _rows(self, node: Node, state: State, ids: tuple[str, ...]) -> Iterator[tuple[PointState, str]]:
        for row in state.points:
            point = ids[row.point] if row.point < len(ids) else ""
            if owns(self.plan, node.id, point):
                yield row, point

    def _state_row(
        self, node: Node, row: PointState, point: str, state: State, data: bytes, mode: Mode, now_us: int, now_ns: int
    ) -> Folded | None:
        held = self.points.get(point)
        if held is not None and held.newest.ledger == state.ledger and held.newest.seq > state.head:
            return None  # an event has told us later news
        if row.level is Level.NORMAL:
            return None  # only trouble; the event that cleared it tells the rest
        if mode is Mode.LIVE:
            self.pool.put_state(Piece(point, node.id, row.level, now_ns, data))
        key = EventKey(node.id, state.ledger, row.raise_seq or state.head)
        if held is not None and held.reading.level == row.level:
            reading = replace(held.reading, trouble=row.trouble)
        else:
            value = held.reading.value if held else 0.0
            reason = held.reading.reason if held else Reason.RESTART
            reading = Reading(key, point, value, row.level, reason, row.trouble, now_us)
        told = row.raise_seq - 1 if row.raise_seq else state.head  # events up to here are older than this news
        if held is not None and held.newest.ledger == state.ledger:
            told = max(told, held.newest.seq)
        newest = EventKey(node.id, state.ledger, told)
        word = Word(reading, mode, True, newest)
        if word == held:
            return None
        self.points.put(word)
        return Folded(word, late=False)

    def begin(self, now_ns: int) -> None:
        """After a restart nothing is live, and no report is recent, until a node says so again: our clock has begun anew."""
        for word in self.points:
            self.points.put(replace(word, live=False))
        self.pool = Pool(self.plan)
        for node in self.registry.nodes.values():
            node.stated, node.lead_ns = False, None  # how old its messages are cannot be known before its next report
        for _, errand in self.activations.pending():
            errand.answered_ns = errand.sent_ns = now_ns


def owner(plan: Plan, judged: str) -> str:
    """The node that speaks for this point, or for a vote that lies wholly within its own points; "" when none does."""
    item = plan.judged(judged)
    if isinstance(item, Group):
        members = [plan.judged(point) for point in item.points]
        nodes = {point.node for point in members if isinstance(point, Point)}
        return nodes.pop() if len(nodes) == 1 and len(members) == sum(isinstance(p, Point) for p in members) else ""
    return item.node if item is not None else ""


def owns(plan: Plan, node: str, judged: str) -> bool:
    """Whether `node` is the one to speak for this point or vote."""
    return bool(node) and owner(plan, judged) == node
