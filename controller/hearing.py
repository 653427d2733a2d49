"""What nodes report, one signed message at a time: into the journal, into the facts, into the alarms (design §2.1–§2.3).

An authentic report is always journaled and acked. One that cannot be used (a point that is not the node's, a body that is none)
is journaled as such and raises Trouble, so that it never blocks its ledger.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from cython_ext import Hazard, Level, WireError
from lanes import fields
from lanes.envelope import Kind, Opened
from lanes.identity import SEQ_MAX, STORE_ID_BYTES
from lanes.keys import Mode, Role
from lanes.pieces import Want
from lanes.plan import Point
from lanes.reports import BootData, Event, ReceiptData, ResetData, State, TransitionData, TroubleData

from .deciding import Deciding
from .fold import LIVE_NS, RAISING, Folded, owns
from .ordering import Ordering
from .record.records import Record
from .registry import Node
from .room import Place, Room

ABSURD_BEFORE_US: Final = 1_577_836_800_000_000  # 2020-01-01: no node is older than this program
ABSURD_AHEAD_US: Final = 86_400_000_000


class Heard(StrEnum):
    """What became of a report. Counted under this word."""

    TAKEN = "taken"
    AGAIN = "again"  # we have it: only the ack is sent again
    UNUSABLE = "unusable"
    STALE = "stale"  # a state report that is not newer than the last
    ROLE = "role"
    ADDRESSEE = "addressee"
    MALFORMED = "malformed"
    TOPIC = "topic"
    KIND = "kind"
    ASKED = "asked"  # for a piece of the plan
    GAPS = "gaps"  # too many holes in this ledger: the node sends it again later


@dataclass(frozen=True, slots=True)
class Owed:
    """A ledger whose node is owed an ack."""

    node: str
    ledger: bytes


class Hearing:
    """Takes opened envelopes. `owed` collects the acks to be sent once the journal is durable."""

    def __init__(
        self,
        room: Room,
        ordering: Ordering,
        deciding: Deciding,
        heard: Callable[[str, TransitionData, int], None] = lambda _node, _data, _at_us: None,
        wants: Callable[[Node, Want], None] = lambda _node, _want: None,
    ) -> None:
        """`heard` takes each transition (node, data, UTC microseconds) to the history and never waits; `wants` takes what a node
        wants of the plan.
        """
        self._room = room
        self._ordering = ordering
        self._deciding = deciding
        self._heard = heard
        self._wants = wants
        self.owed: dict[Owed, None] = {}

    def take(self, opened: Opened, topic_node: str) -> Heard:
        """One report whose signature is right, as it came on `topic_node`'s topic."""
        envelope, signer = opened.envelope, opened.signer
        if signer.role is not Role.NODE:
            return Heard.ROLE
        if envelope.issuer != topic_node:
            return Heard.TOPIC
        if envelope.addressee != self._room.plan.controller:
            return Heard.ADDRESSEE
        node = self._room.fold.registry.nodes[envelope.issuer]
        if envelope.kind is Kind.WANT:
            return self._want(opened, node)
        with self._room.clock.hold():
            if envelope.kind is Kind.EVENT:
                heard = self._event(opened, node)
            elif envelope.kind is Kind.STATE:
                heard = self._state(opened, node)
            else:
                return Heard.KIND
            node.heard_ns = self._room.clock.monotonic_ns()
            self._room.trouble("node-silent", node.id, False)
            self._room.trouble("node-never-seen", node.id, False)
        return heard

    def _want(self, opened: Opened, node: Node) -> Heard:
        """Not journaled: what comes of it is, when the node's reports name the plan."""
        try:
            want = Want.unpack(opened.envelope.body)
        except WireError:
            return Heard.MALFORMED
        node.heard_ns = self._room.clock.monotonic_ns()
        self._wants(node, want)
        return Heard.ASKED

    # Events.

    def _event(self, opened: Opened, node: Node) -> Heard:
        room, envelope = self._room, opened.envelope
        try:
            ledger, seq = _key_of(envelope.body)
        except WireError:
            return self._nameless(opened, node)
        if ledger not in node.sequences and node.ledger not in (ledger, bytes(STORE_ID_BYTES)):
            room.trouble("ledger-new", node.id, True)
        if node.has(ledger, seq):
            if node.again(ledger, seq, sha256(opened.data).digest()):
                room.trouble("ledger-rolled-back", node.id, True)  # it begins another ledger, and tells it there
            self._owe(node, ledger)
            return Heard.AGAIN
        if ledger in node.sequences and not node.sequences[ledger].room_for(seq):
            room.trouble("ledger-gaps", node.id, True)
            return Heard.GAPS
        self._owe(node, ledger)
        try:
            event = Event.unpack(envelope.body)
        except WireError as error:
            return self._unusable(opened, node, ledger, seq, str(error))
        why = self._unfit(event, node)
        if why:
            return self._unusable(opened, node, ledger, seq, why)
        self._take_event(opened, node, event)
        return Heard.TAKEN

    def _owe(self, node: Node, ledger: bytes) -> None:
        self.owed[Owed(node.id, ledger)] = None
        self._room.notify()

    def _nameless(self, opened: Opened, node: Node) -> Heard:
        """A signed event without a ledger and seq cannot be acked; it is kept, and said."""
        zeros = bytes(STORE_ID_BYTES)
        self._room.journal.append(Record.UNUSABLE, [opened.data, "no key", "", zeros, 0])
        self._room.trouble("report-unusable", node.id, True)
        return Heard.UNUSABLE

    def _unusable(self, opened: Opened, node: Node, ledger: bytes, seq: int, why: str) -> Heard:
        self._room.journal.append(Record.UNUSABLE, [opened.data, why[:80], node.id, ledger, seq])
        self._room.fold.unusable(node, ledger, seq, opened.data)
        self._room.trouble("report-unusable", node.id, True)
        return Heard.UNUSABLE

    def _unfit(self, event: Event, node: Node) -> str:
        """Why an event of the right form says nothing to us; empty when it does."""
        data, plan = event.data, self._room.plan
        if isinstance(data, TransitionData):
            if plan.judged(data.point) is None:
                return "unknown point"
            if not owns(plan, node.id, data.point):
                return "another node's point"
        if isinstance(data, ReceiptData) and data.siren:
            view = self._room.fold.registry.sirens.get(data.siren)
            if view is None:
                return "unknown siren"
            if view.node != node.id:
                return "another node's siren"
        return ""

    def _take_event(self, opened: Opened, node: Node, event: Event) -> None:
        room, envelope, mode = self._room, opened.envelope, opened.signer.mode
        now_ns, now_us = room.clock.monotonic_ns(), room.clock.wall_us()
        age_ns = node.hear(envelope.boot, event.monotonic_ns, now_ns)
        live = age_ns is not None and age_ns <= LIVE_NS
        room.journal.append(Record.EVENT, [opened.data, int(mode), live])
        at_ns = now_ns - (age_ns or 0)
        folded = room.fold.event(node, envelope, event, opened.data, mode=mode, live=live, now_us=now_us, at_ns=at_ns)
        self._flags(node, event.plan, envelope.issued_us, now_us)
        if folded is not None:
            assert isinstance(event.data, TransitionData)
            self._heard(node.id, event.data, envelope.issued_us)
            self._danger(folded, raising=event.data.cause in RAISING)
        elif isinstance(event.data, ReceiptData):
            self._ordering.receipt(node, event.data, now_ns, envelope.issued_us, live=live)
        elif isinstance(event.data, ResetData):
            self._deciding.resets.answered(node, event.data)
        elif isinstance(event.data, TroubleData):
            room.trouble(event.data.code, event.data.subject, event.data.on, node.id)
        elif isinstance(event.data, BootData):
            for standing in [each for each in room.troubles if each.source == node.id]:
                room.trouble(
                    standing.code, standing.subject, False, node.id
                )  # the troubles of the boot before are over

    def _flags(self, node: Node, plan: bytes, issued_us: int, now_us: int) -> None:
        self._room.trouble("plan-differs", node.id, plan != self._room.signed.digest)
        absurd = not ABSURD_BEFORE_US <= issued_us <= now_us + ABSURD_AHEAD_US
        self._room.trouble("clock-absurd", node.id, absurd)

    # States.

    def _state(self, opened: Opened, node: Node) -> Heard:
        room, envelope, mode = self._room, opened.envelope, opened.signer.mode
        try:
            state = State.unpack(envelope.body)
        except WireError:
            return self._nameless(opened, node)
        held = node.sequences.get(state.ledger)
        rolled_back = held is not None and held.highest > state.head
        if rolled_back:
            self._owe(node, state.ledger)  # by which the node learns it, and begins another ledger
        if held is not None and envelope.counter <= held.stated:  # a new ledger counts anew
            return Heard.STALE
        now_ns, now_us = room.clock.monotonic_ns(), room.clock.wall_us()
        room.trouble("ledger-rolled-back", node.id, rolled_back)
        if node.ledger not in (state.ledger, bytes(STORE_ID_BYTES)):
            room.trouble("ledger-new", node.id, True)
        room.journal.append(Record.STATE, [opened.data, int(mode)])
        known = node.boot == envelope.boot and node.stated
        words = room.fold.state(node, envelope, state, opened.data, mode=mode, now_us=now_us, now_ns=now_ns)
        node.hear(envelope.boot, state.monotonic_ns, now_ns)
        for view in room.fold.registry.sirens_at(node.id):
            self._ordering.stated(view)
        self._flags(node, state.plan, envelope.issued_us, now_us)
        for folded in words:
            self._danger(folded, raising=False)
        if not words:
            self._reconsider(node.id)
        if not known or state.sirens:
            self._deciding.retry(node.id)
        return Heard.TAKEN

    def _reconsider(self, node: str) -> None:
        """Nothing new was said, but the report is fresh evidence for what stands."""
        for alarm in list(self._room.book):
            if any(part.reading.key.node == node for part in alarm.parts):
                self._deciding.consider((alarm.id.zone, alarm.id.hazard, alarm.mode))

    # Danger.

    def _danger(self, folded: Folded, *, raising: bool) -> None:
        """A point's word goes to the alarms of its zones."""
        room, reading = self._room, folded.word.reading
        item = room.plan.judged(reading.point)
        places = self._places(reading.point, folded.word.mode)
        if isinstance(item, Point) and not item.alone:
            self._voters(reading.point, folded.word.mode)
            return
        for place in places:
            zone, hazard, mode = place
            now_us = room.clock.wall_us()
            if not folded.late:
                word = folded.word
                room.moved(room.book.read(zone, hazard, reading, mode=mode, live=word.live, now_us=now_us))
            elif raising and reading.level > Level.NORMAL:
                for moved in room.book.note(zone, hazard, reading, mode=mode, now_us=now_us):
                    room.moved(moved)
            self._deciding.consider(place)

    def _places(self, judged: str, mode: Mode) -> list[Place]:
        plan = self._room.plan
        hazard: Hazard = plan.hazard_of(judged)
        return [(zone, hazard, mode) for zone in plan.zones_of(judged)]

    def _voters(self, point: str, mode: Mode) -> None:
        """A point that speaks only through votes: its word is evidence for theirs."""
        for group in self._room.plan.groups:
            if point in group.points:
                for place in self._places(group.id, mode):
                    self._deciding.consider(place)


def _key_of(body: Any) -> tuple[bytes, int]:
    """Ledger and seq, even of an event whose rest we cannot read."""
    if not isinstance(body, list) or len(body) < 2:
        raise WireError("malformed", "not an event")
    seq = fields.natural(body[1], "seq", SEQ_MAX)
    if seq == 0:
        raise WireError("malformed", "seq begins at 1")
    return fields.octets(body[0], "ledger id", STORE_ID_BYTES), seq
